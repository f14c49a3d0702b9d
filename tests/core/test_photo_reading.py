"""Reading: any photo file a client may send becomes upright sRGB pixels, or an error that says what is wrong."""

import os
import random
import re
import struct
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image, ImageFile, features

from gpen_core.errors import ModelMemoryError, PhotoError
from gpen_core.icc import ProfileError, formula_profile
from gpen_core.photo import Photo, list_photos, read_photo, write_version
from gpen_core.photo_open import turn_upright

from .awkward_files import AWKWARD_FILES, AwkwardFile, alpha_of, insert_chunk, sixteen_bit_samples, smooth_picture
from .profiles_made_here import cmyk_profile, damaged_rgb_profile

READABLE = [file for file in AWKWARD_FILES if file.verdict == "reads"]
REFUSED = [file for file in AWKWARD_FILES if file.verdict == "refused"]


def made(file: AwkwardFile, folder: Path, picture: Image.Image) -> Path:
    if file.needs and not (find_spec(file.needs) or file.needs in features.get_supported_modules()):
        pytest.skip(f"needs {file.needs}")
    path = folder / file.name
    file.make(path, picture)
    return path


def levels(pixels: torch.Tensor) -> np.ndarray:
    return pixels.permute(1, 2, 0).numpy() * 255


@pytest.mark.parametrize("file", READABLE, ids=lambda file: file.name)
def test_awkward_files_that_can_be_read_look_like_the_picture_they_were_made_from(file, tmp_path):
    picture = smooth_picture()
    photo = read_photo(made(file, tmp_path, picture))

    assert photo.size == (32, 48)
    assert photo.pixels.dtype == torch.float32
    wanted = np.asarray(file.look(picture).convert("RGB"), dtype=np.float32)
    assert np.abs(levels(photo.pixels) - wanted).mean() <= file.tolerance
    assert (photo.alpha is not None) == file.alpha
    assert photo.bit_depth == file.bit_depth
    assert photo.was_grey == file.grey
    if file.grey:
        assert torch.equal(photo.pixels[0], photo.pixels[1])
        assert torch.equal(photo.pixels[0], photo.pixels[2])


