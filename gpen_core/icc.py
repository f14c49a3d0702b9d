"""Colour profiles: any embedded ICC profile → sRGB, at 8 bits through LittleCMS, at 16 by the profile's formula."""

import struct
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

FloatPixels: TypeAlias = NDArray[np.float32]

ColourSpace: TypeAlias = Literal["RGB", "GRAY", "CMYK", "Lab"]

_SPACES: dict[bytes, ColourSpace] = {b"RGB ": "RGB", b"GRAY": "GRAY", b"CMYK": "CMYK", b"Lab ": "Lab"}

# Numbers of lcms2.h; Pillow names them only from 10.3 on.
_RELATIVE_COLORIMETRIC = 1
_BLACK_POINT_COMPENSATION = 0x2000

_PROFILE_DATE = struct.pack(">6H", 2026, 1, 1, 0, 0, 0)
"""Written over the moment of creation, so that equal pictures give equal files."""


class ProfileError(ValueError):
    """A colour profile is damaged or of a kind that cannot be used for the picture it came with."""


class TableProfileError(ProfileError):
    """A profile is made of tables, e.g. a scanner's or a printer's, so that there is no formula for 16 bits."""


@cache
def srgb_profile() -> bytes:
    """Give an sRGB ICC profile (IEC 61966-2-1), made by LittleCMS; always the same bytes."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    profile[24:36] = _PROFILE_DATE  # dateTimeNumber, ICC.1:2022 section 7.2.8
    return bytes(profile)


@cache
def adobe_rgb_profile() -> bytes:
    """Give a profile of Adobe RGB (1998), for photos that only name it.

    Source: Adobe RGB (1998) Color Image Encoding, version 2005-05, sections 4.3.1.2 and 4.3.5.1 and annex A (the
    matrix to XYZ adapted to D50).
    """
    primaries = {
        b"rXYZ": (0.60974, 0.31111, 0.01947),
        b"gXYZ": (0.20528, 0.62567, 0.06087),
        b"bXYZ": (0.14919, 0.06322, 0.74457),
        b"wtpt": (0.96420, 1.0, 0.82491),
    }
    tags = {
        name: b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(value * 65536) for value in xyz))
        for name, xyz in primaries.items()
    }
    gamma = b"curv\0\0\0\0" + struct.pack(">IHH", 1, 563, 0)  # 2 51/256
    return _packed_profile(tags | dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), gamma))


def _packed_profile(tags: dict[bytes, bytes]) -> bytes:
    """Lay out a display profile for RGB. Source: ICC.1:2001-04 sections 6.1 and 6.2."""
    start = 128 + 4 + 12 * len(tags)
    table, body = struct.pack(">I", len(tags)), b""
    for name, data in tags.items():
        table += struct.pack(">4s2I", name, start + len(body), len(data))
        body += data
    header = struct.pack(">3I", start + len(body), 0, 0x02400000)  # size, no preferred module, version 2.4
    header += b"mntrRGB XYZ " + _PROFILE_DATE + b"acsp" + bytes(28)
    header += struct.pack(">3i", 63190, 65536, 54061)  # D50, the white of the connection space
    return header.ljust(128, b"\0") + table + body


def colour_space(icc: bytes) -> ColourSpace:
    """Name the kind of pixels that a profile describes.

    Raises:
        ProfileError: if it is no ICC profile, or for another kind of pixels.
    """
    if len(icc) < 132 or icc[36:40] != b"acsp" or icc[16:20] not in _SPACES:
        raise ProfileError("not a usable ICC profile")
    return _SPACES[icc[16:20]]


def transform_to_srgb(icc: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Build the 8-bit conversion of pixels of Pillow's `mode` to sRGB; None if they are sRGB already.

    Relative colorimetric with black point compensation. "Already" means that no colour of a grid moves by more than
    one of 255 levels.

    Raises:
        ProfileError: if the profile is damaged or does not describe such pixels.
    """
    transform = _build(_open(icc), _open(srgb_profile()), mode, "RGB")
    return None if mode in ("L", "RGB") and _changes_nothing(transform, mode) else transform


def transform_from_srgb(icc: bytes) -> tuple[ImageCms.ImageCmsTransform, Literal["RGB", "L", "CMYK"]]:
    """Build the 8-bit conversion from sRGB to an output profile, and name the Pillow mode it gives.

    Relative colorimetric with black point compensation.

    Raises:
        ProfileError: if the profile is damaged or not for RGB, grey or CMYK.
    """
    modes: dict[str, Literal["RGB", "L", "CMYK"]] = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}
    space = colour_space(icc)
    if space not in modes:
        raise ProfileError(f"a profile for {space} pixels, expected RGB, grey or CMYK")
    return _build(_open(srgb_profile()), _open(icc), "RGB", modes[space]), modes[space]


def lab_to_srgb() -> ImageCms.ImageCmsTransform:
    """Build the conversion of CIE L*a*b* (D50) pixels, as TIFF stores them, to sRGB."""
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
    return _build(lab, _open(srgb_profile()), "LAB", "RGB")


def _open(icc: bytes) -> ImageCms.ImageCmsProfile:
    try:
        return ImageCms.ImageCmsProfile(BytesIO(icc))
    except (OSError, ImageCms.PyCMSError) as error:
        raise ProfileError("not a usable ICC profile") from error


