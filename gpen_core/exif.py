"""What a photo's EXIF block says is carried over to the picture made from it, corrected where it no longer holds."""

import logging
import struct

from PIL import Image

logger = logging.getLogger(__name__)

_EXIF_IFD, _GPS_IFD = 0x8769, 0x8825

_KEPT = frozenset({0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x8298, 0x9C9B, 0x9C9C, 0x9C9D, 0x9C9E, 0x9C9F})
"""Description, make, model, software, date, artist, copyright, Windows' title to subject. The rest of the main block
describes how the source stored its pixels (size, strips, compression) and would be false in a new file."""

_DROPPED_DETAILS = frozenset({0x927C, 0xA005})
"""The maker's own note, whose inner offsets break when it is moved, and the interoperability block, which may say
that colours are Adobe RGB."""

_BROKEN = (OSError, SyntaxError, ValueError, KeyError, TypeError, IndexError, AttributeError, struct.error)
"""What Pillow raises on a damaged block."""


def carried_exif(block: bytes | None, *, size: tuple[int, int], keep_gps: bool = False) -> Image.Exif:
    """Make the EXIF for a new upright sRGB picture from the block of its source.

    Kept are description, camera, dates, author, copyright and the shooting details; orientation is reset to upright,
    size and colour space are set to the new picture's; the thumbnail and the maker's note are dropped, and the place
    (GPS) unless `keep_gps`. A damaged block gives an empty EXIF, with a warning in the log.

    Args:
        block: as `Photo.exif` holds it.
        size: (height, width) of the new picture.
        keep_gps: carry over where the photo was taken.
    """
    if not block:
        return Image.Exif()
    source = Image.Exif()
    try:
        source.load(block)
        carried, details = _kept(source)
        details.update({0xA001: 1, 0xA002: size[1], 0xA003: size[0]})  # sRGB, PixelXDimension, PixelYDimension
        carried.update({0x0112: 1, _EXIF_IFD: details})
        if keep_gps and source.get_ifd(_GPS_IFD):
            carried[_GPS_IFD] = dict(source.get_ifd(_GPS_IFD))
        return _packed_and_reloaded(carried)
    except _BROKEN as error:
        logger.warning("The photo's EXIF block is damaged and is not carried over: %s", error)
        return Image.Exif()


def exif_block(exif: Image.Exif) -> bytes | None:
    """Pack what a TIFF's own tags say about the photo into a block as other formats hold it; None if nothing."""
    kept, details = _kept(exif)
    if details:
        kept[_EXIF_IFD] = details
    if exif.get_ifd(_GPS_IFD):
        kept[_GPS_IFD] = dict(exif.get_ifd(_GPS_IFD))
    return kept.tobytes() if len(kept) else None


def _kept(exif: Image.Exif) -> tuple[Image.Exif, dict[int, object]]:
    """Give the main entries and the shooting details that outlive a change of file."""
    kept = Image.Exif()
    kept.update({tag: _as_stored(value) for tag, value in exif.items() if tag in _KEPT})
    details = exif.get_ifd(_EXIF_IFD)
    return kept, {tag: _as_stored(value) for tag, value in details.items() if tag not in _DROPPED_DETAILS}


def _packed_and_reloaded(exif: Image.Exif) -> Image.Exif:
    """Give the same EXIF as if read from a file, which shows that it can be written."""
    result = Image.Exif()
    result.load(exif.tobytes())
    # To ask for a part that is not there would write an empty one.
    for part in (result, result.get_ifd(_EXIF_IFD)) if _EXIF_IFD in result else (result,):
        part.update({tag: _as_stored(value) for tag, value in part.items() if isinstance(value, str)})
    return result


def _as_stored(value: object) -> object:
    """Give a text as the bytes that stood in the file.

    Pillow reads every byte as a character (Latin-1), and on writing would put "?" for all that are not ASCII: names in
    UTF-8, which cameras and programs write, would be lost.
    """
    return value.encode("latin-1", "replace") if isinstance(value, str) and not value.isascii() else value


def with_resolution(exif: Image.Exif, dpi: tuple[float, float]) -> Image.Exif:
    """Give the same EXIF with the resolution added as exact fractions of dots per inch."""
    result = _packed_and_reloaded(exif)
    result.update({0x011A: dpi[0], 0x011B: dpi[1], 0x0128: 2})
    return result
