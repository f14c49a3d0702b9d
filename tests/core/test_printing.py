"""Print: sheets of exact size with faces kept, sharpened without halos, written for printers and presses."""

import io
import re
import zlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from gpen_core.cli import main
from gpen_core.errors import PhotoError, SettingsError, ShapeError
from gpen_core.icc import srgb_profile
from gpen_core.photo import read_photo
from gpen_core.printing import PAPERS, Paper, PrintSpec, Sharpening, lay_out, paper_named, write_print
from gpen_core.sharpen import sharpen, sharpening_kernel
from gpen_core.types import Box

from .awkward_files import smooth_picture
from .profiles_made_here import cmyk_profile, rgb_profile

PLAIN = Sharpening(strength=0)


def photo(width: int, height: int) -> torch.Tensor:
    return torch.from_numpy(np.asarray(smooth_picture(width, height)).copy()).permute(2, 0, 1) / 255


# Sheet pixels (width, height) at the paper's own dpi: millimetres / 25.4 × dpi, rounded.
PIXELS = {
    "business-card": (1063, 638),
    "id-35x45": (413, 531),
    "id-33x48": (390, 567),
    "id-1in": (295, 413),
    "id-2in": (413, 579),
    "5x7in": (1500, 2100),
    "10x15cm": (1181, 1772),
    "A4": (2480, 3508),
    "A3": (3508, 4961),
    "roll-up-800x2000": (3150, 7874),
}


@pytest.mark.parametrize(("name", "size"), PIXELS.items())
def test_papers_give_sheets_of_the_printers_pixels(name, size):
    paper = PAPERS[name]
    upright = photo(30, 40) if paper.height_mm > paper.width_mm else photo(40, 30)
    sheet = lay_out(upright, PrintSpec(paper=paper, sharpening=PLAIN, max_enlargement=999))
    assert sheet.pixels.shape == (3, size[1], size[0])
    assert sheet.dpi == paper.dpi
    assert sheet.size_mm == (paper.width_mm, paper.height_mm)


def test_papers_by_name():
    assert paper_named("a4") == Paper(210, 297)
    with pytest.raises(SettingsError, match=r'no paper named "A9"\. Known are business-card'):
        paper_named("A9")


def test_the_default_enlarges_by_one_and_a_half():
    sheet = lay_out(photo(200, 100), PrintSpec())
    assert sheet.pixels.shape == (3, 150, 300)
    assert (sheet.dpi, sheet.effective_dpi, sheet.enlargement) == (300, 200, 1.5)
    assert sheet.size_mm == pytest.approx((25.4, 12.7))
    assert sheet.warnings == ()


def test_effective_dpi_and_the_warning_above_two_times():
    sheet = lay_out(photo(400, 600), PrintSpec(paper=PAPERS["A4"]))
    assert sheet.enlargement == pytest.approx(6.2, abs=0.01)
    assert sheet.effective_dpi == pytest.approx(48.4, abs=0.1)
    assert re.search(r"×6\.20, more than ×2: the photo gives 48 dpi", sheet.warnings[0])
    assert lay_out(photo(400, 600), PrintSpec(scale=2.0)).warnings == ()
    assert lay_out(photo(40, 60), PrintSpec(scale=2.1)).warnings != ()


def test_bleed_is_added_all_round():
    sheet = lay_out(photo(400, 240), PrintSpec(paper=PAPERS["business-card"], bleed_mm=3))
    assert sheet.size_mm == (96, 60)
    assert sheet.pixels.shape == (3, 709, 1134)
    with pytest.raises(SettingsError, match="bleed: needs a paper"):
        PrintSpec(bleed_mm=3)


def test_papers_turn_with_the_photo_but_identity_photos_do_not():
    assert lay_out(photo(60, 40), PrintSpec(paper=PAPERS["A6"])).size_mm == (148, 105)
    assert lay_out(photo(40, 60), PrintSpec(paper=PAPERS["business-card"])).size_mm == (54, 90)
    assert lay_out(photo(60, 40), PrintSpec(paper=PAPERS["A6"], turn=False)).size_mm == (105, 148)
    assert lay_out(photo(60, 40), PrintSpec(paper=PAPERS["id-35x45"])).size_mm == (35, 45)


