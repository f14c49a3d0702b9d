"""Features in memory: channels-last, in a border of zeros that a convolution may read."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from .workspace import Workspace

BORDER = 2
"""Zeros around a feature map: what the down-sampling tiles read, and where the up-sampling ones spill."""

SLOPE = 0.2
"""Of the leaky ReLU. Its gain of √2 is left to whoever reads the features next."""


@dataclass(frozen=True)
class FeatureMap:
    """Channels-last features in a border of zeros.

    Attributes:
        data: (N, H + 2·BORDER, W + 2·BORDER, C), contiguous.
    """

    data: Tensor

    @classmethod
    def take(cls, space: Workspace, name: str, batch: int, side: int, channels: int) -> "FeatureMap":
        """Take a square map from a workspace, its border cleared."""
        made = cls(space.take(name, batch, side + 2 * BORDER, side + 2 * BORDER, channels))
        made.clear_border()
        return made

    @property
    def inside(self) -> Tensor:
        """The features without the border: (N, H, W, C)."""
        return self.data[:, BORDER:-BORDER, BORDER:-BORDER]

    @property
    def channels(self) -> int:
        """C."""
        return self.data.shape[-1]

    def rows(self, space: Workspace, faces: slice, first: int, count: int) -> Tensor:
        """View (n, count, W + 2·BORDER, C) from row `first`, which may lie in the border, of some faces."""
        return self.data[faces, first + BORDER : first + BORDER + count]

    def clear_border(self) -> None:
        """Set the border to zero."""
        for edge in (slice(None, BORDER), slice(-BORDER, None)):
            self.data[:, edge].zero_()
            self.data[:, :, edge].zero_()


@dataclass(frozen=True)
class Injection:
    """The encoder's features, weighted, biased and activated whenever they are read.

    Attributes:
        features: as the encoder left them.
        weight: (1,).
        bias: (C,).
    """

    features: FeatureMap
    weight: Tensor
    bias: Tensor

    def rows(self, space: Workspace, faces: slice, first: int, count: int) -> Tensor:
        """Give (n, count, W + 2·BORDER, C) from row `first` of some faces; a border of zeros stays zero."""
        data = self.features.data
        raw = self.features.rows(space, faces, first, count)
        made = torch.addcmul(self.bias, raw, self.weight, out=space.take("activated", *raw.shape))
        F.leaky_relu_(made, SLOPE)
        made[:, :, :BORDER].zero_()
        made[:, :, -BORDER:].zero_()
        if first < 0:
            made[:, :-first].zero_()
        beyond = first + count - (data.shape[1] - 2 * BORDER)
        if beyond > 0:
            made[:, -beyond:].zero_()
        return made
