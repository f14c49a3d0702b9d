"""Writing: a picture file with exact resolution, profile and EXIF, whole or not at all, and never over a source."""

import logging
import os
from itertools import product

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from gpen_core import photo_write
from gpen_core.errors import PhotoError, SettingsError, ShapeError
from gpen_core.icc import srgb_profile
from gpen_core.photo import read_photo, write_photo, write_version

from .awkward_files import alpha_of, smooth_picture


def pixels_of(picture: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.asarray(picture).copy()).permute(2, 0, 1) / 255


@pytest.fixture
def pixels() -> torch.Tensor:
    return pixels_of(smooth_picture())


@pytest.fixture
def alpha() -> torch.Tensor:
    return torch.from_numpy(np.asarray(alpha_of((48, 32))).copy()) / 255


def camera_exif() -> bytes:
    exif = Image.Exif()
    exif.update({0x0112: 6, 0x010F: "Camera", 0x0110: "Model 1", 0x0132: "2026:01:02 03:04:05", 0x0100: 9999})
    exif[0x8769] = {0x829A: 0.008, 0x9003: "2026:01:02 03:04:05", 0x927C: b"maker", 0xA002: 9999}
    exif[0x8825] = {1: "N", 2: (31.0, 14.0, 3.0)}
    return exif.tobytes()


@pytest.mark.parametrize(("suffix", "bit_depth"), [(".png", 8), (".png", 16), (".tif", 8), (".tiff", 16)])
def test_what_is_written_reads_back_the_same(suffix, bit_depth, pixels, alpha, tmp_path):
    path = write_photo(tmp_path / f"照片{suffix}", pixels, alpha=alpha, bit_depth=bit_depth)
    photo = read_photo(path)
    assert torch.equal(photo.pixels, pixels)
    assert torch.equal(photo.alpha, alpha)
    assert photo.bit_depth == bit_depth


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits_are_written_to_the_last(suffix, tmp_path):
    pixels = (torch.arange(3 * 150 * 200) % 65536).reshape(3, 150, 200) / 65535
    photo = read_photo(write_photo(tmp_path / f"deep{suffix}", pixels, bit_depth=16))
    assert (photo.pixels - pixels).abs().max() < 1e-7


@pytest.mark.parametrize(("suffix", "quality", "worst"), [(".jpg", 95, 2.0), (".webp", 95, 4.0), (".jpg", 30, 12.0)])
def test_lossy_formats_come_near(suffix, quality, worst, pixels, tmp_path):
    photo = read_photo(write_photo(tmp_path / f"a{suffix}", pixels, quality=quality))
    assert (photo.pixels - pixels).abs().mean() * 255 < worst


DPI = [72, 96, 150, 200, 240, 300, 350, 360, 600, 1200, 299.5, 123.456, (300, 600)]


@pytest.mark.parametrize(
    ("suffix", "bit_depth", "dpi"), [*product([".png", ".tif"], [8, 16], DPI), *product([".jpg", ".webp"], [8], DPI)]
)
def test_resolution_is_exact(suffix, bit_depth, dpi, pixels, tmp_path):
    photo = read_photo(write_photo(tmp_path / f"a{suffix}", pixels, dpi=dpi, bit_depth=bit_depth))
    assert photo.dpi == pytest.approx(dpi if isinstance(dpi, tuple) else (dpi, dpi), abs=0.01)


@pytest.mark.parametrize(("suffix", "dpi"), [*product([".jpg", ".tif"], [72, 96, 150, 300, 600]), (".png", 300)])
def test_resolution_is_exact_for_other_programs(suffix, dpi, pixels, tmp_path):
    with Image.open(write_photo(tmp_path / f"a{suffix}", pixels, dpi=dpi)) as image:
        assert tuple(map(float, image.info["dpi"])) == pytest.approx((dpi, dpi), abs=0.01)


def test_no_resolution_unless_asked(pixels, tmp_path):
    for suffix in (".png", ".jpg", ".tif", ".webp"):
        assert read_photo(write_photo(tmp_path / f"a{suffix}", pixels)).dpi in (None, (72, 72))


@pytest.mark.parametrize(
    ("suffix", "bit_depth"), [(".png", 8), (".png", 16), (".tif", 8), (".tif", 16), (".jpg", 8), (".webp", 8)]
)
def test_profile_is_embedded_and_says_srgb(suffix, bit_depth, pixels, tmp_path):
    path = write_photo(tmp_path / f"a{suffix}", pixels, bit_depth=bit_depth)
    with Image.open(path) as image:
        assert image.info["icc_profile"] == srgb_profile()
    assert "sRGB" in ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(__import__("io").BytesIO(srgb_profile())))
    with Image.open(write_photo(tmp_path / f"b{suffix}", pixels, bit_depth=bit_depth, icc=None)) as image:
        assert "icc_profile" not in image.info