def test_fill_without_faces_cuts_evenly():
    sheet = lay_out(photo(300, 100), PrintSpec(paper=Paper(50, 50)))
    assert sheet.photo_box == Box(100, 0, 200, 100)


@pytest.mark.parametrize(
    ("face", "left", "right"),
    [
        (Box(10, 30, 40, 70), 0, 10),
        (Box(95, 30, 125, 70), 55, 84.5),  # with its hair the head spans 84.5 to 135.5
        (Box(140, 30, 170, 70), 100, 100),
        (Box(262, 30, 292, 70), 200, 200),
    ],
)
def test_fill_moves_the_cut_to_keep_a_face(face, left, right):
    sheet = lay_out(photo(300, 100), PrintSpec(paper=Paper(50, 50)), faces=[face])
    box = sheet.photo_box
    assert left <= box.x0 <= right
    assert box.x0 <= face.x0
    assert box.x1 >= face.x1
    assert sheet.warnings == lay_out(photo(300, 100), PrintSpec(paper=Paper(50, 50))).warnings


def test_fill_keeps_hair_where_there_is_room():
    tall = photo(100, 300)
    sheet = lay_out(tall, PrintSpec(paper=Paper(50, 50)), faces=[Box(40, 60, 60, 90)])
    assert sheet.photo_box.y0 <= 60 - 0.6 * 30
    at_the_edge = lay_out(tall, PrintSpec(paper=Paper(50, 50), bleed_mm=5), faces=[Box(40, 12, 60, 42)])
    assert at_the_edge.photo_box.y0 == 0


def test_a_face_stays_inside_the_trimmed_paper_not_only_in_the_bleed():
    face = Box(130, 30, 168, 70)
    spec = PrintSpec(paper=Paper(40, 40), bleed_mm=5)
    box = lay_out(photo(400, 100), spec, faces=[face]).photo_box
    bleed = 5 / 50 * 100
    assert box.x0 + bleed <= face.x0 + 1
    assert box.x1 - bleed >= face.x1 - 1


def test_when_not_all_faces_have_room_the_largest_is_kept_and_the_others_are_named():
    faces = [Box(5, 40, 25, 60), Box(200, 20, 260, 80)]
    sheet = lay_out(photo(300, 100), PrintSpec(paper=Paper(50, 50), max_enlargement=99), faces=faces)
    assert sheet.photo_box.x0 <= 200
    assert sheet.photo_box.x1 >= 260
    assert sheet.warnings == ('1 of 2 faces cut by the edge of the paper: choose "fit" or a paper of another shape.',)


def test_fit_shows_the_whole_photo_with_margins():
    sheet = lay_out(torch.zeros(3, 100, 200), PrintSpec(paper=Paper(50.8, 50.8), crop="fit", margin_colour=(0, 1, 0)))
    assert sheet.pixels.shape == (3, 600, 600)
    assert sheet.photo_box == Box(0, 0, 200, 100)
    assert sheet.enlargement == 3
    assert sheet.pixels[:, 149, 300].tolist() == [0, 1, 0]
    assert sheet.pixels[:, 150:450].max() == 0
    assert sheet.pixels[:, 450, 300].tolist() == [0, 1, 0]


def test_scale_one_without_sharpening_changes_nothing():
    source = photo(31, 17)
    sheet = lay_out(source, PrintSpec(scale=1.0, sharpening=PLAIN))
    assert torch.equal(sheet.pixels, source)


@pytest.mark.parametrize("resampling", ["bicubic", "lanczos"])
def test_enlarging_keeps_a_smooth_picture_smooth(resampling):
    source, larger = photo(60, 40), photo(180, 120)
    sheet = lay_out(source, PrintSpec(scale=3.0, resampling=resampling, sharpening=PLAIN))
    # The centre: away from the border, where the two grids of pixel centres do not cover each other.
    assert (sheet.pixels - larger)[:, 20:-20, 20:-20].abs().max() < 1.5 / 255 * 2


