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

_BROKEN = (OSError, SyntaxError, ValueError, KeyError, TypeError, IndexError, struct.error)
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
    carried = Image.Exif()
    if not block:
        return carried
    source = Image.Exif()
    try:
        source.load(block)
        carried.update({tag: value for tag, value in source.items() if tag in _KEPT})
        details = {tag: value for tag, value in source.get_ifd(_EXIF_IFD).items() if tag not in _DROPPED_DETAILS}
        details.update({0xA001: 1, 0xA002: size[1], 0xA003: size[0]})  # sRGB, PixelXDimension, PixelYDimension
        carried.get_ifd(_EXIF_IFD).update(details)
        if keep_gps and source.get_ifd(_GPS_IFD):
            carried.get_ifd(_GPS_IFD).update(source.get_ifd(_GPS_IFD))
        carried[0x0112] = 1
        carried.tobytes()
    except _BROKEN as error:
        logger.warning("The photo's EXIF block is damaged and is not carried over: %s", error)
        return Image.Exif()
    return carried


def with_resolution(exif: Image.Exif, dpi: tuple[float, float]) -> Image.Exif:
    """Give the same EXIF with the resolution added as exact fractions of dots per inch."""
    result = Image.Exif()
    result.load(exif.tobytes())
    result.update({0x011A: dpi[0], 0x011B: dpi[1], 0x0128: 2})
    return result
