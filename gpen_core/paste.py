"""Blend restored faces back into their photo, touching nothing outside their masks."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch

from .align import cut, require_image
from .detail import detail_trust, lost_detail, take_out_noise
from .errors import SettingsError, ShapeError
from .geometry import (
    bounds_of,
    chained,
    enlarge,
    enlargement,
    invert,
    scale_of,
    shifted,
    warp,
    warp_image,
)
from .types import FaceCrop, Matrix

# Between these scales (crop pixels per photo pixel) the photo's own detail fades in.
_FULL_DETAIL_SCALE = 0.8
_NO_DETAIL_SCALE = 1.0


@dataclass(frozen=True)
class PasteSettings:
    """How restored faces are blended into their photo.

    Attributes:
        strength: share of the restored face in the result; 0 leaves the photo as it is.
        keep_detail: how much of the photo's own fine detail is kept, in [0, 1], so that a good face never becomes
            softer: what is finer than the crop's pixels, and what the restorer has lost. Noise is taken out of it
            (`take_out_noise`) where the photo is not clean (`detail_trust`).
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
    background: torch.Tensor | None = None,
    in_place: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Blend restored crops into the photo they were cut from, or into another picture of the same view.

    Where two masks overlap, the larger value wins. The work grows with the faces' boxes, not with the photo.

    Convention: each crop's `image_to_crop` maps photo pixels to crop pixels, pixel centres at integers.

    Args:
        image: (3, H, W) photo, sRGB in [0, 1].
        crops: restored crops, cut from the photo at the size of the background.
        masks: one (S, S) mask in [0, 1] per crop, in crop space.
        settings: how to blend; the default blends fully.
        background: (3, H * n, W * n) picture to blend into, the photo as an upscaler made it; the photo itself if None.
            The crops are then those of the photo enlarged n times by `enlarge`. The detail that is kept in a
            face always comes from the photo.
        in_place: write into the background itself, or else into `image`, which the caller gives away, and return it.
            The result is the same; of a large photo this saves the copy.

    Returns:
        The new photo, of the background's shape and bit-identical to it wherever the mask is 0, and the mask in [0, 1].

    Raises:
        ShapeError: if `image` is not (3, H, W), the background is not a whole number of times larger, or a mask does
            not fit its crop.

    Source: order of the steps as in GPEN's published code (`face_enhancement.py`).
    """
    settings = settings or PasteSettings()
    require_image(image)
    if len(crops) != len(masks):
        raise ShapeError(f"expected one mask per crop, got {len(masks)} masks for {len(crops)} crops")
    for crop, mask in zip(crops, masks, strict=True):
        if mask.shape != crop.pixels.shape[1:]:
            raise ShapeError(f"expected a mask of shape {tuple(crop.pixels.shape[1:])}, got {tuple(mask.shape)}")
    background = image if background is None else background
    views = _Views(image, background, times_larger(image, background))
    made = (_patch(views, crop, mask, settings) for crop, mask in zip(crops, masks, strict=True))
    # In place, every face is blended with the photo as it was before any of them is written.
    patches = list(made) if in_place else made
    result = background if in_place else background.clone()
    shown = torch.from_numpy(np.zeros(result.shape[1:], np.float32))  # numpy's zeros take memory only once written to
    for patch in patches:
        if patch is not None:
            _write(patch, result, shown)
    return result, shown.to(image.device)


@dataclass(frozen=True, eq=False)
class _Views:
    """The photo, and the `background` to blend into, `factor` times larger."""

    image: torch.Tensor
    background: torch.Tensor
    factor: int


@dataclass(frozen=True, eq=False)
class _Patch:
    """A face, blended with its part of the background.

    Attributes:
        region: the rows and columns of that part.
        pixels: (3, h, w), sRGB in [0, 1].
        weight: (h, w), the mask.
    """

    region: tuple[slice, slice]
    pixels: torch.Tensor
    weight: torch.Tensor


def times_larger(image: torch.Tensor, background: torch.Tensor) -> int:
    """Tell how many times larger a background (3, H * n, W * n) is than its photo (3, H, W).

    Raises:
        ShapeError: if it is not a whole number of times.
    """
    factor = max(1, background.shape[-1] // image.shape[2])
    expected = (3, image.shape[1] * factor, image.shape[2] * factor)
    if tuple(background.shape) != expected:
        raise ShapeError(
            f"expected a background of the shape {tuple(image.shape)} of its photo, or a whole number of times larger, "
            f"got {tuple(background.shape)}"
        )
    return factor


def _patch(views: _Views, crop: FaceCrop, mask: torch.Tensor, settings: PasteSettings) -> _Patch | None:
    """Blend one face with the background inside the face's box; None if nothing of it would show."""
    height, width = views.background.shape[1:]
    crop_to_image = invert(crop.image_to_crop)
    x0, y0, x1, y1 = bounds_of(crop_to_image, crop.size, (height, width), _shown_part(mask))
    if x0 >= x1 or y0 >= y1:
        return None
    crop_to_region = shifted(crop_to_image, to_origin=(x0, y0))
    weight = warp(mask.numpy(), crop_to_region, (y1 - y0, x1 - x0), antialias=settings.antialias) * settings.strength
    weight = np.clip(weight, 0, settings.strength)
    if not weight.any():
        return None
    region = (slice(y0, y1), slice(x0, x1))
    behind = _at_hand(views.background[:, y0:y1, x0:x1])
    photo = behind if views.background is views.image else _at_hand(_enlarged(views, region))
    face = _in_photo(views, _Place(region, crop_to_region, photo), crop, settings)
    share = torch.from_numpy(weight)
    return _Patch(region, face.sub_(behind).mul_(share).add_(behind), share)


