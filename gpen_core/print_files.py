"""A print sheet → PNG, JPEG, TIFF or PDF of exact physical size, in sRGB or in a press's own colours."""

import io
import zlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from .errors import PhotoError, SettingsError
from .exif import carried_exif
from .icc import ProfileError, srgb_profile, transform_from_srgb
from .papers import MM_PER_INCH
from .photo_write import LONGEST_SIDES, replacing, to_pillow, write_photo
from .sample_files import SampleStream, write_tiff

if TYPE_CHECKING:
    from .printing import PrintSheet

PRINT_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".pdf"})
"""File name endings that `write_print` knows, in lower case."""

_POINTS_PER_INCH = 72.0
_LONGEST_PAGE = 14400
"""Units along a page's side that readers of PDF show (ISO 32000-1, annex C.2): 5.08 m of points."""
_STRIP_PIXELS = 1 << 17


def write_print(
    path: str | Path,
    sheet: "PrintSheet",
    *,
    output_profile: str | Path | None = None,
    quality: int = 95,
    bit_depth: Literal[8, 16] = 8,
    exif: bytes | None = None,
    text: Mapping[str, str] | None = None,
    overwrite: bool = True,
    protect: Collection[str | Path] = (),
) -> Path:
    """Write a print sheet as PNG, JPEG, TIFF or PDF, by the ending of its name, with its resolution and profile.

    A PDF has one page of the sheet's exact size, with the trimmed paper as its TrimBox; beyond 5 m its unit is larger
    than a point (PDF 1.6). With an output profile the colours are converted to it (relative colorimetric, black point
    compensation) and it is embedded in place of sRGB: a profile for CMYK gives a CMYK TIFF or PDF.

    Args:
        path: where to; folders are made as needed.
        sheet: what `lay_out` gave.
        output_profile: an ICC file for the press or printer; TIFF and PDF only.
        quality: 1 to 100, of JPEG, and of the picture in an RGB PDF.
        bit_depth: 16 for PNG, and for TIFF without output profile.
        exif: the photo's EXIF block, carried over as `carried_exif` says; not into a PDF.
        text: words to embed by keyword, PNG only.
        overwrite: whether a file of that name may be replaced.
        protect: files that are never replaced, e.g. the photo.

    Returns:
        The path.

    Raises:
        SettingsError: if a setting is out of range or does not fit the format.
        PhotoError: naming the file and the cause, if the file must not or cannot be written or a profile not be used.
    """
    target = Path(path)
    suffix = target.suffix.lower()
    if suffix not in PRINT_SUFFIXES:
        raise PhotoError(f'"{target}": expected a name ending in {", ".join(sorted(PRINT_SUFFIXES))}.')
    if suffix != ".pdf" and output_profile is None:
        return write_photo(
            target,
            sheet.pixels,
            dpi=sheet.dpi,
            quality=quality,
            bit_depth=bit_depth,
            exif=exif,
            text=text,
            overwrite=overwrite,
            protect=protect,
        )
    if suffix not in (".tif", ".tiff", ".pdf"):
        raise SettingsError(f"output profile: only TIFF and PDF carry a press's colours, got {suffix}.")
    if bit_depth != 8 or text or not 1 <= quality <= 100:
        raise SettingsError("expected 8 bits, no text and a quality of 1 to 100 for a PDF or an output profile.")
    colours = _press_colours(output_profile)
    with replacing(target, overwrite=overwrite, protect=protect) as file:
        if suffix == ".pdf":
            _write_pdf(file, sheet, colours, quality)
        else:
            _write_press_tiff(file, sheet, colours, exif)
    return target


@dataclass(frozen=True, eq=False)
class _PressColours:
    """The colours a file is written in: Pillow's mode, its profile, and the way there from sRGB (None: none)."""

    mode: Literal["RGB", "CMYK", "L"]
    profile: bytes
    from_srgb: ImageCms.ImageCmsTransform | None


def _press_colours(profile: str | Path | None) -> _PressColours:
    if profile is None:
        return _PressColours("RGB", srgb_profile(), None)
    try:
        data = Path(profile).read_bytes()
        transform, mode = transform_from_srgb(data)
    except OSError as error:
        raise PhotoError(f'The output profile "{profile}" cannot be read: {error.strerror or error}.') from error
    except ProfileError as error:
        raise PhotoError(f'"{profile}" cannot be used as an output profile: {error}.') from error
    return _PressColours(mode, data, transform)


