import shutil
from pathlib import Path

import pytest
import torch
from PIL import ImageFont

import gpen_core.captions as captions
from gpen_core.errors import SettingsError

FONTS = Path(captions.__file__).parent / "fonts"


def test_the_embedded_font_draws_ascii_and_the_chinese_of_a_studio():
    ascii_text = "".join(chr(code) for code in range(32, 127))
    assert captions.missing_characters(ascii_text) == ""
    assert captions.missing_characters("修复前修复后原图结果对比，客户照片（高清）王小明 2024年5月") == ""
    assert captions.missing_characters("Müller, Žižek – “été” ½×") == "Žž½"


def test_missing_characters_are_named_once_and_in_order():
    assert captions.missing_characters("龘a龘靐") == "龘靐"
    assert captions.missing_characters("two\nlines") == "\n"


def test_a_caption_with_a_missing_character_is_refused_with_what_to_do():
    with pytest.raises(SettingsError, match=r"has no '龘'\. Change the text, or name a font file"):
        captions.check_text("修复龘")


def test_marks_stand_for_missing_characters():
    assert captions.with_marks("龘_0001.jpg") == "□_0001.jpg"


def test_text_is_drawn_in_its_place_and_only_there():
    canvas = torch.ones(3, 60, 200)
    captions.draw_text(canvas, "修复后", (100, 30), 24, None)
    inked = (canvas < 0.9).any(0).nonzero()
    (top, left), (bottom, right) = inked.amin(0).tolist(), inked.amax(0).tolist()
    assert abs((left + right) / 2 - 99.5) <= 2 and abs((top + bottom) / 2 - 29.5) <= 3
    assert 60 <= right - left <= 72 and 18 <= bottom - top <= 26
    assert canvas.min() == pytest.approx(0.13, abs=0.01)


def test_text_is_light_on_a_dark_ground_and_cut_at_the_border():
    canvas = torch.zeros(3, 20, 30)
    captions.draw_text(canvas, "Before and after", (15, 10), 16, None)
    assert canvas.max() > 0.8
    untouched = torch.ones(3, 20, 30)
    captions.draw_text(untouched, "Before", (-200, 10), 16, None)
    assert torch.equal(untouched, torch.ones(3, 20, 30))


def test_another_font_can_be_named(tmp_path):
    own = tmp_path / "客户.otf"
    shutil.copy(captions.CAPTION_FONT, own)
    assert captions.text_width("Before", 20, own) == captions.text_width("Before", 20)
    (tmp_path / "no.ttf").write_bytes(b"no font")
    with pytest.raises(SettingsError, match=r"no\.ttf\" is no font that can be read"):
        captions.text_width("Before", 20, tmp_path / "no.ttf")


def test_the_font_is_small_and_its_licence_lies_beside_it():
    assert captions.CAPTION_FONT.stat().st_size < 200_000
    assert "SIL OPEN FONT LICENSE Version 1.1" in (FONTS / "OFL.txt").read_text(encoding="utf-8")
    assert ImageFont.truetype(str(captions.CAPTION_FONT)).getname()[0] == "Noto Sans CJK SC"
