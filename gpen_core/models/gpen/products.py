"""Products of matrices by the faster of torch's two libraries for them.

torch multiplies float32 matrices with MKL, which makes no use of AVX-512 on processors of AMD. oneDNN does; torch's own
compiler reaches it by an operator that is older than any torch this package runs with, but not part of its public API.
"""

import time
from functools import cache

import torch
from torch import Tensor

_OPERATOR = "_linear_pointwise"

_SIDE = 512
"""Side of the matrices that are multiplied to find out: a few milliseconds in all."""

_MARGIN = 1.3
"""How many times faster oneDNN must be: what both do equally fast should not be decided by chance."""


@cache
def onednn_is_faster() -> bool:
    """Tell whether `multiply` should get its right side turned, as measured on this processor the first time."""
    if not hasattr(torch.ops.mkldnn, _OPERATOR):
        return False
    left, right, out = (torch.ones(_SIDE, _SIDE) for _ in range(3))
    best = []
    for turned in (False, True):
        seconds = []
        for _ in range(4):
            start = time.perf_counter()
            multiply(left, right, out, turned=turned)
            seconds.append(time.perf_counter() - start)
        best.append(min(seconds))
    return best[0] > _MARGIN * best[1]


def multiply(left: Tensor, right: Tensor, out: Tensor, *, turned: bool) -> Tensor:
    """Multiply matrices.

    Args:
        left: (M, K), contiguous.
        right: (K, N), or (N, K) if `turned`; contiguous.
        out: (M, N), where the product may be put.
        turned: whether oneDNN makes the product, in memory of its own.

    Returns:
        (M, N): `out`, or another tensor.
    """
    if not turned:
        return torch.mm(left, right, out=out)
    made: Tensor = getattr(torch.ops.mkldnn, _OPERATOR)(left, right, None, "none", [], "")
    return made


def multiply_each(left: Tensor, right: Tensor, out: Tensor, *, turned: bool) -> None:
    """Multiply (B, M, K) and (B, K, N), or (B, N, K) if `turned`, matrix by matrix, to `out`: (B, M, N)."""
    if not turned:
        torch.bmm(left, right, out=out)
        return
    for one, other, target in zip(left, right, out, strict=True):
        target.copy_(multiply(one, other, target, turned=True))