def _strips(sheet: "PrintSheet", colours: _PressColours) -> Iterator[NDArray[np.uint8]]:
    """Give the sheet from the top down as (h, W, channels)."""
    height, width = sheet.pixels.shape[1:]
    rows = max(1, _STRIP_PIXELS // width)
    for top in range(0, height, rows):
        strip: Image.Image = to_pillow(sheet.pixels[:, top : top + rows])
        if colours.from_srgb is not None:
            strip = ImageCms.applyTransform(strip, colours.from_srgb) or strip
        samples = np.asarray(strip)
        yield samples[:, :, None] if samples.ndim == 2 else samples


def _write_press_tiff(file: BinaryIO, sheet: "PrintSheet", colours: _PressColours, exif: bytes | None) -> None:
    size = int(sheet.pixels.shape[1]), int(sheet.pixels.shape[2])
    carried = carried_exif(exif, size=size)
    if carried:
        carried.get_ifd(0x8769)[0xA001] = 0xFFFF  # colour space: not sRGB, see the profile
    write_tiff(
        file,
        SampleStream(
            size=size,
            kind=colours.mode,
            bits=8,
            strips=_strips(sheet, colours),
            dpi=(sheet.dpi, sheet.dpi),
            icc=colours.profile,
            exif=carried,
        ),
    )


def _write_pdf(file: BinaryIO, sheet: "PrintSheet", colours: _PressColours, quality: int) -> None:
    """Write a one-page PDF that holds the sheet as one picture.

    Source: ISO 32000-1:2008, sections 7.5 (file structure), 7.7.3.3 (UserUnit), 8.6.5.5 (ICCBased), 8.9 (images),
    14.11.2 (page boxes).
    """
    unit = max(1, ceil(max(sheet.size_mm) / MM_PER_INCH * _POINTS_PER_INCH / _LONGEST_PAGE))
    page_width, page_height, bleed = (
        length / MM_PER_INCH * _POINTS_PER_INCH / unit for length in (*sheet.size_mm, sheet.bleed_mm)
    )
    height, width = sheet.pixels.shape[1:]
    channels = {"RGB": 3, "CMYK": 4, "L": 1}[colours.mode]
    device = {"RGB": "DeviceRGB", "CMYK": "DeviceCMYK", "L": "DeviceGray"}[colours.mode]
    packed, packing = _packed_picture(sheet, colours, quality)
    page = f"0 0 {page_width:.4f} {page_height:.4f}"
    trim = f"{bleed:.4f} {bleed:.4f} {page_width - bleed:.4f} {page_height - bleed:.4f}"
    picture = (
        f"/Type /XObject /Subtype /Image /Width {width} /Height {height} /BitsPerComponent 8 "
        f"/ColorSpace [/ICCBased 6 0 R] {packing}"
    )
    objects = (
        _pdf_dictionary("/Type /Catalog /Pages 2 0 R"),
        _pdf_dictionary("/Type /Pages /Kids [3 0 R] /Count 1"),
        _pdf_dictionary(
            f"/Type /Page /Parent 2 0 R /MediaBox [{page}] /BleedBox [{page}] /TrimBox [{trim}] "
            f"{f'/UserUnit {unit} ' if unit > 1 else ''}/Resources << /XObject << /Photo 5 0 R >> >> /Contents 4 0 R"
        ),
        _pdf_stream("", f"q {page_width:.4f} 0 0 {page_height:.4f} 0 0 cm /Photo Do Q".encode()),
        _pdf_stream(picture, packed),
        _pdf_stream(f"/N {channels} /Alternate /{device} /Filter /FlateDecode", zlib.compress(colours.profile)),
    )
    _write_pdf_objects(file, objects, version="1.6" if unit > 1 else "1.5")


def _packed_picture(sheet: "PrintSheet", colours: _PressColours, quality: int) -> tuple[bytes, str]:
    """Pack the samples: RGB and grey as JPEG, CMYK and what no JPEG holds without loss; with the PDF's words for it."""
    height, width = sheet.pixels.shape[1:]
    if colours.mode == "CMYK" or max(height, width) > LONGEST_SIDES[".jpg"]:
        packer = zlib.compressobj(3)
        parts = [packer.compress(np.ascontiguousarray(strip).tobytes()) for strip in _strips(sheet, colours)]
        return b"".join([*parts, packer.flush()]), "/Filter /FlateDecode"
    canvas, top = Image.new(colours.mode, (width, height)), 0
    for strip in _strips(sheet, colours):
        canvas.paste(Image.fromarray(strip[:, :, 0] if colours.mode == "L" else strip), (0, top))
        top += len(strip)
    packed = io.BytesIO()
    canvas.save(packed, "JPEG", quality=quality, subsampling="4:4:4" if quality >= 90 else "4:2:0")
    return packed.getvalue(), "/Filter /DCTDecode"


def _pdf_dictionary(entries: str) -> bytes:
    return f"<< {entries} >>".encode()


def _pdf_stream(entries: str, data: bytes) -> bytes:
    return f"<< {entries} /Length {len(data)} >>\nstream\n".encode() + data + b"\nendstream"


def _write_pdf_objects(file: BinaryIO, objects: tuple[bytes, ...], version: str) -> None:
    """Write header, numbered objects (the first is the catalogue), cross-reference table and trailer."""
    file.write(f"%PDF-{version}\n".encode() + b"%\xe2\xe3\xcf\xd3\n")
    positions = []
    for number, content in enumerate(objects, start=1):
        positions.append(file.tell())
        file.write(f"{number} 0 obj\n".encode() + content + b"\nendobj\n")
    table = file.tell()
    file.write(f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n".encode())
    for position in positions:
        file.write(f"{position:010d} 00000 n \n".encode())
    file.write(f"trailer\n<< /Size {len(objects) + 1} /Root 1 0 R >>\nstartxref\n{table}\n%%EOF\n".encode())
