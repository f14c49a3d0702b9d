"""Poor pictures with fixed seeds: three strengths of blind degradation, six cases of a studio, and a clear face.

A case takes a clear face (S, S, 3) in [0, 1] and a number that seeds it, and gives (true, poor, poor enlarged by
bicubic interpolation). Where a case changes the light, the true face has that light too: a restorer keeps the tone it
is given, and light is the business of other steps.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import cv2
import numpy as np

from gpen_core.training.degrade import DegradeSettings, Picture, degrade, jpeg, motion_kernel
from gpen_core.training.validate import DEGRADATION_SETS

GROUPS = {
    "house": "official",
    "senate": "official",
    "governor": "official",
    "congress118": "official",
    "sfhq": "synthetic",
    "t2i": "synthetic",
    "london": "London",
}
Triple = tuple[Picture, Picture, Picture]


def blind(clear: Picture, number: int, settings: DegradeSettings) -> Triple:
    cubic = replace(settings, enlarge=(cv2.INTER_CUBIC,))
    return clear, degrade(clear, 1000 + number, settings), degrade(clear, 1000 + number, cubic)


def unharmed(clear: Picture, number: int) -> Triple:
    return clear, clear, clear


def dim_phone(clear: Picture, number: int) -> Triple:
    """Two stops too dark, noisy, smoothed and compressed by the phone."""
    true = np.clip(clear**1.5 * 0.6, 0, 1)
    small = _shrink(true, 1.6)
    noisy = _grain(small, number, 0.035, colour=True)
    return _enlarged(true, jpeg(cv2.bilateralFilter(np.clip(noisy, 0, 1), 5, 0.06, 2), 75))


def old_scan(clear: Picture, number: int) -> Triple:
    """A print of 2005 from a flat-bed scanner: faded, yellowed, soft, with grain."""
    true = np.array([0.10, 0.08, 0.05], np.float32) + clear * np.array([0.82, 0.78, 0.66], np.float32)
    soft = cv2.GaussianBlur(_shrink(true, 2.0), (0, 0), 0.7)
    return _enlarged(true, jpeg(np.clip(_grain(soft, number, 0.03, colour=False), 0, 1), 85))


def chat(clear: Picture, number: int) -> Triple:
    """Sent twice through a messenger."""
    return _enlarged(clear, jpeg(jpeg(_shrink(clear, 1.8), 50), 30))


def back_lit(clear: Picture, number: int) -> Triple:
    """The face in the shade before a bright window: noise where it is dark."""
    true = np.clip(clear**1.3 * 0.5, 0, 1)
    small = _shrink(true, 1.8)
    noise = np.random.default_rng(number).normal(0, 1, small.shape).astype(np.float32)
    return _enlarged(true, jpeg(np.clip(small + noise * 0.035 * (1 - small), 0, 1), 70))


def avatar(clear: Picture, number: int) -> Triple:
    """A profile picture of 120×120 pixels."""
    return _enlarged(clear, jpeg(cv2.resize(clear, (120, 120), interpolation=cv2.INTER_AREA), 75))


def group_crop(clear: Picture, number: int) -> Triple:
    """Cut from a group photo: 85 pixels wide, a little motion blur."""
    moved = cv2.filter2D(clear, -1, motion_kernel(6, 25 + 40 * (number % 4)), borderType=cv2.BORDER_REFLECT)
    return _enlarged(clear, jpeg(np.clip(_grain(_shrink(moved, 3.0), number, 0.015, colour=True), 0, 1), 80))


def _shrink(picture: Picture, factor: float) -> Picture:
    side = round(picture.shape[0] / factor)
    return cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)


def _grain(picture: Picture, number: int, sigma: float, *, colour: bool) -> Picture:
    shape = picture.shape if colour else (*picture.shape[:2], 1)
    return picture + np.random.default_rng(number).normal(0, sigma, shape).astype(np.float32)


def _enlarged(true: Picture, small: Picture) -> Triple:
    side = true.shape[0]
    small = np.ascontiguousarray(small)
    linear, cubic = (cv2.resize(small, (side, side), interpolation=way) for way in (cv2.INTER_LINEAR, cv2.INTER_CUBIC))
    return true, np.clip(linear, 0, 1), np.clip(cubic, 0, 1)


CASES: dict[str, Callable[[Picture, int], Triple]] = {
    **{name: partial(blind, settings=settings) for name, settings in DEGRADATION_SETS.items()},
    "dim phone": dim_phone,
    "old scan": old_scan,
    "chat": chat,
    "back-lit": back_lit,
    "avatar": avatar,
    "group crop": group_crop,
    "clear": unharmed,
}
