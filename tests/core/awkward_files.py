"""Awkward photo files made in code: every format, mode, profile, orientation and kind of damage a client may send.

`AWKWARD_FILES` is the list; each entry says how to make the file from a picture, whether it can be read, and what it
must look like then. Makers take any RGB picture, so that a folder of them can be made from a portrait as well.
"""

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from PIL import Image, ImageCms, ImageOps, TiffImagePlugin

from .profiles_made_here import cmyk_profile, damaged_rgb_profile, gamma_grey_profile, rgb_profile, scanner_profile

Maker = Callable[[Path, Image.Image], None]
Look = Callable[[Image.Image], Image.Image]


@dataclass(frozen=True)
class AwkwardFile:
    """One file to be made.

    Attributes:
        name: its file name.
        make: writes it, given the path and an RGB picture.
        verdict: whether `read_photo` reads it or refuses it.
        cause: for a refused file, words that its error must hold (a regular expression).
        look: what the read picture must look like, given the picture it was made from.
        tolerance: allowed mean difference from that, in levels of 255.
        alpha: whether it comes with transparency (`alpha_of`).
        bit_depth: precision kept.
        grey: whether it stores grey only.
        needs: the package or Pillow feature without which it can be neither made nor read.
    """

    name: str
    make: Maker
    verdict: Literal["reads", "refused"] = "reads"
    cause: str = ""
    look: Look = lambda picture: picture
    tolerance: float = 1.0
    alpha: bool = False
    bit_depth: int = 8
    grey: bool = False
    needs: str = ""


def smooth_picture(width: int = 48, height: int = 32) -> Image.Image:
    """Make a smooth picture without any symmetry: red grows to the right, green downwards, blue towards a corner."""
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    planes = np.stack([30 + 190 * x, 40 + 160 * y, 200 - 150 * x * y], axis=-1)
    return Image.fromarray(planes.round().astype(np.uint8))


def alpha_of(size: tuple[int, int]) -> Image.Image:
    """Make the transparency used by the files that have some: opaque at the left, half at the right."""
    ramp = np.linspace(255, 128, size[0]).round().astype(np.uint8)
    return Image.fromarray(np.broadcast_to(ramp, size[::-1]).copy())


def grey_of(picture: Image.Image) -> Image.Image:
    return picture.convert("L").convert("RGB")


def black_and_white(picture: Image.Image) -> Image.Image:
    return picture.convert("1", dither=Image.Dither.NONE).convert("RGB")


def saved(file_format: str, mode: str = "RGB", **settings: object) -> Maker:
    def make(path: Path, picture: Image.Image) -> None:
        if mode in ("RGBA", "LA"):
            picture = picture.convert(mode[:-1])
            picture.putalpha(alpha_of(picture.size))
        elif mode != "RGB":
            picture = picture.convert(mode)
        picture.save(path, file_format, **settings)

    return make


_TURN_BACK = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""What a camera held that way does to the scene, by EXIF orientation; Pillow counts its turns to the left."""


def oriented(file_format: str, orientation: int, **settings: object) -> Maker:
    """Store the picture turned, with the EXIF orientation that turns it back."""

    def make(path: Path, picture: Image.Image) -> None:
        exif = Image.Exif()
        exif[0x0112] = orientation
        stored = picture.transpose(_TURN_BACK[orientation]) if orientation > 1 else picture
        stored.save(path, file_format, exif=exif, **settings)

    return make


def with_profile(file_format: str, profile: bytes, **settings: object) -> Maker:
    """Store the picture in another colour space, with the profile that says so."""

    def make(path: Path, picture: Image.Image) -> None:
        srgb, other = ImageCms.createProfile("sRGB"), ImageCms.ImageCmsProfile(io.BytesIO(profile))
        mode = {"RGB ": "RGB", "CMYK": "CMYK", "GRAY": "L"}[profile[16:20].decode()]
        stored = ImageCms.profileToProfile(picture, srgb, other, renderingIntent=1, outputMode=mode)
        stored.save(path, file_format, icc_profile=profile, **settings)

    return make


def adobe_rgb_by_exif(path: Path, picture: Image.Image) -> None:
    """Store Adobe RGB as cameras do: no profile, only "R03" in the EXIF's interoperability block."""
    srgb, adobe = ImageCms.createProfile("sRGB"), ImageCms.ImageCmsProfile(io.BytesIO(ADOBE_RGB))
    stored = ImageCms.profileToProfile(picture, srgb, adobe, renderingIntent=1)
    entry = struct.pack("<HHI4s", 1, 2, 4, b"R03\0")
    interoperability = struct.pack("<H", 1) + entry + b"\0" * 4
    details = struct.pack("<HHHII", 1, 0xA005, 4, 1, 44) + b"\0" * 4
    main = struct.pack("<HHHII", 1, 0x8769, 4, 1, 26) + b"\0" * 4
    block = b"Exif\0\0II*\0" + struct.pack("<I", 8) + main + details + interoperability
    stored.save(path, "JPEG", quality=97, exif=block)


