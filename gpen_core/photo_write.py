"""Pixels → a picture file with resolution, colour profile and EXIF, whole or not at all, and never over a source."""

import logging
import os
import secrets
import struct
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from .errors import GpenError, PhotoError, SettingsError, ShapeError
from .exif import carried_exif, with_resolution
from .icc import srgb_profile
from .photo_open import HIGHEST_DPI
from .sample_files import SampleStream, exact_in_png, write_png16, write_tiff

logger = logging.getLogger(__name__)

WRITABLE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff"})
"""File name endings that `write_photo` knows, in lower case."""

DEEP_SUFFIXES = (".png", ".tif", ".tiff")
"""Those of them that can hold 16 bits per channel."""

LONGEST_SIDES = {".jpg": 65500, ".jpeg": 65500, ".webp": 16383}
"""Pixels along a side that a format holds: libjpeg's JPEG_MAX_DIMENSION, and WebP's 14 bits."""

_WHITE = (1.0, 1.0, 1.0)
_PNG_LEVEL = 3
"""zlib effort for PNG: on photos level 6 takes twice as long for a file one tenth smaller."""
_STRIP_PIXELS = 1 << 17
_LARGEST_EXIF = 65_000
"""Bytes that fit into a JPEG's one segment, with room for a resolution."""


@dataclass(frozen=True, eq=False)
class _Order:
    """What goes into the file beside the pixels."""

    dpi: tuple[float, float] | None
    icc: bytes | None
    exif: Image.Exif
    quality: int
    text: Mapping[str, str] = field(default_factory=dict)


def write_photo(
    path: str | Path,
    pixels: torch.Tensor,
    *,
    alpha: torch.Tensor | None = None,
    dpi: float | tuple[float, float] | None = None,
    icc: Literal["sRGB"] | bytes | None = "sRGB",
    quality: int = 95,
    bit_depth: Literal[8, 16] = 8,
    exif: bytes | None = None,
    keep_gps: bool = False,
    text: Mapping[str, str] | None = None,
    background: tuple[float, float, float] | None = _WHITE,
    overwrite: bool = True,
    protect: Collection[str | Path] = (),
) -> Path:
    """Write a picture as PNG, JPEG, WebP or TIFF, by the ending of its name; folders are made as needed.

    The file appears under its name only when it is whole. Resolution is exact within ±0.01 dpi; a PNG holds whole
    pixels per metre only (150 dpi becomes 150.012), so where that is not exact the exact figure is added as EXIF.

    Args:
        path: where to; the ending chooses the format.
        pixels: (3, H, W), sRGB in [0, 1]; values outside are clipped.
        alpha: (H, W) in [0, 1]; kept in PNG, WebP and TIFF; a JPEG cannot hold it, see `background`.
        dpi: dots per inch, one value or (x, y); None leaves it out.
        icc: the profile to embed: "sRGB", the bytes of another one that describes `pixels`, or None.
        quality: 1 to 100, of JPEG and WebP. From 90 on, JPEG keeps colour at full resolution.
        bit_depth: 16 for PNG and TIFF only.
        exif: the source's block (`Photo.exif`), carried over as `carried_exif` says.
        keep_gps: carry over where the photo was taken.
        text: words to embed by keyword, e.g. the workflow that made the picture; PNG only.
        background: what a transparent picture is laid on in a JPEG, sRGB in [0, 1]; None refuses it instead.
        overwrite: whether a file of that name may be replaced.
        protect: files that are never replaced, e.g. the source.

    Returns:
        The path.

    Raises:
        ShapeError: if `pixels` or `alpha` have another shape or hold NaN.
        SettingsError: if a setting is out of range or does not fit the format.
        PhotoError: naming the file and the cause, if it must not or cannot be written.
    """
    target = Path(path)
    _check(target, pixels, alpha, quality, bit_depth, bool(text), background)
    suffix = target.suffix.lower()
    if alpha is not None and suffix in (".jpg", ".jpeg") and background is not None:
        logger.warning('"%s": JPEG holds no transparency; the picture is laid on a plain background.', target.name)
        pixels, alpha = _lay_on(pixels, alpha, background), None
    order = _Order(
        dpi=_dpi_pair(dpi),
        icc=srgb_profile() if icc == "sRGB" else icc or None,
        exif=carried_exif(exif, size=(pixels.shape[1], pixels.shape[2]), keep_gps=keep_gps),
        quality=quality,
        text=text or {},
    )
    with replacing(target, overwrite=overwrite, protect=protect) as file:
        if bit_depth == 16 or suffix in (".tif", ".tiff"):
            _write_samples(file, suffix, bit_depth, [*pixels] if alpha is None else [*pixels, alpha], order)
        else:
            _WRITERS[suffix](file, to_pillow(pixels, alpha), order)
    return target


