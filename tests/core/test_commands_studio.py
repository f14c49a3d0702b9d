"""The verbs `tone` and `compare` as a user meets them."""

import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from gpen_core.cli import main
from gpen_core.commands.compare import pair_photos
from gpen_core.commands.restore import SAMPLE
from gpen_core.photo import read_photo, write_photo


def photo(path, value=0.5, size=(40, 60)):
    return write_photo(path, torch.full((3, *size), value))


def test_tone_writes_beside_the_photo_and_changes_skin_alone(tmp_path, capsys):
    source = tmp_path / "客户.png"
    write_photo(source, read_photo(SAMPLE).pixels, dpi=300)
    assert main(["tone", "-i", str(source), "--save-mask", str(tmp_path / "mask.png")]) == 0
    assert "of the photo toned" in capsys.readouterr().out
    before, after = read_photo(source), read_photo(tmp_path / "客户_tone.png")
    mask = read_photo(tmp_path / "mask.png").pixels[0]
    assert after.dpi == pytest.approx((300, 300), abs=0.01)
    changed = (before.pixels != after.pixels).any(0)
    assert changed.sum() > 1000
    assert not changed[mask == 0].any()


def test_a_default_name_that_is_taken_is_numbered(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_photo("a.jpg", read_photo(SAMPLE).pixels)
    for name in ("a_restored.jpg", "a_tone.jpg", "a_tone_2.jpg", "a_print.tif", "before_after.png"):
        Path(name).write_bytes(b"precious")
    for words in (["restore"], ["tone"], ["print", "--no-faces"], ["compare", "--after", "a.jpg", "--before"]):
        assert main([*words, *([] if words[-1] == "--before" else ["-i"]), "a.jpg"]) == 0
    made = {path.name for path in tmp_path.iterdir() if path.read_bytes() != b"precious"} - {"a.jpg"}
    assert made == {"a_restored_2.jpg", "a_tone_3.jpg", "a_print_2.tif", "before_after_2.png"}


def test_later_pages_under_a_default_name_are_numbered_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number in range(2):
        photo(tmp_path / f"before/{number}.png")
        photo(tmp_path / f"after/{number}.png", 0.8)
    Path("before_after_2.png").write_bytes(b"precious")
    assert main(["compare", "-i", "before", "-a", "after", "--per-page", "1"]) == 0
    assert Path("before_after_2.png").read_bytes() == b"precious"
    assert Path("before_after.png").is_file() and Path("before_after_2_2.png").is_file()


def test_tone_takes_a_mask_and_an_original(tmp_path):
    photo(tmp_path / "restored.png", 0.6)
    photo(tmp_path / "original.png", 0.4)
    half = torch.zeros(3, 40, 60)
    half[:, :, :30] = 1
    write_photo(tmp_path / "mask.png", half)
    names = {name: str(tmp_path / f"{name}.png") for name in ("restored", "original", "mask", "out")}
    words = ["-i", names["restored"], "--original", names["original"], "--mask", names["mask"], "-o", names["out"]]
    assert main(["tone", *words]) == 0
    result = read_photo(names["out"]).pixels
    assert result[:, :, :30].mean() == pytest.approx(0.4, abs=0.01)
    assert result[:, :, 30:].mean() == pytest.approx(0.6, abs=0.01)


@pytest.mark.parametrize(
    "words",
    [
        ["restore", "-o", "out.png", "-i"],
        ["tone", "--mask", "mask.png", "-o", "out.png", "-i"],
        ["print", "--no-faces", "-o", "out.png", "-i"],
        ["compare", "-a", "mask.png", "-o", "out.png", "-i"],
    ],
    ids=lambda words: words[0],
)
def test_every_verb_says_what_is_to_know_about_the_reading(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Image.new("CMYK", (60, 40)).save("press.jpg")
    photo(Path("mask.png"), 1)
    assert main([*words, "press.jpg"]) == 0
    assert "Note: press.jpg: CMYK without a profile" in capsys.readouterr().out


def test_a_transparent_part_of_a_mask_is_not_toned(tmp_path):
    photo(tmp_path / "a.png", 0.5)
    opaque = torch.zeros(40, 60)
    opaque[:, 30:] = 1
    write_photo(tmp_path / "mask.png", torch.ones(3, 40, 60), alpha=opaque)
    names = {name: str(tmp_path / f"{name}.png") for name in ("a", "mask", "used", "out")}
    assert (
        main(["tone", "-i", names["a"], "--mask", names["mask"], "--save-mask", names["used"], "-o", names["out"]]) == 0
    )
    assert torch.equal(read_photo(names["used"]).pixels[0], opaque)


def test_sheets_do_not_show_what_transparency_hides(tmp_path):
    for folder in ("before", "after"):
        write_photo(tmp_path / folder / "a.png", torch.zeros(3, 40, 60), alpha=torch.zeros(40, 60))
    words = ["--captions", "", "", "-o", str(tmp_path / "sheet.png")]
    for names in (("before", "after"), ("before/a.png", "after/a.png")):
        assert main(["compare", "-i", str(tmp_path / names[0]), "-a", str(tmp_path / names[1]), *words]) == 0
        assert (read_photo(tmp_path / "sheet.png").pixels == 1).float().mean() > 0.9


def test_tone_says_what_is_wrong(tmp_path, capsys):
    photo(tmp_path / "grey.png")
    photo(tmp_path / "mask.png", 1, (10, 10))
    assert main(["tone", "-i", str(tmp_path / "grey.png")]) == 1
    assert "no face to tone was found" in capsys.readouterr().err
    assert main(["tone", "-i", str(tmp_path / "grey.png"), "--mask", str(tmp_path / "mask.png")]) == 1
    assert "has 10x10 pixels, expected 60x40" in capsys.readouterr().err


def test_compare_two_photos(tmp_path, capsys):
    photo(tmp_path / "a.png", 0.2)
    photo(tmp_path / "b.png", 0.8)
    sheet = tmp_path / "sheet.png"
    words = ["-i", str(tmp_path / "a.png"), "-a", str(tmp_path / "b.png"), "-o", str(sheet), "--language", "zh"]
    assert main(["compare", *words]) == 0
    assert "sheet.png" in capsys.readouterr().out
    assert read_photo(sheet).pixels.shape[2] > 120
    assert main(["compare", *words, "--layout", "zoom"]) == 1
    assert "no face found" in capsys.readouterr().err
    assert main(["compare", *words, "--captions", "龘", "b"]) == 1
    assert "龘" in capsys.readouterr().err


def test_compare_zooms_on_the_face_of_the_sample(tmp_path):
    sheet = tmp_path / "sheet.png"
    assert main(["compare", "-i", str(SAMPLE), "-a", str(SAMPLE), "--layout", "zoom", "-o", str(sheet)]) == 0
    assert 200 < read_photo(sheet).pixels.shape[2] < 600


def test_compare_two_folders_in_pages(tmp_path, capsys):
    before, after = tmp_path / "before", tmp_path / "after"
    for number in range(5):
        photo(before / f"photo{number}.png", 0.2)
        photo(after / f"photo{number}_restored.png", 0.8)
    words = ["-i", str(before), "-a", str(after), "-o", str(tmp_path / "sheet.png"), "--per-page", "3"]
    assert main(["compare", *words]) == 0
    assert (tmp_path / "sheet.png").is_file() and (tmp_path / "sheet_2.png").is_file()
    photo(after / "stranger.png")
    assert main(["compare", *words]) == 1
    assert "no original for" in capsys.readouterr().err
    assert main(["compare", "-i", str(before), "-a", str(SAMPLE)]) == 1
    assert "two files or two folders" in capsys.readouterr().err


def test_photos_are_paired_by_the_longest_name_in_the_same_folder(tmp_path):
    before, after = tmp_path / "before", tmp_path / "after"
    for name in ("a.png", "a_2.png", "sub/a.png"):
        photo(before / name)
    for name in ("a_restored.png", "a_2_restored.jpg", "sub/a.png", "other/a.png"):
        photo(after / name)
    pairs, alone = pair_photos(before, after)
    named = [(str(a.relative_to(before)), str(b.relative_to(after))) for a, b in pairs]
    assert sorted(named) == [("a.png", "a_restored.png"), ("a_2.png", "a_2_restored.jpg"), ("sub/a.png", "sub/a.png")]
    assert alone == [after / "other" / "a.png"]


@pytest.mark.parametrize(
    ("originals", "restored", "wanted"),
    [
        (["IMG_1.png"], "IMG_10_restored.png", None),
        (["IMG_1.png", "IMG_10.png"], "IMG_10_restored.png", "IMG_10.png"),
        (["a.jpg", "a.png"], "a.png", "a.png"),
        (["a.jpg", "a.png"], "a.jpg", "a.jpg"),
        (["a.jpg", "a.png"], "a_png.jpg", "a.png"),
        (["a.jpg", "a.PNG"], "a_restored_png_2.jpg", "a.PNG"),
        (["a.jpg", "a.png"], "a_restored.png", "a.png"),
        (["a.jpg", "a.png"], "a_restored.webp", "a.jpg"),
    ],
)
def test_a_photo_is_paired_with_the_original_whose_whole_name_it_bears(originals, restored, wanted, tmp_path):
    for path in (*(tmp_path / "before" / name for name in originals), tmp_path / "after" / restored):
        path.parent.mkdir(exist_ok=True)
        path.touch()
    pairs, alone = pair_photos(tmp_path / "before", tmp_path / "after")
    assert [before.name for before, _ in pairs] == ([] if wanted is None else [wanted])
    assert len(alone) == (wanted is None)


@pytest.mark.parametrize("folder", ["before", "after"])
def test_no_page_of_sheets_replaces_a_photo_of_either_folder(folder, tmp_path, capsys):
    for number in range(2):
        photo(tmp_path / f"before/{number}.png")
        photo(tmp_path / f"after/{number}.png", 0.8)
    client = photo(tmp_path / folder / "sheet_2.png", 0.3)
    bytes_before = client.read_bytes()
    output = tmp_path / folder / "sheet.png"
    words = ["compare", "-i", str(tmp_path / "before"), "-a", str(tmp_path / "after"), "-o", str(output)]
    assert main([*words, "--per-page", "1"]) == 1
    assert "sheet_2.png" in (said := capsys.readouterr().err) and "never overwritten" in said
    assert client.read_bytes() == bytes_before and not output.exists()


def test_a_sheet_never_replaces_a_source(tmp_path, capsys):
    shutil.copy(SAMPLE, tmp_path / "a.jpg")
    shutil.copy(SAMPLE, tmp_path / "b.jpg")
    words = ["-i", str(tmp_path / "a.jpg"), "-a", str(tmp_path / "b.jpg"), "-o", str(tmp_path / "a.jpg")]
    assert main(["compare", *words]) == 1
    assert "source photo" in capsys.readouterr().err
    assert (tmp_path / "a.jpg").read_bytes() == SAMPLE.read_bytes()
