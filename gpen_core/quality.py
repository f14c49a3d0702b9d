"""Measure how a photo is taken: light, glare, sharpness, noise, JPEG blocks, background. Figures only, no verdicts.

Everything here works on luma, the weighted sum of the coded sRGB channels, in [0, 1], as (H, W) float32 arrays, and on
boolean masks of the same shape. A mask of fewer than 16 pixels says nothing: the answer is NaN.
"""

from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

Luma: TypeAlias = NDArray[np.float32]
Mask: TypeAlias = NDArray[np.bool_]

LUMA_WEIGHTS = np.array((0.299, 0.587, 0.114), np.float32)
"""Of the coded R, G and B. Source: ITU-R BT.601, as JPEG's Y."""

_FEWEST = 16
_NEAR_BLACK = 0.06
_CLIPPED = 0.985
_GLARE = 0.9
_GLARE_STEP = 0.2
_BLOCK = 8
_NOISE_TILE = 16
_NOISE_QUANTILE = 0.1
_COARSE_SHARE = 2.2
"""Coarse answer over fine one: 0.5 for white noise, 0.7 to 2.6 for clean portraits of 64 to 256 px, 3.1 to 4.3 for
noise enlarged by 1.5 (tenth to ninetieth percentile)."""
_BACKGROUND_SIDE = 320
_EDGE = 0.06


def dark_share(luma: Luma, mask: Mask) -> float:
    """Give the share of the masked pixels that are near black (luma below 0.06, 15 of 255)."""
    return _mean(luma < _NEAR_BLACK, mask)


def clipped_share(pixels: NDArray[np.float32], mask: Mask) -> float:
    """Give the share of the masked pixels with a channel at its end (0.985, 251 of 255).

    Args:
        pixels: (3, H, W), sRGB in [0, 1].
        mask: (H, W).
    """
    return _mean(pixels.max(axis=0) >= _CLIPPED, mask)


def median(luma: Luma, mask: Mask) -> float:
    """Give the middle luma of the masked pixels."""
    return float(np.median(luma[mask])) if mask.sum() >= _FEWEST else float("nan")


def stops_between(first: float, second: float) -> float:
    """Give by how many photographic stops luma `first` is brighter than luma `second`; above black by 0.02 at least.

    Source: sRGB's curve is close to a power of 2.2.
    """
    return float(2.2 * np.log2((first + 0.02) / (second + 0.02)))


def glare_share(luma: Luma, saturation: Luma, mask: Mask) -> float:
    """Give the share of the masked skin that shines white: bright, pale, and much brighter than the skin around it.

    Args:
        luma: (H, W).
        saturation: (H, W), largest minus smallest channel over the largest.
        mask: (H, W), skin where shine sits: forehead and nose.
    """
    if mask.sum() < _FEWEST:
        return float("nan")
    usual_luma, usual_saturation = np.median(luma[mask]), np.median(saturation[mask])
    pale = saturation < np.maximum(0.6 * usual_saturation, 0.08)
    return _mean((luma > _GLARE) & (luma > usual_luma + _GLARE_STEP) & pale, mask)


def sharpness(luma: Luma, mask: Mask | None = None, noise: float = 0.0) -> float:
    """Give how much of the finest detail is there, as a share of the detail two octaves coarser.

    Natural pictures have about as much detail in every octave; blur takes it from the finest. On faces 160 px wide, a
    Gaussian blur of 0, 0.7, 1, 1.5, 2, 3 pixels leaves 0.58, 0.38, 0.31, 0.23, 0.19, 0.15 (middle of 51 portraits).

    Args:
        luma: (H, W), at the size at which sharpness matters.
        mask: (H, W), where there is detail; everywhere if None.
        noise: standard deviation of white noise in `luma`, which would pass for detail and is taken off.
    """
    if (luma.size if mask is None else mask.sum()) < _FEWEST:
        return float("nan")
    finest, coarse_from, coarse_to = (cv2.GaussianBlur(luma, (0, 0), sigma) for sigma in (1.0, 2.0, 4.0))
    # What white noise of variance 1 leaves in either band, from the filters' coefficients.
    fine = _variance_of_change(luma, finest, mask) - 0.760 * noise**2
    coarse = _variance_of_change(coarse_from, coarse_to, mask) - 0.009 * noise**2
    if coarse <= 1e-8:
        return float("nan")
    return float(np.sqrt(max(fine, 0.0) / coarse))


def noise(luma: Luma) -> float:
    """Give the standard deviation of the noise, in [0, 1], from the flattest tenth of the picture's 16-pixel tiles.

    Source: the operator of Immerkær 1996, Fast Noise Variance Estimation.
    """
    return _flattest(luma, luma, step=1)


