"""Progress and cancelling, injected into the steps by whoever runs them."""

from typing import Protocol

import torch


class Progress(Protocol):
    """What a step tells the one who waits for it.

    A step calls `advance` after each unit of work (a face, a tile, a photo) and `check_cancelled` before each one.
    """

    def start(self, total: int, label: str) -> None:
        """Begin a phase of `total` units, named by `label` in plain words."""

    def advance(self, units: int = 1, preview: torch.Tensor | None = None) -> None:
        """Report finished `units`; `preview` is (3, H, W), sRGB in [0, 1]."""

    def check_cancelled(self) -> None:
        """Raise the caller's own cancel exception, e.g. `CancelledError`, if the user cancelled."""


class NoProgress:
    """A `Progress` that reports nothing and never cancels."""

    def start(self, total: int, label: str) -> None:
        """Do nothing."""

    def advance(self, units: int = 1, preview: torch.Tensor | None = None) -> None:
        """Do nothing."""

    def check_cancelled(self) -> None:
        """Do nothing."""
