"""Colour arithmetic: sRGB, linear light, OKLab, hue, and changes of chroma that stay in gamut.

Conventions: pixels are (..., 3, H, W), red first, float32; single values such as luminance are (..., 1, H, W). *Linear*
means light in proportion to energy with the sRGB primaries and D65 white. Nothing is clamped unless a function says so.
"""

import torch

REC709 = (0.2126, 0.7152, 0.0722)
"""Weights of red, green and blue in luminance. Source: ITU-R BT.709-6, item 3.2; sRGB has the same primaries."""

# Ottosson 2020, "A perceptual color space for image processing" (bottosson.github.io/posts/oklab), revised 2021-01-25.
_LINEAR_TO_LMS = (
    (0.4122214708, 0.5363325363, 0.0514459929),
    (0.2119034982, 0.6806995451, 0.1073969566),
    (0.0883024619, 0.2817188376, 0.6299787005),
)
_LMS_TO_LAB = (
    (0.2104542553, 0.7936177850, -0.0040720468),
    (1.9779984951, -2.4285922050, 0.4505937099),
    (0.0259040371, 0.7827717662, -0.8086757660),
)


def srgb_to_linear(pixels: torch.Tensor) -> torch.Tensor:
    """Decode sRGB to linear light.

    Source: IEC 61966-2-1:1999, section 5.2 (threshold 0.04045, exponent 2.4).
    """
    return torch.where(pixels <= 0.04045, pixels / 12.92, ((pixels.clamp(min=0) + 0.055) / 1.055) ** 2.4)


def linear_to_srgb(pixels: torch.Tensor) -> torch.Tensor:
    """Encode linear light as sRGB.

    Source: IEC 61966-2-1:1999, section 5.2 (threshold 0.0031308, exponent 1/2.4).
    """
    curve = 1.055 * pixels.clamp(min=0.0031308) ** (1 / 2.4) - 0.055
    return torch.where(pixels <= 0.0031308, pixels * 12.92, curve)


def srgb_to_oklab(pixels: torch.Tensor) -> torch.Tensor:
    """Give OKLab (L, a, b) of sRGB pixels; L is in [0, 1], a and b about [-0.3, 0.3], 0 for grey.

    Source: Ottosson 2020, "A perceptual color space for image processing".
    """
    lms = _mix(srgb_to_linear(pixels), _LINEAR_TO_LMS)
    return _mix(torch.sign(lms) * lms.abs() ** (1 / 3), _LMS_TO_LAB)


def oklab_to_srgb(lab: torch.Tensor) -> torch.Tensor:
    """Give sRGB of OKLab pixels; colours outside sRGB come out below 0 or above 1.

    Source: Ottosson 2020, as `srgb_to_oklab`.
    """
    lms = _mix(lab, _inverse(_LMS_TO_LAB)) ** 3
    return linear_to_srgb(_mix(lms, _inverse(_LINEAR_TO_LMS)))


def on_white(pixels: torch.Tensor, alpha: torch.Tensor | None) -> torch.Tensor:
    """Lay pixels (..., 3, H, W) of the transparency `alpha`, (..., H, W), on white; None leaves them as they are."""
    if alpha is None:
        return pixels
    alpha = alpha.unsqueeze(-3)
    return pixels * alpha + (1 - alpha)


def luma(pixels: torch.Tensor) -> torch.Tensor:
    """Give the weighted mean of the encoded sRGB channels, (..., 1, H, W); equals the channels for grey."""
    return _weigh(pixels)


def luminance(pixels: torch.Tensor) -> torch.Tensor:
    """Give the relative luminance Y of sRGB pixels, (..., 1, H, W), in [0, 1] of white.

    Source: ITU-R BT.709-6; the Y of CIE XYZ, and so of CIE L*.
    """
    return _weigh(srgb_to_linear(pixels))


def spread(pixels: torch.Tensor) -> torch.Tensor:
    """Give the largest less the smallest channel, (..., 1, H, W): 0 for grey; HSV's value times its saturation."""
    return pixels.amax(-3, keepdim=True) - pixels.amin(-3, keepdim=True)


