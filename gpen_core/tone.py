"""Skin tone: livelier colour, lift and warmth inside a soft mask, and the complexion of the original brought back.

Hue here is the hue of HSV (`color.hue`), lightness the sRGB-encoded relative luminance. Colours are never clipped
channel by channel: where a change would leave sRGB its chroma is made smaller, so the hue survives.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import interpolate

from . import color
from .errors import SettingsError, ShapeError

_MAX_REGIONS = 64
"""More islands than this are one region: a mask of dust would cost as many passes as it has grains."""

_GREY_SPREAD = 10 / 255
"""A region counts as black and white if nine pixels in ten have a channel spread below this. Measured: black-and-white
portraits kept as JPEG reach 9/255 at that point, the palest portrait in colour has 15/255."""

_WARM_AB = (0.005, 0.025)
"""OKLab (a, b) of warmth 1 on white: towards orange. Darker pixels take less, in proportion to their OKLab
lightness, as they do under a warmer light."""


@dataclass(frozen=True)
class ToneSpec:
    """What `apply_tone` does, all of it in proportion to the mask.

    Attributes:
        saturation: factor on the colourfulness (channel spread) of skin, [0, 3]; 1 changes nothing, 0 makes it grey.
        lift: change of lightness, [-0.25, 0.25]; this much at middle lightness, fading to 0 at black and white and
            stopping where a channel reaches 1.
        warmth: towards orange (> 0) or blue (< 0), [-1, 1]; grey pixels stay grey.
        protect_highlights: [0, 1]; how far highlights are kept from gaining colour or light, so that skin does not look
            oily. A highlight is what stands out from the median lightness of the same region, on dark and light skin.
        match_original: [0, 1]; how far the low-frequency colour of the original replaces that of the image first.
    """

    saturation: float = 1.15
    lift: float = 0.0
    warmth: float = 0.0
    protect_highlights: float = 0.8
    match_original: float = 0.0

    def __post_init__(self) -> None:
        """Refuse a setting outside its range."""
        _check_range("saturation", self.saturation, 0, 3)
        _check_range("lift", self.lift, -0.25, 0.25)
        _check_range("warmth", self.warmth, -1, 1)
        _check_range("protect_highlights", self.protect_highlights, 0, 1)
        _check_range("match_original", self.match_original, 0, 1)


def apply_tone(
    image: torch.Tensor, mask: torch.Tensor, spec: ToneSpec | None = None, original: torch.Tensor | None = None
) -> torch.Tensor:
    """Tone the skin of one photo.

    Guarantees: pixels where `mask` is 0 are bit-identical; saturation and lift keep the hue of HSV; saturation keeps
    the relative luminance; a region that is black and white stays so. Each island of the mask (each face) is judged
    by itself.

    Args:
        image: (3, H, W), sRGB in [0, 1].
        mask: (H, W) in [0, 1], e.g. from `skin_mask`; how much of the change each pixel takes.
        spec: what to do; None means `ToneSpec()`.
        original: (3, H, W), the photo before restoring; needed if `spec.match_original` > 0.

    Raises:
        ShapeError: if the shapes do not belong together.
        SettingsError: if `spec.match_original` > 0 and there is no `original`.
    """
    spec = spec or ToneSpec()
    _check_shapes(image, mask, original)
    if spec.match_original > 0 and original is None:
        raise SettingsError(
            f"match_original is {spec.match_original:g} but no original was given: pass the photo as it was before "
            "restoring, or set match_original to 0."
        )
    if original is not None and spec.match_original > 0:
        image = match_complexion(image, original, mask, spec.match_original)

    def tone(pixels: torch.Tensor, weight: torch.Tensor, _: tuple[slice, slice]) -> torch.Tensor:
        return _tone_region(pixels, weight, spec)

    return _edit_regions(image, mask, tone)


def match_complexion(
    restored: torch.Tensor, original: torch.Tensor, mask: torch.Tensor, strength: float = 1.0
) -> torch.Tensor:
    """Give the restored skin the low-frequency colour of the original, so that restoring never changes a complexion.

    The difference of the two in OKLab is smoothed over about a tenth of each masked region and added. Detail stays.
    Where the original is black and white the result is too.

    Args:
        restored: (3, H, W), sRGB in [0, 1].
        original: (3, H, W), the same view before restoring.
        mask: (H, W) in [0, 1]; pixels where it is 0 come back bit-identical.
        strength: [0, 1], how much of the difference is taken.

    Raises:
        ShapeError: if the shapes do not belong together.
    """
    _check_shapes(restored, mask, original)
    _check_range("strength", strength, 0, 1)

    def match(pixels: torch.Tensor, weight: torch.Tensor, window: tuple[slice, slice]) -> torch.Tensor:
        before = original[:, window[0], window[1]]
        lab, lab_before = color.srgb_to_oklab(pixels), color.srgb_to_oklab(before)
        if _is_monochrome(before, weight):
            difference = torch.cat([_smooth((lab_before - lab)[:1], weight), -lab[1:]])
        else:
            difference = _smooth(lab_before - lab, weight)
        return color.fit_gamut(color.oklab_to_srgb(lab + strength * weight * difference))

    return _edit_regions(restored, mask, match)


def _tone_region(pixels: torch.Tensor, weight: torch.Tensor, spec: ToneSpec) -> torch.Tensor:
    """Tone one region; `pixels` (3, h, w), `weight` (h, w)."""
    monochrome = _is_monochrome(pixels, weight)
    if spec.warmth and not monochrome:
        pixels = _warm(pixels, weight, spec.warmth)
    lightness = color.linear_to_srgb(color.luminance(pixels))
    protected = 1 - spec.protect_highlights * _highlights(lightness, weight)
    if spec.saturation != 1 and not monochrome:
        share = weight * protected if spec.saturation > 1 else weight
        pixels = color.saturate(pixels, 1 + (spec.saturation - 1) * share)
    if spec.lift:
        share = weight * protected if spec.lift > 0 else weight
        pixels = _lift(pixels, lightness, 1 + 4 * spec.lift * (1 - lightness) * share)
    return pixels


def _lift(pixels: torch.Tensor, lightness: torch.Tensor, gain: torch.Tensor) -> torch.Tensor:
    """Scale lightness by `gain`, as far as no channel passes 1; hue and saturation of HSV stay."""
    room = 1 / pixels.amax(0, keepdim=True).clamp(min=1e-6)
    scaled = (pixels * torch.minimum(gain, room)).clamp(0, 1)
    return color.shift_to_luminance(scaled, color.srgb_to_linear(lightness * gain))


def _warm(pixels: torch.Tensor, weight: torch.Tensor, warmth: float) -> torch.Tensor:
    lab = color.srgb_to_oklab(pixels)
    # Nearly grey pixels (white hair, teeth) take less, grey ones nothing: OKLab chroma 0.02 is a just visible tint.
    coloured = (lab[1:].norm(dim=0) / 0.02).clamp(max=1)
    step = torch.tensor((0.0, *_WARM_AB), dtype=lab.dtype, device=lab.device)[:, None, None]
    return color.fit_gamut(color.oklab_to_srgb(lab + warmth * weight * coloured * lab[:1] * step))


def _highlights(lightness: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Say how far each pixel is a highlight of its region, [0, 1], (1, h, w)."""
    skin = lightness[0][weight > 0.5]
    median = float(skin.median()) if skin.numel() else float(lightness[0][weight > 0].median())
    relative = (lightness - median) / max(1 - median, 1e-3)
    ramp = ((relative - 0.35) / (0.8 - 0.35)).clamp(0, 1)
    return ramp * ramp * (3 - 2 * ramp)


