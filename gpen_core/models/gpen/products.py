"""Products of matrices by the faster of torch's two libraries for them.

torch multiplies float32 matrices with MKL, which makes no use of AVX-512 on processors of AMD. oneDNN does; torch's own
compiler reaches it by an operator that is older than any torch this package runs with, but not part of its public API.
"""

import time
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

_OPERATOR = "_linear_pointwise"

_SIDE = 512
"""Side of the matrices that are multiplied to find out: a few milliseconds in all."""

_MARGIN = 1.3
"""How many times faster oneDNN must be: what both do equally fast should not be decided by chance."""

_SMALLER_SIDE = 256
"""For bfloat16: where it is imitated, a product of _SIDE takes two seconds."""


@cache
def onednn_is_faster() -> bool:
    """Tell whether oneDNN should multiply: whether it gives the product here, and clearly faster, when first asked."""
    left = torch.arange(_SIDE**2, dtype=torch.float32, device="cpu").view(_SIDE, _SIDE).sin()
    right, out = left.flip(1), torch.empty_like(left)
    if not _onednn_agrees(left, right):
        return False

    mkl = _fastest(lambda: torch.mm(left, right, out=out))
    return mkl > _MARGIN * _fastest(lambda: onednn_product(left, right))


@cache
def multiplies_bfloat16() -> bool:
    """Tell whether this processor multiplies bfloat16 itself: not slower than float32, as measured when first asked.

    Others imitate it, which took a hundred times as long as float32 (AMD EPYC with AVX2).
    """
    single = torch.ones(_SMALLER_SIDE, _SMALLER_SIDE, dtype=torch.float32, device="cpu")
    half = single.bfloat16()
    multiply = onednn_product if onednn_is_faster() else torch.mm
    return _fastest(lambda: torch.mm(half, half)) < _MARGIN * _fastest(lambda: multiply(single, single))


def _fastest(multiply: Callable[[], object]) -> float:
    """Give the seconds of the fastest of four calls."""
    seconds = []
    for _ in range(4):
        start = time.perf_counter()
        multiply()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def _onednn_agrees(left: Tensor, right: Tensor) -> bool:
    """Tell whether oneDNN gives a product at all: nobody promises that its operator is there, or takes what we give."""
    if not hasattr(torch.ops.mkldnn, _OPERATOR):
        return False
    try:
        return torch.allclose(onednn_product(left, right), left @ right, atol=1e-2)
    except (RuntimeError, TypeError):
        return False


def onednn_product(left: Tensor, right: Tensor) -> Tensor:
    """Multiply (M, K) and (K, N), both contiguous, to (M, N) in new memory."""
    # The operator wants (N, K), in any strides. In memory that is (K, N), small products take two thirds of the time.
    made: Tensor = getattr(torch.ops.mkldnn, _OPERATOR)(left, right.t(), None, "none", [], "")
    return made


def multiply_each(left: Tensor, right: Tensor, out: Tensor, *, onednn: bool) -> None:
    """Multiply (B, M, K) and (B, K, N) matrix by matrix to `out`: (B, M, N); by oneDNN or by MKL."""
    if not onednn:
        torch.bmm(left, right, out=out)
        return
    for one, other, target in zip(left, right, out, strict=True):
        target.copy_(onednn_product(one, other))
