import numpy as np
import pytest
import torch

from gpen_core.compare import CHINESE, ComparePair, CompareSpec, SheetSpec, before_after, contact_sheet
from gpen_core.errors import SettingsError, ShapeError
from gpen_core.types import Box, Face


def picture(height=120, width=160, seed=0):
    return torch.rand(3, height, width, generator=torch.Generator().manual_seed(seed))


def places(sheet, part):
    """Every (top, left) where `part` stands on `sheet`, pixel for pixel."""
    height, width = part.shape[1:]
    windows = sheet.unfold(1, height, 1).unfold(2, width, 1)
    corner = torch.isclose(windows[..., 0, 0], part[:, 0, 0][:, None, None], atol=0).all(0)
    return [
        (top, left)
        for top, left in corner.nonzero().tolist()
        if torch.equal(sheet[:, top : top + height, left : left + width], part)
    ]


def test_side_by_side_holds_both_pixel_for_pixel():
    before, after = picture(seed=1), picture(seed=2)
    sheet = before_after(before, after)
    [(top, left)], [(top_after, left_after)] = places(sheet, before), places(sheet, after)
    assert top == top_after and left_after >= left + 160
    assert sheet.shape[1] > 120 and sheet.shape[2] > 320
    assert (sheet[:, top + 120 :] < 0.5).any(), "there is no caption"


def test_the_original_is_brought_to_the_size_of_the_restored_one_not_the_other_way():
    before, after = picture(60, 80, 1), picture(120, 160, 2)
    sheet = before_after(before, after)
    assert len(places(sheet, after)) == 1
    assert places(sheet, before) == []


def test_split_shows_the_restored_side_whole():
    before, after = picture(seed=1), picture(seed=2)
    sheet = before_after(before, after, CompareSpec(layout="split", split=0.25))
    [(top, left)] = places(sheet, after[:, :, 40:])
    assert (top, left) == (0, 40)
    assert torch.equal(sheet[:, :120, :39], before[:, :, :39])
    assert (sheet[:, :120, 39] == 1).all(), "the parting line is not where it belongs"


def test_zoom_cuts_the_faces_and_repeats_whole_pixels():
    before, after = picture(seed=1), picture(seed=2)
    faces = [Box(60, 40, 100, 80), Face(Box(0, 0, 20, 20), np.zeros((5, 2)), 0.9)]
    sheet = before_after(before, after, CompareSpec(layout="zoom"), faces=faces)
    assert len(places(sheet, after[:, 28:92, 48:112])) == 1
    assert len(places(sheet, after[:, :32, :32])) == 1, "a window at the border is moved inside"
    twice = before_after(before, after, CompareSpec(layout="zoom", magnify=2), faces=faces[:1])
    large = after[:, 28:92, 48:112].repeat_interleave(2, 1).repeat_interleave(2, 2)
    assert len(places(twice, large)) == 1


def test_chinese_captions_and_dark_ground():
    sheet = before_after(picture(), picture(), CompareSpec(captions=CHINESE, dark=True))
    assert sheet[:, 0, 0].tolist() == pytest.approx([0.07] * 3)
    assert sheet[:, -10:].max() > 0.5


def test_no_captions_no_band():
    plain = before_after(picture(), picture(), CompareSpec(captions=("", ""), layout="split"))
    assert plain.shape == (3, 120, 160)


@pytest.mark.parametrize("layout", ["side", "split", "zoom"])
def test_one_pixel_pictures_get_whole_captions(layout):
    dot = torch.zeros(3, 1, 1)
    sheet = before_after(dot, dot, CompareSpec(layout=layout), faces=[Box(0, 0, 0, 0)])
    assert sheet.shape[2] > 80


def test_contact_sheet_makes_large_pictures_smaller_and_leaves_small_ones():
    small, large = picture(40, 30, 3), picture(300, 600, 4)
    sheet = contact_sheet([ComparePair(small, small + 0, "小.jpg"), ComparePair(large, large)], SheetSpec(cell_px=100))
    assert len(places(sheet, small)) == 2
    assert sheet.shape[2] < 600
    whole = contact_sheet([ComparePair(large, large)], SheetSpec(cell_px=0))
    assert len(places(whole, large)) == 2


def test_contact_sheet_takes_an_iterator_and_keeps_the_order_of_rows():
    colours = [0.1, 0.5, 0.9]
    pairs = (ComparePair(torch.full((3, 50, 50), value), torch.full((3, 50, 50), value)) for value in colours)
    sheet = contact_sheet(pairs, SheetSpec(columns=1, captions=("", "")))
    rows = [row for row in sheet[0, :, 20].tolist() if row < 1]
    assert [round(rows[i], 1) for i in (25, 75, 125)] == colours


def test_columns_are_chosen_for_a_sheet_wider_than_high():
    sheet = contact_sheet([ComparePair(picture(50, 50), picture(50, 50))] * 24)
    assert 1 < sheet.shape[2] / sheet.shape[1] < 2


def test_labels_too_long_or_strange_are_shown_as_far_as_they_go():
    pair = ComparePair(picture(), picture(), "龘" * 5 + "x" * 500 + "_0001.jpg")
    sheet = contact_sheet([pair])
    assert sheet.shape[2] < 360
    assert (sheet[:, 150:] < 0.5).any()


def test_inputs_are_left_alone():
    before, after = picture(seed=1), picture(seed=2)
    copies = before.clone(), after.clone()
    for layout in ("side", "split", "zoom"):
        before_after(before, after, CompareSpec(layout=layout), faces=[Box(10, 10, 50, 50)])
    contact_sheet([ComparePair(before, after)])
    assert torch.equal(before, copies[0]) and torch.equal(after, copies[1])


def test_errors_say_what_to_do():
    with pytest.raises(SettingsError, match='"zoom" needs at least one face'):
        before_after(picture(), picture(), CompareSpec(layout="zoom"))
    with pytest.raises(ShapeError, match='160x120 and 120x120 pixels: choose the layout "side"'):
        before_after(picture(), picture(120, 120), CompareSpec(layout="split"))
    with pytest.raises(ShapeError, match=r"expected before as \(3, H, W\), got \(1, 120, 160\)"):
        before_after(picture()[:1], picture())
    with pytest.raises(SettingsError, match="龘"):
        CompareSpec(captions=("龘", "After"))
    with pytest.raises(SettingsError, match=r"1280000x1280000 pixels, the limit is 200 megapixels: .* magnify less"):
        before_after(picture(), picture(), CompareSpec(layout="zoom", magnify=20_000), faces=[Box(40, 40, 60, 60)] * 2)
    with pytest.raises(SettingsError, match="at least one pair"):
        contact_sheet([])
    with pytest.raises(SettingsError, match="200 megapixels"):
        contact_sheet([ComparePair(torch.zeros(3, 1, 4000), torch.zeros(3, 4000, 1))], SheetSpec(cell_px=0))
