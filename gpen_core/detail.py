"""The photo's own fine detail: how far it can be trusted, and what of it a restored face has lost."""

import cv2
import numpy as np

from .geometry import Pixels
from .quality import LUMA_WEIGHTS, blockiness, enlarged_noise, noise, sharpness

# Measured with the embedded restorer on portraits of 50 to 190 px, clean and under 12 kinds of damage: below the first
# figure keeping detail brought the result closer to the truth or left it as it was, above the second it did not.
_NOISE_RANGE = (2.5 / 255, 5.0 / 255)
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


def detail_trust(photo: Pixels) -> float:
    """Judge how far a photo's finest detail is the subject's and not the camera's or the file's.

    Args:
        photo: (H, W, 3) float32, sRGB in [0, 1]; a face with its surroundings at the photo's own resolution.

    Returns:
        1 for a clean sharp photo, 0 for one with strong noise, strong JPEG blocks or no fine detail at all.
    """
    luma = np.ascontiguousarray(photo @ LUMA_WEIGHTS)
    quiet = 1 - _rise(noise(luma), _NOISE_RANGE)
    even = 1 - _rise(enlarged_noise(luma), _ENLARGED_RANGE)
    smooth = 1 - _rise(blockiness(luma), _BLOCK_RANGE)
    sharp = _rise(sharpness(luma, np.ones(luma.shape, bool)), _BLUR_RANGE)
    # Too few pixels to judge, or no detail at all: nothing speaks against keeping what there is.
    return float(np.prod([share for share in (quiet, even, smooth, sharp) if not np.isnan(share)]))


def lost_detail(photo: Pixels, face: Pixels, scale: float, photo_pixel: float = 1.0) -> Pixels:
    """Give the fine detail that the photo has and the restored face does not.

    Only where the photo has more detail than the face is anything given: where the restorer sharpened, its own detail
    stays. Added to `face`, the result is never softer than the photo.

    Args:
        photo: (H, W, 3) float32, sRGB in [0, 1].
        face: (H, W, 3), the restored face at the photo's resolution.
        scale: crop pixels per pixel of these pictures.
        photo_pixel: how many of their pixels one pixel of the photo became, where it was enlarged.

    Returns:
        (H, W, 3), to be added to `face`.
    """
    sigma = _DETAIL_SIGMA * max(photo_pixel, 1 / scale)
    in_photo, in_face = _detail(photo, sigma), _detail(face, sigma)
    window = sigma * _WINDOW_SIGMA
    strong, weak = _strength(in_photo, window), _strength(in_face, window)
    share = np.clip((strong - weak) / (strong + 1e-4) * _STEEPNESS, 0, 1)
    return np.asarray((in_photo - in_face) * share[..., None], dtype=np.float32)


def _detail(picture: Pixels, sigma: float) -> Pixels:
    return np.asarray(picture - cv2.GaussianBlur(picture, (0, 0), sigma), dtype=np.float32)


def _strength(detail: Pixels, window: float) -> Pixels:
    """Root mean square of detail's luma around each pixel, (H, W)."""
    return np.sqrt(cv2.GaussianBlur((detail @ LUMA_WEIGHTS) ** 2, (0, 0), window)).astype(np.float32, copy=False)


def _rise(value: float, between: tuple[float, float]) -> float:
    """Give 0 up to the first bound, 1 from the second on, a straight line between; NaN stays NaN."""
    low, high = between
    return float(np.clip((value - low) / (high - low), 0, 1))
