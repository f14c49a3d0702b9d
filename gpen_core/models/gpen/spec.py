"""Hyper-parameters of a GPEN generator, read from its state dict."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from ...errors import UnsupportedWeightsError

_STAGE = re.compile(r"ecd(\d{1,2})\.0\.\d+\.weight$")
_MAPPING_LAYER = re.compile(r"generator\.style\.(\d+)\.weight$")
_INPUT_KEY = "generator.input.input"


def is_gpen(state_dict: Mapping[str, torch.Tensor]) -> bool:
    """Tell whether `state_dict` has the three parts of a GPEN generator: encoder, joint and decoder."""
    return all(key in state_dict for key in (_INPUT_KEY, "ecd0.0.0.weight", "final_linear.0.weight"))


@dataclass(frozen=True)
class GpenSpec:
    """The shape of one GPEN generator.

    Attributes:
        size: side of the square picture it takes and gives, a power of two.
        style_dim: length of the style vector.
        n_mlp: number of layers of the mapping network.
        channels: width of each level from 4×4 up to `size`×`size`.
    """

    size: int
    style_dim: int
    n_mlp: int
    channels: tuple[int, ...]

    @classmethod
    def published(cls, size: int, style_dim: int = 512, n_mlp: int = 8, cm: int = 2, narrow: float = 1.0) -> "GpenSpec":
        """Give the widths of the published family: `cm` widens the levels from 64 on, `narrow` scales them all.

        Source: Yang et al. 2021, GPEN; published code (`face_model/gpen_model.py`).
        """
        levels = int(math.log2(size)) - 1
        full = [512, 512, 512, 512, *(256 * cm // 2**n for n in range(levels))]
        return cls(size, style_dim, n_mlp, tuple(int(width * narrow) for width in full[:levels]))

    @classmethod
    def from_state_dict(cls, state_dict: Mapping[str, torch.Tensor]) -> "GpenSpec":
        """Read every hyper-parameter from the weights themselves.

        Raises:
            UnsupportedWeightsError: if a part of the generator is missing, or a layer has no width.
        """
        stages = sorted(int(match[1]) for key in state_dict if (match := _STAGE.match(key)))
        if not is_gpen(state_dict) or stages != list(range(len(stages))):
            raise UnsupportedWeightsError(
                f"not a whole GPEN generator: encoder stages {stages}, {len(state_dict)} keys"
            )
        widths = [_width(state_dict, f"ecd{stage}.0.{0 if stage == 0 else 1}.weight", axes=4) for stage in stages]
        return cls(
            size=2 ** (len(stages) + 1),
            style_dim=_width(state_dict, "final_linear.0.weight", axes=2),
            n_mlp=sum(_MAPPING_LAYER.match(key) is not None for key in state_dict),
            channels=tuple(reversed(widths)),
        )

    @property
    def narrow(self) -> float:
        """The published code's width factor: 1 for 512 channels at 4×4."""
        return self.channels[0] / 512

    @property
    def channel_multiplier(self) -> float:
        """The published code's extra factor for the levels from 64 on; 1 where there is no such level."""
        if self.size < 64:
            return 1.0
        return self.channels[4] / (256 * self.narrow)

    def __str__(self) -> str:
        cm, narrow = round(self.channel_multiplier), self.narrow
        if self == self.published(self.size, self.style_dim, self.n_mlp, cm, narrow):
            shape = f"cm {cm}, narrow {narrow:g}"
        else:
            shape = f"channels {' '.join(map(str, self.channels))}"
        return f"GPEN {self.size} ({shape}, style {self.style_dim})"


def _width(state_dict: Mapping[str, torch.Tensor], key: str, *, axes: int) -> int:
    """Read how many channels a layer gives.

    Raises:
        UnsupportedWeightsError: if it is missing, or its weight has another number of axes or no numbers.
    """
    if key not in state_dict:
        raise UnsupportedWeightsError(f'not a whole GPEN generator: key "{key}" is missing')
    shape = tuple(state_dict[key].shape)
    if len(shape) != axes or 0 in shape:
        raise UnsupportedWeightsError(
            f'not a whole GPEN generator: expected {axes} sizes from 1 on for "{key}", got {shape}'
        )
    return shape[0]
