"""Before and after on one sheet: side by side, split, zoomed on the faces, or many pairs as a contact sheet.

The restored side is never resampled: each of its pixels is on the sheet as it is. The contact sheet alone makes
pictures smaller, when they are larger than its cells. The original is brought to the restored one's size.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil, sqrt
from pathlib import Path
from typing import Literal, TypeAlias

import torch
from torch.nn.functional import interpolate

from .captions import check_text, draw_text, line_height, text_width, with_marks
from .errors import SettingsError, ShapeError
from .types import Box, Face

Layout: TypeAlias = Literal["side", "split", "zoom"]
Captions: TypeAlias = tuple[str, str]

ENGLISH: Captions = ("Before", "After")
CHINESE: Captions = ("修复前", "修复后")

_MAX_SHEET_PIXELS = 200_000_000
_SMALLEST_TEXT_PX = 13
_SHEET_RATIO = 1.414


@dataclass(frozen=True)
class CompareSpec:
    """How a before/after sheet looks.

    Attributes:
        layout: "side" by side; "split" in one picture; "zoom": the faces alone, side by side, one row for each.
        captions: for the two sides; see `ENGLISH` and `CHINESE`. Empty texts give no caption.
        split: where the parting line of "split" stands, share of the width from the left, (0, 1).
        magnify: whole number of times each pixel is repeated in "zoom"; interpolates nothing.
        dark: black ground instead of white.
        font: font file for captions with characters that the embedded one lacks.
    """

    layout: Layout = "side"
    captions: Captions = ENGLISH
    split: float = 0.5
    magnify: int = 1
    dark: bool = False
    font: Path | None = None

    def __post_init__(self) -> None:
        """Refuse a setting outside its range and captions that cannot be drawn."""
        if self.layout not in ("side", "split", "zoom"):
            raise SettingsError(f'expected layout "side", "split" or "zoom", got "{self.layout}".')
        if not 0 < self.split < 1:
            raise SettingsError(f"split must be between 0 and 1, got {self.split:g}.")
        if self.magnify < 1:
            raise SettingsError(f"magnify must be a whole number of at least 1, got {self.magnify}.")
        _check_captions(self.captions, self.font)


@dataclass(frozen=True)
class SheetSpec:
    """How a contact sheet looks.

    Attributes:
        columns: pairs beside each other; 0 chooses a number that makes the sheet about as wide as A4 on its side.
        cell_px: pictures whose longer side is more than this are made smaller to it; 0 leaves all as they are.
        captions: above the columns.
        dark: black ground instead of white.
        font: font file for captions with characters that the embedded one lacks.
    """

    columns: int = 0
    cell_px: int = 480
    captions: Captions = ENGLISH
    dark: bool = False
    font: Path | None = None

    def __post_init__(self) -> None:
        """Refuse a setting outside its range and captions that cannot be drawn."""
        if self.columns < 0 or self.cell_px < 0:
            raise SettingsError(f"columns and cell_px must not be below 0, got {self.columns} and {self.cell_px}.")
        _check_captions(self.captions, self.font)


@dataclass(frozen=True, eq=False)
class ComparePair:
    """One photo before and after.

    Attributes:
        before: (3, h, w), sRGB in [0, 1].
        after: (3, H, W), sRGB in [0, 1].
        label: drawn below the pair, e.g. the file's name; characters that the font lacks become □.
    """

    before: torch.Tensor
    after: torch.Tensor
    label: str = ""


def before_after(
    before: torch.Tensor, after: torch.Tensor, spec: CompareSpec | None = None, *, faces: Sequence[Box | Face] = ()
) -> torch.Tensor:
    """Lay out one photo before and after.

    Args:
        before: (3, h, w), sRGB in [0, 1]; resampled (bicubic) if its size differs from that of `after`.
        after: (3, H, W), sRGB in [0, 1]; its pixels are on the sheet unchanged.
        spec: how; None means `CompareSpec()`.
        faces: for the layout "zoom", in pixels of `after`; the others do not look at them.

    Returns:
        (3, H', W'), sRGB in [0, 1].

    Raises:
        ShapeError: if a picture is not (3, H, W), or "split" or "zoom" get pictures of different proportions.
        SettingsError: if "zoom" is asked for without a face, or the sheet would have more than 200 megapixels.
    """
    spec = spec or CompareSpec()
    _check_picture("before", before)
    _check_picture("after", after)
    if spec.layout == "side":
        height = after.shape[1]
        width = max(1, round(before.shape[2] * height / before.shape[1]))
        return _in_columns([(_resized(before, (height, width)), after)], spec)
    before = _same_view(before, after)
    if spec.layout == "split":
        return _split(before, after, spec)
    if not faces:
        raise SettingsError('the layout "zoom" needs at least one face: pass faces, or choose "side" or "split".')
    windows = [face_window(face, after) for face in faces]
    _check_size(
        spec.magnify * sum(rows.stop - rows.start for rows, _ in windows),
        spec.magnify * 2 * max(columns.stop - columns.start for _, columns in windows),
    )
    return _in_columns([(_cut(before, window, spec), _cut(after, window, spec)) for window in windows], spec)


def contact_sheet(pairs: Iterable[ComparePair], spec: SheetSpec | None = None) -> torch.Tensor:
    """Lay out many photos, each before and after, on one sheet.

    Pairs are taken one by one and made small at once, so an iterator that reads them needs room for one photo.

    Args:
        pairs: at least one.
        spec: how; None means `SheetSpec()`.

    Returns:
        (3, H', W'), sRGB in [0, 1].

    Raises:
        SettingsError: if there is no pair, or the sheet would have more than 200 megapixels.
        ShapeError: if a picture is not (3, H, W).
    """
    spec = spec or SheetSpec()
    small = [_small_pair(pair, spec) for pair in pairs]
    if not small:
        raise SettingsError("a contact sheet needs at least one pair of photos, got none.")
    grid = _grid(small, spec)
    sheet = _canvas(*grid.size, spec.dark)
    for column in range(grid.columns):
        for side, caption in enumerate(spec.captions):
            x = grid.left(column, side) + grid.cell[1] / 2
            _caption(sheet, caption, (x, grid.header / 2), grid.text_px, spec.font)
    for index, pair in enumerate(small):
        row, column = divmod(index, grid.columns)
        for side, picture in enumerate((pair.before, pair.after)):
            top = grid.top(row) + (grid.cell[0] - picture.shape[1]) // 2
            _put(sheet, picture, top, grid.left(column, side) + (grid.cell[1] - picture.shape[2]) // 2)
        width = 2 * grid.cell[1] + grid.gap
        text = _shortened(with_marks(pair.label, spec.font), width, grid.text_px, spec.font)
        middle = grid.left(column, 0) + width / 2, grid.top(row) + grid.cell[0] + grid.label / 2
        _caption(sheet, text, middle, grid.text_px, spec.font)
    return sheet


@dataclass(frozen=True)
class _Grid:
    """Where pairs stand on a contact sheet; all in pixels but `rows` and `columns`."""

    cell: tuple[int, int]
    rows: int
    columns: int
    gap: int
    header: int
    label: int
    text_px: int

    @property
    def size(self) -> tuple[int, int]:
        return self.top(self.rows), self.left(self.columns, 0) - self.gap

    def top(self, row: int) -> int:
        return self.header + row * (self.cell[0] + self.label + self.gap)

    def left(self, column: int, side: int) -> int:
        return self.gap + (2 * column + side) * (self.cell[1] + self.gap) + column * self.gap


def _grid(pairs: Sequence[ComparePair], spec: SheetSpec) -> _Grid:
    pictures = [picture for pair in pairs for picture in (pair.before, pair.after)]
    cell = max(picture.shape[1] for picture in pictures), max(picture.shape[2] for picture in pictures)
    gap = max(4, round(0.03 * cell[1]))
    text_px = max(_SMALLEST_TEXT_PX, round(0.045 * cell[1]))
    label = line_height(text_px) if any(pair.label for pair in pairs) else 0
    header = line_height(text_px) if any(spec.captions) else gap
    pair_ratio = (cell[0] + label + gap) / (2 * cell[1] + 3 * gap)
    columns = min(len(pairs), spec.columns or max(1, round(sqrt(len(pairs) * _SHEET_RATIO * pair_ratio))))
    return _Grid(cell, ceil(len(pairs) / columns), columns, gap, header, label, text_px)


def _in_columns(rows: Sequence[tuple[torch.Tensor, torch.Tensor]], spec: CompareSpec) -> torch.Tensor:
    """Lay out pairs of pictures in rows of two, a caption below each column."""
    widths = [max(pair[side].shape[2] for pair in rows) for side in (0, 1)]
    heights = [max(picture.shape[1] for picture in pair) for pair in rows]
    gap = max(4, round(0.02 * min(widths)))
    text_px = _text_size(spec, min(widths))
    # A picture narrower than its caption gets a wider column, not a cut caption.
    widths = [
        max(width, text_width(text, text_px, spec.font) + gap)
        for width, text in zip(widths, spec.captions, strict=True)
    ]
    band = line_height(text_px) if any(spec.captions) else gap
    sheet = _canvas(sum(heights) + gap * len(rows) + band, sum(widths) + 3 * gap, spec.dark)
    lefts = gap, 2 * gap + widths[0]
    top = gap
    for pair, height in zip(rows, heights, strict=True):
        for picture, left, width in zip(pair, lefts, widths, strict=True):
            _put(sheet, picture, top + (height - picture.shape[1]) // 2, left + (width - picture.shape[2]) // 2)
        top += height + gap
    for text, left, width in zip(spec.captions, lefts, widths, strict=True):
        _caption(sheet, text, (left + width / 2, top - gap + band / 2), text_px, spec.font)
    return sheet


def _split(before: torch.Tensor, after: torch.Tensor, spec: CompareSpec) -> torch.Tensor:
    height, width = after.shape[1:]
    column = min(max(1, round(spec.split * width)), width - 1) if width > 1 else 0
    text_px = _text_size(spec, width / 2)
    texts = [text_width(text, text_px, spec.font) for text in spec.captions]
    gap = max(4, round(0.01 * width))
    full = max(width, sum(texts) + 3 * gap)
    band = line_height(text_px) if any(spec.captions) else 0
    sheet = _canvas(height + band, full, spec.dark)
    left = (full - width) // 2
    picture = torch.cat([before[:, :, :column], after[:, :, column:]], dim=2)
    # The line lies on the original: the restored side stays whole.
    picture[:, :, max(0, column - max(1, round(width / 300))) : column] = 1
    _put(sheet, picture, 0, left)
    for text, length, x in zip(spec.captions, texts, (column / 2, (column + width) / 2), strict=True):
        x = min(max(left + x, gap + length / 2), full - gap - length / 2)
        _caption(sheet, text, (x, height + band / 2), text_px, spec.font)
    return sheet


def face_window(face: Box | Face, picture: torch.Tensor) -> tuple[slice, slice]:
    """Give the rows and columns of a square about a face, 1.6 times its box, moved to lie inside the picture.

    Args:
        face: in pixels of `picture`.
        picture: (3, H, W).
    """
    box = face.box if isinstance(face, Face) else face
    side = max(1, round(1.6 * max(box.width, box.height)))
    spans = []
    for middle, length in zip(reversed(box.center), picture.shape[1:], strict=True):
        size = min(side, length)
        start = min(max(0, round(middle - size / 2)), length - size)
        spans.append(slice(start, start + size))
    return spans[0], spans[1]


def _cut(picture: torch.Tensor, window: tuple[slice, slice], spec: CompareSpec) -> torch.Tensor:
    part = picture[:, window[0], window[1]]
    return part.repeat_interleave(spec.magnify, 1).repeat_interleave(spec.magnify, 2)


def _small_pair(pair: ComparePair, spec: SheetSpec) -> ComparePair:
    _check_picture("before", pair.before)
    _check_picture("after", pair.after)
    height, width = pair.after.shape[1:]
    scale = min(1.0, spec.cell_px / max(height, width)) if spec.cell_px else 1.0
    height, after_width = max(1, round(height * scale)), max(1, round(width * scale))
    before_width = max(1, round(pair.before.shape[2] * height / pair.before.shape[1]))
    # Clones: a view would keep the whole photo in memory.
    before, after = _resized(pair.before, (height, before_width)), _resized(pair.after, (height, after_width))
    return ComparePair(before.clone(), after.clone(), pair.label)


def _resized(picture: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    if picture.shape[1:] == size:
        return picture
    _check_size(*size)
    resized = interpolate(picture[None], size=size, mode="bicubic", antialias=True, align_corners=False)
    return resized[0].clamp(0, 1)


def _same_view(before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
    ratios = [picture.shape[2] / picture.shape[1] for picture in (before, after)]
    if abs(ratios[0] / ratios[1] - 1) > 0.02:
        raise ShapeError(
            f"expected two pictures of the same proportions, got {before.shape[2]}x{before.shape[1]} and "
            f'{after.shape[2]}x{after.shape[1]} pixels: choose the layout "side" for a picture that was cropped.'
        )
    height, width = after.shape[1:]
    return _resized(before, (height, width))


def _canvas(height: int, width: int, dark: bool) -> torch.Tensor:
    _check_size(height, width)
    return torch.full((3, height, width), 0.07 if dark else 1.0)


def _check_size(height: int, width: int) -> None:
    if height * width > _MAX_SHEET_PIXELS:
        raise SettingsError(
            f"the sheet would have {width}x{height} pixels, the limit is {_MAX_SHEET_PIXELS // 1_000_000} megapixels: "
            "take fewer photos, smaller cells, or magnify less."
        )


def _put(sheet: torch.Tensor, picture: torch.Tensor, top: int, left: int) -> None:
    sheet[:, top : top + picture.shape[1], left : left + picture.shape[2]] = picture.cpu()


def _caption(sheet: torch.Tensor, text: str, center: tuple[float, float], size_px: int, font: Path | None) -> None:
    if text:
        draw_text(sheet, text, center, size_px, font)


def _text_size(spec: CompareSpec, width: float) -> int:
    """Choose a font size for captions below pictures of this width: 5 % of it, less if the text is longer."""
    wanted = max(_SMALLEST_TEXT_PX, round(0.05 * width))
    longest = max(text_width(text, wanted, spec.font) for text in spec.captions)
    return max(_SMALLEST_TEXT_PX, min(wanted, int(wanted * 0.95 * width / max(longest, 1))))


def _shortened(text: str, width: int, size_px: int, font: Path | None) -> str:
    """Cut a label to a width, with … in its middle: names of photos differ at the end."""
    keep = len(text)
    shown = text
    while keep > 2 and text_width(shown, size_px, font) > width:
        keep -= 1
        shown = text[: keep // 2] + "…" + text[len(text) - (keep - keep // 2) :]
    return shown


def _check_captions(captions: Captions, font: Path | None) -> None:
    if len(captions) != 2:
        raise SettingsError(f"expected two captions, got {len(captions)}.")
    for caption in captions:
        check_text(caption, font)


def _check_picture(name: str, picture: torch.Tensor) -> None:
    if picture.ndim != 3 or picture.shape[0] != 3 or 0 in picture.shape:
        raise ShapeError(f"expected {name} as (3, H, W), got {tuple(picture.shape)}.")
