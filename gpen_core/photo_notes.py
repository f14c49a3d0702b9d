"""What a user should know about a picture file that its pixels do not show: other pictures, coding, lost details."""

from pathlib import Path

from PIL import Image

_SRGB = b"\x01\x0d"
"""Colour primaries and transfer function of sRGB by their numbers in ITU-T H.273."""

_USUAL_GAMMA = 1 / 2.2


def notes_on(image: Image.Image, path: Path) -> tuple[str, ...]:
    """Say what is left aside of an opened picture file; of a PNG, all of it must have been read.

    Args:
        image: as Pillow opened it.
        path: its file.
    """
    notes = (_of_frames(image), _of_colours(image, path), _of_details(image))
    return tuple(note for note in notes if note)


def _of_frames(image: Image.Image) -> str:
    frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    return f"only the first of {frames} pictures in the file is read" if frames > 1 else ""


def _of_colours(image: Image.Image, path: Path) -> str:
    """Name a PNG's coding that is not followed: HDR, a wide gamut without a profile, linear light.

    Source: PNG specification, third edition (W3C 2025), sections 4.3, 11.3.2.1 (gAMA) and 11.3.2.6 (cICP).
    """
    if image.format != "PNG" or image.info.get("icc_profile"):
        return ""
    coding = _start_of_chunk(path, b"cICP")
    if coding == _SRGB:
        return ""
    if coding:
        numbers = "/".join(map(str, coding))
        return f"coded for HDR or a wide gamut (cICP {numbers}), but its colours are taken as sRGB"
    gamma = image.info.get("gamma")
    if "srgb" in image.info or not isinstance(gamma, float) or abs(gamma - _USUAL_GAMMA) < 0.05:
        return ""
    return f"says that its gamma is {gamma:g} ({'linear light' if gamma == 1 else 'not 1/2.2'}), but is taken as sRGB"


def _start_of_chunk(png: Path, kind: bytes) -> bytes:
    """Give the first two bytes of a PNG's chunk that Pillow passes over; empty if there is none before the pixels."""
    with png.open("rb") as file:
        file.seek(8)
        while len(head := file.read(8)) == 8 and head[4:] != b"IDAT":
            length = int.from_bytes(head[:4], "big")
            if head[4:] == kind:
                return file.read(2)
            file.seek(length + 4, 1)
    return b""


def _of_details(image: Image.Image) -> str:
    """Name details that no new file gets: XMP (ISO 16684-1), and IPTC as Photoshop's resource 0x0404 or TIFF's tag."""
    resources, tags = image.info.get("photoshop"), getattr(image, "tag_v2", {})
    iptc = resources.get(0x0404) if isinstance(resources, dict) else tags.get(33723)
    found = " and ".join(kind for kind, content in (("XMP", image.info.get("xmp")), ("IPTC", iptc)) if content)
    return f"its {found} details (keywords, rating, captions …) are not carried over into new files" if found else ""