def grey_with_profile(path: Path, picture: Image.Image) -> None:
    """Store grey as linear light squared-rooted (gamma 2), which its profile says."""
    code = np.asarray(picture.convert("L")) / 255
    linear = np.where(code <= 0.04045, code / 12.92, ((code + 0.055) / 1.055) ** 2.4)
    grey = Image.fromarray((linear**0.5 * 255).round().astype(np.uint8))
    grey.save(path, "PNG", icc_profile=gamma_grey_profile(2.0))


def ycck_jpeg(path: Path, picture: Image.Image) -> None:
    """Store CMYK as Photoshop does: C, M, Y as Y, Cb, Cr, all inverted, Adobe marker with transform 2."""
    cmyk = np.asarray(picture.convert("CMYK"))
    ycc = np.asarray(Image.fromarray(np.ascontiguousarray(cmyk[..., :3])).convert("YCbCr"))
    raw = np.dstack([ycc, 255 - cmyk[..., 3]])
    file = io.BytesIO()
    Image.frombytes("CMYK", picture.size, (255 - raw).tobytes()).save(file, "JPEG", quality=95)
    data = bytearray(file.getvalue())
    data[data.index(b"Adobe") + 11] = 2
    path.write_bytes(data)


def png_16bit(channels: int) -> Maker:
    """Write a 16-bit PNG whose low bytes count, by hand: 1 grey, 2 with alpha, 3 RGB, 4 with alpha."""
    colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[channels]

    def make(path: Path, picture: Image.Image) -> None:
        samples = sixteen_bit_samples(picture, channels).astype(">u2")
        rows = b"".join(b"\0" + row.tobytes() for row in samples)
        header = struct.pack(">2I5B", *picture.size, 16, colour_type, 0, 0, 0)
        path.write_bytes(png_of(header, zlib.compress(rows)))

    return make


def sixteen_bit_samples(picture: Image.Image, channels: int) -> np.ndarray:
    """Give (H, W, channels) uint16 whose low byte is 100 above the 8-bit value × 256."""
    picture = picture.convert("L" if channels < 3 else "RGB")
    planes = [np.asarray(band) for band in picture.split()]
    if channels in (2, 4):
        planes.append(np.asarray(alpha_of(picture.size)))
    return np.dstack(planes).astype(np.uint16) * 256 + 100


def deep_scan(channels: int) -> Maker:
    """Write a 16-bit PNG as a scanner does: codes that its profile of tables explains, see `scanner_profile`."""

    def make(path: Path, picture: Image.Image) -> None:
        code = np.asarray(picture) / 255
        linear = np.where(code <= 0.04045, code / 12.92, ((code + 0.055) / 1.055) ** 2.4)
        samples = (linear**0.5 * 65535).round().astype(">u2")
        if channels == 4:
            samples = np.dstack([samples, np.asarray(alpha_of(picture.size)).astype(">u2") * 257]).astype(">u2")
        rows = b"".join(b"\0" + row.tobytes() for row in samples)
        header = struct.pack(">2I5B", *picture.size, 16, {3: 2, 4: 6}[channels], 0, 0, 0)
        path.write_bytes(png_of(header, zlib.compress(rows), _profile_chunk(scanner_profile())))

    return make


def deep_with_damaged_profile(path: Path, picture: Image.Image) -> None:
    """Write a 16-bit PNG whose profile holds a curve that divides by nothing."""
    png_16bit(3)(path, picture)
    insert_chunk(path, *_profile_chunk(damaged_rgb_profile()))


def _profile_chunk(profile: bytes) -> tuple[bytes, bytes]:
    return b"iCCP", b"profile\0\0" + zlib.compress(profile)


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of(header: bytes, packed: bytes, *more: tuple[bytes, bytes]) -> bytes:
    chunks = ((b"IHDR", header), *more, (b"IDAT", packed), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(kind, data) for kind, data in chunks)


def tiff_16bit(channels: int) -> Maker:
    def make(path: Path, picture: Image.Image) -> None:
        samples = sixteen_bit_samples(picture, channels)
        order = [2, 1, 0, 3][: samples.shape[2]] if channels > 2 else [0]
        path.write_bytes(cv2.imencode(".tiff", samples[..., order])[1].tobytes())

    return make