def _shown_part(mask: torch.Tensor) -> tuple[slice, slice]:
    """Give the rows and columns of a mask (S, S) that are not all 0, and the one around them that a warp reaches."""
    rows, columns = (np.flatnonzero(mask.numpy().any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return slice(0), slice(0)
    return slice(max(0, rows[0] - 1), rows[-1] + 2), slice(max(0, columns[0] - 1), columns[-1] + 2)


def _write(patch: _Patch, pixels: torch.Tensor, shown: torch.Tensor) -> None:
    """Write a face into `pixels` and its mask into `shown`, where no other face's mask is larger."""
    target, mask = pixels[:, patch.region[0], patch.region[1]], shown[patch.region]
    wins = patch.weight > mask
    face = patch.pixels.to(pixels.device, pixels.dtype)
    target.copy_(torch.where(wins.to(pixels.device), face, target, out=face))
    mask.copy_(torch.where(wins, patch.weight, mask))


@dataclass(frozen=True, eq=False)
class _Place:
    """Where a face goes in the background, and `photo`, what the photo shows there, at the background's resolution."""

    region: tuple[slice, slice]
    crop_to_region: Matrix
    photo: torch.Tensor


def _enlarged(views: _Views, region: tuple[slice, slice]) -> torch.Tensor:
    """Return a region of the photo enlarged to the background's size."""
    pad = 1 if views.factor > 1 else 0  # interpolation looks one pixel further
    rows, columns = (_own(span, views.factor, pad) for span in region)
    part = enlarge(views.image[None, :, rows, columns], views.factor)[0]
    down, across = (
        slice(span.start - own.start * views.factor, span.stop - own.start * views.factor)
        for span, own in zip(region, (rows, columns), strict=True)
    )
    return part[:, down, across]


def _own(span: slice, factor: int, pad: int = 0) -> slice:
    """Return the photo's own pixels under a span of the background."""
    return slice(max(0, span.start // factor - pad), -(-span.stop // factor) + pad)


def _in_photo(views: _Views, place: _Place, crop: FaceCrop, settings: PasteSettings) -> torch.Tensor:
    """Return the restored face at the background's resolution, in [0, 1], with the photo's detail that is kept."""
    photo, crop_to_region, factor = place.photo, place.crop_to_region, views.factor
    face = crop.pixels
    if crop.face.box.size < settings.soften_below_px:
        face = _softened(face)
    size = (photo.shape[1], photo.shape[2])
    scale = scale_of(crop.image_to_crop)
    border = cv2.BORDER_REPLICATE
    warped = warp_image(face, crop_to_region, size, antialias=settings.antialias, border=border)
    if not settings.keep_detail:
        return warped.clamp_(0, 1)
    trust = detail_trust(_as_it_came(views, place))
    amount = np.clip((_NO_DETAIL_SCALE - scale) / (_NO_DETAIL_SCALE - _FULL_DETAIL_SCALE), 0, 1) * settings.keep_detail
    if amount > 0:
        photo_to_crop = chained(enlargement(factor), crop.image_to_crop)
        before = cut(views.image, photo_to_crop, crop.size, antialias=settings.antialias)
        coarse = warp_image(before, crop_to_region, size, antialias=settings.antialias, border=border)
        fine = coarse.neg_().add_(photo)
        take_out_noise(fine, trust, factor)
        warped.add_(fine, alpha=float(amount))
    lost = lost_detail(photo, warped, scale, photo_pixel=factor, trust=trust)
    return warped.add_(lost, alpha=settings.keep_detail).clamp_(0, 1)


def _as_it_came(views: _Views, place: _Place) -> torch.Tensor:
    """Return the photo there at its own resolution: interpolation hides noise, and looks like blur itself."""
    if views.factor == 1:
        return place.photo
    rows, columns = (_own(span, views.factor) for span in place.region)
    return _at_hand(views.image[:, rows, columns])


def _at_hand(image: torch.Tensor) -> torch.Tensor:
    """Give an image in main memory, as float32; itself if it is that."""
    return image.detach().to("cpu", torch.float32)


def _softened(face: torch.Tensor) -> torch.Tensor:
    """Blur by a binomial kernel of half a pixel's variance at 512 pixels, in proportion at other sizes."""
    variance = min(0.5, 0.5 * (face.shape[-1] / 512) ** 2)
    kernel = np.array([variance / 2, 1 - variance, variance / 2])
    planes = [cv2.sepFilter2D(plane, -1, kernel, kernel, borderType=cv2.BORDER_REFLECT_101) for plane in face.numpy()]
    return torch.from_numpy(np.stack(planes))
