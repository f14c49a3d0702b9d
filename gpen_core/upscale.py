"""Enlarge a whole photo by a network, tile by tile, without seams, or by plain interpolation."""

import logging
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import torch
from torch.nn import functional

from .align import require_image
from .errors import ModelMemoryError, SettingsError
from .memory import OutOfMemory, attempt
from .progress import NoProgress, Progress

logger = logging.getLogger(__name__)

_NO_PROGRESS = NoProgress()

_CONTEXT_PX = 32  # of the photo around every pixel that is used
_FEATHER_PX = 8  # neighbours fade into each other over twice this width
_MARGIN_PX = _CONTEXT_PX + _FEATHER_PX
_GRID_PX = 4  # the widest blocks of pixels that networks gather: tiles begin on them, or they would be cut
_SMALLEST_TILE_PX = 2 * _MARGIN_PX + 4 * _GRID_PX


class PictureUpscaler(Protocol):
    """What enlarges a tile; `models.descriptor.Upscaler` is one, `PlainUpscaler` another."""

    @property
    def scale(self) -> int:
        """How many times larger the result is."""

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        """Turn (1, 3, H, W) sRGB in [0, 1] into (1, 3, H * scale, W * scale) on the same device."""


@dataclass(frozen=True, eq=False)
class PlainUpscaler:
    """Enlarges by bicubic interpolation: needs no weights and invents nothing; only the faces gain detail.

    Attributes:
        scale: how many times larger the result is.
    """

    scale: int

    @property
    def source(self) -> Path:
        """What it is called, where networks have their file."""
        return Path(f"plain_x{self.scale}")

    @property
    def dtype(self) -> torch.dtype:
        """What it computes in."""
        return torch.float32

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        """Turn (1, 3, H, W) sRGB in [0, 1] into (1, 3, H * scale, W * scale) float32 on the same device."""
        larger = functional.interpolate(pixels.float(), scale_factor=self.scale, mode="bicubic", align_corners=False)
        return larger.clamp(0, 1)


PLAIN_UPSCALERS = {f"plain_x{scale}": PlainUpscaler(scale) for scale in (2, 4)}
"""By the names under which the command line knows them."""


@dataclass(frozen=True)
class UpscaleSettings:
    """How a photo is enlarged.

    Attributes:
        tile_px: longest side, in pixels of the photo, of what goes through the network at once. Halves itself when
            memory runs out, down to 96.
    """

    tile_px: int = 256

    def __post_init__(self) -> None:
        if self.tile_px < _SMALLEST_TILE_PX:
            raise SettingsError(f"expected tile_px of at least {_SMALLEST_TILE_PX}, got {self.tile_px}")


def upscale_photo(
    pixels: torch.Tensor,
    upscaler: PictureUpscaler,
    settings: UpscaleSettings | None = None,
    *,
    progress: Progress = _NO_PROGRESS,
) -> torch.Tensor:
    """Enlarge a photo by a network.

    The network sees at least 32 pixels of the photo around every pixel that is used of a tile, and neighbouring tiles
    fade into each other, so that no seams show. When memory runs out, tiles halve; what was done before is kept.

    Args:
        pixels: (3, H, W), sRGB in [0, 1].
        upscaler: the network, on its device.
        settings: how; the default suits most devices.
        progress: advances by the photo's pixels, tile by tile.

    Returns:
        (3, H * scale, W * scale) float32, sRGB in [0, 1], on the device of `pixels`.

    Raises:
        ShapeError: if `pixels` is not (3, H, W).
        ModelMemoryError: if not even the smallest tile, or the enlarged photo itself, fits into memory.
    """
    require_image(pixels)
    size = height, width = pixels.shape[1], pixels.shape[2]
    canvas = _canvas(height * upscaler.scale, width * upscaler.scale, pixels.device)
    waiting = deque(_split(_Region(0, 0, height, width), (settings or UpscaleSettings()).tile_px, size))
    progress.start(height * width, "Upscaling the photo")
    while waiting:
        progress.check_cancelled()
        outcome = attempt(partial(_add, canvas, pixels, waiting[0], upscaler))
        if isinstance(outcome, OutOfMemory):
            smaller = _halved(waiting[0].grown(_MARGIN_PX, size), outcome)
            waiting = deque(part for region in waiting for part in _split(region, smaller, size))
        else:
            progress.advance(waiting.popleft().area)
    return canvas.clamp_(0, 1)


