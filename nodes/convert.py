"""The border between ComfyUI's tensors and the core's: the only permutes in the pack."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
import torch
from PIL import Image

from ..gpen_core.errors import ShapeError
from ..gpen_core.geometry import enlarge
from ..gpen_core.types import Face

_NO_ALPHA = (64, 64)
"""Height and width of the mask that ComfyUI's Load Image gives for a picture without transparency."""


@dataclass(frozen=True, eq=False)
class Frames:
    """An IMAGE as the core wants it.

    Attributes:
        pixels: (B, 3, H, W) float32 sRGB in [0, 1], on the CPU; grey is repeated.
        alpha: (B, H, W) float32 in [0, 1] if the IMAGE had a second or fourth channel, else None.
    """

    pixels: torch.Tensor
    alpha: torch.Tensor | None = None


class BoxEntry(TypedDict):
    """One entry of ComfyUI's BOUNDING_BOX; pixels, x and y of the top left corner."""

    x: int
    y: int
    width: int
    height: int
    label: str
    score: float


def from_image(image: torch.Tensor) -> Frames:
    """Take an IMAGE apart.

    Args:
        image: (B, H, W, C) of any floating type, on any device; C is 1 grey, 2 grey and alpha, 3 RGB, 4 RGBA. Values
            outside [0, 1] are clamped.

    Raises:
        ShapeError: if it has another shape, no pixels, or values that are not numbers.
    """
    if image.ndim != 4 or image.shape[3] not in (1, 2, 3, 4) or 0 in image.shape or not image.is_floating_point():
        raise ShapeError(
            "expected a floating IMAGE of shape (batch, height, width, 1 to 4 channels) with at least one pixel, "
            f"got {tuple(image.shape)} of {image.dtype}"
        )
    values = image.detach().to("cpu", torch.float32)
    broken = int((~torch.isfinite(values)).sum())
    if broken:
        raise ShapeError(
            f"expected an IMAGE of finite values, got {broken} that are NaN or infinite; a VAE in half precision does "
            "this: run ComfyUI with --fp32-vae"
        )
    planes = values.clamp(0, 1).permute(0, 3, 1, 2)
    has_alpha = image.shape[3] in (2, 4)
    colour = planes[:, :-1] if has_alpha else planes
    pixels = colour.expand(-1, 3, -1, -1).contiguous()
    return Frames(pixels, planes[:, -1].contiguous() if has_alpha else None)


def to_image(pixels: Sequence[torch.Tensor] | torch.Tensor, alpha: torch.Tensor | None = None) -> torch.Tensor:
    """Make an IMAGE.

    Args:
        pixels: (B, 3, H, W), or a sequence of (3, H, W) of one size; sRGB in [0, 1].
        alpha: (B, H, W) to carry along as a fourth channel.

    Returns:
        (B, H, W, 3) or (B, H, W, 4) float32.
    """
    planes = pixels if isinstance(pixels, torch.Tensor) else torch.stack(list(pixels))
    if alpha is not None:
        planes = torch.cat((planes, alpha[:, None].to(planes)), dim=1)
    return planes.float().permute(0, 2, 3, 1).contiguous()


def enlarged_alpha(frames: Frames, scale: int) -> torch.Tensor | None:
    """Give the alpha (B, H * scale, W * scale) that goes with enlarged pictures; None if there is none."""
    return None if frames.alpha is None else enlarge(frames.alpha[:, None], scale)[:, 0]


def from_mask(mask: torch.Tensor, count: int, size: tuple[int, int]) -> torch.Tensor:
    """Take a MASK apart.

    Args:
        mask: (B, H, W) or (H, W) of any floating type; one mask serves a whole batch.
        count: number of pictures it is for.
        size: (height, width) of the pictures.

    Returns:
        (count, H, W) float32 in [0, 1], on the CPU.

    Raises:
        ShapeError: if it does not fit the pictures.
    """
    masks = mask.detach().to("cpu", torch.float32).clamp(0, 1)
    if not torch.isfinite(mask).all():
        raise ShapeError("expected a MASK of finite values, got some that are NaN or infinite")
    masks = masks[None] if masks.ndim == 2 else masks
    if masks.ndim != 3 or tuple(masks.shape[1:]) != size or len(masks) not in (1, count):
        words = f"expected a MASK of shape ({count}, {size[0]}, {size[1]}) like the image, got {tuple(mask.shape)}"
        if tuple(masks.shape[1:]) == _NO_ALPHA and not masks.any():
            words += "; Load Image gives this empty one for pictures without transparency: leave the mask open"
        raise ShapeError(words)
    return masks.expand(count, -1, -1).contiguous()


def to_mask(masks: Sequence[torch.Tensor]) -> torch.Tensor:
    """Make a MASK (B, H, W) float32 of (H, W) masks of one size."""
    return torch.stack([mask.float() for mask in masks])


def to_boxes(faces: Sequence[Sequence[Face]]) -> list[list[BoxEntry]]:
    """Make ComfyUI's BOUNDING_BOX: one list of boxes per picture."""
    return [
        [
            BoxEntry(
                x=round(face.box.x0),
                y=round(face.box.y0),
                width=round(face.box.width),
                height=round(face.box.height),
                label="face",
                score=face.score,
            )
            for face in found
        ]
        for found in faces
    ]


def to_preview(pixels: torch.Tensor) -> Image.Image:
    """Make a picture for the progress display of (3, H, W) sRGB in [0, 1]."""
    levels = (pixels.detach().cpu().float().clamp(0, 1) * 255).round().to(torch.uint8)
    return Image.fromarray(np.ascontiguousarray(levels.permute(1, 2, 0).numpy()))
