"""The photo's own fine detail: when it is trusted, and what of it comes back."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from gpen_core.detail import detail_trust, lost_detail, take_out_noise
from gpen_core.quality import LUMA_WEIGHTS, enlarged_noise

RANDOM = np.random.default_rng(5)


ASTRONAUT = Path(__file__).parents[1] / "data" / "astronaut.png"


def portrait() -> np.ndarray:
    """A clean face of 95 px with its surroundings, (208, 208, 3) sRGB in [0, 1]."""
    return cv2.imread(str(ASTRONAUT))[8:216, 120:328, ::-1].astype(np.float32) / 255


def planes(picture: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(picture).permute(2, 0, 1).contiguous()


def lost(photo: np.ndarray, face: np.ndarray, scale: float, trust: float = 1.0) -> np.ndarray:
    return lost_detail(planes(photo), planes(face), scale, trust=trust).permute(1, 2, 0).numpy()


def without_noise(detail: np.ndarray, trust: float) -> np.ndarray:
    kept = planes(detail)
    take_out_noise(kept, trust)
    return kept.permute(1, 2, 0).numpy()


def jpeg(picture: np.ndarray, quality: int) -> np.ndarray:
    _, code = cv2.imencode(".jpg", np.uint8(picture * 255), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.imdecode(code, cv2.IMREAD_COLOR).astype(np.float32) / 255


def with_noise(picture: np.ndarray, levels: float) -> np.ndarray:
    return np.clip(picture + RANDOM.normal(0, levels / 255, picture.shape), 0, 1).astype(np.float32)


def test_clean_is_trusted_and_damaged_is_not() -> None:
    clean = portrait()
    assert detail_trust(planes(clean)) == 1
    assert detail_trust(planes(with_noise(clean, 0.4))) == 1
    assert detail_trust(planes(with_noise(clean, 4))) == 0
    assert detail_trust(planes(jpeg(with_noise(clean, 6), 85))) < 0.3, (
        "JPEG hides noise from the measure, not from the eye"
    )
    assert detail_trust(planes(jpeg(clean, 95))) > 0.9
    assert detail_trust(planes(jpeg(clean, 10))) < 0.3


def test_noise_that_was_enlarged_with_the_picture_is_not_trusted() -> None:
    clean, grain = (
        cv2.resize(jpeg(with_noise(portrait(), levels), 80), (312, 312), interpolation=cv2.INTER_LINEAR)
        for levels in (0, 10)
    )
    assert detail_trust(planes(clean)) > 0.4
    assert detail_trust(planes(grain)) < 0.2


def test_only_enlarged_noise_counts_as_such() -> None:
    grey = np.full((256, 256, 3), 0.5, np.float32)
    assert enlarged_noise(with_noise(grey, 6) @ LUMA_WEIGHTS) == 0
    assert enlarged_noise(portrait() @ LUMA_WEIGHTS) < 0.25 / 255
    assert np.isnan(enlarged_noise(np.full((6, 6), 0.5, np.float32)))


def test_too_small_to_judge_counts_as_clean() -> None:
    assert detail_trust(planes(np.full((6, 6, 3), 0.5, np.float32))) == 1


def test_softened_lines_come_back() -> None:
    photo = portrait()
    soft = cv2.GaussianBlur(photo, (0, 0), 1.5)
    repaired = soft + lost(photo, soft, scale=1.5)
    before, after = np.abs(soft - photo).mean(), np.abs(repaired - photo).mean()
    assert after < 0.4 * before


def test_what_the_restorer_sharpened_stays() -> None:
    sharp = portrait()
    photo = cv2.GaussianBlur(sharp, (0, 0), 1.5)
    assert np.abs(lost(photo, sharp, scale=1.5)).mean() < 0.05 * np.abs(sharp - photo).mean()


def test_colour_and_light_of_the_restored_face_stay() -> None:
    photo = portrait()
    brighter = photo + 0.1
    np.testing.assert_allclose(lost(photo, brighter, scale=1.0), 0, atol=1e-5)


@pytest.mark.parametrize("scale", [0.25, 1.0, 3.0])
def test_a_large_face_is_compared_at_the_crops_resolution(scale: float) -> None:
    photo = portrait()
    soft = cv2.GaussianBlur(photo, (0, 0), max(1.5, 1.5 / scale))
    given = lost(photo, soft, scale)
    assert given.shape == photo.shape and given.dtype == np.float32 and np.isfinite(given).all()
    assert np.abs(soft + given - photo).mean() < np.abs(soft - photo).mean()


def test_noise_goes_out_of_detail_and_lines_stay() -> None:
    lines = np.zeros((120, 120, 3), np.float32)
    lines[::24], lines[12::24] = 0.15, -0.15
    noisy = lines + RANDOM.normal(0, 0.02, lines.shape).astype(np.float32)
    kept = without_noise(noisy, trust=0)
    flat = np.zeros(120, bool)
    flat[6::12] = True
    assert kept[flat].std() < 0.4 * noisy[flat].std()
    on_lines = np.abs(lines[:, 0, 0]) > 0
    assert kept[on_lines].std() > 0.9 * noisy[on_lines].std()
    np.testing.assert_array_equal(without_noise(noisy, trust=1), noisy)
    half = without_noise(noisy, trust=0.5)
    np.testing.assert_allclose(half, (noisy + kept) / 2, atol=1e-6)


def test_noise_of_the_photo_does_not_come_back_as_detail() -> None:
    levels = cv2.fastNlMeansDenoisingColored(
        np.uint8(portrait() * 255), None, 3, 3, 5, 15
    )  # takes the film's grain out
    clean = levels.astype(np.float32) / 255
    noisy = with_noise(clean, 8)
    soft = cv2.GaussianBlur(clean, (0, 0), 1.5)
    errors = [np.square(soft + lost(noisy, soft, 1.0, trust=trust) - clean).mean() for trust in (0.0, 1.0)]
    assert errors[0] < 0.85 * errors[1] and errors[0] < 0.9 * np.square(soft - clean).mean()
