"""Any picture file → sRGB float pixels, with what the file says about itself; writing is in `photo_write.py`."""

import logging
import os
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageCms

from . import icc
from .color import on_white
from .errors import PhotoError, SettingsError
from .geometry import enlarge
from .photo_open import HIGHEST_DPI, StoredPicture, enough_memory, open_picture, strict_pillow
from .photo_write import DEEP_SUFFIXES, write_photo

logger = logging.getLogger(__name__)

__all__ = ["MAX_PIXELS", "PHOTO_SUFFIXES", "Photo", "list_photos", "read_photo", "write_photo", "write_version"]

MAX_PIXELS = 300_000_000
"""Largest picture read unless asked otherwise: above a 200-megapixel phone, below what a crafted file asks for."""

PHOTO_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".tif", ".tiff", ".bmp", ".avif", ".heic", ".heif", ".hif"}
)
"""File name endings, in lower case, that a folder run takes for photos."""

_ALPHA_MODES = frozenset({"LA", "La", "PA", "RGBA", "RGBa"})
_GREY_MODES = frozenset({"1", "L", "LA", "La"})
_STRIP_PIXELS = 1 << 17
"""Pixels converted at a time: small beside the photo, so that a 100-megapixel one needs little more than its result."""


@dataclass(frozen=True, eq=False)
class Photo:
    """A picture file, read.

    Attributes:
        pixels: (3, H, W), sRGB in [0, 1], upright.
        alpha: (H, W) in [0, 1], 1 is opaque; None if the file has no transparency.
        dpi: (x, y) dots per inch as stored; None if the file does not say.
        source: the file.
        exif: the EXIF block as stored, orientation included although `pixels` are upright; `write_photo` resets it.
        bit_depth: 8 or 16, the precision that `pixels` carry.
        was_grey: whether the file stores grey only; the three channels are then equal.
        format: the format found inside the file, e.g. "JPEG", whatever its name says.
        notes: what a user should know about the reading, e.g. which colour conversion was taken.
    """

    pixels: torch.Tensor
    alpha: torch.Tensor | None
    dpi: tuple[float, float] | None
    source: Path
    exif: bytes | None
    bit_depth: int
    was_grey: bool
    format: str
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return int(self.pixels.shape[-2]), int(self.pixels.shape[-1])

    @property
    def on_white(self) -> torch.Tensor:
        """`pixels` laid on white, as on paper; without transparency `pixels` themselves."""
        return on_white(self.pixels, self.alpha)


def read_photo(path: str | Path, *, max_pixels: int = MAX_PIXELS, cmyk_profile: str | Path | None = None) -> Photo:
    """Read a picture file into upright sRGB pixels.

    Reads JPEG, PNG, WebP, TIFF, BMP, GIF, AVIF (Pillow 11.3 or newer) and HEIC (with the package pillow-heif), by
    content, not by name. 16-bit PNG and TIFF keep their precision, unless their profile is made of tables. Colours go
    through the embedded ICC profile; without one they are taken as sRGB. CMYK without a profile goes through
    `cmyk_profile`, else by the plain formula R = (1 − C)(1 − K) and likewise for G and B; `Photo.notes` says which.

    Args:
        path: the file.
        max_pixels: the largest picture accepted; checked before decoding.
        cmyk_profile: an ICC file for CMYK pictures that carry no profile.

    Raises:
        PhotoError: naming the file and the cause, if it does not exist, is empty, no picture, damaged, cut short, too
            large, or of a kind that has no plain meaning as a photo.
        ModelMemoryError: naming the file and its size, if it does not fit into memory.
    """
    source = Path(path)
    with strict_pillow():
        stored = open_picture(source, max_pixels)
        if stored.samples is not None:
            with enough_memory(source, (stored.samples.shape[1], stored.samples.shape[0])):
                return _from_16bit(source, stored, stored.samples)
        if stored.image is None:
            raise PhotoError(f'"{source}" holds no picture.')
        with enough_memory(source, stored.image.size):
            return _from_8bit(source, stored, stored.image, cmyk_profile)


