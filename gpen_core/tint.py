"""Faces of one tint (black and white, sepia, toned prints) stay in it, whatever colours a restorer gives them."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from .color import luma

_SAMPLES = 32
"""Pixels a side at which a picture is judged: grain and blocks of the chroma are gone there, lips and eyes are not."""

_DEGREE = 3
_QUANTILE, _ONE_TINT = 0.98, 8 / 255
"""How far pixels may be off the curve of their tint, of the picture's contrast: chroma shrinks in the dark and fades
with a print. Of 425 portraits, at any exposure and faded to a third, coloured ones are off by 12 levels at least, toned
ones by 7 at most, but for dark silhouettes."""

_LEAST_CONTRAST = 0.1


@dataclass(frozen=True, eq=False)
class Tint:
    """By how much the channels of a picture differ from its luma: a polynomial of the luma for each, (4, 3)."""

    polynomials: NDArray[np.float64]

    def of(self, picture: torch.Tensor) -> torch.Tensor:
        """Give a picture (3, H, W) in [0, 1] in this tint, its luma kept as far as no channel is clipped."""
        shade = luma(picture)
        first, *rest = torch.from_numpy(self.polynomials[::-1].copy()).to(shade)[..., None, None]
        offset = first.expand_as(picture)
        for coefficients in rest:
            offset = offset * shade + coefficients
        return (shade + offset).clamp(0, 1)


def tint_of(picture: torch.Tensor) -> Tint | None:
    """Give the tint of a picture that has but one; None for a picture in colour.

    Args:
        picture: (3, H, W), sRGB in [0, 1].
    """
    side = (min(_SAMPLES, picture.shape[1]), min(_SAMPLES, picture.shape[2]))
    small = functional.adaptive_avg_pool2d(picture.float().cpu()[None], side)[0]
    shade = luma(small)
    powers = np.vander(shade.flatten().double().numpy(), _DEGREE + 1, increasing=True)
    offset = (small - shade).flatten(1).double().numpy().T
    polynomials = np.linalg.lstsq(powers, offset, rcond=None)[0]
    off = np.abs(offset - powers @ polynomials).max(axis=1)
    dark, light = np.quantile(shade.numpy(), (1 - _QUANTILE, _QUANTILE))
    contrast = max(float(light - dark), _LEAST_CONTRAST)
    return Tint(polynomials) if np.quantile(off, _QUANTILE) <= _ONE_TINT * contrast else None