def test_reducing_averages_so_that_a_fine_pattern_turns_grey():
    checkers = torch.from_numpy(np.indices((400, 400)).sum(axis=0) % 2).float().expand(3, -1, -1)
    sheet = lay_out(checkers, PrintSpec(scale=0.25, sharpening=PLAIN))
    assert (sheet.pixels - 0.5).abs().max() < 1e-6


def test_the_photo_is_left_alone():
    source = photo(50, 40)
    before = source.clone()
    lay_out(source, PrintSpec(scale=1.0))
    lay_out(source, PrintSpec(paper=Paper(30, 30)))
    assert torch.equal(source, before)


def test_the_kernel_in_numbers():
    kernel = sharpening_kernel(Sharpening(strength=1.0, radius_px=1))
    assert (kernel * 16).tolist() == [[-1, -2, -1], [-2, 28, -2], [-1, -2, -1]]
    assert sharpening_kernel(Sharpening(strength=0.4, radius_px=2)).sum() == pytest.approx(1)
    assert sharpening_kernel(Sharpening(strength=0.4, radius_px=2)).shape == (5, 5)


@pytest.mark.parametrize("limit", [0.0, 0.02, 0.1])
def test_halos_stay_within_their_limit(limit):
    edge = torch.full((3, 40, 40), 0.3)
    edge[:, :, 20:] = 0.7
    sharp = sharpen(edge, Sharpening(strength=3.0, radius_px=2, halo_limit=limit))
    assert sharp.max() == pytest.approx(0.7 + limit, abs=1e-5)
    assert sharp.min() == pytest.approx(0.3 - limit, abs=1e-5)


def test_sharpening_steepens_an_edge_leaves_flat_parts_and_hues():
    ramp = torch.linspace(-30, 30, 60).sigmoid().expand(3, 30, 60) * torch.tensor([0.5, 0.4, 0.3])[:, None, None] + 0.2
    sharp = sharpen(ramp, Sharpening())
    assert (sharp[0, 15].diff().max() / ramp[0, 15].diff().max()) > 1.02
    change = sharp - ramp
    assert (change[0] - change[1]).abs().max() < 1e-6
    flat = torch.full((3, 20, 20), 0.37)
    assert (sharpen(flat, Sharpening(strength=3)) - flat).abs().max() < 1e-6


def test_sharpening_strip_by_strip_shows_no_seams(monkeypatch):
    source = torch.rand(3, 50, 30, generator=torch.Generator().manual_seed(1))
    whole = sharpen(source, Sharpening())
    monkeypatch.setattr("gpen_core.sharpen._STRIP_PIXELS", 7 * 30)
    assert torch.equal(sharpen(source, Sharpening()), whole)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
def test_files_carry_resolution_size_and_profile(suffix, tmp_path):
    sheet = lay_out(photo(300, 400), PrintSpec(paper=PAPERS["id-35x45"]))
    path = write_print(tmp_path / f"证件照{suffix}", sheet)
    with Image.open(path) as image:
        dpi = tuple(map(float, image.info["dpi"]))
        assert dpi == pytest.approx((300, 300), abs=0.01)
        assert image.info["icc_profile"] == srgb_profile()
        assert image.size == (413, 531)
        assert image.width / dpi[0] * 25.4 == pytest.approx(35, abs=0.05)
        assert image.height / dpi[1] * 25.4 == pytest.approx(45, abs=0.05)


def pdf_box(data: bytes, name: str) -> list[float]:
    return [float(value) for value in re.search(rf"/{name} \[([^\]]*)\]".encode(), data).group(1).split()]


def test_pdf_has_one_page_of_the_exact_size(tmp_path):
    sheet = lay_out(photo(400, 240), PrintSpec(paper=PAPERS["business-card"], bleed_mm=3))
    data = write_print(tmp_path / "card.pdf", sheet).read_bytes()
    point = 25.4 / 72
    assert [value * point for value in pdf_box(data, "MediaBox")] == pytest.approx([0, 0, 96, 60], abs=1e-3)
    assert [value * point for value in pdf_box(data, "TrimBox")] == pytest.approx([3, 3, 93, 57], abs=1e-3)

    jpeg = data[data.index(b"\xff\xd8\xff") : data.rindex(b"\xff\xd9") + 2]
    with Image.open(io.BytesIO(jpeg)) as image:
        assert image.size == (1134, 709)
        assert np.abs(np.asarray(image) / 255 - sheet.pixels.permute(1, 2, 0).numpy()).mean() < 0.01
    profile = data[data.index(b"/N 3") :]
    profile = profile[profile.index(b"stream\n") + 7 : profile.index(b"\nendstream")]
    assert zlib.decompress(profile) == srgb_profile()