def write_version(
    path: str | Path,
    photo: Photo,
    pixels: torch.Tensor,
    *,
    quality: int = 95,
    keep_gps: bool = False,
    protect: Collection[str | Path] = (),
) -> Path:
    """Write a changed photo with what came with the original: alpha, DPI, EXIF and, in PNG and TIFF, 16 bits.

    XMP and IPTC details are not carried over; `Photo.notes` says so where there are some.

    Args:
        path: where to; the ending chooses the format. The photo's own file is never overwritten.
        photo: the original.
        pixels: (3, H, W), sRGB in [0, 1], of the photo's size or a whole number of times larger. An enlarged picture
            keeps its size on paper by a higher DPI, if a file can hold it, and its alpha is enlarged bilinearly.
        quality: 1 to 100, of JPEG and WebP.
        keep_gps: carry over where the photo was taken.
        protect: further files that are never replaced.

    Raises:
        ShapeError, SettingsError, PhotoError: as `write_photo` does.
    """
    deep = photo.bit_depth == 16 and Path(path).suffix.lower() in DEEP_SUFFIXES
    alpha, dpi = _at_size_of(pixels, photo)
    return write_photo(
        path,
        pixels,
        alpha=alpha,
        dpi=dpi,
        exif=photo.exif,
        quality=quality,
        bit_depth=16 if deep else 8,
        keep_gps=keep_gps,
        protect=(photo.source, *protect),
    )


def require_folder(path: Path) -> None:
    """Check that there is such a folder.

    Raises:
        PhotoError: if there is none, or the name is one that no file system here can hold.
    """
    try:
        problem = "" if path.is_dir() else "is not a folder"
    except (OSError, ValueError) as error:
        problem = f"is not a folder: {error}"
    if problem:
        raise PhotoError(f'"{path}" {problem}.')


def refuse_output_about(source: Path, output: Path) -> None:
    """Check that results in the folder `output` cannot take the places of photos in the folder `source`.

    Raises:
        SettingsError: if `output` is `source`, or a folder above it.
    """
    if output.resolve() in (source.resolve(), *source.resolve().parents):
        raise SettingsError(
            f'the output folder "{output}" is, or holds, the input folder "{source}": choose another one, beside or '
            "inside the input folder."
        )


def list_photos(folder: str | Path, *, exclude: Collection[str | Path] = ()) -> list[Path]:
    """List every photo file in a folder and its sub-folders, by name, folder by folder.

    Hidden files and folders (beginning with a dot, as macOS leaves them beside photos) are left out, and links to
    folders are not followed. Files are chosen by `PHOTO_SUFFIXES` in any case and not opened.

    Args:
        folder: where to look.
        exclude: folders to leave out, e.g. the output folder.

    Raises:
        PhotoError: if `folder` is not a folder.
    """
    root = Path(folder)
    require_folder(root)
    excluded = {Path(path).resolve() for path in exclude}
    photos: list[Path] = []
    for parent, folders, names in os.walk(root, onerror=_say_unread):
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and (Path(parent) / name).resolve() not in excluded
        )
        photos += [
            Path(parent) / name
            for name in sorted(names)
            if not name.startswith(".") and Path(name).suffix.lower() in PHOTO_SUFFIXES
        ]
    return photos


def _say_unread(error: OSError) -> None:
    logger.warning('the folder "%s" cannot be read and is left out: %s', error.filename, error.strerror or error)


