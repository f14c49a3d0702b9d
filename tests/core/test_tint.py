"""Pictures of one tint are told from those in colour, and give it on."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import gpen_core
from gpen_core.color import luma
from gpen_core.tint import tint_of

ASTRONAUT = Path(__file__).parents[1] / "data" / "astronaut.png"


@pytest.fixture(scope="module")
def portrait() -> torch.Tensor:
    face = cv2.imread(str(ASTRONAUT))[8:216, 120:328, ::-1].astype(np.float32) / 255
    return torch.from_numpy(face).permute(2, 0, 1).contiguous()


def grey(picture: torch.Tensor) -> torch.Tensor:
    return luma(picture).expand_as(picture)


def sepia(picture: torch.Tensor) -> torch.Tensor:
    shade = luma(picture)
    return torch.cat((shade**0.8, shade * 0.88, shade**1.2 * 0.7))


def jpeg(picture: torch.Tensor) -> torch.Tensor:
    levels = np.uint8(picture.permute(1, 2, 0).numpy()[..., ::-1] * 255 + 0.5)
    code = cv2.imencode(".jpg", levels, [cv2.IMWRITE_JPEG_QUALITY, 70])[1]
    return torch.from_numpy(cv2.imdecode(code, cv2.IMREAD_COLOR)[..., ::-1].astype(np.float32) / 255).permute(2, 0, 1)


def test_colour_has_no_tint(portrait: torch.Tensor) -> None:
    assert tint_of(portrait) is None
    assert tint_of(0.3 * portrait + 0.7 * grey(portrait)) is None, "nor have pale colours"
    assert tint_of(0.2 * portrait) is None, "nor has a dark photo"
    assert tint_of(0.3 * portrait + 0.5) is None, "nor has a faded print"


@pytest.mark.parametrize("toned", [grey, sepia, lambda picture: jpeg(sepia(picture))], ids=["grey", "sepia", "jpeg"])
def test_another_picture_takes_the_tint(portrait: torch.Tensor, toned: Callable[[torch.Tensor], torch.Tensor]) -> None:
    tint, other = tint_of(toned(portrait)), toned(portrait.flip(2))
    assert tint is not None
    coloured = other + 0.5 * (portrait - grey(portrait)).flip(2)
    assert (coloured - other).abs().mean() > 0.02
    assert (tint.of(coloured) - other).abs().mean() < 0.005


def test_grey_is_exactly_grey(portrait: torch.Tensor) -> None:
    tint = tint_of(grey(portrait))
    assert tint is not None
    assert torch.equal(tint.of(portrait), grey(portrait))


def test_one_pixel_is_no_error() -> None:
    assert tint_of(torch.full((3, 1, 1), 0.5)) is not None


def test_a_black_and_white_photo_comes_back_without_a_trace_of_colour() -> None:
    photo = grey(gpen_core.read_photo(Path(gpen_core.__file__).parent / "samples" / "astronaut_poor.jpg").pixels)
    result = gpen_core.restore_portrait(photo)
    assert result.restored == 1
    assert (result.pixels - photo).abs().max() > 0.05
    assert (result.pixels.amax(0) - result.pixels.amin(0)).max() < 1e-4