def hue(pixels: torch.Tensor) -> torch.Tensor:
    """Give the hue of HSV in degrees [0, 360), (..., 1, H, W); 0 where a pixel is grey.

    Source: Smith 1978, "Color gamut transform pairs" (hexcone model).
    """
    red, green, blue = pixels.unbind(-3)
    range_ = spread(pixels).squeeze(-3)
    safe = torch.where(range_ > 0, range_, torch.ones_like(range_))
    largest = pixels.argmax(-3)
    sextant = torch.where(
        largest == 0,
        (green - blue) / safe,
        torch.where(largest == 1, (blue - red) / safe + 2, (red - green) / safe + 4),
    )
    degrees = torch.remainder(sextant * 60, 360)
    return torch.where(range_ > 0, degrees, torch.zeros_like(degrees)).unsqueeze(-3)


def saturate(pixels: torch.Tensor, gain: torch.Tensor) -> torch.Tensor:
    """Scale the colourfulness (`spread`) of every pixel by `gain` at equal hue (HSV) and equal relative luminance.

    Grey pixels stay exactly as they are. Where the full gain would leave [0, 1] the gain is made smaller; channels are
    never clipped.

    Args:
        pixels: (..., 3, H, W), sRGB in [0, 1].
        gain: (..., 1, H, W), at least 0.
    """
    target = luminance(pixels)
    change = (gain - 1) * (pixels - luma(pixels))
    change = change + _shift(pixels + change, target, torch.full_like(target, -1), torch.ones_like(target))
    changed = pixels + _gamut_gain(pixels, change).clamp(max=1) * change
    return shift_to_luminance(changed.clamp(0, 1), target)


def fit_gamut(pixels: torch.Tensor) -> torch.Tensor:
    """Bring sRGB pixels outside [0, 1] back by less chroma at the same luma and HSV hue; no channel is clipped."""
    grey = luma(pixels).clamp(0, 1)
    offset = pixels - grey
    return (grey + _gamut_gain(grey, offset).clamp(max=1) * offset).clamp(0, 1)


def shift_to_luminance(pixels: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Add one number to the three channels of each pixel so that its luminance becomes `target`.

    HSV's hue and `spread` are kept. The shift stops where a channel reaches 0 or 1, so very light or dark saturated
    pixels may miss the target.

    Args:
        pixels: (..., 3, H, W), sRGB in [0, 1].
        target: (..., 1, H, W), relative luminance in [0, 1].
    Source: Newton's method on Y(shift), three steps; measured error below 3e-4 for a shift of 0.2, 1e-6 for 0.05.
    """
    lowest, highest = -pixels.amin(-3, keepdim=True), 1 - pixels.amax(-3, keepdim=True)
    return (pixels + _shift(pixels, target, lowest, highest)).clamp(0, 1)


def _shift(pixels: torch.Tensor, target: torch.Tensor, lowest: torch.Tensor, highest: torch.Tensor) -> torch.Tensor:
    shift = torch.zeros_like(target)
    for _ in range(3):
        moved = pixels + shift
        slope = _weigh(torch.where(moved <= 0.04045, 1 / 12.92, 2.4 / 1.055 * ((moved + 0.055) / 1.055) ** 1.4))
        shift = shift + (target - luminance(moved)) / slope
        shift = torch.maximum(torch.minimum(shift, highest), lowest)
    return shift


def _gamut_gain(start: torch.Tensor, offset: torch.Tensor) -> torch.Tensor:
    """Give the largest factor, (..., 1, H, W), that keeps start + factor * offset within [0, 1]."""
    room = torch.where(offset > 0, 1 - start, start.expand_as(offset))
    ratio = torch.where(offset.abs() > 1e-7, room / offset.abs().clamp(min=1e-7), torch.full_like(offset, 1e7))
    return ratio.amin(-3, keepdim=True)


def _weigh(pixels: torch.Tensor) -> torch.Tensor:
    red, green, blue = pixels.unbind(-3)
    # Written from one channel outwards so that a grey pixel gives exactly its own value.
    return (green + REC709[0] * (red - green) + REC709[2] * (blue - green)).unsqueeze(-3)


def _mix(pixels: torch.Tensor, rows: tuple[tuple[float, float, float], ...]) -> torch.Tensor:
    matrix = torch.tensor(rows, dtype=pixels.dtype, device=pixels.device)
    return torch.einsum("ij,...jhw->...ihw", matrix, pixels)


def _inverse(rows: tuple[tuple[float, float, float], ...]) -> tuple[tuple[float, float, float], ...]:
    (a, b, c), (d, e, f), (g, h, i) = torch.linalg.inv(torch.tensor(rows, dtype=torch.float64)).tolist()
    return (a, b, c), (d, e, f), (g, h, i)
