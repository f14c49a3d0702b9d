"""What a training run is told."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from ..models.gpen import GpenSpec
from .losses import LossWeights

Precision: TypeAlias = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class TrainSettings:
    """One training run.

    Attributes:
        data: folder of aligned faces, all of one size, with or without a margin around the template.
        out: folder for checkpoint, log, contact sheets and the exported weights.
        spec: shape of the generator.
        grow_from: weights of half the size to begin with, see `grow`; None to begin from the identity.
        images: how many pictures to see in all; the learning rate falls to nearly nothing by then. A finished run
            goes on when it is resumed with a larger number.
        batch_size: pictures per step.
        learning_rate: of Adam at its highest. Equalised learning rates want ten times the usual 2e-3.
        warm_up: pictures over which the learning rate rises.
        ema_images: half-life, in pictures, of the averaged weights that are exported.
        loss: what is minimised.
        adversarial: weight of a rival's displeasure, see `rival`; 0 trains without one. Meant for runs that have
            converged: resume them with a lower learning rate.
        aligned_size: side of the template the files are aligned in; what lies around it is margin.
        precision: type of the generator's convolutions. bfloat16 is faster only where the processor multiplies it in
            hardware (AMX).
        compile: let torch compile the generator: a minute to start, up to twice as fast afterwards.
        workers: processes that prepare pictures.
        save_every: pictures between two checkpoints.
        seed: of weights, order and degradation.
    """

    data: Path
    out: Path
    spec: GpenSpec = field(default_factory=lambda: GpenSpec.published(256, style_dim=128, n_mlp=4, cm=1, narrow=0.25))
    grow_from: Path | None = None
    images: int = 100_000
    batch_size: int = 8
    learning_rate: float = 1e-2
    warm_up: int = 2_000
    ema_images: int = 4_000
    loss: LossWeights = field(default_factory=LossWeights)
    adversarial: float = 0.0
    aligned_size: int = 256
    precision: Precision = "float32"
    compile: bool = False
    workers: int = 1
    save_every: int = 4_000
    seed: int = 0
