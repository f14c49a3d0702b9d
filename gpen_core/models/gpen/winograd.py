"""Minimal filtering: 3×3 convolutions of wide features with 2.25 products per pixel in place of 9.

A tile of 4×4 pixels of the result is `give @ ((filter @ taps) * (take @ pixels))` along rows and along columns. What
stands between `take` and `give` is one matrix product per pair of points, over all tiles and channels at once, which is
what a processor does best.

Source: Winograd 1980, "Arithmetic Complexity of Computations"; Lavin and Gray 2016, "Fast Algorithms for Convolutional
Neural Networks", section 4.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .network import SLOPE
from .products import multiply_each
from .workspace import Workspace

Array = NDArray[np.float64]

TILE = 4
_WINDOW = TILE + 2

_LARGEST_KEPT = 32 << 20
"""Bytes of the largest transformed weight that is kept between calls."""

_POINTS = (0.0, 1.0, -1.0, 0.5, -2.0)
"""Where polynomials are evaluated. A reciprocal pair keeps the numbers small: in float32 a tile then errs no more
than the direct sum does (Barabasz et al. 2020, "Error Analysis and Improving the Accuracy of Winograd Convolution")."""

_ONE = _POINTS.index(1.0)
"""Point whose product is added to every pixel as it is: a bias added to it is added to all of a tile."""


def tile_matrices() -> tuple[Array, Array, Array]:
    """Give `take` (6, 6), `filter` (6, 3) and `give` (4, 6) of one axis: 4 pixels from 6, with 6 products."""
    take, filter_, give = np.zeros((_WINDOW, _WINDOW)), np.zeros((_WINDOW, 3)), np.zeros((TILE, _WINDOW))
    for row, point in enumerate(_POINTS):
        others = [other for other in _POINTS if other != point]
        take[row, :-1] = np.poly(others)[::-1]
        filter_[row] = point ** np.arange(3) / np.prod([point - other for other in others])
        give[:, row] = point ** np.arange(TILE)
    take[-1] = np.poly(_POINTS)[::-1]
    filter_[-1, 2] = give[-1, -1] = 1
    return take, filter_, give


class WinogradConv:
    """A 3×3 convolution that keeps the sides of wide features, with bias and leaky ReLU.

    Args:
        weight: (3, 3, in, out) float32, contiguous, used in place.
        onednn: whether oneDNN multiplies, see `products.py`.

    Attributes:
        keeps_filters: whether the transformed weight, which takes four times the memory, is kept. A large one is
            transformed in every call, which should then have as many rows as possible.
    """

    def __init__(self, weight: Tensor, *, onednn: bool) -> None:
        take, filter_, give = (torch.tensor(matrix, dtype=torch.float32, device="cpu") for matrix in tile_matrices())
        self._take, self._give, self._weight, self._onednn = take, give, weight, onednn
        self._transform = torch.kron(filter_, filter_).unflatten(0, (_WINDOW, _WINDOW))
        shape = (_WINDOW, _WINDOW, *weight.shape[2:])
        self.keeps_filters = math.prod(shape) * weight.itemsize <= _LARGEST_KEPT
        self._filters = torch.empty(shape if self.keeps_filters else 0, dtype=torch.float32, device="cpu")
        for point, filters in enumerate(self._filters):
            self._make_filters(point, filters)

    @property
    def nbytes(self) -> int:
        """Memory of the transformed weight that is kept."""
        return self._filters.nbytes

    def _make_filters(self, point: int, out: Tensor) -> Tensor:
        """Transform the weight for one point of the rows, and every point of the columns: (points, ...) of `out`."""
        torch.mm(self._transform[point], self._weight.view(9, -1), out=out.view(_WINDOW, -1))
        return out

    def __call__(self, space: Workspace, source: Tensor, factors: Tensor, bias: Tensor, target: Tensor) -> None:
        """Convolve rows of features.

        Args:
            space: for what is between.
            source: (H + 2, W, in), with a row above and one below those of the result; H and W divide by 4.
            factors: (in,) by which the source is multiplied.
            bias: (out,), added before the leaky ReLU.
            target: (H, W, out), with any strides.
        """
        height, width, out = target.shape
        tiles = (height // TILE, width // TILE)
        windows = self._windows(space, source, factors)
        made = space.take("products", _WINDOW, _WINDOW, tiles[0] * tiles[1], out)
        pixels = space.take("scratch", _WINDOW, *tiles, len(factors))
        values = space.take("between", *pixels.shape)
        for point in range(_WINDOW):
            pixels.copy_(windows[point])
            torch.mm(self._take, pixels.view(_WINDOW, -1), out=values.view(_WINDOW, -1))
            if self.keeps_filters:
                filters = self._filters[point]
            else:
                filters = self._make_filters(point, space.take("filters", _WINDOW, *self._weight.shape[2:]))
            multiply_each(values.view(_WINDOW, -1, len(factors)), filters, made[point], onednn=self._onednn)
        made[_ONE, _ONE].add_(bias)
        half = space.take("rows", TILE, _WINDOW, tiles[0] * tiles[1] * out)
        torch.mm(self._give, made.view(_WINDOW, -1), out=half.view(TILE, -1))
        whole = space.take("products", TILE, TILE, tiles[0] * tiles[1] * out)
        torch.bmm(self._give.expand(TILE, -1, -1), half, out=whole)
        place = target.unflatten(1, (-1, TILE)).unflatten(0, (-1, TILE)).permute(1, 3, 0, 2, 4)
        torch._C._nn.leaky_relu(whole.view(place.shape), SLOPE, out=place)

    def _windows(self, space: Workspace, source: Tensor, factors: Tensor) -> Tensor:
        """Transform along the rows, and view what tiles read: (points, pixels of a tile, tile rows, columns, in)."""
        rows, width, channels = source.shape
        count, line = (rows - 2) // TILE, (width + 2) * channels
        padded = space.take("products", rows, width + 2, channels)
        padded[:, 0].zero_()
        padded[:, -1].zero_()
        torch.mul(source, factors, out=padded[:, 1:-1])
        overlapping = padded.as_strided((count, _WINDOW, line), (TILE * line, line, 1))
        made = space.take("rows", count, _WINDOW, line)
        torch.bmm(self._take.expand(count, -1, -1), overlapping, out=made)
        shape = (_WINDOW, _WINDOW, count, width // TILE, channels)
        return made.as_strided(shape, (line, channels, _WINDOW * line, TILE * channels, 1))
