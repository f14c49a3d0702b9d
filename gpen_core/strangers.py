"""Files that people take for photos, and what to say of them."""

from collections.abc import Mapping

_AVIF_BRANDS = (b"avif", b"avis")

_STRANGERS = (
    (b"%PDF", "a PDF"),
    (b"8BPS", "a Photoshop document"),
    (b"<svg", "an SVG drawing"),
    (b"<!doc", "a web page"),
    (b"<html", "a web page"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"FUJIFILM", "a camera raw file"),
    (b"IIU\x00", "a camera raw file"),
)
"""First bytes of files that people take for photos, for a better message."""


def is_camera_raw(tiff_tags: Mapping[int, object], head: bytes) -> bool:
    """Tell whether a TIFF is a camera's raw file, of which Pillow would show the preview, often a thumbnail.

    Source: DNG specification 1.7 (DNGVersion, 50706; NewSubFileType, 254, and SubIFDs, 330, as other makers use them
    too); Canon's CR2 bears its name behind TIFF's head.
    """
    kind = tiff_tags.get(254)
    reduced = isinstance(kind, int) and kind % 2 == 1
    return 50706 in tiff_tags or head[8:10] == b"CR" or (reduced and 330 in tiff_tags)


def why_unknown(head: bytes) -> str:
    """Say what a file is that Pillow cannot identify, judged by its first bytes; goes on from its name."""
    if head[4:8] == b"ftyp" and head[8:12] in _AVIF_BRANDS:
        return "is an AVIF photo, which this Pillow cannot read: pip install -U pillow (11.3 or newer)"
    for start, what in _STRANGERS:
        if head.lower().startswith(start.lower()):
            return no_photo(what)
    return (
        "is not a picture this program can read, or its beginning is damaged "
        "(read are JPEG, PNG, WebP, TIFF, BMP, GIF, AVIF, HEIC)"
    )


def no_photo(what: str) -> str:
    """Say what a file is instead of a photo, and what to do; goes on from its name."""
    return f"is {what}, not a photo: save it as JPEG, PNG or TIFF first"
