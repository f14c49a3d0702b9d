"""What every model of one torch network shares: where it is, what it computes in, and moving it."""

from typing import TypeVar

import torch
from torch import nn

PlacedT = TypeVar("PlacedT", bound="PlacedNetwork")


class PlacedNetwork:
    """A network on a device. Its weights say where it is and in which type, whoever moved them.

    Attributes:
        network: any torch module with parameters.
    """

    network: nn.Module

    @property
    def device(self) -> torch.device:
        """Where the network is now."""
        return next(self.network.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The type of the network's weights now."""
        return next(self.network.parameters()).dtype

    def to(self: PlacedT, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> PlacedT:
        """Move the network in place, as torch modules do, and return this model."""
        with torch.inference_mode(False):  # weights made inside of it would not tell when they are changed
            self.network.to(device=device, dtype=dtype)
        return self
