"""Text on pictures, with a font that comes along: ASCII, Latin-1 and the Chinese of a photo studio.

A character that the font lacks is never left out in silence: `check_text` refuses it, `with_marks` shows □ instead.
"""

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from .errors import SettingsError

CAPTION_FONT = Path(__file__).parent / "fonts" / "NotoSansCJKsc-captions.otf"
"""A subset of Noto Sans CJK SC, SIL Open Font License 1.1; what it holds stands in fonts/README.md."""

MISSING_MARK = "□"

_NO_CHARACTER = "\uffff"
"""Unicode guarantees that this is no character, so every font draws its mark for a missing glyph."""

_PROBE_PX = 32


def missing_characters(text: str, font: Path | None = None) -> str:
    """Give the characters of `text` that the font cannot draw, each once, in order; empty if it can draw all.

    Args:
        text: one line.
        font: an OpenType or TrueType file; None for the embedded one.

    Raises:
        SettingsError: if `font` is no readable font file.
    """
    face = _load(font, _PROBE_PX)
    unknown = bytes(face.getmask(_NO_CHARACTER))
    return "".join(
        character
        for character in dict.fromkeys(text)
        if character != " " and (not character.isprintable() or bytes(face.getmask(character)) == unknown)
    )


def check_text(text: str, font: Path | None = None) -> None:
    """Refuse a text that the font cannot draw whole.

    Raises:
        SettingsError: naming the characters, and what to do.
    """
    missing = missing_characters(text, font)
    if missing:
        name = "the embedded font" if font is None else f'the font "{font}"'
        raise SettingsError(
            f"{text!r} cannot be drawn: {name} has no {', '.join(f'{c!r}' for c in missing)}. "
            "Change the text, or name a font file that has these characters."
        )


def with_marks(text: str, font: Path | None = None) -> str:
    """Put □ in place of every character that the font lacks; for texts nobody chose, such as file names."""
    missing = missing_characters(text, font)
    return "".join(MISSING_MARK if character in missing else character for character in text)


def text_width(text: str, size_px: int, font: Path | None = None) -> int:
    """Give the width of one line in pixels at a font size of `size_px`."""
    return int(np.ceil(_load(font, size_px).getlength(text)))


def line_height(size_px: int) -> int:
    """Give the height in pixels of one line with room above and below."""
    return round(1.7 * size_px)


def draw_text(canvas: torch.Tensor, text: str, center: tuple[float, float], size_px: int, font: Path | None) -> None:
    """Draw one line on `canvas` itself, dark on a light ground and light on a dark one.

    Args:
        canvas: (3, H, W), sRGB in [0, 1]; changed in place, being built by the caller.
        text: one line; what falls outside the canvas is cut.
        center: (x, y) of the line's middle.
        size_px: font size.
        font: as in `missing_characters`.
    """
    height, width = canvas.shape[1:]
    band = Image.new("L", (text_width(text, size_px, font) + 2, line_height(size_px)))
    ImageDraw.Draw(band).text((band.width / 2, band.height / 2), text, 255, _load(font, size_px), anchor="mm")
    ink = torch.from_numpy(np.asarray(band, dtype=np.float32) / 255)
    left, top = round(center[0] - band.width / 2), round(center[1] - band.height / 2)
    x0, y0, x1, y1 = max(left, 0), max(top, 0), min(left + band.width, width), min(top + band.height, height)
    if x0 >= x1 or y0 >= y1:
        return
    ink = ink[y0 - top : y1 - top, x0 - left : x1 - left]
    under = canvas[:, y0:y1, x0:x1]
    tint = 0.13 if float(under.mean()) > 0.5 else 0.93
    canvas[:, y0:y1, x0:x1] = under + ink * (tint - under)


@lru_cache(maxsize=32)
def _load(font: Path | None, size_px: int) -> ImageFont.FreeTypeFont:
    path = font or CAPTION_FONT
    try:
        # The basic layout draws the same on machines with and without libraqm.
        return ImageFont.truetype(str(path), size_px, layout_engine=ImageFont.Layout.BASIC)
    except OSError as error:
        raise SettingsError(
            f'"{path}" is no font that can be read ({error}): name a TrueType or OpenType file.'
        ) from error