@pytest.mark.parametrize("file", REFUSED, ids=lambda file: file.name)
def test_awkward_files_that_cannot_be_read_are_refused_by_name_and_cause(file, tmp_path):
    path = made(file, tmp_path, smooth_picture(480, 320))
    with pytest.raises(PhotoError, match=file.cause) as error:
        read_photo(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("file", READABLE, ids=lambda file: file.name)
def test_damage_anywhere_gives_a_photo_or_a_photo_error(file, tmp_path):
    chance = random.Random(file.name)
    path = made(file, tmp_path, smooth_picture())
    data = path.read_bytes()
    for _ in range(12):
        damaged = bytearray(data[: chance.choice([len(data), chance.randrange(1, len(data))])])
        for _ in range(chance.choice([1, 3, 10])):
            damaged[chance.randrange(min(len(damaged), chance.choice([100, 400, len(data)])))] = chance.randrange(256)
        path.write_bytes(damaged)
        try:
            photo = read_photo(path, max_pixels=1_000_000)
        except PhotoError as error:
            assert path.name in str(error)
        else:
            assert photo.pixels.shape == (3, *photo.size)


def test_there_are_at_least_forty_awkward_files_and_no_two_share_a_name():
    assert len(AWKWARD_FILES) >= 60
    assert len({file.name.lower() for file in AWKWARD_FILES}) == len(AWKWARD_FILES)


@pytest.mark.parametrize("name", ["grey_16.png", "grey_alpha_16.png", "照片_16位.png", "rgba_16.png", "扫描_16位.tiff"])
def test_sixteen_bits_are_kept_to_the_last(name, tmp_path):
    file = next(file for file in AWKWARD_FILES if file.name == name)
    picture = smooth_picture()
    photo = read_photo(made(file, tmp_path, picture))

    colours = sixteen_bit_samples(picture, 1 if file.grey else 3)
    values = photo.pixels.permute(1, 2, 0).double().numpy() * 65535
    assert np.abs(values - colours).max() < 0.01
    if file.alpha:
        assert np.abs(photo.alpha.double().numpy() * 65535 - sixteen_bit_samples(picture, 2)[..., 1]).max() < 0.01


def test_alpha_comes_through(tmp_path):
    file = next(file for file in AWKWARD_FILES if file.name == "rgba.png")
    photo = read_photo(made(file, tmp_path, smooth_picture()))
    assert torch.equal(photo.alpha * 255, torch.from_numpy(np.asarray(alpha_of((48, 32))).astype(np.float32)))


def test_a_palette_s_transparency_comes_through(tmp_path):
    file = next(file for file in AWKWARD_FILES if file.name == "palette_alpha.png")
    photo = read_photo(made(file, tmp_path, smooth_picture()))
    assert photo.alpha.mean() == pytest.approx(128 / 255)


# Where the stored corner pixels belong, by EXIF orientation; stored are the letters
#   A B
#   C D
UPRIGHT = {1: "ABCD", 2: "BADC", 3: "DCBA", 4: "CDAB", 5: "ACBD", 6: "CADB", 7: "DBCA", 8: "BDAC"}


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_turning_upright(orientation):
    stored = np.array([[ord("A"), ord("B")], [ord("C"), ord("D")]], dtype=np.uint16)[:, :, None]
    turned = turn_upright(stored, orientation)
    assert "".join(chr(letter) for letter in turned.ravel()) == UPRIGHT[orientation]


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_pillow_s_turning_agrees(orientation, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.array([[ord("A"), ord("B")], [ord("C"), ord("D")]], dtype=np.uint8))
    stored.save(tmp_path / "corners.png", exif=exif)
    photo = read_photo(tmp_path / "corners.png")
    assert "".join(chr(round(value * 255)) for value in photo.pixels[0].ravel().tolist()) == UPRIGHT[orientation]


def test_values_are_the_file_s_levels_over_255(tmp_path):
    Image.new("RGB", (3, 2), (0, 128, 255)).save(tmp_path / "plain.png")
    photo = read_photo(tmp_path / "plain.png")
    assert photo.pixels[:, 0, 0].tolist() == pytest.approx([0.0, 128 / 255, 1.0])
    assert photo.format == "PNG"
    assert photo.source == tmp_path / "plain.png"


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 700), (700, 1)])
def test_the_thinnest_photos(width, height, tmp_path):
    Image.new("RGB", (width, height), (10, 20, 30)).save(tmp_path / "thin.png")
    assert read_photo(tmp_path / "thin.png").size == (height, width)


def test_a_photo_taller_than_one_strip_is_whole(tmp_path):
    picture = smooth_picture(1024, 700)
    picture.save(tmp_path / "tall.png", compress_level=0)
    photo = read_photo(tmp_path / "tall.png")
    assert np.array_equal(np.rint(levels(photo.pixels)), np.asarray(picture))