@contextmanager
def replacing(path: Path, *, overwrite: bool, protect: Collection[str | Path]) -> Iterator[BinaryIO]:
    """Open a temporary file beside `path` that takes its place when the block ends well, and vanishes otherwise.

    Raises:
        PhotoError: if `path` is one of `protect`, exists and `overwrite` is off, or cannot be written.
    """
    refuse_sources(path, protect)
    if path.is_dir():
        raise PhotoError(f'"{path}" is a folder, expected the name of a picture file.')
    if path.exists() and not overwrite:
        raise PhotoError(f'"{path}" exists already: choose another name or allow overwriting.')
    temporary = path.with_name(f".{path.stem[:40]}.{secrets.token_hex(4)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except GpenError:
        raise
    except OSError as error:
        raise PhotoError(f'"{path}" cannot be written: {error.strerror or error}.') from error
    except (ValueError, struct.error) as error:  # Pillow: sides too long for WebP, entries no block can hold
        raise PhotoError(f'"{path}" cannot be written: {error}.') from error
    finally:
        temporary.unlink(missing_ok=True)


def refuse_sources(path: Path, protect: Collection[str | Path]) -> None:
    """Check that a file to be written is none of those that are never replaced.

    Raises:
        PhotoError: if `path` is one of `protect`.
    """
    if any(_same_file(path, Path(source)) for source in protect):
        raise PhotoError(f'"{path}" is a source photo and is never overwritten: choose another name or folder.')


def to_pillow(pixels: torch.Tensor, alpha: torch.Tensor | None = None) -> Image.Image:
    """Give (3, H, W) sRGB in [0, 1] as Pillow's "RGB", or with `alpha` (H, W) as "RGBA", rounded to 8 bits.

    Raises:
        ShapeError: if a value is NaN.
    """
    planes = [*pixels, alpha] if alpha is not None else [*pixels]
    height, width = pixels.shape[-2:]
    image = Image.new("RGBA" if alpha is not None else "RGB", (width, height))
    for rows in _strips(height, width):
        image.paste(Image.fromarray(_quantised(planes, rows, 255, np.uint8)), (0, rows.start))
    return image


def _strips(height: int, width: int) -> Iterator[slice]:
    rows = max(1, _STRIP_PIXELS // width)
    for top in range(0, height, rows):
        yield slice(top, min(height, top + rows))


def _quantised(
    planes: list[torch.Tensor], rows: slice, top: int, dtype: type[np.uint8] | type[np.uint16]
) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Give some rows as (h, W, C) whole numbers from 0 to `top`, nearest to the values."""
    height, width = rows.stop - rows.start, planes[0].shape[-1]
    result = np.empty((height, width, len(planes)), dtype=dtype)
    for channel, plane in enumerate(planes):
        values = plane[rows].detach().to("cpu", torch.float32).numpy() * np.float32(top)
        if np.isnan(values).any():
            raise ShapeError("pixels: expected numbers in [0, 1], got NaN. The step before gave a broken picture.")
        np.clip(np.rint(values, out=values), 0, top, out=values)
        result[:, :, channel] = values
    return result


def _check(
    path: Path,
    pixels: torch.Tensor,
    alpha: torch.Tensor | None,
    quality: int,
    bit_depth: int,
    has_text: bool,
    background: tuple[float, float, float] | None,
) -> None:
    if pixels.ndim != 3 or pixels.shape[0] != 3 or 0 in pixels.shape:
        raise ShapeError(f"pixels: expected (3, H, W), got {tuple(pixels.shape)}.")
    if alpha is not None and alpha.shape != pixels.shape[1:]:
        raise ShapeError(f"alpha: expected {tuple(pixels.shape[1:])}, got {tuple(alpha.shape)}.")
    suffix = path.suffix.lower()
    if suffix not in WRITABLE_SUFFIXES:
        raise PhotoError(f'"{path}": expected a name ending in {", ".join(sorted(WRITABLE_SUFFIXES))}.')
    longest = LONGEST_SIDES.get(suffix)
    if longest is not None and max(pixels.shape) > longest:
        raise PhotoError(
            f'"{path}" cannot be written: a {suffix} holds at most {longest} pixels a side, got '
            f"{pixels.shape[2]} × {pixels.shape[1]}: choose PNG or TIFF."
        )
    if not 1 <= quality <= 100:
        raise SettingsError(f"quality: expected 1 to 100, got {quality}.")
    if bit_depth not in (8, 16) or (bit_depth == 16 and suffix not in DEEP_SUFFIXES):
        raise SettingsError(f"bit_depth: expected 8, or 16 with PNG or TIFF, got {bit_depth} with {suffix}.")
    if has_text and suffix != ".png":
        raise SettingsError(f"text: only PNG holds it, got {suffix}.")
    if alpha is not None and background is None and suffix in (".jpg", ".jpeg"):
        raise PhotoError(f'"{path}": JPEG holds no transparency: choose PNG, WebP or TIFF, or a background colour.')


def _dpi_pair(dpi: float | tuple[float, float] | None) -> tuple[float, float] | None:
    if dpi is None:
        return None
    x, y = dpi if isinstance(dpi, tuple) else (dpi, dpi)
    if not (1 <= x <= HIGHEST_DPI and 1 <= y <= HIGHEST_DPI):
        raise SettingsError(f"dpi: expected 1 to {HIGHEST_DPI}, got {dpi}.")
    return float(x), float(y)


def _same_file(path: Path, source: Path) -> bool:
    """Whether two names lead to one file, through links, other cases of letters or hard links."""
    try:
        return path.samefile(source)
    except FileNotFoundError:
        return path.resolve() == source.resolve()


def _lay_on(pixels: torch.Tensor, alpha: torch.Tensor, background: tuple[float, float, float]) -> torch.Tensor:
    colour = torch.tensor(background, dtype=pixels.dtype, device=pixels.device)[:, None, None]
    return torch.lerp(colour.expand_as(pixels), pixels, alpha.to(pixels))


def _write_png(file: BinaryIO, image: Image.Image, order: _Order) -> None:
    text = PngInfo()
    for keyword, words in order.text.items():
        text.add_text(keyword, words)
    exif = order.exif
    settings: dict[str, object] = {}
    if order.dpi is not None:
        settings["dpi"] = order.dpi
        if not exact_in_png(order.dpi):
            exif = with_resolution(exif, order.dpi)
    if len(exif):
        settings["exif"] = exif
    image.save(file, "PNG", icc_profile=order.icc, pnginfo=text, compress_level=_PNG_LEVEL, **settings)


def _write_jpeg(file: BinaryIO, image: Image.Image, order: _Order) -> None:
    exif = order.exif
    if len(exif.tobytes()) > _LARGEST_EXIF:
        logger.warning("The photo's EXIF block is larger than a JPEG can hold and is not carried over.")
        exif = Image.Exif()
    settings: dict[str, object] = {"subsampling": "4:4:4" if order.quality >= 90 else "4:2:0"}
    if order.dpi is not None:
        if len(exif) or not _whole(order.dpi):
            exif = with_resolution(exif, order.dpi)
        if _whole(order.dpi):  # JFIF holds whole dots per inch only; without it readers take the EXIF's fraction
            settings["dpi"] = order.dpi
    if len(exif):
        settings["exif"] = exif
    image.save(file, "JPEG", quality=order.quality, icc_profile=order.icc, **settings)


def _whole(dpi: tuple[float, float]) -> bool:
    return all(value == round(value) for value in dpi)


def _write_webp(file: BinaryIO, image: Image.Image, order: _Order) -> None:
    exif = order.exif if order.dpi is None else with_resolution(order.exif, order.dpi)
    settings: dict[str, object] = {"exif": exif} if len(exif) else {}
    image.save(file, "WEBP", quality=order.quality, icc_profile=order.icc or b"", exact=True, **settings)


def _write_samples(
    file: BinaryIO, suffix: str, bits: Literal[8, 16], planes: list[torch.Tensor], order: _Order
) -> None:
    height, width = planes[0].shape
    top, dtype = (65535, np.uint16) if bits == 16 else (255, np.uint8)
    stream = SampleStream(
        size=(height, width),
        kind="RGBA" if len(planes) == 4 else "RGB",
        bits=bits,
        strips=(_quantised(planes, rows, top, dtype) for rows in _strips(height, width)),
        dpi=order.dpi,
        icc=order.icc,
        exif=order.exif,
        text=order.text,
    )
    if suffix == ".png":
        write_png16(file, stream)
    else:
        write_tiff(file, stream)


_WRITERS: dict[str, Callable[[BinaryIO, Image.Image, _Order], None]] = {
    ".png": _write_png,
    ".jpg": _write_jpeg,
    ".jpeg": _write_jpeg,
    ".webp": _write_webp,
}
