"""The photo's own fine detail: how far it can be trusted, what of it a restored face has lost, and what of it is noise.

Source of the noise filter: Lee 1980, "Digital Image Enhancement and Noise Filtering by Use of Local Statistics".
"""

import cv2
import numpy as np
import torch

from .quality import LUMA_WEIGHTS, Luma, blockiness, coarse_noise, enlarged_noise, sharpness

# Measured on portraits of 25 px and more, clean and under 12 kinds of damage: below the first figure keeping all detail
# brought the result closer to the truth, above the second taking out its noise did. Clean portraits measure 0.2 to 0.6
# (tenth to ninetieth percentile; more below 80 px), film grain 0.6, noise of 3, 6 and 9 levels under JPEG 85 0.5, 1.4
# and 2.3, a phone's smeared noise 0.7 to 1.0, enlarged noise 1.2.
_NOISE_RANGE = (0.65 / 255, 1.1 / 255)
_NOISE_TILE = 8
_BLOCK_RANGE = (0.3, 0.6)
# Noise that was enlarged by 1.5 with its picture, sharp enough to pass for detail, measures 0.3 to 0.8 of 255 levels;
# nine of ten clean portraits of 160 px and more below 0.05, of 64 px below 0.3.
_ENLARGED_RANGE = (0.25 / 255, 0.5 / 255)
# Sharpness of a face with its surroundings. Pictures that were enlarged 1.6 to 2.1 times, with the noise and blocks
# they had before, measure 0.34 to 0.46: enlarging has hidden both from the other two figures. Clean portraits measure
# 0.59 to 0.71 (quartiles).
_BLUR_RANGE = (0.45, 0.6)

_DETAIL_SIGMA = 2.0
"""Detail is what a Gaussian of this many pixels takes away, at the coarser of the photo's and the crop's resolution."""

_WINDOW_SIGMA = 1.25
"""Over how many of these lengths the strength of detail is compared."""

_STEEPNESS = 5.0
"""Detail that the face lost by a fifth or more comes back whole."""

_FILTER_SIGMA = 1.5
"""Over how many of the photo's pixels detail must stand out from noise to be kept."""

_FILTER_STRENGTH, _LOST_STRENGTH = 1.3, 2.0
"""Times the noise's standard deviation, under which nothing is kept: of detail finer than the crop's pixels, and of
what the restorer has lost, where it has drawn its own. Best of 1 to 1.6, and of 1.3 to 2.5, on noisy portraits."""

_MAD = 0.6745
"""Median absolute deviation of a normal distribution of standard deviation 1."""

_ENOUGH_SAMPLES = 250_000

_FINE_SIGMA = 2.5
"""Pixels of a Gaussian that is narrow enough to be computed as it is; twice as wide ones are made from fewer pixels."""


def detail_trust(photo: torch.Tensor) -> float:
    """Judge how far a photo's finest detail is the subject's and not the camera's or the file's.

    Args:
        photo: (3, H, W) float32, sRGB in [0, 1]; a face with its surroundings at the photo's own resolution.

    Returns:
        1 for a clean sharp photo, 0 for one with strong noise, strong JPEG blocks or no fine detail at all.
    """
    luma = _luma(photo)
    quiet = 1 - _rise(coarse_noise(luma, _NOISE_TILE), _NOISE_RANGE)
    even = 1 - _rise(enlarged_noise(luma), _ENLARGED_RANGE)
    smooth = 1 - _rise(blockiness(luma), _BLOCK_RANGE)
    sharp = _rise(sharpness(luma), _BLUR_RANGE)
    # Too few pixels to judge, or no detail at all: nothing speaks against keeping what there is.
    return float(np.prod([share for share in (quiet, even, smooth, sharp) if not np.isnan(share)]))