@pytest.mark.parametrize(
    ("suffix", "settings", "wanted"),
    [
        (".jpg", {"dpi": (300, 300)}, (300, 300)),
        (".png", {"dpi": (300, 300)}, (299.9994, 299.9994)),
        (".tif", {"dpi": (240.5, 120)}, (240.5, 120)),
        (".png", {}, None),
        (".jpg", {"dpi": (1, 1)}, None),
        (".jpg", {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\1\x01\x0f\0\2\0\0\0\4Cam\0\0\0\0\0"}, None),
    ],
)
def test_resolution(suffix, settings, wanted, tmp_path):
    path = tmp_path / f"dpi{suffix}"
    smooth_picture().save(path, **settings)
    assert read_photo(path).dpi == (None if wanted is None else pytest.approx(wanted))


def test_resolution_turns_with_the_photo(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    smooth_picture().save(tmp_path / "turned.jpg", dpi=(300, 150), exif=exif)
    assert read_photo(tmp_path / "turned.jpg").dpi == (150, 300)


@pytest.mark.parametrize(
    ("tag", "kind", "value"),
    [(274, 1, b"\x06"), (274, 2, b"abc"), (282, 2, b"abc"), (271, 5, b"")],
    ids=["orientation as a byte", "orientation in words", "resolution in words", "maker as a fraction"],
)
@pytest.mark.parametrize("orientation", [1, 6])
def test_an_odd_entry_does_not_lose_the_photo(tag, kind, value, orientation, tmp_path):
    entries = {274: (3, 1, struct.pack("<H", orientation)), tag: (kind, len(value) or 1, value)}
    behind = 8 + 2 + 12 * len(entries) + 4
    entries = {tag: (kind, count, value or struct.pack("<I", behind)) for tag, (kind, count, value) in entries.items()}
    block = b"Exif\0\0" + struct.pack("<2sHIH", b"II", 42, 8, len(entries))
    for number, (kind, count, value) in sorted(entries.items()):
        block += struct.pack("<HHI4s", number, kind, count, value)
    block += struct.pack("<III", 0, 3, 2)
    picture = smooth_picture()
    picture.save(tmp_path / "odd.jpg", exif=block, quality=95)

    photo = read_photo(tmp_path / "odd.jpg")
    written = write_version(tmp_path / "written.jpg", photo, photo.pixels)

    lies = orientation if tag != 274 else 6 if kind == 1 else 1
    assert photo.size == ((picture.width, picture.height) if lies == 6 else (picture.height, picture.width))
    assert read_photo(written).size == photo.size


def test_a_16_bit_tiff_of_separate_planes_is_refused_in_words(tmp_path):
    width, height = 8, 6
    strips = b"".join(bytes([level, level]) * (width * height) for level in (10, 20, 30))
    start, size = 8, 2 * width * height
    values = start + len(strips)
    offsets = struct.pack("<3I", *(start + plane * size for plane in range(3)))
    sizes, bits = struct.pack("<3I", size, size, size), struct.pack("<3H", 16, 16, 16)
    entries = [
        (256, 3, 1, width), (257, 3, 1, height), (258, 3, 3, values + 24), (259, 3, 1, 1), (262, 3, 1, 2),
        (273, 4, 3, values), (277, 3, 1, 3), (278, 3, 1, height), (279, 4, 3, values + 12), (284, 3, 1, 2),
    ]  # fmt: skip
    directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries)
    data = strips + offsets + sizes + bits
    head = struct.pack("<2sHI", b"II", 42, start + len(data))
    (tmp_path / "planes.tif").write_bytes(head + data + directory + struct.pack("<I", 0))

    with pytest.raises(PhotoError, match=r"planes.tif.*planar.*interleaved"):
        read_photo(tmp_path / "planes.tif")


def notes_of(name: str, folder: Path) -> str:
    file = next(file for file in AWKWARD_FILES if file.name == name)
    return " ".join(read_photo(made(file, folder, smooth_picture())).notes)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("cmyk.jpg", r"R = \(1 − C\)\(1 − K\)"),
        ("damaged_profile.jpg", "colour profile cannot be used"),
        ("wrong_profile.jpg", "for CMYK pixels"),
        ("scanner_16.png", "^read at 8 bits, through its colour profile: that is made of tables"),
        ("damaged_profile_16.png", r"cannot be used at 16 bits \(a damaged profile\)"),
        ("two_pages.tif", "only the first of 2 pictures"),
        ("animated.webp", "only the first of 2 pictures"),
        ("damaged_exif.jpg", "EXIF block is damaged or empty"),
        ("adobe_rgb_by_exif.jpg", "Adobe RGB, as its EXIF says"),
        ("baseline.jpg", "^$"),
        ("phone.heic", "^$"),
        ("cmyk_profile.jpg", "^$"),
        ("two_pictures.mpo.jpg", "^$"),
    ],
)
def test_what_a_user_should_know_is_noted(name, words, tmp_path):
    assert re.search(words, notes_of(name, tmp_path))


