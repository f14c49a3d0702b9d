"""TIFF and 16-bit PNG files with profile, resolution and EXIF, strip by strip: Pillow writes no such file whole."""

import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from .errors import PhotoError
from .exif import with_resolution

_LEVEL = 3
"""zlib effort; more of it packs a photo's noise hardly better."""


@dataclass(frozen=True, eq=False)
class SampleStream:
    """A picture on its way into a file.

    Attributes:
        size: (height, width).
        kind: what the channels are; alpha is not multiplied in.
        bits: 8 or 16 per channel.
        strips: the rows from the top down, (h, W, channels) uint8 or uint16 each, all of one height but the last.
        dpi: (x, y) dots per inch.
        icc: the profile to embed.
        exif: as `carried_exif` gives it.
        text: words to embed by keyword; PNG only.
    """

    size: tuple[int, int]
    kind: Literal["RGB", "RGBA", "CMYK", "L"]
    bits: Literal[8, 16]
    strips: Iterable[NDArray[np.generic]]
    dpi: tuple[float, float] | None
    icc: bytes | None
    exif: Image.Exif
    text: Mapping[str, str] = field(default_factory=dict)


def write_png16(file: BinaryIO, picture: SampleStream) -> None:
    """Write a 16-bit PNG, row differences ("Up") packed with zlib.

    Source: PNG specification, third edition (W3C 2025), sections 9 and 11.
    """
    height, width = picture.size
    file.write(b"\x89PNG\r\n\x1a\n")
    colour_type = {"L": 0, "RGB": 2, "RGBA": 6}[picture.kind]
    _chunk(file, b"IHDR", struct.pack(">2I5B", width, height, 16, colour_type, 0, 0, 0))
    if picture.icc is not None:
        _chunk(file, b"iCCP", b"ICC profile\0\0" + zlib.compress(picture.icc))
    exif = picture.exif
    if picture.dpi is not None:
        _chunk(file, b"pHYs", struct.pack(">2IB", *(round(value / 0.0254) for value in picture.dpi), 1))
        exif = exif if exact_in_png(picture.dpi) else with_resolution(exif, picture.dpi)
    if len(exif):
        _chunk(file, b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))
    for keyword, words in picture.text.items():
        _chunk(file, b"iTXt", keyword.encode("latin-1") + b"\0\0\0\0\0" + words.encode())
    packer = zlib.compressobj(_LEVEL)
    for rows in _up_filtered(picture.strips):
        _chunk(file, b"IDAT", packer.compress(rows))
    _chunk(file, b"IDAT", packer.flush())
    _chunk(file, b"IEND", b"")


def exact_in_png(dpi: tuple[float, float]) -> bool:
    """Whether whole pixels per metre, as PNG holds them, come within 0.005 dpi."""
    return all(abs(round(value / 0.0254) * 0.0254 - value) < 0.005 for value in dpi)


def _chunk(file: BinaryIO, kind: bytes, data: bytes) -> None:
    if data or kind != b"IDAT":
        file.write(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(kind))))


def _up_filtered(strips: Iterable[NDArray[np.generic]]) -> Iterator[bytes]:
    """Give each strip's bytes, every row as its filter type and its difference to the row above."""
    above: NDArray[np.uint8] | None = None
    for strip in strips:
        rows = np.ascontiguousarray(strip, dtype=">u2").view(np.uint8).reshape(len(strip), -1)
        above = np.zeros((1, rows.shape[1]), np.uint8) if above is None else above
        filtered = np.full((len(rows), rows.shape[1] + 1), 2, dtype=np.uint8)
        np.subtract(rows, np.concatenate([above, rows[:-1]]), out=filtered[:, 1:])
        above = rows[-1:].copy()
        yield filtered.tobytes()