def _from_16bit(source: Path, stored: StoredPicture, samples: NDArray[np.uint16]) -> Photo:
    height, width, channels = samples.shape
    colours = 1 if stored.grey else 3
    try:
        profile, notes = _formula_profile(stored.icc, colours)
    except icc.TableProfileError:
        note = "read at 8 bits, through its colour profile: that is made of tables, which are not used at 16 bits"
        stored = replace(stored, samples=None, notes=(*stored.notes, note))
        return _from_8bit(source, stored, _at_8_bits(samples), None)
    pixels = np.empty((3, height, width), dtype=np.float32)
    for rows in _strips(height, width):
        for channel in range(3):
            plane = samples[rows, :, min(channel, colours - 1)]
            np.divide(plane, np.float32(65535), out=pixels[channel, rows], dtype=np.float32)
        if profile is not None:
            pixels[:, rows] = profile.to_srgb(pixels[: len(profile.curves), rows])
    alpha = None
    if channels == 4:
        alpha = torch.from_numpy(np.divide(samples[:, :, 3], np.float32(65535), dtype=np.float32))
    return _photo(source, stored, pixels, alpha, bit_depth=16, notes=notes)


def _photo(
    source: Path,
    stored: StoredPicture,
    pixels: NDArray[np.float32],
    alpha: torch.Tensor | None,
    *,
    bit_depth: int,
    notes: tuple[str, ...],
) -> Photo:
    """Put pixels together with what else the file says."""
    return Photo(
        pixels=torch.from_numpy(pixels),
        alpha=alpha,
        dpi=stored.dpi,
        source=source,
        exif=stored.exif,
        bit_depth=bit_depth,
        was_grey=stored.grey,
        format=stored.format,
        notes=(*stored.notes, *notes),
    )


def _formula_profile(profile: bytes | None, colours: int) -> tuple[icc.FormulaProfile | None, tuple[str, ...]]:
    """Give the conversion of 16-bit samples; None if they are, or are taken as, sRGB.

    Raises:
        TableProfileError: if the profile is good, but for 8 bits only.
    """
    if profile is None:
        return None, ()
    try:
        space = icc.colour_space(profile)
        if space == "RGB" and icc.transform_to_srgb(profile, "RGB") is None:
            return None, ()
        formula = icc.formula_profile(profile)
    except icc.TableProfileError:
        raise
    except icc.ProfileError as error:
        return None, (f"its colour profile cannot be used at 16 bits ({error}); its colours are taken as sRGB",)
    if space == "GRAY" and colours == 3:
        return None, ("its colour profile is for grey pixels; its colours are taken as sRGB",)
    return formula, ()


def _at_8_bits(samples: NDArray[np.uint16]) -> Image.Image:
    """Give (H, W, 1|3|4) samples as Pillow's "L", "RGB" or "RGBA", rounded."""
    result = np.empty(samples.shape, dtype=np.uint8)
    for rows in _strips(*samples.shape[:2]):
        result[rows] = (samples[rows].astype(np.uint32) + 128) // 257
    return Image.fromarray(result[:, :, 0] if samples.shape[2] == 1 else result)


def _from_8bit(source: Path, stored: StoredPicture, image: Image.Image, cmyk_profile: str | Path | None) -> Photo:
    image, alpha_band = _split_alpha(source, image)
    convert, notes = _conversion(source, stored.icc, image.mode, cmyk_profile)
    width, height = image.size
    pixels = np.empty((3, height, width), dtype=np.float32)
    for rows in _strips(height, width):
        strip = np.asarray(convert(image.crop((0, rows.start, width, rows.stop))))
        for channel in range(3):
            plane = strip if strip.ndim == 2 else strip[:, :, channel]
            np.divide(plane, np.float32(255), out=pixels[channel, rows], dtype=np.float32)
    alpha = None
    if alpha_band is not None:
        alpha = torch.from_numpy(np.divide(np.asarray(alpha_band), np.float32(255), dtype=np.float32))
    return _photo(source, stored, pixels, alpha, bit_depth=8, notes=notes)


def _at_size_of(pixels: torch.Tensor, photo: Photo) -> tuple[torch.Tensor | None, tuple[float, float] | None]:
    """Give a photo's alpha and DPI for a picture made from it; other sizes than multiples are left for the writer."""
    scale = pixels.shape[-1] // photo.size[1]
    alpha, dpi = photo.alpha, photo.dpi
    if scale < 2 or tuple(pixels.shape[-2:]) != (photo.size[0] * scale, photo.size[1] * scale):
        return alpha, dpi
    if alpha is not None:
        alpha = enlarge(alpha[None, None], scale)[0, 0]
    if dpi is None:
        return alpha, None
    dpi = (dpi[0] * scale, dpi[1] * scale)
    if max(dpi) > HIGHEST_DPI:
        logger.warning('"%s": %.0f dpi is more than a file can hold; it is left out.', photo.source.name, max(dpi))
        return alpha, None
    return alpha, dpi