def coarse_noise(luma: Luma, tile: int = _NOISE_TILE) -> float:
    """Give the noise that the means of 2×2 pixels hold, in [0, 1]: half of white noise's, all of what is coarse.

    JPEG and enlarging hide noise from `noise`, not from this measure.

    Args:
        luma: (H, W).
        tile: side of a tile in pixels. Small ones find flat places in small pictures, too, and measure a little less.
    """
    means = np.asarray(cv2.blur(luma, (2, 2)), dtype=np.float32)
    return _flattest(means, luma, step=2, tile=tile)


def enlarged_noise(luma: Luma) -> float:
    """Give the noise that enlarging made coarse, in [0, 1]; 0 for clean pictures and for noise of single pixels.

    It is what the mean of 2×2 pixels holds more of than fine noise or structure would leave there.
    """
    excess = coarse_noise(luma) - _COARSE_SHARE * noise(luma)
    return excess if np.isnan(excess) else max(0.0, excess)


def _flattest(pixels: Luma, luma: Luma, step: int, tile: int = _NOISE_TILE) -> float:
    """Give the answer of Immerkær's operator, its taps `step` pixels apart, in the flattest tenth of the tiles."""
    if min(luma.shape) < tile:
        return float("nan")
    operator = np.zeros(2 * step + 1, np.float32)
    operator[::step] = (1, -2, 1)
    answer = np.asarray(cv2.sepFilter2D(pixels, cv2.CV_32F, operator / 6, operator), dtype=np.float32)
    tiles = _tiles(np.square(answer, out=answer), tile)
    levels = _tiles(luma, tile)
    exposed = (levels > 0.03) & (levels < 0.97)  # noise is cut off at black and white
    if not exposed.any():
        return float("nan")
    return float(np.sqrt(np.quantile(tiles[exposed], _NOISE_QUANTILE)))


def blockiness(luma: Luma) -> float:
    """Give how much stronger steps are on a grid of 8 pixels than between: 0 for none, above 0.3 visible JPEG blocks.

    The grid may begin anywhere, as in a cropped JPEG. Pictures that were scaled after compression show none.

    Source: after Wang, Bovik & Evans 2000, Blind Measurement of Blocking Artifacts in Images.
    """
    if min(luma.shape) < 4 * _BLOCK:
        return float("nan")
    strengths = []
    for first, second, along in ((luma[:, :-1], luma[:, 1:], 0), (luma[:-1], luma[1:], 1)):
        steps = cv2.reduce(cv2.absdiff(first, second), along, cv2.REDUCE_AVG).ravel()
        # Against the neighbours on both sides: texture and edges cancel.
        excess = steps[1:-1] - (steps[:-2] + steps[2:]) / 2
        usual = float(np.mean(steps)) + 1e-4
        phases = np.array([float(excess[phase::_BLOCK].mean()) for phase in range(_BLOCK)]) / usual
        strengths.append(float(phases.max() - np.median(phases)))
    return float(np.mean(strengths))


def busyness(luma: Luma, mask: Mask) -> float:
    """Give the share of the masked background that lies on an edge, seen at 320 pixels.

    Args:
        luma: (H, W).
        mask: (H, W), background.
    """
    scale = min(1.0, _BACKGROUND_SIDE / max(luma.shape))
    size = (max(1, round(luma.shape[1] * scale)), max(1, round(luma.shape[0] * scale)))
    small = cv2.GaussianBlur(cv2.resize(luma, size, interpolation=cv2.INTER_AREA), (0, 0), 0.8)
    small_mask = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0.99
    slope = np.hypot(cv2.Sobel(small, cv2.CV_32F, 1, 0, scale=1 / 8), cv2.Sobel(small, cv2.CV_32F, 0, 1, scale=1 / 8))
    return _mean(slope > _EDGE / 2, small_mask)


def saturation(pixels: NDArray[np.float32]) -> Luma:
    """Give largest minus smallest channel over the largest, (H, W) of (3, H, W), as in HSV."""
    largest = pixels.max(axis=0)
    return np.asarray((largest - pixels.min(axis=0)) / np.maximum(largest, 1e-3), dtype=np.float32)


def _mean(values: NDArray[np.bool_], mask: Mask) -> float:
    return float(values[mask].mean()) if mask.sum() >= _FEWEST else float("nan")


def _tiles(values: Luma, tile: int) -> Luma:
    """Give the mean of each whole tile of `values`, flat."""
    rows, columns = (length // tile for length in values.shape)
    whole = values[: rows * tile, : columns * tile]
    return np.asarray(cv2.resize(whole, (columns, rows), interpolation=cv2.INTER_AREA), dtype=np.float32).ravel()


def _variance_of_change(before: "cv2.typing.MatLike", after: "cv2.typing.MatLike", mask: Mask | None) -> float:
    change = np.subtract(before, after)
    return float(np.var(change if mask is None else change[mask]))