@pytest.mark.parametrize(
    ("kind", "data", "words"),
    [
        (b"cICP", bytes([9, 16, 0, 1]), r"^coded for HDR or a wide gamut \(cICP 9/16\), but"),
        (b"cICP", bytes([1, 13, 0, 1]), "^$"),
        (b"gAMA", struct.pack(">I", 100_000), r"^says that its gamma is 1 \(linear light\), but is taken as sRGB$"),
        (b"gAMA", struct.pack(">I", 45_455), "^$"),
        (b"tEXt", b"gamma\0unknown", "^$"),
        (b"tEXt", b"photoshop\0unknown", "^$"),
    ],
)
def test_a_png_s_coding_that_is_not_followed_is_noted(kind, data, words, tmp_path):
    smooth_picture().save(tmp_path / "a.png")
    insert_chunk(tmp_path / "a.png", kind, data)
    assert re.search(words, " ".join(read_photo(tmp_path / "a.png").notes))


@pytest.mark.parametrize(
    ("suffix", "iptc", "words"),
    [
        (".jpg", False, "^its XMP details .* are not carried over"),
        (".jpg", True, "^its XMP and IPTC details .* are not carried over"),
        (".tif", True, "^its XMP and IPTC details .* are not carried over"),
        (".webp", False, "^its XMP details .* are not carried over"),
    ],
)
def test_details_that_are_not_carried_over_are_noted(suffix, iptc, words, tmp_path):
    path, xmp = tmp_path / f"a{suffix}", b"<x:xmpmeta>5 stars</x:xmpmeta>"
    rights = b"\x1c\x02\x74\0\x06Studio"
    if suffix == ".tif":
        smooth_picture().save(path, tiffinfo={700: xmp, 33723: rights})
    else:
        smooth_picture().save(path, xmp=xmp)
    if iptc and suffix == ".jpg":
        resource = b"Photoshop 3.0\0" + b"8BIM\x04\x04\0\0" + struct.pack(">I", len(rights)) + rights + b"\0"
        data = path.read_bytes()
        path.write_bytes(data[:2] + b"\xff\xed" + struct.pack(">H", len(resource) + 2) + resource + data[2:])
    assert re.search(words, " ".join(read_photo(path).notes))


@pytest.mark.parametrize(("gamma", "factor"), [(2, 0), (-2, 1), (30_000, 30_000)])
def test_curves_that_cannot_be_computed_are_a_damaged_profile(gamma, factor):
    with pytest.raises(ProfileError, match="damaged profile"):
        formula_profile(damaged_rgb_profile(gamma, factor))


def test_cmyk_without_a_profile_may_be_given_one(tmp_path):
    profile = tmp_path / "press.icc"
    profile.write_bytes(cmyk_profile())
    Image.new("CMYK", (8, 8), (255, 0, 0, 0)).save(tmp_path / "cyan.tif")

    plain = read_photo(tmp_path / "cyan.tif")
    managed = read_photo(tmp_path / "cyan.tif", cmyk_profile=profile)

    assert plain.pixels[:, 0, 0].tolist() == [0, 1, 1]
    assert managed.pixels[:, 0, 0].tolist() == pytest.approx([0, 0.55, 0.9], abs=0.03)  # the ink of the made-up press
    assert "press.icc" in managed.notes[0]


def test_a_cmyk_profile_that_is_none_is_refused(tmp_path):
    (tmp_path / "press.icc").write_bytes(b"nothing")
    Image.new("CMYK", (8, 8)).save(tmp_path / "cyan.tif")
    with pytest.raises(PhotoError, match="is not an ICC profile for CMYK"):
        read_photo(tmp_path / "cyan.tif", cmyk_profile=tmp_path / "press.icc")


