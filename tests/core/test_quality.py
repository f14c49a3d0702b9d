"""Examples of measuring light, glare, sharpness, noise, JPEG blocks and background on pictures with known answers."""

import math

import cv2
import numpy as np
import pytest

from gpen_core import quality

ALL = np.ones((64, 64), bool)


def textured(size: int = 256) -> np.ndarray:
    """A picture with detail in every octave, as photographs have."""
    rng = np.random.default_rng(1)
    spectrum = np.fft.rfft2(rng.standard_normal((size, size)))
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None])
    picture = np.fft.irfft2(spectrum / np.maximum(frequency, 1 / size), s=(size, size))
    return (0.5 + 0.12 * picture / picture.std()).clip(0, 1).astype(np.float32)


def test_dark_and_clipped_shares() -> None:
    luma = np.full((64, 64), 0.5, np.float32)
    luma[:16] = 0.02
    assert quality.dark_share(luma, ALL) == 0.25
    pixels = np.stack((luma, luma, luma))
    pixels[2, 32:] = 1.0  # one channel at its end is enough
    assert quality.clipped_share(pixels, ALL) == 0.5
    assert quality.median(luma, ALL) == 0.5


def test_stops() -> None:
    assert quality.stops_between(0.5, 0.5) == 0
    assert quality.stops_between(0.98, 0.48) == pytest.approx(2.2, abs=0.01)
    assert quality.stops_between(0.1, 0.9) < -6


def test_a_white_spot_on_skin_is_glare_but_bright_skin_is_not() -> None:
    luma = np.full((64, 64), 0.6, np.float32)
    colour = np.full((64, 64), 0.4, np.float32)
    assert quality.glare_share(luma, colour, ALL) == 0
    luma[:8], colour[:8] = 0.96, 0.05
    assert quality.glare_share(luma, colour, ALL) == 0.125
    assert quality.glare_share(np.full_like(luma, 0.95), colour, ALL) == 0


def test_blur_takes_sharpness() -> None:
    picture, mask = textured(), np.ones((256, 256), bool)
    values = [quality.sharpness(cv2.GaussianBlur(picture, (0, 0), s) if s else picture, mask) for s in (0, 1, 2, 3)]
    assert values == sorted(values, reverse=True)
    assert values[0] > 0.6
    assert values[3] < 0.2


def test_noise_does_not_pass_for_sharpness() -> None:
    picture = cv2.GaussianBlur(textured(), (0, 0), 3)
    noise = np.random.default_rng(2).normal(0, 0.02, picture.shape).astype(np.float32)
    mask = np.ones(picture.shape, bool)
    assert quality.sharpness(picture + noise, mask) > 0.4
    assert quality.sharpness(picture + noise, mask, 0.02) < 0.25


@pytest.mark.parametrize("sigma", [0.01, 0.03])
def test_noise_is_found_beside_texture(sigma: float) -> None:
    picture = np.full((256, 256), 0.5, np.float32)
    picture[:, 128:] = textured()[:, 128:]
    picture += np.random.default_rng(3).normal(0, sigma, picture.shape).astype(np.float32)
    assert quality.noise(picture) == pytest.approx(sigma, rel=0.2)


def test_jpeg_blocks_are_found_wherever_the_grid_begins() -> None:
    picture = (textured() * 255).astype(np.uint8)
    harsh = cv2.imdecode(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 8])[1], 0).astype(np.float32) / 255
    assert quality.blockiness(textured()) < 0.1
    assert quality.blockiness(harsh) > 0.6
    assert quality.blockiness(harsh[3:, 5:]) == pytest.approx(quality.blockiness(harsh), rel=0.1)
    assert quality.blockiness(np.full((64, 64), 0.3, np.float32)) == pytest.approx(0, abs=1e-3)


def test_a_plain_wall_is_not_busy_and_a_chequered_one_is() -> None:
    wall = np.full((320, 320), 0.5, np.float32)
    tiles = (np.indices((320, 320)) // 8).sum(axis=0) % 2
    assert quality.busyness(wall, np.ones((320, 320), bool)) == 0
    assert quality.busyness(tiles.astype(np.float32), np.ones((320, 320), bool)) > 0.3
    halves = np.where(np.arange(320)[None] < 160, tiles, wall).astype(np.float32)
    assert quality.busyness(halves, np.tile(np.arange(320) > 180, (320, 1))) == 0


def test_too_little_to_look_at_is_not_a_number() -> None:
    luma, nothing = np.zeros((8, 8), np.float32), np.zeros((8, 8), bool)
    answers = [
        quality.dark_share(luma, nothing),
        quality.median(luma, nothing),
        quality.glare_share(luma, luma, nothing),
        quality.sharpness(luma, nothing),
        quality.noise(luma),
        quality.blockiness(luma),
        quality.busyness(luma, nothing),
        quality.sharpness(np.zeros((64, 64), np.float32), ALL),
    ]
    assert all(math.isnan(answer) for answer in answers)
