"""Templates, similarity transforms and warps, by example."""

import numpy as np
import pytest

from gpen_core.errors import SettingsError, ShapeError
from gpen_core.geometry import (
    apply_affine,
    bounds_of,
    invert,
    scale_of,
    shifted,
    similarity_from_points,
    template_points,
    warp,
)

SQUARE = np.array([(0.0, 0.0), (1, 0), (1, 1), (0, 1)])


def test_templates_are_the_published_ones() -> None:
    np.testing.assert_allclose(template_points("gpen", 512)[0], (202.04068, 242.88396), atol=1e-4)
    np.testing.assert_allclose(template_points("gpen", 256)[2], (128.0384, 151.97959), atol=1e-4)
    np.testing.assert_allclose(template_points("ffhq", 1024)[0], (385.96276, 479.89416), atol=1e-4)


def test_unknown_template_is_named() -> None:
    with pytest.raises(SettingsError, match='got "arcface"'):
        template_points("arcface", 512)  # type: ignore[arg-type]


def test_similarity_recovers_turn_scale_and_shift() -> None:
    turned = SQUARE @ np.array([(0.0, 2.0), (-2.0, 0.0)]) + (5, 7)  # a quarter turn, twice as large
    matrix = similarity_from_points(SQUARE, turned)
    np.testing.assert_allclose(matrix, [(0, -2, 5), (2, 0, 7)], atol=1e-12)
    assert scale_of(matrix) == pytest.approx(2.0)


def test_similarity_never_mirrors() -> None:
    flag = np.array([(0.0, 0.0), (4, 0), (4, 1), (0, 2)])
    matrix = similarity_from_points(flag, flag * (-1, 1))
    assert np.linalg.det(matrix[:, :2]) > 0.1


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (SQUARE[:3], "two equal sets"),
        (np.zeros((4, 2)), "points that differ"),
        (np.full((4, 2), np.nan), "finite"),
        (np.zeros((4, 3)), "two equal sets"),
    ],
)
def test_similarity_refuses_what_it_cannot_fit(source: np.ndarray, words: str) -> None:
    with pytest.raises(ShapeError, match=words):
        similarity_from_points(source, SQUARE)


def test_inverse_and_shift_agree_with_points() -> None:
    matrix = np.array([(1.5, -0.25, 3.0), (0.25, 1.5, -2.0)])
    points = np.array([(10.0, 20.0), (-3.0, 4.0)])
    there = apply_affine(matrix, points)
    np.testing.assert_allclose(apply_affine(invert(matrix), there), points, atol=1e-12)
    cut = shifted(matrix, from_origin=(7, 9), to_origin=(2, 1))
    np.testing.assert_allclose(apply_affine(cut, points - (7, 9)), there - (2, 1), atol=1e-12)


def test_bounds_are_clipped_and_empty_outside() -> None:
    keep = np.array([(1.0, 0, 0), (0, 1, 0)])
    assert bounds_of(keep, 10, (8, 100)) == (0, 0, 12, 8)
    away = np.array([(1.0, 0, 500), (0, 1, 0)])
    x0, _, x1, _ = bounds_of(away, 10, (8, 100))
    assert x0 >= x1


def test_shrinking_averages_instead_of_skipping() -> None:
    stripes = np.tile(np.array([0.0, 1.0], np.float32), (64, 32))
    quarter = np.array([(0.25, 0, -0.375), (0, 0.25, -0.375)])
    smooth = warp(stripes, quarter, (16, 16))
    np.testing.assert_allclose(smooth[2:-2, 2:-2], 0.5, atol=1e-3)


def test_shrinking_keeps_positions() -> None:
    ramp = np.tile(np.arange(90, dtype=np.float32), (60, 1))
    third = np.array([(1 / 3, 0, -1 / 3), (0, 1 / 3, -1 / 3)])  # pixel centre 1 becomes 0, 4 becomes 1
    np.testing.assert_allclose(warp(ramp, third, (20, 30))[10, 2:-2], np.arange(7, 83, 3), atol=1e-2)
