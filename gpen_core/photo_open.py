"""Open a picture file safely: identify it by content, refuse in words what is unsafe or broken, give its samples."""

import re
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, UnidentifiedImageError

from .errors import ModelMemoryError, PhotoError
from .exif import exif_block
from .icc import adobe_rgb_profile
from .photo_notes import notes_on
from .strangers import is_camera_raw, no_photo, why_unknown

if TYPE_CHECKING:
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF")
"""The Pillow plug-ins that may look at a client's file; the others (PostScript, WMF …) are kept away from it."""

_BROKEN = (
    *(OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, AttributeError, ArithmeticError),
    *(RuntimeError, struct.error, zlib.error, cv2.error),
)
"""What the decoders raise on damaged files: each kind was met, or stands in their code."""

_OUT_OF_MEMORY = re.compile("(out of|insufficient|not enough) memory", re.IGNORECASE)
"""How Pillow's decoders, OpenCV and AVIF say it."""

_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")

_GREY_MODES = frozenset({"1", "L", "LA", "La", "I;16", "I;16B", "I;16L", "I"})

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""How to undo an EXIF orientation."""

HIGHEST_DPI = 65535
"""Dots per inch that are believed, and that a JPEG can hold."""

_pillow_lock = threading.RLock()


@dataclass(frozen=True, eq=False)
class StoredPicture:
    """The samples of a picture file, turned upright, before any change of colour.

    Attributes:
        image: the picture at 8 bits in one of Pillow's modes, loaded; None if `samples` holds it.
        samples: (H, W, 1|3|4) uint16, R, G, B, A; None if `image` holds it.
        grey: whether the file stores grey only.
        format: "JPEG", "PNG" …; "MPO" and "HEIF" as well.
        icc: the embedded colour profile, or the one that the EXIF block names.
        exif: the EXIF block as stored, with its opening "Exif" word.
        orientation: the EXIF orientation the file was stored in, 1 to 8; it has been undone.
        dpi: (x, y) dots per inch, as seen upright.
        notes: what a user should know about the reading.
    """

    image: Image.Image | None
    samples: NDArray[np.uint16] | None
    grey: bool
    format: str
    icc: bytes | None
    exif: bytes | None
    orientation: int
    dpi: tuple[float, float] | None
    notes: tuple[str, ...]


def open_picture(path: Path, max_pixels: int) -> StoredPicture:
    """Read the samples of a picture file and turn them upright.

    Raises:
        PhotoError: if there is no such file, it is empty, no picture, damaged, cut short, or has more than
            `max_pixels` pixels (checked before anything is decoded).
        ModelMemoryError: if it does not fit into memory.
    """
    head = _read_head(path)
    with strict_pillow(), warnings.catch_warnings(), _translate_errors(path, head):
        warnings.simplefilter("ignore")  # what matters raises, or is in the notes
        image = _open_heif(path, max_pixels) if _is_heif(head) else _open_pillow(path)
        with image, enough_memory(path, image.size):
            _check_size(path, image.size, max_pixels)
            if image.format == "TIFF" and is_camera_raw(_tiff_tags(image), head):
                raise PhotoError(f'"{path}" {no_photo("a camera raw file")}.')
            record = _record(path, image, head)
            if _bits_per_sample(image, head) == 16:
                samples = _decode_16bit(path, image, head)
                if samples is not None:
                    return replace(record, samples=turn_upright(samples, record.orientation))
                if image.mode.startswith("I;16"):
                    return replace(record, samples=_grey_by_pillow(image))
                record = replace(record, notes=(*record.notes, "this kind of 16-bit file is read at 8 bits"))
            image.load()
            if image.format != "TIFF" and record.orientation > 1:  # Pillow turns TIFF by itself
                return replace(record, image=image.transpose(_TURNS[record.orientation]))
            return replace(record, image=image)


def _read_head(path: Path) -> bytes:
    """Give the first bytes of a file that exists and is not empty."""
    if path.is_dir():
        raise PhotoError(f'"{path}" is a folder, expected a picture file.')
    try:
        with path.open("rb") as file:
            head = file.read(32)
    except FileNotFoundError as error:
        raise PhotoError(f'"{path}" does not exist.') from error
    except OSError as error:
        raise PhotoError(f'"{path}" cannot be opened: {error.strerror or error}.') from error
    if not head:
        raise PhotoError(f'"{path}" is empty (0 bytes). Copy it again from its source.')
    return head


@contextmanager
def strict_pillow() -> Iterator[None]:
    """Let Pillow report cut files, and leave the size check to us, whatever the host program set; then set it back."""
    with _pillow_lock:
        host = ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS
        ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS = False, None
        try:
            yield
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS = host


@contextmanager
def _translate_errors(path: Path, head: bytes) -> Iterator[None]:
    """Turn what Pillow raises into a `PhotoError` that names the file and the cause."""
    try:
        yield
    except UnidentifiedImageError as error:
        raise PhotoError(f'"{path}" {why_unknown(head)}.') from error
    except ModelMemoryError:
        raise
    except (*_BROKEN, MemoryError) as error:  # where no size is known yet, only a damaged head asks for much memory
        raise PhotoError(f'"{path}" is damaged or cut short: {str(error).strip()}. Ask for the file again.') from error


@contextmanager
def enough_memory(path: Path, size: tuple[int, int]) -> Iterator[None]:
    """Turn the end of memory, in whatever words it comes, into an error that names the file and its (width, height).

    Raises:
        ModelMemoryError: if memory runs out inside.
    """
    try:
        yield
    except (MemoryError, OSError, RuntimeError, cv2.error) as error:
        if not isinstance(error, MemoryError) and not _OUT_OF_MEMORY.search(str(error)):
            raise
        raise ModelMemoryError(
            f'"{path}" has {size[0]} × {size[1]} pixels, for which there is not enough memory: close other programs, '
            "or make the picture smaller first."
        ) from error


def _is_heif(head: bytes) -> bool:
    return head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS


def _open_pillow(path: Path) -> Image.Image:
    Image.init()
    return Image.open(path, formats=[name for name in _FORMATS if name in Image.OPEN])


def _open_heif(path: Path, max_pixels: int) -> Image.Image:
    try:
        from pillow_heif import open_heif
    except ImportError as error:
        raise PhotoError(
            f'"{path}" is a HEIC photo: reading it needs the package pillow-heif (pip install pillow-heif).'
        ) from error
    file = open_heif(path)
    _check_size(path, file.size, max_pixels)
    with enough_memory(path, file.size):
        image: Image.Image = file.to_pillow()
    image.format = "HEIF"
    return image


def _check_size(path: Path, size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise PhotoError(f'"{path}" has no pixels ({width} × {height}).')
    if width * height > max_pixels:
        raise PhotoError(
            f'"{path}" says it has {width} × {height} pixels, more than the {max_pixels / 1e6:.0f} million allowed: '
            "a decompression bomb, or a picture to be made smaller first."
        )


def _bits_per_sample(image: Image.Image, head: bytes) -> int:
    if image.format == "PNG":
        return head[24]  # IHDR, PNG specification 11.2.1
    if image.format == "TIFF":
        return int(max(_tiff_tags(image).get(258, (1,))))
    return 8


def _tiff_tags(image: Image.Image) -> "ImageFileDirectory_v2":
    tags: ImageFileDirectory_v2 = image.tag_v2  # type: ignore[attr-defined]
    return tags


def _decode_16bit(path: Path, image: Image.Image, head: bytes) -> NDArray[np.uint16] | None:
    """Decode with OpenCV, which keeps all 16 bits where Pillow keeps 8; None if OpenCV cannot be trusted with it."""
    big_tiff = 43 in head[2:4]
    if image.format == "TIFF" and _tiff_tags(image).get(284, 1) == 2 and _tiff_tags(image).get(277, 1) > 1:
        raise PhotoError(
            f'"{path}" stores its 16-bit channels one after the other (planar), which is not read: save it again with '
            "interleaved channels."
        )
    if image.format == "TIFF" and (big_tiff or not _is_plain_tiff(image)):
        return None
    if image.format == "PNG":
        with Image.open(path, formats=["PNG"]) as check:
            check.verify()
    data = np.fromfile(path, dtype=np.uint8)
    if image.format == "TIFF":
        _clear_orientation(data)
    decoded = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    if decoded is None or decoded.dtype != np.uint16 or sorted(decoded.shape[:2]) != sorted(image.size):
        if image.format == "PNG":
            raise PhotoError(f'"{path}" is damaged: its 16-bit samples cannot be decoded. Ask for the file again.')
        return None
    samples: NDArray[np.uint16] = decoded.view(np.uint16)
    if samples.ndim == 2:
        return _with_key(samples, image.info.get("transparency"))
    return samples[:, :, [2, 1, 0, 3][: samples.shape[2]]]


def _with_key(grey: NDArray[np.uint16], key: object) -> NDArray[np.uint16]:
    """Give (H, W) grey as (H, W, 1), or with alpha as (H, W, 4) if one value means "transparent"."""
    if not isinstance(key, int):
        return grey[:, :, None]
    alpha = np.where(grey == key, np.uint16(0), np.uint16(65535))
    return np.stack([grey, grey, grey, alpha], axis=-1)


def _grey_by_pillow(image: Image.Image) -> NDArray[np.uint16]:
    """Decode the 16-bit grey of a TIFF that OpenCV is not trusted with: BigTIFF, or white stored as 0; upright."""
    white_is_zero = _tiff_tags(image).get(262) == 0
    image.load()
    samples = np.asarray(image).astype(np.uint16)[:, :, None]
    return 65535 - samples if white_is_zero else samples


def _clear_orientation(tiff: NDArray[np.uint8]) -> None:
    """Make the loaded bytes of a TIFF say "upright": OpenCV's versions differ in whether they turn it.

    Source: TIFF 6.0 section 2, image file directory.
    """
    data = tiff.data
    order = "<" if data[0] == ord("I") else ">"
    start = struct.unpack_from(f"{order}I", data, 4)[0]
    for entry in range(struct.unpack_from(f"{order}H", data, start)[0]):
        position = start + 2 + 12 * entry
        if struct.unpack_from(f"{order}H", data, position)[0] == 274:
            struct.pack_into(f"{order}H", data, position + 8, 1)


def _is_plain_tiff(image: Image.Image) -> bool:
    """Whether a 16-bit TIFF is grey (black is 0) or RGB, whole numbers, with at most a plain alpha channel."""
    tags = _tiff_tags(image)
    photometric, channels = tags.get(262), tags.get(277, 1)
    whole_numbers = set(tags.get(339, (1,))) == {1}
    plain_alpha = channels < 4 or tags.get(338) == (2,)
    return whole_numbers and plain_alpha and (photometric, channels) in ((1, 1), (2, 3), (2, 4))


def _record(path: Path, image: Image.Image, head: bytes) -> StoredPicture:
    """Note what an opened file says about its picture."""
    if image.format == "PNG":
        image.load()  # its EXIF block may stand behind the pixels
    notes = notes_on(image, path)
    exif, block = Image.Exif(), None
    try:
        exif = image.getexif()
        block = image.info.get("exif") or exif_block(exif)
    except _BROKEN:
        block = None
    if (block is None and image.info.get("exif")) or (block and not len(exif)):
        block, notes = (
            None,
            (*notes, "its EXIF block is damaged or empty; if the photo lies on its side, turn it by hand"),
        )
    profile = image.info.get("icc_profile") or None
    if profile is None and block is not None and _says_adobe_rgb(exif):
        profile, notes = adobe_rgb_profile(), (*notes, "Adobe RGB, as its EXIF says")
    orientation, dpi = _orientation(exif), _dpi(image, exif)
    return StoredPicture(
        image=None,
        samples=None,
        grey=image.mode in _GREY_MODES or (image.format == "PNG" and head[25] in (0, 4)),  # IHDR colour type
        format=image.format or "",
        icc=profile,
        exif=block,
        orientation=orientation,
        dpi=dpi[::-1] if dpi is not None and orientation in (5, 6, 7, 8) else dpi,
        notes=notes,
    )


def _says_adobe_rgb(exif: Image.Exif) -> bool:
    """Whether a camera wrote Adobe RGB without a profile: "R03", DCF option file (DCF 2.0, CIPA DC-009)."""
    try:
        return str(exif.get_ifd(0xA005).get(1, "")).startswith("R03")
    except _BROKEN:
        return False


def turn_upright(samples: NDArray[np.uint16], orientation: int) -> NDArray[np.uint16]:
    """Turn a stored (H, W, C) array the way its EXIF orientation asks; a view, no copy.

    Source: EXIF 2.32 (CIPA DC-008), tag 0x0112: which side of the scene row 0 and column 0 are.
    """
    if orientation in (5, 6, 7, 8):  # row 0 is the scene's left or right side
        samples = samples.transpose(1, 0, 2)
    flip_x = orientation in (2, 3, 6, 7)
    flip_y = orientation in (3, 4, 7, 8)
    return samples[:: -1 if flip_y else 1, :: -1 if flip_x else 1]


def _orientation(exif: Image.Exif) -> int:
    """Give how the photo lies, 1 to 8; 1, upright, where the entry says nothing that can be understood."""
    try:
        value = exif.get(274, 1)
        orientation = int(value[0] if isinstance(value, bytes | tuple) else value)
    except _BROKEN:
        return 1
    return orientation if orientation in range(1, 9) else 1


def _dpi(image: Image.Image, exif: Image.Exif) -> tuple[float, float] | None:
    """Give the stored resolution; the fractions in the EXIF where the format's own whole numbers only come near."""
    try:
        per_inch = 2.54 if exif.get(296, 2) == 3 else 1.0
        in_exif = float(exif.get(282, 0)) * per_inch, float(exif.get(283, 0)) * per_inch
        x, y = (float(value) for value in _dpi_of_format(image) or in_exif)
    except _BROKEN:
        return None
    if abs(in_exif[0] - x) < 0.02 and in_exif[1] > 1:  # a PNG's half pixel per metre is 0.0127 dpi
        x, y = in_exif
    return (x, y) if min(x, y) > 1 and max(x, y) <= HIGHEST_DPI else None


def _dpi_of_format(image: Image.Image) -> tuple[float, float] | None:
    """Give the resolution outside the EXIF; for a JPEG that has none in either, Pillow makes up 72 dpi."""
    made_up = image.format in ("JPEG", "MPO") and image.info.get("jfif_unit") not in (1, 2)
    return None if made_up else image.info.get("dpi")
