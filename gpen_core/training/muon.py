"""Muon: steps of the same strength in every direction of a weight, for convolutions.

Adam hardly moves along the many weak directions of a convolution's gradient. Muon makes all singular values of the
momentum equal before it steps; on generators of this kind it needs about a third of Adam's pictures.

Source: Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks"; the polynomial and its
coefficients are those of that text.
"""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_ROUNDS = 5


def orthogonalized(matrix: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Bring all singular values of a matrix near 1 (0.7 to 1.2), its singular vectors kept; zero stays zero.

    Args:
        matrix: (M, N) float32.
        dtype: in which to compute; bfloat16 does where the processor multiplies it in hardware.
    """
    first, second, third = _COEFFICIENTS
    is_tall = matrix.shape[0] > matrix.shape[1]
    made = matrix.t() if is_tall else matrix
    made = (made / (made.norm() + 1e-7)).to(dtype)
    for _ in range(_ROUNDS):
        square = made @ made.t()
        made = torch.addmm(made, torch.addmm(square, square, square, beta=second, alpha=third), made, beta=first)
    return (made.t() if is_tall else made).to(matrix.dtype)


class Muon(torch.optim.Optimizer):
    """Muon with Nesterov momentum for weights of convolutions, whose last four dimensions are (out, in, height, width).

    Torch's own Muon takes plain matrices only and always computes in bfloat16, which few processors multiply.

    Args:
        parameters: weights of unit variance, as equalised learning rates keep them.
        lr: root mean square of a step's change of one number.
        momentum: part of the last direction that is kept.
        dtype: in which singular values are made equal.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        lr: float,
        momentum: float = 0.95,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum})
        self.dtype = dtype

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Change every weight that has a gradient."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._step(weight, weight.grad, group)

    def _step(self, weight: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[weight]
        if not state:
            state["momentum"] = torch.zeros_like(weight)
        momentum = state["momentum"].mul_(group["momentum"]).add_(gradient)
        direction = gradient + group["momentum"] * momentum
        matrix = orthogonalized(direction.reshape(weight.shape[-4], -1), self.dtype)
        weight.sub_(matrix.view_as(weight), alpha=group["lr"] * math.sqrt(max(matrix.shape)))
