"""What a training run is told."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from ..errors import SettingsError
from ..models.gpen import GpenSpec
from .losses import LossWeights

_SMALL_CHANNELS = (160, 160, 160, 128, 112, 80, 32)
"""Width of each level from 4×4 up: those of the embedded restorer."""

Precision: TypeAlias = Literal["float32", "bfloat16"]


def small_spec(
    size: int = 256, style_dim: int = 128, n_mlp: int = 4, channels: Sequence[int] | None = None
) -> GpenSpec:
    """Give the shape of a generator small enough to be trained and run on a processor.

    Args:
        size: side of the faces, a power of two from 8 on.
        style_dim: length of the style vector.
        n_mlp: layers of the mapping network.
        channels: width of each level from 4×4 up to `size`; None for the usual ones, which go up to 256.

    Raises:
        SettingsError: if `size` is no power of two from 8 on, or has another number of levels than `channels`, or a
            width or count is too small.
    """
    levels = size.bit_length() - 2
    widths = tuple(channels or _SMALL_CHANNELS[:levels])
    if levels < 2 or size != 4 << (levels - 1) or len(widths) != levels or min(widths) < 1:
        raise SettingsError(
            f"expected a size that is a power of two from 8 on and one width for each of its levels 4, 8, ... {size}, "
            f"got size {size} and widths {', '.join(map(str, widths))}"
        )
    if style_dim < 1 or n_mlp < 0:
        raise SettingsError(
            f"expected a style of at least 1 and no negative number of layers, got {style_dim}, {n_mlp}"
        )
    return GpenSpec(size, style_dim, n_mlp, widths)


@dataclass(frozen=True)
class TrainSettings:
    """One training run.

    Attributes:
        data: folder of aligned faces, all of one size, with or without a margin around the template.
        out: folder for checkpoint, log, contact sheets and the exported weights.
        spec: shape of the generator.
        start_from: trained weights to begin with: of this shape, of a narrower one or of half the size, see `grow`;
            None to begin from the identity.
        images: how many pictures to see in all; the learning rate falls to nearly nothing by then. A finished run
            goes on when it is resumed with a larger number.
        batch_size: pictures per step.
        learning_rate: of both optimisers at its highest: the root mean square of a step's change, of weights that
            equalised learning rates keep at unit variance. Ten times what plain weights want.
        warm_up: pictures over which the learning rate rises.
        fall: last part of the run, of 1, over which the learning rate falls. A run of unknown length stays high with
            many `images` and a small part; resume it with fewer to end it.
        ema_images: half-life, in pictures, of the averaged weights that are exported.
        loss: what is minimised.
        adversarial: how strongly a rival's displeasure pulls at the restored picture (see `rival`), as a part of all
            other losses' pull; 0 trains without one. Meant for runs that have converged: resume them with a lower
            learning rate.
        aligned_size: side of the template the files are aligned in; what lies around it is margin.
        precision: type of the generator's convolutions and of Muon's products. bfloat16 is faster only where the
            processor multiplies it in hardware (AMX).
        compile: let torch compile the generator: a minute to start, up to twice as fast afterwards.
        workers: processes that prepare pictures.
        save_every: pictures between two checkpoints.
        seed: of weights, order and degradation.

    Raises:
        SettingsError: if a count is below its least value.
    """

    data: Path
    out: Path
    spec: GpenSpec = field(default_factory=small_spec)
    start_from: Path | None = None
    images: int = 100_000
    batch_size: int = 8
    learning_rate: float = 1e-2
    warm_up: int = 2_000
    fall: float = 1.0
    ema_images: int = 4_000
    loss: LossWeights = field(default_factory=LossWeights)
    adversarial: float = 0.0
    aligned_size: int = 256
    precision: Precision = "float32"
    compile: bool = False
    workers: int = 1
    save_every: int = 4_000
    seed: int = 0

    def __post_init__(self) -> None:
        least = {"images": 0, "batch_size": 1, "ema_images": 1, "aligned_size": 1, "workers": 0, "save_every": 1}
        for name, value in least.items():
            if getattr(self, name) < value:
                raise SettingsError(f"expected {name} of at least {value}, got {getattr(self, name)}")