def _is_monochrome(pixels: torch.Tensor, weight: torch.Tensor) -> bool:
    chosen = color.spread(pixels)[0][weight > 0]
    return bool((chosen > _GREY_SPREAD).float().mean() < 0.1)


def _smooth(values: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Blur `values` (C, h, w) over a tenth of the region, counting only pixels by their weight."""
    height, width = weight.shape
    scale = min(1.0, 96 / max(height, width))
    small = (max(1, round(height * scale)), max(1, round(width * scale)))
    stacked = torch.cat([values * weight, weight[None]])[None]
    reduced = interpolate(stacked, size=small, mode="area")[0]
    sigma = max(0.5, 0.1 * (small[0] * small[1]) ** 0.5)
    planes = reduced.permute(1, 2, 0).contiguous().cpu().numpy()
    blurred = torch.from_numpy(cv2.GaussianBlur(planes, (0, 0), sigma, borderType=cv2.BORDER_CONSTANT))
    mean = blurred[..., :-1] / blurred[..., -1:].clamp(min=1e-6)
    grown = interpolate(mean.permute(2, 0, 1)[None], size=(height, width), mode="bilinear", align_corners=False)
    return grown[0].to(values)


_Edit = Callable[[torch.Tensor, torch.Tensor, tuple[slice, slice]], torch.Tensor]


def _edit_regions(image: torch.Tensor, mask: torch.Tensor, edit: _Edit) -> torch.Tensor:
    """Run `edit(pixels, weight, window)` on each island of `mask` and take its result where the mask is above 0."""
    result = image.clone()
    for window, inside in _regions(mask):
        rows, columns = window
        weight = torch.where(inside.to(mask.device), mask[rows, columns], torch.zeros_like(mask[rows, columns]))
        pixels = image[:, rows, columns]
        edited = edit(pixels, weight.to(pixels), window)
        result[:, rows, columns] = torch.where(weight > 0, edited, result[:, rows, columns])
    return result


def _regions(mask: torch.Tensor) -> Iterator[tuple[tuple[slice, slice], torch.Tensor]]:
    """Yield the bounding window of each island of `mask` and which pixels of the window belong to it, (h, w) bool."""
    binary: NDArray[np.uint8] = (mask > 0).to(torch.uint8).cpu().numpy()
    count, labels, stats, _ = cv2.connectedComponentsWithStats(binary, connectivity=8)
    if count - 1 > _MAX_REGIONS:
        rows, columns = np.flatnonzero(binary.any(1)), np.flatnonzero(binary.any(0))
        window = slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
        yield window, torch.from_numpy(binary[window] > 0)
        return
    for label in range(1, count):
        x, y, width, height = (int(value) for value in stats[label, :4])
        window = slice(y, y + height), slice(x, x + width)
        yield window, torch.from_numpy(labels[window] == label)


def _check_shapes(image: torch.Tensor, mask: torch.Tensor, original: torch.Tensor | None) -> None:
    if image.ndim != 3 or image.shape[0] != 3 or not image.is_floating_point():
        raise ShapeError(f"expected an image (3, H, W) of floats, got {tuple(image.shape)} {image.dtype}.")
    if mask.shape != image.shape[1:]:
        raise ShapeError(f"expected a mask {tuple(image.shape[1:])} like the image, got {tuple(mask.shape)}.")
    if original is not None and original.shape != image.shape:
        raise ShapeError(f"expected an original {tuple(image.shape)} like the image, got {tuple(original.shape)}.")


def _check_range(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise SettingsError(f"{name} must be in [{low:g}, {high:g}], got {value:g}.")