def write_tiff(file: BinaryIO, picture: SampleStream) -> None:
    """Write a TIFF, horizontal differences packed with Deflate, one strip of the file per strip of rows.

    Source: TIFF 6.0 (Adobe 1992) sections 2, 8 and 14; Deflate: Adobe Photoshop TIFF technical notes (2002).

    Raises:
        PhotoError: if the file would pass TIFF's 4 GiB.
    """
    file.write(b"II*\0\0\0\0\0")
    offsets: list[int] = []
    lengths: list[int] = []
    rows_per_strip = 0
    for strip in picture.strips:
        rows_per_strip = rows_per_strip or len(strip)
        packed = zlib.compress(_differences(strip, picture.bits).tobytes(), _LEVEL)
        offsets.append(file.tell())
        lengths.append(len(packed))
        file.write(packed + b"\0" * (len(packed) % 2))
    directory = _tiff_directory(picture, rows_per_strip, offsets, lengths)
    for tag in (0x8769, 0x8825):  # EXIF and GPS blocks
        details = picture.exif.get_ifd(tag)
        if details:
            directory[tag] = ("I", [file.tell()])
            file.write(_sub_directory(details, file.tell()))
    start = file.tell()
    if start > 0xFFFF0000:
        raise PhotoError("A TIFF file holds at most 4 GiB: write a PNG, or at 8 bits.")
    file.write(_packed_directory(directory, start))
    file.seek(4)
    file.write(struct.pack("<I", start))


def _differences(strip: NDArray[np.generic], bits: int) -> NDArray[np.generic]:
    """Give each sample minus the one to its left, the first column as it is (TIFF 6.0 section 14)."""
    samples = np.ascontiguousarray(strip, dtype="<u2" if bits == 16 else np.uint8)
    differences = samples.copy()
    np.subtract(samples[:, 1:], samples[:, :-1], out=differences[:, 1:])
    return differences


_Entries = dict[int, tuple[str, list[int] | bytes]]
"""TIFF tag → (struct code of one value, the values); "s" is text or bytes."""

_TYPES = {"b": 1, "s": 2, "H": 3, "I": 4, "R": 5, "B": 7}
"""Struct code → TIFF type: BYTE, text, SHORT, LONG, RATIONAL as two LONGs, UNDEFINED."""

_WINDOWS_TEXTS = range(0x9C9B, 0x9CA0)
"""Windows' title to subject: bytes of UTF-16."""


def _tiff_directory(picture: SampleStream, rows: int, offsets: list[int], lengths: list[int]) -> _Entries:
    height, width = picture.size
    photometric, channels = {"L": (1, 1), "RGB": (2, 3), "RGBA": (2, 4), "CMYK": (5, 4)}[picture.kind]
    entries: _Entries = {
        256: ("I", [width]),
        257: ("I", [height]),
        258: ("H", [picture.bits] * channels),
        259: ("H", [8]),  # Deflate
        262: ("H", [photometric]),
        273: ("I", offsets),
        274: ("H", [1]),  # upright
        277: ("H", [channels]),
        278: ("I", [rows]),
        279: ("I", lengths),
        284: ("H", [1]),  # channels interleaved
        317: ("H", [2]),  # horizontal differences
        339: ("H", [1] * channels),  # whole numbers
    }
    if picture.kind == "RGBA":
        entries[338] = ("H", [2])  # alpha, not multiplied in
    if picture.dpi is not None:
        entries[282], entries[283] = (("R", [round(value * 10000), 10000]) for value in picture.dpi)
        entries[296] = ("H", [2])  # per inch
    if picture.icc is not None:
        entries[34675] = ("B", picture.icc)
    for tag, value in picture.exif.items():
        if isinstance(value, bytes) and tag in _WINDOWS_TEXTS:
            entries[tag] = ("b", value)
        elif isinstance(value, str | bytes):
            text = value.encode("latin-1", "replace") if isinstance(value, str) else value
            entries[tag] = ("s", text + b"\0")
    return entries


def _packed_directory(entries: _Entries, start: int) -> bytes:
    """Lay out a directory that begins at file position `start`, with the values that do not fit into it behind it."""
    behind = start + 2 + 12 * len(entries) + 4
    table, values = bytearray(struct.pack("<H", len(entries))), bytearray()
    for tag, (code, content) in sorted(entries.items()):
        if isinstance(content, bytes):
            data, count = content, len(content)
        else:
            data = struct.pack(f"<{len(content)}{'I' if code == 'R' else code}", *content)
            count = len(content) // 2 if code == "R" else len(content)
        if len(data) > 4:
            position = behind + len(values)
            values += data + b"\0" * (len(data) % 2)
            data = struct.pack("<I", position)
        table += struct.pack("<HHI", tag, _TYPES[code], count) + data.ljust(4, b"\0")
    return bytes(table) + struct.pack("<I", 0) + bytes(values)


def _sub_directory(details: Mapping[int, object], start: int) -> bytes:
    directory = ImageFileDirectory_v2()
    for tag, value in details.items():
        directory[tag] = value
    return directory.tobytes(start)
