"""A 3×3 convolution to twice the sides, and the blur after it: one matrix product in place of a transposed convolution.

Every pixel makes nine products at once, which is what a processor does best; those that fall on the same pixel of the
result are then added.
"""

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from .network import SLOPE
from .workspace import Workspace


def enlarge(
    space: Workspace, source: Tensor, weight: Tensor, blur: Tensor, bias: Tensor, target: Tensor, *, goes_on: bool
) -> None:
    """Convolve rows of features with stride 1/2, blur, add the bias, and apply the leaky ReLU.

    Args:
        space: for what is between, and for the products of the two lowest rows, which the next band reads again.
        source: (H + 2, W, in), with a row above and one below those of the result.
        weight: (in, 3, 3, out), contiguous.
        blur: (out, 1, 4, 4).
        bias: (out,).
        target: (2·H, 2·W, out), with any strides.
        goes_on: whether the call before made the band above.
    """
    rows, width, inputs = source.shape
    out = weight.shape[-1]
    made = space.take("products", rows, width, 3, 3, out)
    lowest = space.take("lowest", 2, *made.shape[1:])
    new = 0
    if goes_on:
        made[:2].copy_(lowest)
        new = 2
    torch.mm(source[new:].reshape(-1, inputs), weight.view(inputs, -1), out=made[new:].view((rows - new) * width, -1))
    lowest.copy_(made[-2:])
    between = space.take("between", rows - 1, width, 3, out)
    torch.add(made[1:, :, 0], made[:-1, :, 2], out=between)
    enlarged = space.take("scratch", 2 * rows - 1, 2 * width + 1, out)
    for part, lines in ((made[:, :, 1], enlarged[::2]), (between, enlarged[1::2])):
        lines[:, 1::2].copy_(part[:, :, 1])
        torch.add(part[:, 1:, 0], part[:, :-1, 2], out=lines[:, 2:-1:2])
        lines[:, 0].copy_(part[:, 0, 0])
        lines[:, -1].copy_(part[:, -1, 2])
    blurred = F.conv2d(enlarged.permute(2, 0, 1)[None], blur, bias, padding=(0, 1), groups=out)
    torch._C._nn.leaky_relu(blurred[0].permute(1, 2, 0), SLOPE, out=target)