def test_size_limit_is_checked_before_decoding(tmp_path):
    smooth_picture(100, 100).save(tmp_path / "large.png")
    with pytest.raises(PhotoError, match="100 × 100 pixels, more than the 0 million allowed"):
        read_photo(tmp_path / "large.png", max_pixels=9999)
    assert read_photo(tmp_path / "large.png", max_pixels=10_000).size == (100, 100)


@pytest.mark.parametrize(
    ("name", "place", "error"),
    [
        ("baseline.jpg", "PIL.ImageFile.ImageFile.load", MemoryError()),
        ("baseline.jpg", "PIL.ImageFile.ImageFile.load", OSError("out of memory error when reading image file")),
        ("baseline.jpg", "gpen_core.photo._strips", MemoryError("Unable to allocate 4.60 KiB for an array")),
        ("扫描_16位.tiff", "cv2.imdecode", cv2.error("(-4:Insufficient memory) Failed to allocate 9216 bytes")),
        ("扫描_16位.tiff", "gpen_core.photo._strips", MemoryError("Unable to allocate 4.60 KiB for an array")),
    ],
)
def test_want_of_memory_is_not_damage(name, place, error, tmp_path, monkeypatch):
    path = made(next(file for file in AWKWARD_FILES if file.name == name), tmp_path, smooth_picture())

    def fail(*words, **settings):
        raise error

    monkeypatch.setattr(place, fail)
    with pytest.raises(ModelMemoryError, match=rf"{name}\" has 48 × 32 pixels, for which there is not enough memory"):
        read_photo(path)


def test_heic_size_limit_is_checked_before_decoding(tmp_path, monkeypatch):
    pillow_heif = pytest.importorskip("pillow_heif")
    path = made(next(file for file in AWKWARD_FILES if file.name == "phone.heic"), tmp_path, smooth_picture())
    monkeypatch.setattr(pillow_heif.HeifFile, "to_pillow", lambda self: pytest.fail("decoded"))
    with pytest.raises(PhotoError, match="48 × 32 pixels, more than the 0 million allowed"):
        read_photo(path, max_pixels=100)


def test_a_host_that_lets_pillow_read_cut_files_changes_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    cut = next(file for file in AWKWARD_FILES if file.name == "cut.jpg")
    with pytest.raises(PhotoError, match="cut short"):
        read_photo(made(cut, tmp_path, smooth_picture(480, 320)))
    smooth_picture().save(tmp_path / "whole.png")
    assert isinstance(read_photo(tmp_path / "whole.png"), Photo)
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True
    assert Image.MAX_IMAGE_PIXELS == 100


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(PhotoError, match=r"nowhere\.jpg\" does not exist"):
        read_photo(tmp_path / "nowhere.jpg")


def test_heic_without_its_package_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic" + b"\0" * 40)
    monkeypatch.setitem(__import__("sys").modules, "pillow_heif", None)
    with pytest.raises(PhotoError, match="pip install pillow-heif"):
        read_photo(tmp_path / "phone.heic")


def test_listing_a_folder(tmp_path):
    for name in (
        "b.JPG",
        "a.png",
        "notes.txt",
        ".hidden.jpg",
        "子/c.HIF",
        "sub/deep/d.tiff",
        "out/e.jpg",
        ".cache/f.jpg",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    listed = list_photos(tmp_path, exclude=[tmp_path / "out"])
    assert [path.relative_to(tmp_path).as_posix() for path in listed] == [
        "a.png",
        "b.JPG",
        "sub/deep/d.tiff",
        "子/c.HIF",
    ]


def test_listing_what_is_no_folder(tmp_path):
    with pytest.raises(PhotoError, match="is not a folder"):
        list_photos(tmp_path / "nowhere")


@pytest.mark.skipif(os.name == "nt", reason="making links needs rights there")
def test_listing_does_not_go_round_in_circles(tmp_path):
    (tmp_path / "a.jpg").touch()
    (tmp_path / "again").symlink_to(tmp_path)
    assert list_photos(tmp_path) == [tmp_path / "a.jpg"]
