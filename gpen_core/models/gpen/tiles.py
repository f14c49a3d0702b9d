"""Minimal filtering: the small matrices that let a tile of a 3-tap convolution be made with fewer products.

Along one axis, a tile of the result is `give @ ((filter_ @ taps) * (take @ pixels))`; in two dimensions the same
matrices work on rows, then on columns. What stands between `take` and `give` is then one matrix product per point
pair, over all tiles and channels at once, which is what a processor does best.

Source: Winograd 1980, "Arithmetic Complexity of Computations"; Lavin and Gray 2016, "Fast Algorithms for Convolutional
Neural Networks", section 4. The plans with resampling are derived here: even and odd phases of a stride-2 filter are
two short filters, and GPEN's blur [1, 3, 3, 1] is linear, so it goes into the matrix beside the pixels at no cost.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_BLUR = np.array([1.0, 3.0, 3.0, 1.0])

_POINTS = (0.0, 1.0, -1.0, 0.5, -2.0)
"""Where polynomials are evaluated. A reciprocal pair keeps the numbers small: in float32 a tile of 4 then errs no more
than the direct sum does (Barabasz et al. 2020, "Error Analysis and Improving the Accuracy of Winograd Convolution")."""


@dataclass(frozen=True)
class TilePlan:
    """How one axis of a convolution is cut into tiles. Convention: pixel centres at integers, tile 0 first.

    Attributes:
        take: (points, pixels read); applied to the pixels of a tile.
        filter: (points, 3); applied to the weight.
        give: (pixels made, points); applied to the products.
        read_step: distance of two tiles in the input.
        read_first: first pixel that tile 0 reads; negative pixels are zeros beyond the border.
        write_step: distance of two tiles in the result; where a tile makes more pixels, neighbours add up.
        write_first: first pixel that tile 0 makes.
    """

    take: Array
    filter: Array
    give: Array
    read_step: int
    read_first: int
    write_step: int
    write_first: int


def same_plan(tile: int) -> TilePlan:
    """Plan a 3-tap convolution with one zero of padding: `tile` pixels from `tile` + 2, with as many products."""
    points = _POINTS[: tile + 1]
    count = tile + 2
    others = [[q for q in points if q != p] for p in points]
    take = np.zeros((count, count))
    filter_ = np.zeros((count, 3))
    give = np.zeros((tile, count))
    for row, (point, rest) in enumerate(zip(points, others, strict=True)):
        take[row, :-1] = np.poly(rest)[::-1]
        filter_[row] = point ** np.arange(3) / np.prod([point - q for q in rest])
        give[:, row] = point ** np.arange(tile)
    take[-1] = np.poly(points)[::-1]
    filter_[-1, 2] = give[-1, -1] = 1
    if tile == 1:
        take, filter_, give = np.eye(3), np.eye(3), np.ones((1, 3))
    return TilePlan(take, filter_, give, read_step=tile, read_first=-1, write_step=tile, write_first=0)


def up_plan(tile: int) -> TilePlan:
    """Plan a transposed 3-tap convolution of stride 2 and the blur [1, 3, 3, 1]/4 after it.

    `tile` pixels give 2·`tile` + 4, by 2·`tile` + 1 products: the even pixels before the blur are the product of a
    polynomial of `tile` terms and one of 2, the odd ones are single products.
    """
    points = _POINTS[:tile]
    evaluate = np.vstack([_evaluate(points, tile), np.eye(tile)])
    weigh = np.zeros((2 * tile + 1, 3))
    weigh[: tile + 1, 0::2] = _evaluate(points, 2)
    weigh[tile + 1 :, 1] = 1
    products = np.zeros((2 * tile + 1, 2 * tile + 1))
    products[0::2, : tile + 1] = np.linalg.inv(_evaluate(points, tile + 1))
    products[1::2, tile + 1 :] = np.eye(tile)
    blur = np.zeros((2 * tile + 4, 2 * tile + 1))
    for column in range(2 * tile + 1):
        blur[column : column + 4, column] = _BLUR / 4
    return TilePlan(evaluate, weigh, blur @ products, read_step=tile, read_first=0, write_step=2 * tile, write_first=-2)


def down_plan(tile: int) -> TilePlan:
    """Plan the blur [1, 3, 3, 1]/8 and a 3-tap convolution of stride 2 after it: the transpose of `up_plan`."""
    up = up_plan(tile)
    return TilePlan(
        up.give.T / 2, up.filter, up.take.T, read_step=2 * tile, read_first=-2, write_step=tile, write_first=0
    )


def _evaluate(points: Sequence[float], terms: int) -> Array:
    """Give the matrix that evaluates a polynomial of `terms` terms at `points` and at infinity."""
    finite = np.array([[point**power for power in range(terms)] for point in points]).reshape(-1, terms)
    return np.vstack([finite, np.eye(terms)[-1]])