@pytest.mark.parametrize(
    ("suffix", "bit_depth"), [(".png", 8), (".png", 16), (".tif", 8), (".tif", 16), (".jpg", 8), (".webp", 8)]
)
def test_exif_is_carried_over_upright_and_without_the_place(suffix, bit_depth, pixels, tmp_path):
    path = write_photo(tmp_path / f"a{suffix}", pixels, exif=camera_exif(), bit_depth=bit_depth, dpi=300)
    with Image.open(path) as image:
        exif = image.getexif()
        assert exif.get(0x0112, 1) == 1
        assert (exif[0x010F], exif[0x0110]) == ("Camera", "Model 1")
        details = exif.get_ifd(0x8769)
        assert details[0x9003] == "2026:01:02 03:04:05"
        assert float(details[0x829A]) == pytest.approx(0.008)
        assert (details[0xA002], details[0xA003]) == (48, 32)
        assert 0x927C not in details
        assert exif.get_ifd(0x8825) == {}
        assert exif.get(0x0100) in (None, 48)
    assert read_photo(path).size == (32, 48)


@pytest.mark.parametrize(("suffix", "bit_depth"), [(".jpg", 8), (".png", 8), (".png", 16), (".tif", 8), (".tif", 16)])
def test_the_place_is_kept_if_asked(suffix, bit_depth, pixels, tmp_path):
    path = write_photo(tmp_path / f"a{suffix}", pixels, exif=camera_exif(), keep_gps=True, bit_depth=bit_depth)
    with Image.open(path) as image:
        place = image.getexif().get_ifd(0x8825)
        assert place[1] == "N"
        assert tuple(map(float, place[2])) == (31, 14, 3)


