"""Blend restored faces back into their photo, touching nothing outside their masks."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch

from .align import cut, require_image, to_picture, to_tensor
from .detail import detail_trust, lost_detail
from .errors import SettingsError, ShapeError
from .geometry import Pixels, bounds_of, invert, scale_of, shifted, warp
from .types import FaceCrop

# Between these scales (crop pixels per photo pixel) the photo's own detail fades in.
_FULL_DETAIL_SCALE = 0.8
_NO_DETAIL_SCALE = 1.0


@dataclass(frozen=True)
class PasteSettings:
    """How restored faces are blended into their photo.

    Attributes:
        strength: share of the restored face in the result; 0 leaves the photo as it is.
        keep_detail: how much of the photo's own fine detail is kept, in [0, 1], so that a good face never becomes
            softer. Of a face larger than the crop, all that is finer than the crop's pixels; of any face, what the
            restorer has lost, as far as the photo is clean (`detail_trust`).
        soften_below_px: faces whose box is smaller than this get a slight blur, since what a network invents for so
            few pixels is too crisp for its surroundings; 0 never blurs.
        antialias: reduce large crops by area averaging; False samples them bilinearly as the published code does.

    Source: the limit of 100 pixels is GPEN's published code.
    """

    strength: float = 1.0
    keep_detail: float = 1.0
    soften_below_px: float = 100.0
    antialias: bool = True

    def __post_init__(self) -> None:
        for name in ("strength", "keep_detail"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise SettingsError(f"expected {name} in 0…1, got {value}")
        if self.soften_below_px < 0:
            raise SettingsError(f"expected soften_below_px of at least 0, got {self.soften_below_px}")


def paste_faces(
    image: torch.Tensor,
    crops: Sequence[FaceCrop],
    masks: Sequence[torch.Tensor],
    settings: PasteSettings | None = None,
    *,
    in_place: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Blend restored crops into the photo they were cut from.

    Where two masks overlap, the larger value wins. The work grows with the faces' boxes, not with the photo.

    Convention: each crop's `image_to_crop` maps photo pixels to crop pixels, pixel centres at integers.

    Args:
        image: (3, H, W) photo, sRGB in [0, 1].
        crops: restored crops.
        masks: one (S, S) mask in [0, 1] per crop, in crop space.
        settings: how to blend; the default blends fully.
        in_place: write into `image` itself, which the caller gives away, and return it. The result is the same; of a
            large photo this saves the copy.

    Returns:
        The new photo (3, H, W), bit-identical to `image` wherever the mask is 0, and the mask (H, W) in [0, 1].

    Raises:
        ShapeError: if `image` is not (3, H, W) or a mask does not fit its crop.

    Source: order of the steps as in GPEN's published code (`face_enhancement.py`).
    """
    settings = settings or PasteSettings()
    require_image(image)
    if len(crops) != len(masks):
        raise ShapeError(f"expected one mask per crop, got {len(masks)} masks for {len(crops)} crops")
    for crop, mask in zip(crops, masks, strict=True):
        if mask.shape != crop.pixels.shape[1:]:
            raise ShapeError(f"expected a mask of shape {tuple(crop.pixels.shape[1:])}, got {tuple(mask.shape)}")
    made = (_patch(image, crop, mask, settings) for crop, mask in zip(crops, masks, strict=True))
    # In place, every face is blended with the photo as it was before any of them is written.
    patches = list(made) if in_place else made
    pixels = image if in_place else image.clone()
    shown = torch.from_numpy(np.zeros(image.shape[1:], np.float32))  # numpy's zeros take memory only once written to
    for patch in patches:
        if patch is not None:
            _write(patch, pixels, shown)
    return pixels, shown.to(image.device)


@dataclass(frozen=True, eq=False)
class _Patch:
    """A face, blended with its part of the photo.

    Attributes:
        region: the rows and columns of that part.
        pixels: (3, h, w), sRGB in [0, 1].
        weight: (h, w), the mask.
    """

    region: tuple[slice, slice]
    pixels: torch.Tensor
    weight: torch.Tensor


def _patch(image: torch.Tensor, crop: FaceCrop, mask: torch.Tensor, settings: PasteSettings) -> _Patch | None:
    """Blend one face with the photo inside the face's box; None if nothing of it would show."""
    crop_to_image = invert(crop.image_to_crop)
    x0, y0, x1, y1 = bounds_of(crop_to_image, crop.size, (image.shape[1], image.shape[2]))
    if x0 >= x1 or y0 >= y1:
        return None
    crop_to_region = shifted(crop_to_image, to_origin=(x0, y0))
    weight = warp(mask.numpy(), crop_to_region, (y1 - y0, x1 - x0), antialias=settings.antialias) * settings.strength
    weight = np.clip(weight, 0, settings.strength)
    if not weight.any():
        return None
    photo = to_picture(image[:, y0:y1, x0:x1])
    face = _in_photo(photo, image, crop, crop_to_region, settings)
    blended = photo + weight[..., None] * (face - photo)
    return _Patch((slice(y0, y1), slice(x0, x1)), to_tensor(blended), torch.from_numpy(weight))


def _write(patch: _Patch, pixels: torch.Tensor, shown: torch.Tensor) -> None:
    """Write a face into `pixels` and its mask into `shown`, where no other face's mask is larger."""
    target, mask = pixels[:, patch.region[0], patch.region[1]], shown[patch.region]
    wins = patch.weight > mask
    target.copy_(torch.where(wins.to(pixels.device), patch.pixels.to(pixels.device, pixels.dtype), target))
    mask.copy_(torch.where(wins, patch.weight, mask))


def _in_photo(
    photo: Pixels, image: torch.Tensor, crop: FaceCrop, crop_to_region: np.ndarray, settings: PasteSettings
) -> Pixels:
    """Return the restored face at the photo's resolution, in [0, 1]."""
    face = to_picture(crop.pixels)
    if crop.face.box.size < settings.soften_below_px:
        face = _softened(face)
    size = photo.shape[:2]
    scale = scale_of(crop.image_to_crop)
    border = cv2.BORDER_REPLICATE
    warped = warp(face, crop_to_region, size, antialias=settings.antialias, border=border)
    amount = np.clip((_NO_DETAIL_SCALE - scale) / (_NO_DETAIL_SCALE - _FULL_DETAIL_SCALE), 0, 1) * settings.keep_detail
    if amount > 0:
        before = to_picture(cut(image, crop.image_to_crop, crop.size, antialias=settings.antialias))
        coarse = warp(before, crop_to_region, size, antialias=settings.antialias, border=border)
        warped += float(amount) * (photo - coarse)
    trusted = settings.keep_detail * detail_trust(photo) if settings.keep_detail > 0 else 0.0
    if trusted > 0:
        warped += trusted * lost_detail(photo, warped, scale)
    return np.clip(warped, 0, 1, out=warped)


def _softened(face: Pixels) -> Pixels:
    """Blur by a binomial kernel of half a pixel's variance at 512 pixels, in proportion at other sizes."""
    variance = min(0.5, 0.5 * (face.shape[0] / 512) ** 2)
    kernel = np.array([variance / 2, 1 - variance, variance / 2])
    softened = cv2.sepFilter2D(face, -1, kernel, kernel, borderType=cv2.BORDER_REFLECT_101)
    return softened.astype(np.float32, copy=False)