def test_a_pdf_longer_than_five_metres_has_a_larger_unit(tmp_path):
    sheet = lay_out(photo(200, 20), PrintSpec(paper=Paper(6000, 600, dpi=20), bleed_mm=3))
    data = write_print(tmp_path / "banner.pdf", sheet).read_bytes()
    unit = 2 * 25.4 / 72
    assert data.startswith(b"%PDF-1.6\n") and b"/UserUnit 2 " in data
    assert [value * unit for value in pdf_box(data, "MediaBox")] == pytest.approx([0, 0, 6006, 606], abs=1e-3)
    assert [value * unit for value in pdf_box(data, "TrimBox")] == pytest.approx([3, 3, 6003, 603], abs=1e-3)
    assert max(pdf_box(data, "MediaBox")) <= 14400


def test_a_pdf_holds_a_picture_that_no_jpeg_holds(tmp_path):
    pixels = torch.rand(3, 2, 66_000)
    sheet = replace(lay_out(photo(20, 20), PrintSpec()), pixels=pixels)
    data = write_print(tmp_path / "long.pdf", sheet).read_bytes()
    picture = data[data.index(b"/Width 66000") :]
    packed = zlib.decompress(picture[picture.index(b"stream\n") + 7 : picture.index(b"\nendstream")])
    found = np.frombuffer(packed, np.uint8).reshape(2, 66_000, 3) / 255
    assert np.abs(found - pixels.permute(1, 2, 0).numpy()).max() <= 0.51 / 255


def test_the_pdf_s_table_points_at_its_objects(tmp_path):
    data = write_print(tmp_path / "a.pdf", lay_out(photo(20, 20), PrintSpec())).read_bytes()
    table = int(re.search(rb"startxref\n(\d+)", data).group(1))
    assert data[table:].startswith(b"xref\n0 7\n")
    positions = [int(line[:10]) for line in data[table:].splitlines()[3:9]]
    for number, position in enumerate(positions, start=1):
        assert data[position:].startswith(f"{number} 0 obj".encode())


def test_a_press_profile_gives_a_cmyk_tiff(tmp_path):
    (tmp_path / "press.icc").write_bytes(cmyk_profile())
    sheet = lay_out(photo(120, 80), PrintSpec(scale=1.0, sharpening=PLAIN))
    path = write_print(tmp_path / "press.tif", sheet, output_profile=tmp_path / "press.icc")
    with Image.open(path) as image:
        assert image.mode == "CMYK"
        assert tuple(map(float, image.info["dpi"])) == (300, 300)
        assert image.info["icc_profile"] == cmyk_profile()
    back = read_photo(path)
    assert (back.pixels - sheet.pixels).abs().mean() * 255 < 4


def test_a_press_profile_gives_a_cmyk_pdf(tmp_path):
    (tmp_path / "press.icc").write_bytes(cmyk_profile())
    sheet = lay_out(torch.ones(3, 10, 10), PrintSpec(scale=1.0, sharpening=PLAIN))
    data = write_print(tmp_path / "press.pdf", sheet, output_profile=tmp_path / "press.icc").read_bytes()
    assert b"/N 4 /Alternate /DeviceCMYK" in data
    picture = data[data.index(b"/Width") :]
    picture = zlib.decompress(picture[picture.index(b"stream\n") + 7 : picture.index(b"\nendstream")])
    assert np.frombuffer(picture, np.uint8).reshape(10, 10, 4).max() <= 3  # white paper: no ink