def test_a_damaged_exif_block_is_left_out_with_a_warning(pixels, tmp_path, caplog):
    path = write_photo(tmp_path / "a.jpg", pixels, exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x05garbage")
    assert read_photo(path).size == (32, 48)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_names_that_are_not_ascii_survive(suffix, pixels, tmp_path):
    stored = {0x013B: "Jürgen Müller".encode(), 0x8298: "© 2026 照相馆".encode(), 0x9C9B: "标题".encode("utf-16-le")}
    exif = Image.Exif()
    exif.update(stored)
    path = write_photo(tmp_path / f"named{suffix}", pixels, dpi=300.5, exif=exif.tobytes())

    with Image.open(path) as image:
        found = image.getexif()
    for tag, value in stored.items():
        read = found[tag].encode("latin-1") if isinstance(found[tag], str) else found[tag]
        assert read.rstrip(b"\0") == value.rstrip(b"\0")


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_shooting_details_that_are_not_ascii_survive(suffix, pixels, tmp_path):
    owner, stand_in = "Владелец".encode(), b"sixteen letters."  # Pillow writes ASCII alone as text
    exif = Image.Exif()
    exif[0x8769] = {0xA430: stand_in.decode(), 0xA434: "EF 50mm"}
    block = exif.tobytes().replace(stand_in, owner)
    path = write_photo(tmp_path / f"owned{suffix}", pixels, dpi=300.5, exif=block)

    with Image.open(path) as image:
        details = image.getexif().get_ifd(0x8769)
    assert details[0xA430].rstrip(b"\0") == owner
    assert details[0xA434] == "EF 50mm"


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_a_resolution_alone_brings_no_empty_shooting_details(suffix, pixels, tmp_path):
    with Image.open(write_photo(tmp_path / f"fine{suffix}", pixels, dpi=300.5)) as image:
        found = image.getexif()
    assert found[0x011A] == 300.5
    assert 0x8769 not in found


@pytest.mark.parametrize(("suffix", "most"), [(".webp", 16383), (".jpg", 65500), (".jpeg", 65500)])
def test_a_picture_too_long_for_its_format_is_refused_in_words(suffix, most, tmp_path):
    words = (
        rf"wide{suffix}\" cannot be written: .* at most {most} pixels a side, got {most + 1} × 2: choose PNG or TIFF"
    )
    with pytest.raises(PhotoError, match=words):
        write_photo(tmp_path / f"wide{suffix}", torch.zeros(3, 2, most + 1))
    assert not list(tmp_path.iterdir())


def test_an_exif_block_too_large_for_a_jpeg_is_left_out_with_a_warning(pixels, tmp_path, caplog):
    exif = Image.Exif()
    exif[0x010E] = "workflow " * 10_000
    path = write_photo(tmp_path / "large.jpg", pixels, dpi=300, exif=exif.tobytes())

    assert "larger than a JPEG can hold" in caplog.text
    assert read_photo(path).dpi == (300, 300)


def test_exif_of_a_real_round_trip(pixels, tmp_path):
    first = write_photo(tmp_path / "first.jpg", pixels, exif=camera_exif())
    second = write_photo(tmp_path / "second.tif", pixels, exif=read_photo(first).exif)
    third = write_photo(tmp_path / "third.jpg", pixels, exif=read_photo(second).exif)
    with Image.open(third) as image:
        assert image.getexif()[0x0110] == "Model 1"
        assert 0x0111 not in image.getexif()  # the TIFF's strips are no business of a JPEG


def test_words_are_embedded_in_png(pixels, tmp_path):
    for bit_depth in (8, 16):
        path = write_photo(tmp_path / "a.png", pixels, text={"workflow": '{"名": 1}'}, bit_depth=bit_depth)
        with Image.open(path) as image:
            image.load()
            assert image.text["workflow"] == '{"名": 1}'
    with pytest.raises(SettingsError, match=r"only PNG holds it, got \.jpg"):
        write_photo(tmp_path / "a.jpg", pixels, text={"workflow": "{}"})


def test_a_jpeg_of_a_transparent_picture_lies_on_white_and_says_so(pixels, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        path = write_photo(tmp_path / "a.jpg", pixels, alpha=torch.zeros(32, 48))
    assert read_photo(path).pixels.min() > 0.99
    assert "JPEG holds no transparency" in caplog.text


def test_or_on_a_colour_or_is_refused(pixels, tmp_path):
    path = write_photo(tmp_path / "a.jpg", pixels, alpha=torch.zeros(32, 48), background=(0, 0, 1))
    assert read_photo(path).pixels[:, 5, 5].tolist() == pytest.approx([0, 0, 1], abs=0.02)
    with pytest.raises(PhotoError, match="JPEG holds no transparency"):
        write_photo(tmp_path / "b.jpg", pixels, alpha=torch.zeros(32, 48), background=None)


def test_values_are_rounded_to_the_nearest_and_clipped(tmp_path):
    pixels = torch.tensor([-0.2, 0.49 / 255, 0.51 / 255, 254.6 / 255, 1.7]).expand(3, 1, 5)
    with Image.open(write_photo(tmp_path / "a.png", pixels)) as image:
        assert np.asarray(image)[0, :, 0].tolist() == [0, 0, 1, 255, 255]


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_taken(kind, pixels, tmp_path):
    photo = read_photo(write_photo(tmp_path / "a.png", pixels.to(kind)))
    assert (photo.pixels - pixels).abs().max() < 2.1 / 255


def test_equal_pictures_give_equal_files(pixels, tmp_path):
    for name in ("a.png", "a.jpg", "a.tif"):
        first = write_photo(tmp_path / "one" / name, pixels, dpi=300).read_bytes()
        assert first == write_photo(tmp_path / "two" / name, pixels, dpi=300).read_bytes()


def test_the_input_is_left_alone(pixels, alpha, tmp_path):
    before = pixels.clone(), alpha.clone()
    write_photo(tmp_path / "a.jpg", pixels, alpha=alpha)
    assert torch.equal(pixels, before[0])
    assert torch.equal(alpha, before[1])


def test_a_source_is_never_overwritten(pixels, tmp_path):
    source = tmp_path / "source.png"
    smooth_picture().save(source)
    before = source.read_bytes()
    for name in (source, tmp_path / "." / "source.png", tmp_path / "x" / ".." / "source.png"):
        (tmp_path / "x").mkdir(exist_ok=True)
        with pytest.raises(PhotoError, match=r"source\.png.*is a source photo and is never overwritten"):
            write_photo(name, pixels, protect=[source])
    assert source.read_bytes() == before


@pytest.mark.skipif(os.name == "nt", reason="making links needs rights there")
def test_not_even_through_a_link(pixels, tmp_path):
    source = tmp_path / "source.png"
    smooth_picture().save(source)
    (tmp_path / "hard.png").hardlink_to(source)
    (tmp_path / "soft.png").symlink_to(source)
    for name in ("hard.png", "soft.png"):
        with pytest.raises(PhotoError, match="never overwritten"):
            write_photo(tmp_path / name, pixels, protect=[str(source)])


def test_an_existing_file_stays_if_asked(pixels, tmp_path):
    path = write_photo(tmp_path / "a.png", pixels)
    with pytest.raises(PhotoError, match="exists already"):
        write_photo(path, pixels, overwrite=False)
    write_photo(path, pixels * 0)
    assert read_photo(path).pixels.max() == 0


def test_folders_are_made(pixels, tmp_path):
    assert write_photo(tmp_path / "客户" / "2026" / "a.png", pixels).exists()


def test_a_failure_midway_leaves_the_old_file_and_no_rubbish(pixels, tmp_path, monkeypatch):
    path = write_photo(tmp_path / "a.png", pixels)
    before = path.read_bytes()

    def disk_full(file, image, order):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setitem(photo_write._WRITERS, ".png", disk_full)
    with pytest.raises(PhotoError, match=r'a\.png" cannot be written: No space left on device'):
        write_photo(path, pixels)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_the_file_gets_the_usual_rights(pixels, tmp_path):
    usual = tmp_path / "usual"
    usual.touch()
    assert write_photo(tmp_path / "a.png", pixels).stat().st_mode == usual.stat().st_mode


@pytest.mark.parametrize(
    ("name", "settings", "error", "words"),
    [
        ("a.gif", {}, PhotoError, "expected a name ending in .jpeg, .jpg, .png"),
        ("a", {}, PhotoError, "expected a name ending in"),
        ("a.jpg", {"quality": 0}, SettingsError, "quality: expected 1 to 100, got 0"),
        ("a.jpg", {"bit_depth": 16}, SettingsError, "16 with PNG or TIFF, got 16 with .jpg"),
        ("a.png", {"dpi": 0}, SettingsError, "dpi: expected 1 to 65535, got 0"),
        ("a.png", {"alpha": torch.ones(3, 3)}, ShapeError, r"alpha: expected \(32, 48\), got \(3, 3\)"),
    ],
)
def test_wrong_settings(name, settings, error, words, pixels, tmp_path):
    with pytest.raises(error, match=words):
        write_photo(tmp_path / name, pixels, **settings)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("shape", [(1, 3, 4, 4), (4, 4), (1, 4, 4), (3, 0, 4)])
def test_wrong_shapes(shape, tmp_path):
    with pytest.raises(ShapeError, match=r"pixels: expected \(3, H, W\), got"):
        write_photo(tmp_path / "a.png", torch.zeros(shape))


def test_broken_numbers_are_refused(pixels, tmp_path):
    pixels[1, 3, 3] = torch.nan
    with pytest.raises(ShapeError, match="got NaN"):
        write_photo(tmp_path / "a.png", pixels)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_that_name(pixels, tmp_path):
    (tmp_path / "a.png").mkdir()
    with pytest.raises(PhotoError, match="is a folder"):
        write_photo(tmp_path / "a.png", pixels)


def test_an_enlarged_version_keeps_its_size_on_paper_and_its_transparency(tmp_path):
    alpha = torch.zeros(4, 6)
    alpha[:, 3:] = 1
    write_photo(tmp_path / "small.png", torch.rand(3, 4, 6), alpha=alpha, dpi=150)
    photo = read_photo(tmp_path / "small.png")
    larger = photo.pixels.repeat_interleave(2, 1).repeat_interleave(2, 2)
    written = read_photo(write_version(tmp_path / "large.png", photo, larger))
    assert written.size == (8, 12)
    assert written.dpi == pytest.approx((300, 300), abs=0.01)
    assert written.alpha.shape == (8, 12)
    assert written.alpha[0].tolist() == pytest.approx([0, 0, 0, 0, 0, 0.25, 0.75, 1, 1, 1, 1, 1], abs=0.003)


def test_a_version_of_other_proportions_is_refused_with_the_transparency_it_does_not_fit(tmp_path):
    write_photo(tmp_path / "small.png", torch.rand(3, 4, 6), alpha=torch.ones(4, 6))
    with pytest.raises(ShapeError, match=r"alpha: expected \(8, 13\), got \(4, 6\)"):
        write_version(tmp_path / "x.png", read_photo(tmp_path / "small.png"), torch.rand(3, 8, 13))


def test_a_resolution_that_no_file_can_hold_does_not_lose_the_enlarged_photo(tmp_path, caplog):
    photo = read_photo(write_photo(tmp_path / "fine.png", torch.rand(3, 8, 8), dpi=40_000))

    assert read_photo(write_version(tmp_path / "large.png", photo, torch.rand(3, 16, 16))).dpi is None
    assert "80000 dpi is more than a file can hold" in caplog.text
