"""The adversarial part of training: a rival that learns to tell restored faces from true ones, patch by patch.

It sees the poor picture beside the judged one, so that a sharp face of somebody else does not please it; and of the
judged one only the fine detail, so that it cannot pull at colours, light or shape.

Source: Isola et al. 2017, "Image-to-Image Translation with Conditional Adversarial Networks", section 3.2 (patches);
Miyato et al. 2018, "Spectral Normalization for Generative Adversarial Networks"; logistic loss as in Yang et al. 2021,
GPEN, equation 2.
"""

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.nn.utils.parametrizations import spectral_norm

_SLOPE = 0.2
_DETAIL = 9
"""Pixels over whose mean a picture's detail is measured."""


class PatchRival(nn.Module):
    """Rate patches: a poor and a judged picture, both (N, 3, S, S) in [-1, 1] -> (N, 1, S/16, S/16), high for true."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        widths = (6, width, 2 * width, 4 * width, 4 * width)
        self.stages = nn.ModuleList(
            spectral_norm(nn.Conv2d(before, after, 4, stride=2, padding=1)) for before, after in pairwise(widths)
        )
        self.verdict = spectral_norm(nn.Conv2d(widths[-1], 1, 3, padding=1))

    def forward(self, poor: Tensor, judged: Tensor) -> Tensor:
        """Rate every patch."""
        around = F.avg_pool2d(judged, _DETAIL, stride=1, padding=_DETAIL // 2, count_include_pad=False)
        features = torch.cat((poor, judged - around), dim=1)
        for stage in self.stages:
            features = F.leaky_relu(stage(features), _SLOPE)
        return self.verdict(features)


class Rival:
    """The rival with its optimiser."""

    def __init__(self, learning_rate: float, seed: int) -> None:
        torch.manual_seed(seed)
        self.network = PatchRival()
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=learning_rate, betas=(0.5, 0.99))

    def displeasure(self, poor: Tensor, restored: Tensor) -> Tensor:
        """Give the generator's adversarial loss: how clearly the rival sees that `restored` is not true."""
        self.network.requires_grad_(False)
        loss = F.softplus(-self.network(poor, restored)).float().mean()
        self.network.requires_grad_(True)
        return loss

    def learn(self, poor: Tensor, restored: Tensor, clear: Tensor) -> float:
        """Learn from one batch to tell `restored` from `clear`; give the loss, 2·ln 2 ≈ 1.39 for a blind guess."""
        false, true = self.network(poor, restored.detach()), self.network(poor, clear)
        loss = F.softplus(false).float().mean() + F.softplus(-true).float().mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return float(loss.detach())

    def state_dict(self) -> dict[str, Any]:
        """Give all that a checkpoint must hold."""
        return {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