def _strips(height: int, width: int) -> Iterator[slice]:
    rows = max(1, _STRIP_PIXELS // width)
    for top in range(0, height, rows):
        yield slice(top, min(height, top + rows))


def _split_alpha(source: Path, image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Give the picture in one of the modes L, RGB, RGBA (alpha to be ignored), CMYK, LAB, and its alpha apart."""
    if image.mode in _ALPHA_MODES or "transparency" in image.info:
        rgba = image.convert("RGBA")
        colours = rgba.getchannel("R") if image.mode in _GREY_MODES else rgba
        return colours, rgba.getchannel("A")
    if image.mode in ("L", "RGB", "CMYK", "LAB"):
        return image, None
    if image.mode == "1":
        return image.convert("L"), None
    if image.mode in ("P", "RGBX", "YCbCr"):
        return image.convert("RGB"), None
    raise PhotoError(
        f'"{source}" stores its pixels as {image.mode!r} (scientific or depth data), which has no plain meaning as a '
        "photo: save it as an 8- or 16-bit picture first."
    )


_Convert = Callable[[Image.Image], Image.Image]


def _conversion(
    source: Path, profile: bytes | None, mode: str, cmyk_profile: str | Path | None
) -> tuple[_Convert, tuple[str, ...]]:
    """Choose how strips of this mode become "L" or "RGB" in sRGB, and the notes that go with the choice."""
    if mode == "LAB":
        return _through(icc.lab_to_srgb()), ()
    notes: tuple[str, ...] = ()
    if profile is not None:
        try:
            return _profile_conversion(profile, mode), ()
        except icc.ProfileError as error:
            notes = (f"its colour profile cannot be used ({error}) and is left aside",)
    if mode != "CMYK":
        return (_keep if mode == "L" else _to_rgb), notes
    if cmyk_profile is None:
        return _to_rgb, (*notes, "CMYK without a profile: converted by the plain formula R = (1 − C)(1 − K)")
    return _cmyk_conversion(Path(cmyk_profile)), (*notes, f"CMYK read through {Path(cmyk_profile).name}")


def _profile_conversion(profile: bytes, mode: str) -> _Convert:
    space = icc.colour_space(profile)
    wanted = {"L": ("GRAY", "RGB"), "RGB": ("RGB",), "RGBA": ("RGB",), "CMYK": ("CMYK",)}[mode]
    if space not in wanted:
        raise icc.ProfileError(f"it is for {space} pixels, the picture has {mode}")
    stored_as = {"GRAY": "L", "CMYK": "CMYK"}.get(space, "RGB")
    transform = icc.transform_to_srgb(profile, stored_as)
    if transform is None:
        return _keep if mode == "L" else _to_rgb
    if space == "GRAY":
        return lambda strip: _through(transform)(strip).getchannel("G")  # neutral but for the last level's rounding
    return lambda strip: _through(transform)(strip if strip.mode == stored_as else strip.convert(stored_as))


def _cmyk_conversion(path: Path) -> _Convert:
    try:
        return _profile_conversion(path.read_bytes(), "CMYK")
    except OSError as error:
        raise PhotoError(f'The CMYK profile "{path}" cannot be read: {error.strerror or error}.') from error
    except icc.ProfileError as error:
        raise PhotoError(f'"{path}" is not an ICC profile for CMYK: {error}.') from error


def _through(transform: ImageCms.ImageCmsTransform) -> _Convert:
    return lambda strip: ImageCms.applyTransform(strip, transform) or strip


def _keep(strip: Image.Image) -> Image.Image:
    return strip


def _to_rgb(strip: Image.Image) -> Image.Image:
    return strip.convert("RGB")
