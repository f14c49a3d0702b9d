"""Blind degradation: make a clear face poor in the ways photos of customers are.

Pictures here are numpy (H, W, 3) float32 sRGB in [0, 1], as basicsr and OpenCV take them.

Source: the two-order model of Wang et al. 2021, Real-ESRGAN, section 3; ranges after Yang et al. 2021, GPEN, section 4.
"""

from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from ..from_basicsr import degradations, seeded_globals

Picture: TypeAlias = NDArray[np.float32]
Rng: TypeAlias = np.random.Generator
Range: TypeAlias = tuple[float, float]

_KERNELS = ["iso", "aniso", "generalized_iso", "generalized_aniso", "plateau_iso", "plateau_aniso"]
_KERNEL_ODDS = [0.45, 0.25, 0.12, 0.03, 0.12, 0.03]
_INTERPOLATIONS = (cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC)


@dataclass(frozen=True)
class DegradeSettings:
    """How bad pictures become.

    Attributes:
        blur_sigma: standard deviation of blur kernels, pixels of the clear picture.
        blur_chance: how often the first order blurs by a kernel.
        motion_chance: how often the blur is a straight motion instead.
        shrink: factor of down-scaling, drawn evenly on a logarithmic scale.
        keep_size_chance: how often the first order does not scale: noise of single pixels, as cameras make it.
        noise_sigma: standard deviation of Gaussian noise, grey levels of 255.
        poisson_scale: strength of shot noise.
        jpeg: JPEG quality.
        no_jpeg_chance: how often the first order does not compress: scans, and pictures that are handed on in memory.
        second_chance: how often a second, lighter order follows (a picture sent on by chat).
        clean_chance: how often the picture stays as it is, so that a clear face is left alone.
        enlarge: OpenCV interpolations by which the small picture may be brought back to its size.
    """

    blur_sigma: Range = (0.2, 2.4)
    blur_chance: float = 0.8
    motion_chance: float = 0.08
    shrink: Range = (1.0, 8.0)
    keep_size_chance: float = 0.12
    noise_sigma: Range = (0.0, 15.0)
    poisson_scale: Range = (0.05, 1.5)
    jpeg: Range = (30.0, 95.0)
    no_jpeg_chance: float = 0.15
    second_chance: float = 0.35
    clean_chance: float = 0.04
    enlarge: tuple[int, ...] = (cv2.INTER_LINEAR, cv2.INTER_CUBIC)

    @classmethod
    def for_size(cls, size: int) -> "DegradeSettings":
        """Give the ranges for faces of `size` pixels: blur and down-scaling in proportion to 256 pixels."""
        scale = size / 256
        return cls(blur_sigma=(0.2, 0.4 + 2.0 * scale), shrink=(1.0, 1.0 + 7.0 * scale))


def degrade(clear: Picture, seed: int, settings: DegradeSettings | None = None) -> Picture:
    """Make a poor picture of `clear`, of the same size; the same seed gives the same picture."""
    settings = settings or DegradeSettings()
    rng = np.random.default_rng(seed)
    if rng.random() < settings.clean_chance:
        return clear.copy()
    # Drawn apart, so that what is left out changes nothing else.
    scales, compresses = np.random.default_rng((seed, 1)).random(2) >= (
        settings.keep_size_chance,
        settings.no_jpeg_chance,
    )
    with seeded_globals(seed):
        poor = _first_order(clear, rng, settings, scales=bool(scales), compresses=bool(compresses))
        if rng.random() < settings.second_chance:
            poor = _second_order(poor, rng, settings)
    height, width = clear.shape[:2]
    enlarged = cv2.resize(poor, (width, height), interpolation=int(rng.choice(settings.enlarge)))
    return np.clip(enlarged, 0, 1).astype(np.float32)


def _first_order(clear: Picture, rng: Rng, settings: DegradeSettings, *, scales: bool, compresses: bool) -> Picture:
    poor = clear
    if rng.random() < settings.motion_chance:
        poor = _convolve(poor, motion_kernel(rng.uniform(3, 11), rng.uniform(0, 180)))
    elif rng.random() < settings.blur_chance:
        poor = _blur(poor, settings.blur_sigma, rng)
    factor = 1 / float(np.exp(rng.uniform(*np.log(settings.shrink))))
    if scales:
        poor = _resize(poor, factor, rng)
    poor = _noise(poor, rng, settings, 1.0)
    return jpeg(poor, round(rng.uniform(*settings.jpeg))) if compresses else poor


def _second_order(poor: Picture, rng: Rng, settings: DegradeSettings) -> Picture:
    if rng.random() < settings.blur_chance / 2:
        poor = _blur(poor, (0.2, 0.8), rng)
    poor = _resize(poor, rng.uniform(0.6, 1.3), rng)
    poor = _noise(poor, rng, settings, 0.5)
    return jpeg(poor, round(rng.uniform(*settings.jpeg)))


def motion_kernel(length: float, degrees: float) -> Picture:
    """Give the kernel of a straight motion of `length` pixels, in a direction given in degrees; it sums to 1."""
    side = int(np.ceil(length)) | 1
    kernel = np.zeros((side, side), np.float32)
    centre = side // 2
    offset = length / 2 * np.array([np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))])
    ends = np.round((np.stack((centre - offset, centre + offset))) * 16).astype(int)
    cv2.line(kernel, ends[0].tolist(), ends[1].tolist(), 1.0, 1, cv2.LINE_AA, shift=4)
    return kernel / kernel.sum()


def _blur(picture: Picture, sigma: Range, rng: Rng) -> Picture:
    side = int(2 * np.ceil(2.5 * sigma[1]) + 1)
    side = int(rng.integers(3, side // 2 + 1)) * 2 + 1 if side > 7 else 7
    kernel = degradations().random_mixed_kernels(
        _KERNELS, _KERNEL_ODDS, side, sigma, sigma, (-np.pi, np.pi), betag_range=(0.5, 4), betap_range=(1, 2)
    )
    return _convolve(picture, kernel.astype(np.float32))


def _convolve(picture: Picture, kernel: Picture) -> Picture:
    return np.asarray(cv2.filter2D(picture, -1, kernel, borderType=cv2.BORDER_REFLECT), np.float32)


def _resize(picture: Picture, factor: float, rng: Rng) -> Picture:
    height, width = (max(8, round(side * factor)) for side in picture.shape[:2])
    resized = cv2.resize(picture, (width, height), interpolation=int(rng.choice(_INTERPOLATIONS)))
    return np.clip(resized, 0, 1)


def _noise(picture: Picture, rng: Rng, settings: DegradeSettings, strength: float) -> Picture:
    kind = rng.random()
    if kind < 0.5:
        low, high = (bound * strength for bound in settings.noise_sigma)
        return degradations().random_add_gaussian_noise(picture, (low, high), gray_prob=0.4)
    if kind < 0.8:
        low, high = (bound * strength for bound in settings.poisson_scale)
        return degradations().random_add_poisson_noise(picture, (low, high), gray_prob=0.4)
    return picture


def jpeg(picture: Picture, quality: int) -> Picture:
    """Compress and read back; basicsr's own function hands OpenCV a fractional quality, which recent ones refuse."""
    levels = np.clip(np.round(picture[:, :, ::-1] * 255), 0, 255).astype(np.uint8)
    code = cv2.imencode(".jpg", levels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    decoded = np.asarray(cv2.imdecode(code, cv2.IMREAD_COLOR), np.float32)
    return decoded[:, :, ::-1] / np.float32(255)