def test_a_printer_profile_for_rgb_gives_a_tiff_in_its_colours(tmp_path):
    profile = rgb_profile(((0.64, 0.33), (0.21, 0.71), (0.15, 0.06)), gamma=2.2)
    (tmp_path / "printer.icc").write_bytes(profile)
    sheet = lay_out(photo(120, 80), PrintSpec(scale=1.0, sharpening=PLAIN))
    path = write_print(tmp_path / "a.tif", sheet, output_profile=tmp_path / "printer.icc")
    with Image.open(path) as image:
        assert image.info["icc_profile"] == profile
        assert np.abs(np.asarray(image) / 255 - sheet.pixels.permute(1, 2, 0).numpy()).max() > 0.05
    assert (read_photo(path).pixels - sheet.pixels).abs().mean() < 1 / 255


def test_wrong_profiles_and_formats(tmp_path):
    sheet = lay_out(photo(20, 20), PrintSpec())
    (tmp_path / "bad.icc").write_bytes(b"not a profile")
    with pytest.raises(PhotoError, match=r'bad\.icc" cannot be used as an output profile'):
        write_print(tmp_path / "a.tif", sheet, output_profile=tmp_path / "bad.icc")
    with pytest.raises(PhotoError, match=r'gone\.icc" cannot be read'):
        write_print(tmp_path / "a.tif", sheet, output_profile=tmp_path / "gone.icc")
    with pytest.raises(SettingsError, match=r"only TIFF and PDF carry a press's colours, got \.jpg"):
        write_print(tmp_path / "a.jpg", sheet, output_profile=tmp_path / "bad.icc")
    with pytest.raises(PhotoError, match=r"expected a name ending in \.jpeg, \.jpg, \.pdf"):
        write_print(tmp_path / "a.bmp", sheet)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"scale": 0}, "scale: expected 0.01 to 16, got 0"),
        ({"dpi": 0.5}, "dpi: expected 1 to 4800, got 0.5"),
        ({"bleed_mm": -1}, "bleed: expected 0 to 100 mm"),
        ({"resampling": "nearest"}, "resampling: expected bicubic or lanczos"),
        ({"crop": "squeeze"}, "crop: expected fill or fit"),
    ],
)
def test_wrong_settings(settings, words):
    with pytest.raises(SettingsError, match=words):
        PrintSpec(**settings)


def test_sheets_too_large_to_make_are_refused_before_they_are_made():
    with pytest.raises(SettingsError, match="more than 400 million"):
        lay_out(photo(20, 20), PrintSpec(paper=Paper(2000, 2000), dpi=600))


def test_wrong_shapes():
    with pytest.raises(ShapeError, match=r"expected \(3, H, W\), got \(1, 3, 4, 4\)"):
        lay_out(torch.zeros(1, 3, 4, 4), PrintSpec())


def test_the_command(tmp_path, capsys):
    smooth_picture(200, 260).save(tmp_path / "客户.jpg")
    code = main(["print", "-i", str(tmp_path / "客户.jpg"), "--paper", "id-35x45", "--no-faces"])
    assert code == 0
    assert "35.0 × 45.0 mm, 413 × 531 pixels at 300 dpi" in capsys.readouterr().out
    assert read_photo(tmp_path / "客户_print.tif").size == (531, 413)


def test_the_command_looks_for_faces(tmp_path, capsys):
    from gpen_core.commands.restore import SAMPLE

    assert main(["print", "-i", str(SAMPLE), "-o", str(tmp_path / "card.pdf"), "--paper", "business-card"]) == 0
    assert "90.0 × 54.0 mm" in capsys.readouterr().out
    assert (tmp_path / "card.pdf").stat().st_size > 10_000


def test_the_command_never_overwrites_the_photo(tmp_path, capsys):
    smooth_picture().save(tmp_path / "a.png")
    before = (tmp_path / "a.png").read_bytes()
    assert main(["print", "-i", str(tmp_path / "a.png"), "-o", str(tmp_path / "a.png")]) == 1
    assert "never overwritten" in capsys.readouterr().err
    assert (tmp_path / "a.png").read_bytes() == before


def test_the_command_lists_papers(capsys):
    assert main(["print", "--list-papers"]) == 0
    assert "roll-up-800x2000   800 × 2000 mm, 100 dpi" in capsys.readouterr().out