def tiff_16bit_turned(path: Path, picture: Image.Image) -> None:
    """Write a 16-bit grey TIFF that has to be turned a quarter right."""
    samples = np.rot90(sixteen_bit_samples(picture, 1)[..., 0]).copy()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(samples).save(path, "TIFF", exif=exif)


def tiff_16bit_of_pillow(**settings: object) -> Maker:
    """Write a 16-bit grey TIFF of a rare kind; white as 0 if its photometric tag says so."""

    def make(path: Path, picture: Image.Image) -> None:
        samples = sixteen_bit_samples(picture, 1)[..., 0].copy()
        inverted = dict(settings.get("tiffinfo", {})).get(262) == 0
        Image.fromarray(65535 - samples if inverted else samples).save(path, "TIFF", **settings)

    return make


def palette_with_alpha(path: Path, picture: Image.Image) -> None:
    """Write a palette whose entries have transparencies of their own: all half transparent."""
    picture.quantize(200).save(path, "PNG", transparency=bytes([128] * 200))


def colour_key(mode: str) -> Maker:
    """Write a PNG in which one colour that is not used means "transparent"."""
    key = {"RGB": (1, 2, 3), "L": 1}[mode]
    return lambda path, picture: picture.convert(mode).save(path, "PNG", transparency=key)


def multi(file_format: str) -> Maker:
    def make(path: Path, picture: Image.Image) -> None:
        other = ImageOps.invert(picture)
        picture.save(path, file_format, save_all=True, append_images=[other], **_LOSSLESS.get(file_format, {}))

    return make


_LOSSLESS = {"WEBP": {"lossless": True}, "TIFF": {}, "MPO": {"quality": 95}}


def grey_key_16(path: Path, picture: Image.Image) -> None:
    """Write a 16-bit grey PNG in which a value that is not used means "transparent"."""
    png_16bit(1)(path, picture)
    insert_chunk(path, b"tRNS", struct.pack(">H", 1))


def insert_chunk(png: Path, kind: bytes, data: bytes) -> None:
    """Put a chunk behind a PNG's header."""
    whole = png.read_bytes()
    png.write_bytes(whole[:33] + png_chunk(kind, data) + whole[33:])


def camera_raw(*tags: tuple[int, int, int]) -> Maker:
    """Write what a camera's raw file begins with: its preview, and tags (number, type, value) that tell of the rest."""

    def make(path: Path, picture: Image.Image) -> None:
        entries = TiffImagePlugin.ImageFileDirectory_v2()
        for number, kind, value in tags:
            entries.tagtype[number] = kind
            entries[number] = value
        picture.save(path, "TIFF", tiffinfo=entries)

    return make


def heic(**settings: object) -> Maker:
    def make(path: Path, picture: Image.Image) -> None:
        from pillow_heif import from_pillow

        from_pillow(picture).save(path, quality=90, **settings)

    return make


def oriented_heic(path: Path, picture: Image.Image) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    heic(exif=exif.tobytes())(path, picture.transpose(_TURN_BACK[6]))


def cut(maker: Maker, keep: float) -> Maker:
    """Keep only the first part of a file, as after a broken transfer."""

    def make(path: Path, picture: Image.Image) -> None:
        maker(path, picture)
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * keep)])

    return make


def holding(data: bytes) -> Maker:
    return lambda path, picture: path.write_bytes(data) and None


def flipped_byte(path: Path, picture: Image.Image) -> None:
    """Write a PNG with one damaged byte in its pixels."""
    picture.save(path, "PNG")
    data = bytearray(path.read_bytes())
    data[data.index(b"IDAT") + 40] ^= 0xFF
    path.write_bytes(data)


def float_tiff(path: Path, picture: Image.Image) -> None:
    Image.fromarray(np.asarray(picture.convert("L"), dtype=np.float32)).save(path, "TIFF")


ADOBE_RGB = rgb_profile(((0.64, 0.33), (0.21, 0.71), (0.15, 0.06)), gamma=2.19921875)
BROAD_RGB = rgb_profile(((0.7347, 0.2653), (0.1596, 0.8404), (0.0366, 0.0001)), gamma=1.8)

