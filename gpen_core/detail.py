"""The photo's own fine detail: how far it can be trusted, what of it a restored face has lost, and what of it is noise.

Source of the noise filter: Lee 1980, "Digital Image Enhancement and Noise Filtering by Use of Local Statistics".
"""

import cv2
import numpy as np

from .geometry import Pixels
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


def detail_trust(photo: Pixels) -> float:
    """Judge how far a photo's finest detail is the subject's and not the camera's or the file's.

    Args:
        photo: (H, W, 3) float32, sRGB in [0, 1]; a face with its surroundings at the photo's own resolution.

    Returns:
        1 for a clean sharp photo, 0 for one with strong noise, strong JPEG blocks or no fine detail at all.
    """
    luma = np.ascontiguousarray(photo @ LUMA_WEIGHTS)
    quiet = 1 - _rise(coarse_noise(luma, _NOISE_TILE), _NOISE_RANGE)
    even = 1 - _rise(enlarged_noise(luma), _ENLARGED_RANGE)
    smooth = 1 - _rise(blockiness(luma), _BLOCK_RANGE)
    sharp = _rise(sharpness(luma, np.ones(luma.shape, bool)), _BLUR_RANGE)
    # Too few pixels to judge, or no detail at all: nothing speaks against keeping what there is.
    return float(np.prod([share for share in (quiet, even, smooth, sharp) if not np.isnan(share)]))


def without_noise(detail: Pixels, trust: float, pixel: float = 1.0, strength: float = _FILTER_STRENGTH) -> Pixels:
    """Take out of detail what does not stand out from the noise in it, so that lines stay and grain goes.

    Args:
        detail: (H, W, 3) float32 around 0, part of a photo or of its difference from a restored face.
        trust: share that is kept as it is, in [0, 1], as `detail_trust` gives it.
        pixel: length of the noise's grain: how many pixels of `detail` one of the photo became.
        strength: times the noise's standard deviation, under which nothing is kept.
    """
    if trust >= 1:
        return detail
    luma = detail @ LUMA_WEIGHTS
    step = int(np.ceil(np.sqrt(luma.size / _ENOUGH_SAMPLES)))
    # Most of a face is smooth: the middle of all deviations is the noise's, whatever eyes and hair hold.
    noise_level = float(np.median(np.abs(luma[::step, ::step]))) / _MAD * strength
    stands_out = np.clip(1 - noise_level**2 / (_power(luma, _FILTER_SIGMA * pixel) + 1e-9), 0, 1)
    return np.asarray(detail * (trust + (1 - trust) * stands_out)[..., None], dtype=np.float32)


def lost_detail(photo: Pixels, face: Pixels, scale: float, photo_pixel: float = 1.0, trust: float = 1.0) -> Pixels:
    """Give the fine detail that the photo has and the restored face does not.

    Only where the photo has more detail than the face is anything given: where the restorer sharpened, its own detail
    stays. Added to `face`, the result is never softer than a photo without noise.

    Args:
        photo: (H, W, 3) float32, sRGB in [0, 1].
        face: (H, W, 3), the restored face at the photo's resolution.
        scale: crop pixels per pixel of these pictures.
        photo_pixel: how many of their pixels one pixel of the photo became, where it was enlarged.
        trust: how far the photo's detail is not noise, see `detail_trust`.

    Returns:
        (H, W, 3), to be added to `face`.
    """
    pixel = max(photo_pixel, 1 / scale)
    sigma = _DETAIL_SIGMA * pixel
    in_photo, in_face = _detail(photo, sigma), _detail(face, sigma)
    window = sigma * _WINDOW_SIGMA
    strong, weak = _strength(in_photo, window), _strength(in_face, window)
    share = np.clip((strong - weak) / (strong + 1e-4) * _STEEPNESS, 0, 1)
    return without_noise(in_photo - in_face, trust, pixel, _LOST_STRENGTH) * share[..., None].astype(np.float32)


def _detail(picture: Pixels, sigma: float) -> Pixels:
    return np.asarray(picture - _blurred(picture, sigma), dtype=np.float32)


def _strength(detail: Pixels, window: float) -> Pixels:
    """Root mean square of detail's luma around each pixel, (H, W)."""
    return np.sqrt(_power(detail @ LUMA_WEIGHTS, window))


def _power(luma: Luma, window: float) -> Luma:
    """Mean square around each pixel, (H, W)."""
    return np.maximum(_blurred(luma**2, window), 0)


def _blurred(picture: Pixels, sigma: float) -> Pixels:
    """Blur by a Gaussian; a wide one at a lower resolution, where it costs as little as a narrow one."""
    reduction = int(sigma / _FINE_SIGMA)
    if reduction < 2:
        return np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma), dtype=np.float32)
    height, width = picture.shape[:2]
    size = (-(-width // reduction), -(-height // reduction))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), sigma * size[0] / width, sigmaY=sigma * size[1] / height)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC), dtype=np.float32)


def _rise(value: float, between: tuple[float, float]) -> float:
    """Give 0 up to the first bound, 1 from the second on, a straight line between; NaN stays NaN."""
    low, high = between
    return float(np.clip((value - low) / (high - low), 0, 1))
