"""A 3×3 convolution to twice the sides, and the blur after it: one matrix product in place of a transposed convolution.

Every pixel makes nine products at once, which is what a processor does best; those that fall on the same pixel of the
result are then added.
"""

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from .network import SLOPE
from .products import onednn_product
from .workspace import Workspace

_OVERLAP = 3
"""Enlarged lines that the blur of the next band reads again."""


def enlarge(
    space: Workspace,
    source: Tensor,
    weight: Tensor,
    blur: Tensor,
    bias: Tensor,
    target: Tensor,
    *,
    goes_on: bool,
    onednn: bool,
) -> None:
    """Convolve rows of features with stride 1/2, blur, add the bias, and apply the leaky ReLU.

    Args:
        space: for what is between, and for what the next band needs of this one.
        source: (H + 2, W, in), with a row above and one below those of the result.
        weight: (in, 3, 3, out), contiguous.
        blur: (out, 1, 4, 4).
        bias: (out,).
        target: (2·H, 2·W, out), with any strides.
        goes_on: whether the call before made the band above.
        onednn: whether oneDNN multiplies, see `products.py`.
    """
    rows, width, inputs = source.shape
    out = len(bias)
    lines = space.take("scratch", 2 * rows - 1, 2 * width + 1, out)
    above, lowest = space.take("above", _OVERLAP, *lines.shape[1:]), space.take("lowest", width, 3, out)
    new = 2 if goes_on else 0
    pixels, filters = source[new:].reshape(-1, inputs), weight.view(inputs, -1)
    if onednn:
        made = onednn_product(pixels, filters)
    else:
        made = torch.mm(pixels, filters, out=space.take("products", len(pixels), 9 * out))
    made = made.view(rows - new, width, 3, 3, out)
    between = space.take("between", rows - new, width, 3, out)
    torch.add(made[1:, :, 0], made[:-1, :, 2], out=between[1:])
    if goes_on:
        lines[:_OVERLAP].copy_(above)
        torch.add(made[0, :, 0], lowest, out=between[0])
        odd, even = (between, lines[_OVERLAP::2]), (made[:, :, 1], lines[_OVERLAP + 1 :: 2])
    else:
        odd, even = (between[1:], lines[1::2]), (made[:, :, 1], lines[::2])
    for part, place in (odd, even):
        place[:, 1::2].copy_(part[:, :, 1])
        torch.add(part[:, 1:, 0], part[:, :-1, 2], out=place[:, 2:-1:2])
        place[:, 0].copy_(part[:, 0, 0])
        place[:, -1].copy_(part[:, -1, 2])
    lowest.copy_(made[-1, :, 2])
    above.copy_(lines[-_OVERLAP:])
    blurred = F.conv2d(lines.permute(2, 0, 1)[None], blur, bias, padding=(0, 1), groups=out)
    torch._C._nn.leaky_relu(blurred[0].permute(1, 2, 0), SLOPE, out=target)
