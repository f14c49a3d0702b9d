"""Choosing faces, by example."""

import numpy as np
import pytest
import torch

from gpen_core.errors import SettingsError
from gpen_core.select import FaceChoice, select_faces
from gpen_core.types import Box, Face, FaceCrop


def crop(name: float, box: Box, score: float = 0.9, image_index: int = 0) -> FaceCrop:
    """A crop that carries `name` in its only pixel."""
    face = Face(box, np.zeros((5, 2)), score)
    return FaceCrop(torch.full((3, 1, 1), name), np.eye(2, 3), face, image_index)


def names(crops) -> list[float]:
    return [float(one.pixels[0]) for one in crops]


# A group of three: a middling face on the left, a large one in the middle, a small one on the right, highest of all.
GROUP = [
    crop(1, Box(10, 50, 60, 110), score=0.95),
    crop(2, Box(100, 40, 180, 140), score=0.99),
    crop(3, Box(220, 10, 240, 34), score=0.97),
]


def test_all_faces_come_in_the_chosen_order():
    assert names(select_faces(GROUP, FaceChoice())) == [2, 1, 3]
    assert names(select_faces(GROUP, FaceChoice(order="left"))) == [1, 2, 3]
    assert names(select_faces(GROUP, FaceChoice(order="top"))) == [3, 1, 2]
    assert names(select_faces(GROUP, FaceChoice(order="surest"))) == [2, 3, 1]


@pytest.mark.parametrize(
    ("take", "expected"), [("1", [2]), ("1,3", [2, 3]), ("2-3", [1, 3]), ("2 - 9", [1, 3]), ("7", []), ("", [2, 1, 3])]
)
def test_numbers_count_from_one(take, expected):
    assert names(select_faces(GROUP, FaceChoice(take=take))) == expected


def test_small_faces_are_left_out_before_counting():
    assert names(select_faces(GROUP, FaceChoice(take="1", order="top", smallest_px=30))) == [1]


def test_each_picture_is_counted_by_itself():
    other = [crop(4, Box(0, 0, 10, 10), image_index=1), crop(5, Box(0, 0, 90, 90), image_index=1)]

    assert names(select_faces([*other, *GROUP], FaceChoice(take="1"))) == [2, 5]


def test_no_face_is_no_error():
    assert select_faces([], FaceChoice(take="1")) == []


@pytest.mark.parametrize("take", ["0", "3-1", "one", "1;2", "-1", "1,", "99999999999"])
def test_what_cannot_be_read_is_refused(take):
    with pytest.raises(SettingsError, match='such as "1", "1, 3" or "2-4", got'):
        FaceChoice(take=take)