def take_out_noise(detail: torch.Tensor, trust: float, pixel: float = 1.0, strength: float = _FILTER_STRENGTH) -> None:
    """Take out of detail, in place, what does not stand out from the noise in it, so that lines stay and grain goes.

    Args:
        detail: (3, H, W) float32 around 0, part of a photo or of its difference from a restored face.
        trust: share that is kept as it is, in [0, 1], as `detail_trust` gives it.
        pixel: length of the noise's grain: how many pixels of `detail` one of the photo became.
        strength: times the noise's standard deviation, under which nothing is kept.
    """
    if trust >= 1:
        return
    luma = _luma(detail)
    step = int(np.ceil(np.sqrt(luma.size / _ENOUGH_SAMPLES)))
    # Most of a face is smooth: the middle of all deviations is the noise's, whatever eyes and hair hold.
    noise_level = float(np.median(np.abs(luma[::step, ::step]))) / _MAD * strength
    power = torch.from_numpy(_power(luma, _FILTER_SIGMA * pixel)).add_(1e-9)
    stands_out = power.reciprocal_().mul_(-(noise_level**2)).add_(1).clamp_(0, 1)
    detail.mul_(stands_out.mul_(1 - trust).add_(trust))


def lost_detail(
    photo: torch.Tensor, face: torch.Tensor, scale: float, photo_pixel: float = 1.0, trust: float = 1.0
) -> torch.Tensor:
    """Give the fine detail that the photo has and the restored face does not.

    Only where the photo has more detail than the face is anything given: where the restorer sharpened, its own detail
    stays. Added to `face`, the result is never softer than a photo without noise.

    Args:
        photo: (3, H, W) float32, sRGB in [0, 1].
        face: (3, H, W) float32, the restored face at the photo's resolution.
        scale: crop pixels per pixel of these pictures.
        photo_pixel: how many of their pixels one pixel of the photo became, where it was enlarged.
        trust: how far the photo's detail is not noise, see `detail_trust`.

    Returns:
        (3, H, W), to be added to `face`.
    """
    pixel = max(photo_pixel, 1 / scale)
    sigma = _DETAIL_SIGMA * pixel
    window = sigma * _WINDOW_SIGMA
    strong, weak = (torch.from_numpy(_strength(_luma(picture), sigma, window)) for picture in (photo, face))
    share = weak.neg_().add_(strong).div_(strong.add_(1e-4)).mul_(_STEEPNESS).clamp_(0, 1)
    lost = photo - face
    for plane in lost.numpy():
        plane -= _blurred(plane, sigma)
    take_out_noise(lost, trust, pixel, _LOST_STRENGTH)
    return lost.mul_(share)


def _luma(picture: torch.Tensor) -> Luma:
    """Give the luma of (3, H, W), one channel after the other: a product of matrices takes three times as long."""
    red, green, blue = (float(weight) for weight in LUMA_WEIGHTS)
    luma = (picture[0] * red).add_(picture[1], alpha=green).add_(picture[2], alpha=blue)
    return np.asarray(luma.numpy(), dtype=np.float32)


def _strength(luma: Luma, sigma: float, window: float) -> Luma:
    """Root mean square of the luma's detail around each pixel, (H, W); `luma` is used up."""
    luma -= _blurred(luma, sigma)
    power = _power(luma, window)
    return np.sqrt(power, out=power)


def _power(luma: Luma, window: float) -> Luma:
    """Mean square around each pixel, (H, W)."""
    power = _blurred(np.square(luma), window)
    return np.maximum(power, 0, out=power)


def _blurred(plane: Luma, sigma: float) -> Luma:
    """Blur by a Gaussian; a wide one at a lower resolution, where it costs as little as a narrow one."""
    reduction = int(sigma / _FINE_SIGMA)
    if reduction < 2:
        return np.asarray(cv2.GaussianBlur(plane, (0, 0), sigma), dtype=np.float32)
    height, width = plane.shape
    size = (-(-width // reduction), -(-height // reduction))
    small = cv2.resize(plane, size, interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), sigma * size[0] / width, sigmaY=sigma * size[1] / height)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC), dtype=np.float32)


def _rise(value: float, between: tuple[float, float]) -> float:
    """Give 0 up to the first bound, 1 from the second on, a straight line between; NaN stays NaN."""
    low, high = between
    return float(np.clip((value - low) / (high - low), 0, 1))