AWKWARD_FILES: tuple[AwkwardFile, ...] = (
    # JPEG
    AwkwardFile("baseline.jpg", saved("JPEG", quality=95)),
    AwkwardFile("progressive.jpg", saved("JPEG", quality=95, progressive=True)),
    AwkwardFile("chat_quality.jpg", saved("JPEG", quality=15), tolerance=10),
    AwkwardFile("grey.jpg", saved("JPEG", "L", quality=95), look=grey_of, grey=True),
    AwkwardFile("cmyk.jpg", saved("JPEG", "CMYK", quality=95), tolerance=1.5),
    AwkwardFile("cmyk_profile.jpg", with_profile("JPEG", cmyk_profile(), quality=95), tolerance=4),
    AwkwardFile("ycck.jpg", ycck_jpeg, tolerance=2),
    AwkwardFile("adobe_rgb.jpg", with_profile("JPEG", ADOBE_RGB, quality=97)),
    AwkwardFile("adobe_rgb_by_exif.jpg", adobe_rgb_by_exif),
    AwkwardFile("damaged_exif.jpg", saved("JPEG", quality=95, exif=b"Exif\0\0neither II nor MM")),
    AwkwardFile("damaged_profile.jpg", saved("JPEG", quality=95, icc_profile=b"not a profile at all" * 20)),
    AwkwardFile("wrong_profile.jpg", saved("JPEG", quality=95, icc_profile=cmyk_profile())),
    *(AwkwardFile(f"orientation_{turn}.jpg", oriented("JPEG", turn, quality=95)) for turn in range(1, 9)),
    AwkwardFile("two_pictures.mpo.jpg", multi("MPO")),
    AwkwardFile("CAPITALS.JPG", saved("JPEG", quality=95)),
    AwkwardFile("张伟 证件照（原图）.jpg", saved("JPEG", quality=95)),
    AwkwardFile("in_truth_a_png.jpg", saved("PNG")),
    # PNG
    AwkwardFile("rgb.png", saved("PNG"), tolerance=0),
    AwkwardFile("in_truth_a_jpeg.png", saved("JPEG", quality=95)),
    AwkwardFile("rgba.png", saved("PNG", "RGBA"), tolerance=0, alpha=True),
    AwkwardFile("grey.png", saved("PNG", "L"), look=grey_of, tolerance=0, grey=True),
    AwkwardFile("grey_alpha.png", saved("PNG", "LA"), look=grey_of, tolerance=0, alpha=True, grey=True),
    AwkwardFile("one_bit.png", saved("PNG", "1", bits=1), look=lambda picture: picture.convert("1"), grey=True),
    AwkwardFile("palette.png", lambda path, picture: picture.quantize(200).save(path, "PNG"), tolerance=5),
    AwkwardFile("palette_alpha.png", palette_with_alpha, tolerance=5, alpha=True),
    AwkwardFile("colour_key.png", colour_key("RGB"), tolerance=0, alpha=True),
    AwkwardFile("grey_key.png", colour_key("L"), look=grey_of, tolerance=0, alpha=True, grey=True),
    AwkwardFile("grey_gamma_profile.png", grey_with_profile, look=grey_of, grey=True),
    AwkwardFile("broad_rgb.png", with_profile("PNG", BROAD_RGB)),
    AwkwardFile("grey_16.png", png_16bit(1), look=grey_of, bit_depth=16, grey=True),
    AwkwardFile("grey_alpha_16.png", png_16bit(2), look=grey_of, bit_depth=16, alpha=True, grey=True),
    AwkwardFile("grey_key_16.png", grey_key_16, look=grey_of, bit_depth=16, alpha=True, grey=True),
    AwkwardFile("照片_16位.png", png_16bit(3), bit_depth=16),
    AwkwardFile("rgba_16.png", png_16bit(4), bit_depth=16, alpha=True),
    AwkwardFile("scanner_16.png", deep_scan(3)),
    AwkwardFile("scanner_alpha_16.png", deep_scan(4), alpha=True),
    AwkwardFile("damaged_profile_16.png", deep_with_damaged_profile, bit_depth=16),
    AwkwardFile("orientation_6.png", oriented("PNG", 6), tolerance=0),
    # TIFF
    AwkwardFile("lzw.tif", saved("TIFF", compression="tiff_lzw"), tolerance=0),
    AwkwardFile("jpeg_inside.tif", saved("TIFF", compression="jpeg", quality=95)),
    AwkwardFile("rgba.tif", saved("TIFF", "RGBA"), tolerance=0, alpha=True),
    AwkwardFile("cmyk.tif", saved("TIFF", "CMYK"), tolerance=1),
    AwkwardFile("cmyk_profile.tif", with_profile("TIFF", cmyk_profile()), tolerance=4),
    AwkwardFile("lab.tif", lambda path, picture: _lab(picture).save(path, "TIFF"), tolerance=2),
    AwkwardFile("fax.tif", saved("TIFF", "1", compression="group4"), look=lambda p: p.convert("1"), grey=True),
    AwkwardFile("grey_16.tif", tiff_16bit(1), look=grey_of, bit_depth=16, grey=True),
    AwkwardFile("扫描_16位.tiff", tiff_16bit(3), bit_depth=16),
    AwkwardFile("turned_16.tif", tiff_16bit_turned, look=grey_of, bit_depth=16, grey=True),
    AwkwardFile("big_16.tif", tiff_16bit_of_pillow(big_tiff=True), look=grey_of, bit_depth=16, grey=True),
    AwkwardFile("white_is_0.tif", tiff_16bit_of_pillow(tiffinfo={262: 0}), look=grey_of, bit_depth=16, grey=True),
    AwkwardFile("orientation_5.tif", oriented("TIFF", 5), tolerance=0),
    AwkwardFile("two_pages.tif", multi("TIFF"), tolerance=0),
    # the others
    AwkwardFile("lossy.webp", saved("WEBP", quality=90), tolerance=3),
    AwkwardFile("alpha.webp", saved("WEBP", "RGBA", lossless=True, exact=True), tolerance=0, alpha=True),
    AwkwardFile("animated.webp", multi("WEBP"), tolerance=0),
    AwkwardFile("orientation_8.webp", oriented("WEBP", 8, lossless=True), tolerance=0),
    AwkwardFile("rgb.bmp", saved("BMP"), tolerance=0),
    AwkwardFile("palette.bmp", lambda path, picture: picture.quantize(200).save(path, "BMP"), tolerance=5),
    AwkwardFile("phone.avif", saved("AVIF", quality=90), tolerance=3, needs="avif"),
    AwkwardFile("phone.heic", heic(), tolerance=3, needs="pillow_heif"),
    AwkwardFile("turned.heic", oriented_heic, tolerance=3, needs="pillow_heif"),
    AwkwardFile("手机.HEIC", heic(), tolerance=3, needs="pillow_heif"),
    # refused
    AwkwardFile("empty.jpg", holding(b""), "refused", "empty"),
    AwkwardFile("one_byte.png", holding(b"\x89"), "refused", "not a picture"),
    AwkwardFile("text.jpg", holding(b"Dear Sir, attached is my photo.\n" * 20), "refused", "not a picture"),
    AwkwardFile("web_page.jpg", holding(b"<!DOCTYPE html><title>404</title>"), "refused", "a web page"),
    AwkwardFile("document.jpg", holding(b"%PDF-1.7\n"), "refused", "a PDF"),
    AwkwardFile("raw.nef.tif", camera_raw((254, 4, 1), (330, 4, 8)), "refused", "a camera raw file"),
    AwkwardFile("raw.dng.tif", camera_raw((50706, 1, b"\1\4\0\0")), "refused", "a camera raw file"),
    AwkwardFile("cut_head.jpg", cut(saved("JPEG"), 0.1), "refused", "damaged|not a picture"),
    AwkwardFile("cut.jpg", cut(saved("JPEG", quality=95), 0.8), "refused", "cut short"),
    AwkwardFile("cut_progressive.jpg", cut(saved("JPEG", progressive=True), 0.8), "refused", "cut short"),
    AwkwardFile("cut.png", cut(saved("PNG"), 0.6), "refused", "cut short"),
    AwkwardFile("cut_16.png", cut(png_16bit(3), 0.6), "refused", "cut short"),
    AwkwardFile("cut.tif", cut(saved("TIFF"), 0.6), "refused", "cut short"),
    AwkwardFile("cut_16.tif", cut(tiff_16bit(3), 0.6), "refused", "cut short|not a picture"),
    AwkwardFile("cut.webp", cut(saved("WEBP"), 0.6), "refused", "cut short|not a picture"),
    AwkwardFile("cut.bmp", cut(saved("BMP"), 0.6), "refused", "cut short"),
    AwkwardFile("cut.heic", cut(heic(), 0.6), "refused", "cut short", needs="pillow_heif"),
    AwkwardFile("flipped_byte.png", flipped_byte, "refused", "damaged"),
    AwkwardFile(
        "no_width.png", holding(png_of(struct.pack(">2I5B", 0, 9, 8, 2, 0, 0, 0), b"")), "refused", "pixels|damaged"
    ),
    AwkwardFile("bomb.png", holding(png_of(struct.pack(">2I5B", 60000, 60000, 8, 2, 0, 0, 0), b"")), "refused", "bomb"),
    AwkwardFile("depth_map.tif", float_tiff, "refused", "scientific"),
    AwkwardFile("folder.jpg", lambda path, picture: path.mkdir(), "refused", "is a folder"),
)


def _lab(picture: Image.Image) -> Image.Image:
    return ImageCms.profileToProfile(
        picture, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), renderingIntent=1, outputMode="LAB"
    )