@dataclass(frozen=True)
class _Region:
    """A rectangle of the photo's pixels, as slice bounds."""

    y0: int
    x0: int
    y1: int
    x1: int

    @property
    def area(self) -> int:
        return (self.y1 - self.y0) * (self.x1 - self.x0)

    def grown(self, by: int, size: tuple[int, int]) -> "_Region":
        return _Region(
            max(0, self.y0 - by), max(0, self.x0 - by), min(size[0], self.y1 + by), min(size[1], self.x1 + by)
        )


def _canvas(height: int, width: int, device: torch.device) -> torch.Tensor:
    canvas = attempt(partial(torch.zeros, 3, height, width, device=device))
    if isinstance(canvas, OutOfMemory):
        raise ModelMemoryError(
            f"Out of memory: a picture of {width}x{height} pixels does not fit ({canvas.words}). Choose an upscaler "
            "with a smaller factor, or a smaller photo."
        )
    return canvas


def _split(region: _Region, tile: int, size: tuple[int, int]) -> Iterator[_Region]:
    """Cut a region so that each part, with its margins, is a tile of at most `tile` pixels a side."""
    for y0, y1 in _cuts(region.y0, region.y1, tile, size[0]):
        for x0, x1 in _cuts(region.x0, region.x1, tile, size[1]):
            yield _Region(y0, x0, y1, x1)


def _cuts(start: int, stop: int, tile: int, length: int) -> list[tuple[int, int]]:
    if min(length, stop + _MARGIN_PX) - max(0, start - _MARGIN_PX) <= tile:
        return [(start, stop)]
    longest = (tile - 2 * _MARGIN_PX) // _GRID_PX * _GRID_PX
    count = -(-(stop - start) // longest)
    step = -(-(stop - start) // (count * _GRID_PX)) * _GRID_PX
    return [(at, min(at + step, stop)) for at in range(start, stop, step)]


def _add(canvas: torch.Tensor, pixels: torch.Tensor, region: _Region, upscaler: PictureUpscaler) -> None:
    """Run one tile and add it to the canvas, fading out around its region.

    The weight of a region is a product of differences of ramps, one ramp for each of its borders. Whatever regions a
    photo is cut into, their weights therefore sum to one everywhere.
    """
    size, scale = (pixels.shape[1], pixels.shape[2]), upscaler.scale
    seen, used = region.grown(_MARGIN_PX, size), region.grown(_FEATHER_PX, size)
    enlarged = upscaler(pixels[None, :, seen.y0 : seen.y1, seen.x0 : seen.x1])[0].to(canvas)
    rows, columns = slice(used.y0 * scale, used.y1 * scale), slice(used.x0 * scale, used.x1 * scale)
    top, left = (used.y0 - seen.y0) * scale, (used.x0 - seen.x0) * scale
    part = enlarged[:, top : top + rows.stop - rows.start, left : left + columns.stop - columns.start]
    down = _weights(rows, region.y0, region.y1, size[0], scale).to(canvas)
    across = _weights(columns, region.x0, region.x1, size[1], scale).to(canvas)
    weighted = part * down[:, None] * across
    canvas[:, rows, columns] += weighted


def _weights(span: slice, start: int, stop: int, length: int, scale: int) -> torch.Tensor:
    centres = (torch.arange(span.start, span.stop) + 0.5) / scale
    return _ramp(centres, start, length) - _ramp(centres, stop, length)


def _ramp(centres: torch.Tensor, border: int, length: int) -> torch.Tensor:
    """Give 0 before a border and 1 behind it, rising across it; the photo's own borders are left sharp."""
    if border in (0, length):
        return torch.full_like(centres, 1.0 if border == 0 else 0.0)
    return ((centres - border) / (2 * _FEATHER_PX) + 0.5).clamp(0, 1)


def _halved(failed: _Region, outcome: OutOfMemory) -> int:
    tile = max(failed.y1 - failed.y0, failed.x1 - failed.x0)
    if tile <= _SMALLEST_TILE_PX:
        raise ModelMemoryError(
            f"Out of memory: not even tiles of {tile} pixels fit ({outcome.words}). Close other programs that use this "
            "device, choose a smaller upscaler, or run on the CPU."
        )
    smaller = max(_SMALLEST_TILE_PX, tile // 2)
    logger.warning("Out of memory with tiles of %d px; trying again with %d (%s)", tile, smaller, outcome.words)
    return smaller
