"""Restorers and upscalers: networks with all one must know to call them."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..errors import GpenError, ShapeError
from ..types import TemplateName
from .gpen import GpenSpec
from .gpen.fast import FastForm
from .placed import PlacedNetwork
from .rrdbnet import RrdbNetSpec

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Restorer(PlacedNetwork):
    """A face restorer, ready to be called.

    Attributes:
        network: (N, 3, S, S) sRGB in [-1, 1] -> the same, not clamped.
        size: S, side of the square crop in pixels.
        template: the five-point template crops must be aligned to.
        name: what to call it before users.
        spec: hyper-parameters, as read from the weights.
        source: the file the weights came from.
    """

    network: nn.Module
    size: int
    template: TemplateName
    name: str
    spec: GpenSpec
    source: Path
    _fast: FastForm = field(default_factory=FastForm, init=False, repr=False)

    def __call__(self, crops: Tensor) -> Tensor:
        """Restore aligned face crops in one forward pass.

        The network computes in its own type and on its own device. On the processor its fast form computes, which
        gives the same picture (within 1e-4 in float32); it is made in the first call and keeps buffers for the next.
        Where half precision overflows, the batch is computed once more with float32 copies of the weights, and a
        warning is logged.

        Args:
            crops: (N, 3, S, S) sRGB in [0, 1], any floating type; N may be 0.

        Returns:
            (N, 3, S, S) sRGB clamped to [0, 1], float32, on the device of `crops`.

        Raises:
            ShapeError: if `crops` has another shape or is not floating.
            GpenError: if the network's answer is not finite even in float32.
        """
        self._check(crops)
        if len(crops) == 0:
            return crops.float()
        signed = crops.to(self.device).float() * 2 - 1
        restored = _computed(self, self._fast.of(self.network) or self.network, signed)
        return (restored / 2 + 0.5).clamp(0, 1).to(crops.device)

    def _check(self, crops: Tensor) -> None:
        expected = (3, self.size, self.size)
        if crops.dim() != 4 or tuple(crops.shape[1:]) != expected or not crops.is_floating_point():
            raise ShapeError(
                f"{self.name}: expected floating crops of shape (N, {', '.join(map(str, expected))}), "
                f"got {tuple(crops.shape)} of {crops.dtype}"
            )


@dataclass(frozen=True, eq=False)
class Upscaler(PlacedNetwork):
    """A network that enlarges pictures, ready to be called.

    Attributes:
        network: (N, 3, H, W) sRGB in [0, 1] -> (N, 3, H * scale, W * scale), not clamped.
        scale: how many times larger its picture is.
        name: what to call it before users.
        spec: hyper-parameters, as read from the weights.
        source: the file the weights came from.
    """

    network: nn.Module
    scale: int
    name: str
    spec: RrdbNetSpec
    source: Path

    def __call__(self, pixels: Tensor) -> Tensor:
        """Enlarge pictures in one forward pass, in the network's own type and on its own device.

        Pictures of any size are taken: their last rows and columns are repeated where the network needs even sizes.
        Where half precision overflows, float32 steps in, as for `Restorer`.

        Args:
            pixels: (N, 3, H, W) sRGB in [0, 1], any floating type.

        Returns:
            (N, 3, H * scale, W * scale) sRGB clamped to [0, 1], float32, on the device of `pixels`.

        Raises:
            ShapeError: if `pixels` has another shape, holds no pixel or is not floating.
            GpenError: if the network's answer is not finite even in float32.
        """
        if pixels.dim() != 4 or pixels.shape[1] != 3 or 0 in pixels.shape or not pixels.is_floating_point():
            raise ShapeError(
                f"{self.name}: expected floating pictures of shape (N, 3, H, W), got {tuple(pixels.shape)} of "
                f"{pixels.dtype}"
            )
        height, width = pixels.shape[2:]
        missing = (0, -width % self.spec.unshuffle, 0, -height % self.spec.unshuffle)
        padded = functional.pad(pixels.to(self.device).float(), missing, mode="replicate")
        enlarged = _computed(self, self.network, padded)
        return enlarged[:, :, : height * self.scale, : width * self.scale].clamp(0, 1).to(pixels.device)


def _computed(model: Restorer | Upscaler, run: Callable[[Tensor], Tensor], pixels: Tensor) -> Tensor:
    """Run a network, or a form of it, in the type of its weights; once more in float32 where that overflows."""
    with torch.no_grad():
        result = run(_arranged(pixels.to(model.dtype))).float()
        finite = _is_finite(result)
        if not finite and model.dtype != torch.float32:
            logger.warning("%s: %s overflowed; computed again in float32", model.name, model.dtype)
            weights = {key: value.float() for key, value in model.network.state_dict().items()}
            result = torch.func.functional_call(model.network, weights, (pixels,))
            finite = _is_finite(result)
    if not finite:
        raise GpenError(
            f'"{model.source.name}" gave values that are not finite: its weights are damaged; fetch it again'
        )
    return result


def _arranged(crops: Tensor) -> Tensor:
    """Lay crops out as the units for half precision of a GPU read them; elsewhere leave them."""
    is_half = crops.device.type == "cuda" and crops.dtype != torch.float32
    return crops.contiguous(memory_format=torch.channels_last) if is_half else crops


def _is_finite(restored: Tensor) -> bool:
    """Tell whether a picture is sound. On a GPU this waits for it, once a batch, as the copy back would."""
    return bool(torch.isfinite(restored).all())