def _build(
    source: ImageCms.ImageCmsProfile, target: ImageCms.ImageCmsProfile, mode: str, target_mode: str
) -> ImageCms.ImageCmsTransform:
    try:
        return ImageCms.buildTransform(
            source,
            target,
            mode,
            target_mode,
            renderingIntent=_RELATIVE_COLORIMETRIC,  # type: ignore[arg-type]
            flags=_BLACK_POINT_COMPENSATION,  # type: ignore[arg-type]
        )
    except ImageCms.PyCMSError as error:
        raise ProfileError(f"cannot convert: {error}") from error


def _changes_nothing(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Whether no colour of a 9 × 9 × 9 grid (or no grey) moves by more than one level."""
    if mode == "L":
        grid = np.arange(256, dtype=np.uint8)[None]
    else:
        steps = np.linspace(0, 255, 9).round().astype(np.uint8)
        grid = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(9, 81, 3)
    moved = np.asarray(ImageCms.applyTransform(Image.fromarray(grid), transform))
    grid = np.broadcast_to(grid[:, :, None], moved.shape) if mode == "L" else grid
    return bool(np.abs(moved.astype(np.int16) - grid).max() <= 1)


@dataclass(frozen=True, eq=False)
class FormulaProfile:
    """A profile that is a curve per channel and, for RGB, a 3 × 3 matrix: cameras, screens and working spaces.

    Attributes:
        curves: one (N,) table per channel, stored value in [0, 1] at even steps → linear light.
        to_linear_srgb: (3, 3); identity for grey.
    """

    curves: tuple[FloatPixels, ...]
    to_linear_srgb: NDArray[np.float64]

    def to_srgb(self, pixels: FloatPixels) -> FloatPixels:
        """Convert (C, h, w) stored values in [0, 1], C = 1 or 3, to sRGB in [0, 1]; colours outside it are clipped."""
        steps = np.linspace(0, 1, len(self.curves[0]), dtype=np.float32)
        linear = np.stack([np.interp(plane, steps, curve) for plane, curve in zip(pixels, self.curves, strict=True)])
        if len(self.curves) == 3:
            linear = np.tensordot(self.to_linear_srgb, linear, axes=1)
        return _encode_srgb(np.clip(linear, 0, 1)).astype(np.float32)


def formula_profile(icc: bytes) -> FormulaProfile:
    """Read the curves and the matrix of a profile.

    Source: ICC.1:2022 sections 8.3 (matrix profiles), 10.6 (curveType), 10.18 (parametricCurveType).

    Raises:
        TableProfileError: if it is made of tables.
        ProfileError: if it is damaged or not for RGB or grey.
    """
    space = colour_space(icc)
    if space not in ("RGB", "GRAY"):
        raise ProfileError(f"a profile for {space} pixels, expected RGB or grey")
    try:
        tags = _tags(icc)
        if space == "GRAY":
            return FormulaProfile((_curve(tags[b"kTRC"]),), np.eye(3))
        if b"A2B0" in tags or b"A2B1" in tags:
            raise TableProfileError("a profile made of tables, not of a formula")
        to_xyz = _matrix(tags)
        srgb_to_xyz = _matrix(_tags(srgb_profile()))
        curves = tuple(_curve(tags[name]) for name in (b"rTRC", b"gTRC", b"bTRC"))
        return FormulaProfile(curves, np.asarray(np.linalg.solve(srgb_to_xyz, to_xyz), dtype=np.float64))
    except (KeyError, IndexError, struct.error, ArithmeticError, np.linalg.LinAlgError) as error:
        raise ProfileError("a damaged profile") from error


def _tags(icc: bytes) -> dict[bytes, bytes]:
    count = struct.unpack_from(">I", icc, 128)[0]
    table = (struct.unpack_from(">4sII", icc, 132 + 12 * index) for index in range(min(count, 100)))
    return {name: icc[offset : offset + size] for name, offset, size in table}


def _matrix(tags: dict[bytes, bytes]) -> NDArray[np.float64]:
    """Give the (3, 3) matrix linear RGB → XYZ (D50)."""
    columns = [struct.unpack_from(">3i", tags[name], 8) for name in (b"rXYZ", b"gXYZ", b"bXYZ")]
    return np.array(columns, dtype=np.float64).T / 65536


def _curve(tag: bytes) -> FloatPixels:
    """Sample a curve tag at 4097 even steps, fine enough for 16 bits of gamma-coded values."""
    with np.errstate(all="ignore"):
        curve = _sampled(tag, np.linspace(0, 1, 4097)).astype(np.float32)
    if not np.isfinite(curve).all():
        raise ProfileError("a damaged profile")
    return curve


def _sampled(tag: bytes, x: NDArray[np.float64]) -> NDArray[np.float64]:
    if tag[:4] == b"curv":
        count = struct.unpack_from(">I", tag, 8)[0]
        if count > 1:
            table = np.array(struct.unpack_from(f">{count}H", tag, 12)) / 65535
            return np.interp(x, np.linspace(0, 1, count), table)
        gamma = struct.unpack_from(">H", tag, 12)[0] / 256 if count else 1.0
        return x**gamma
    kind = struct.unpack_from(">H", tag, 8)[0]
    length = (1, 3, 4, 5, 7)[kind]
    g, a, b, c, d, e, f = (*(value / 65536 for value in struct.unpack_from(f">{length}i", tag, 12)), *[0.0] * 7)[:7]
    if kind == 0:
        return x**g
    if kind in (1, 2):  # the curve joins its flat part where a·x + b = 0
        c, d, e, f = 0.0, -b / a, c, c
    power = np.maximum(a * x + b, 0) ** g + e
    return np.where(x >= d, power, c * x + f)


def _encode_srgb(linear: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give the sRGB code of linear light in [0, 1]. Source: IEC 61966-2-1."""
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
