"""Lay a photo out for print: by a scale, or on a paper of so many millimetres, with faces kept inside."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import cv2
import numpy as np
import torch

from .errors import SettingsError, ShapeError
from .papers import MM_PER_INCH, PAPERS, Paper, paper_named
from .print_files import write_print
from .sharpen import Sharpening, sharpen
from .types import Box

__all__ = [
    "PAPERS",
    "Paper",
    "PrintSheet",
    "PrintSpec",
    "Sharpening",
    "lay_out",
    "paper_named",
    "write_print",
]

MAX_SHEET_PIXELS = 400_000_000
"""Largest sheet made: A0 at 300 dpi is 139 million pixels."""

_HEAD_ROOM = (0.35, 0.6, 0.35, 0.35)
"""How far a head reaches past the detector's box to the left, top, right and bottom, as a share of the box: hair and
chin, by eye on portraits."""

_INTERPOLATION = {"bicubic": cv2.INTER_CUBIC, "lanczos": cv2.INTER_LANCZOS4}


@dataclass(frozen=True)
class PrintSpec:
    """What to print.

    Attributes:
        scale: enlargement, used when there is no paper.
        paper: the trimmed paper; see `PAPERS`.
        dpi: dots per inch; None takes the paper's, or 300.
        bleed_mm: what is printed beyond each edge of the paper and trimmed off.
        crop: "fill" covers the paper and cuts what stands over; "fit" shows the whole photo and leaves margins.
        turn: lay the paper sideways for a photo that is wider than high, where the paper may be turned.
        resampling: for enlarging; reducing always averages areas, so that nothing flickers.
        sharpening: applied after resampling.
        margin_colour: sRGB in [0, 1], for "fit".
        max_enlargement: above it the sheet carries a warning.
    """

    scale: float = 1.5
    paper: Paper | None = None
    dpi: float | None = None
    bleed_mm: float = 0.0
    crop: Literal["fill", "fit"] = "fill"
    turn: bool = True
    resampling: Literal["bicubic", "lanczos"] = "bicubic"
    sharpening: Sharpening = field(default_factory=Sharpening)
    margin_colour: tuple[float, float, float] = (1.0, 1.0, 1.0)
    max_enlargement: float = 2.0

    def __post_init__(self) -> None:
        if not 0.01 <= self.scale <= 16:
            raise SettingsError(f"scale: expected 0.01 to 16, got {self.scale}.")
        if self.dpi is not None and not 1 <= self.dpi <= 4800:
            raise SettingsError(f"dpi: expected 1 to 4800, got {self.dpi}.")
        if not 0 <= self.bleed_mm <= 100:
            raise SettingsError(f"bleed: expected 0 to 100 mm, got {self.bleed_mm}.")
        if self.bleed_mm and self.paper is None:
            raise SettingsError("bleed: needs a paper; by scale alone there is no edge to trim.")
        if self.resampling not in _INTERPOLATION:
            raise SettingsError(f"resampling: expected bicubic or lanczos, got {self.resampling!r}.")
        if self.crop not in ("fill", "fit"):
            raise SettingsError(f"crop: expected fill or fit, got {self.crop!r}.")


@dataclass(frozen=True, eq=False)
class PrintSheet:
    """A picture ready to be printed.

    Attributes:
        pixels: (3, H, W), sRGB in [0, 1], bleed included.
        dpi: dots per inch of `pixels`.
        size_mm: (width, height) of the whole sheet, bleed included.
        bleed_mm: part of it to be trimmed off at each edge.
        photo_box: the part of the photo that is on the sheet, photo pixels from outer edge to outer edge.
        enlargement: sheet pixels per photo pixel.
        effective_dpi: photo pixels per inch of paper, what the sharpness of the print really rests on.
        warnings: what a user should know before printing, in plain words.
    """

    pixels: torch.Tensor
    dpi: float
    size_mm: tuple[float, float]
    bleed_mm: float
    photo_box: Box
    enlargement: float
    effective_dpi: float
    warnings: tuple[str, ...] = ()


def lay_out(pixels: torch.Tensor, spec: PrintSpec, faces: Sequence[Box] = ()) -> PrintSheet:
    """Enlarge or reduce a photo for print, on a paper if the spec names one.

    "fill" cuts evenly at both sides, but moves the cut so that every face with its hair stays inside the trimmed
    paper where there is room; if not, larger faces come first, and a warning says that one is cut.

    Args:
        pixels: (3, H, W), sRGB in [0, 1].
        spec: what to print.
        faces: boxes of the faces to keep, photo pixels.

    Raises:
        ShapeError: if `pixels` is not (3, H, W).
        SettingsError: if the sheet would have more than `MAX_SHEET_PIXELS`.
    """
    if pixels.ndim != 3 or pixels.shape[0] != 3 or 0 in pixels.shape:
        raise ShapeError(f"pixels: expected (3, H, W), got {tuple(pixels.shape)}.")
    if spec.paper is None:
        return _scaled(pixels, spec)
    height, width = pixels.shape[1:]
    paper = spec.paper
    if spec.turn and paper.may_turn and (width - height) * (paper.width_mm - paper.height_mm) < 0:
        paper = paper.turned()
    return _filled(pixels, spec, paper, faces) if spec.crop == "fill" else _fitted(pixels, spec, paper)


def _scaled(pixels: torch.Tensor, spec: PrintSpec) -> PrintSheet:
    height, width = pixels.shape[1:]
    size = max(1, round(height * spec.scale)), max(1, round(width * spec.scale))
    dpi = spec.dpi or 300.0
    return PrintSheet(
        pixels=sharpen(_resampled(pixels, size, spec), spec.sharpening),
        dpi=dpi,
        size_mm=(size[1] / dpi * MM_PER_INCH, size[0] / dpi * MM_PER_INCH),
        bleed_mm=0.0,
        photo_box=Box(0, 0, width, height),
        enlargement=spec.scale,
        effective_dpi=dpi / spec.scale,
        warnings=_enlargement_warning(spec, spec.scale, dpi / spec.scale),
    )


def _filled(pixels: torch.Tensor, spec: PrintSpec, paper: Paper, faces: Sequence[Box]) -> PrintSheet:
    height, width = pixels.shape[1:]
    dpi, size_mm, (sheet_h, sheet_w) = _sheet_size(spec, paper)
    enlargement = max(sheet_w / width, sheet_h / height)
    window_w, window_h = min(width, round(sheet_w / enlargement)), min(height, round(sheet_h / enlargement))
    bleed_px = spec.bleed_mm / MM_PER_INCH * dpi / enlargement
    kept = _kept_boxes(faces, width, height)
    left = _window_start(width, window_w, bleed_px, [(box.x0, box.x1) for box in kept])
    top = _window_start(height, window_h, bleed_px, [(box.y0, box.y1) for box in kept])
    cut = pixels[:, top : top + window_h, left : left + window_w]
    trimmed = Box(left + bleed_px, top + bleed_px, left + window_w - bleed_px, top + window_h - bleed_px)
    warnings = (*_enlargement_warning(spec, enlargement, dpi / enlargement), *_cut_warning(faces, trimmed))
    return PrintSheet(
        pixels=sharpen(_resampled(cut, (sheet_h, sheet_w), spec), spec.sharpening),
        dpi=dpi,
        size_mm=size_mm,
        bleed_mm=spec.bleed_mm,
        photo_box=Box(left, top, left + window_w, top + window_h),
        enlargement=enlargement,
        effective_dpi=dpi / enlargement,
        warnings=warnings,
    )


def _fitted(pixels: torch.Tensor, spec: PrintSpec, paper: Paper) -> PrintSheet:
    height, width = pixels.shape[1:]
    dpi, size_mm, (sheet_h, sheet_w) = _sheet_size(spec, paper)
    bleed_px = round(spec.bleed_mm / MM_PER_INCH * dpi)
    room_w, room_h = sheet_w - 2 * bleed_px, sheet_h - 2 * bleed_px
    enlargement = min(room_w / width, room_h / height)
    photo_w, photo_h = max(1, round(width * enlargement)), max(1, round(height * enlargement))
    photo = sharpen(_resampled(pixels, (photo_h, photo_w), spec), spec.sharpening)
    colour = torch.tensor(spec.margin_colour, dtype=photo.dtype, device=photo.device)
    sheet = colour[:, None, None].repeat(1, sheet_h, sheet_w)
    top, left = (sheet_h - photo_h) // 2, (sheet_w - photo_w) // 2
    sheet[:, top : top + photo_h, left : left + photo_w] = photo
    return PrintSheet(
        pixels=sheet,
        dpi=dpi,
        size_mm=size_mm,
        bleed_mm=spec.bleed_mm,
        photo_box=Box(0, 0, width, height),
        enlargement=enlargement,
        effective_dpi=dpi / enlargement,
        warnings=_enlargement_warning(spec, enlargement, dpi / enlargement),
    )


def _sheet_size(spec: PrintSpec, paper: Paper) -> tuple[float, tuple[float, float], tuple[int, int]]:
    """Give dpi, (width, height) in mm and (height, width) in pixels, bleed included."""
    dpi = spec.dpi or paper.dpi
    size_mm = paper.width_mm + 2 * spec.bleed_mm, paper.height_mm + 2 * spec.bleed_mm
    width, height = (max(1, round(length / MM_PER_INCH * dpi)) for length in size_mm)
    _check_size(width, height)
    return dpi, size_mm, (height, width)


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_SHEET_PIXELS:
        raise SettingsError(
            f"The sheet would have {width} × {height} pixels, more than {MAX_SHEET_PIXELS / 1e6:.0f} million: "
            "choose a lower dpi or a smaller paper."
        )


def _kept_boxes(faces: Sequence[Box], width: int, height: int) -> list[Box]:
    """Give what should stay on the paper, the more important first: faces by size, then the same with their hair."""
    bare = sorted(faces, key=lambda box: box.size, reverse=True)
    left, top, right, bottom = _HEAD_ROOM
    with_hair = [
        Box(
            max(0.0, box.x0 - left * box.width),
            max(0.0, box.y0 - top * box.height),
            min(float(width), box.x1 + right * box.width),
            min(float(height), box.y1 + bottom * box.height),
        )
        for box in bare
    ]
    return bare + with_hair


def _window_start(length: int, window: int, bleed: float, spans: Sequence[tuple[float, float]]) -> int:
    """Choose where a window of the photo begins along one axis.

    Args:
        length: of the photo.
        window: length of the part that is kept.
        bleed: part of the window that is trimmed off at either end.
        spans: start and end of what should stay inside, the more important first.

    Returns:
        The start nearest to an even cut that keeps the spans, or comes nearest to it.
    """
    low, high = 0.0, float(length - window)
    for start, end in spans:
        least, most = end + bleed - window, start - bleed
        if least > most:  # longer than the window: its middle
            least = most = (least + most) / 2
        low, high = min(max(least, low), high), min(max(most, low), high)
    return round(min(max((length - window) / 2, low), high))


def _cut_warning(faces: Sequence[Box], trimmed: Box) -> tuple[str, ...]:
    slack = 1.0  # the window starts at whole pixels
    cut = sum(
        box.x0 < trimmed.x0 - slack
        or box.y0 < trimmed.y0 - slack
        or box.x1 > trimmed.x1 + slack
        or box.y1 > trimmed.y1 + slack
        for box in faces
    )
    if not cut:
        return ()
    return (f'{cut} of {len(faces)} faces cut by the edge of the paper: choose "fit" or a paper of another shape.',)


def _enlargement_warning(spec: PrintSpec, enlargement: float, effective_dpi: float) -> tuple[str, ...]:
    if enlargement <= spec.max_enlargement:
        return ()
    return (
        f"Enlarged ×{enlargement:.2f}, more than ×{spec.max_enlargement:g}: the photo gives {effective_dpi:.0f} dpi at "
        "this size and will look soft from near. Choose a smaller paper or ask for a larger photo.",
    )


def _resampled(pixels: torch.Tensor, size: tuple[int, int], spec: PrintSpec) -> torch.Tensor:
    """Bring (3, h, w) to (3, *size), sRGB clipped to [0, 1]; a new tensor."""
    height, width = size
    _check_size(width, height)
    source = pixels.detach().to("cpu", torch.float32).numpy()
    if source.shape[1:] == size:
        return torch.from_numpy(source.clip(0, 1)).to(pixels.device)
    reduced = height <= source.shape[1] and width <= source.shape[2]
    method = cv2.INTER_AREA if reduced else _INTERPOLATION[spec.resampling]
    result = np.empty((3, height, width), dtype=np.float32)
    for channel in range(3):
        plane = cv2.resize(np.ascontiguousarray(source[channel]), (width, height), interpolation=method)
        np.clip(plane, 0, 1, out=result[channel])
    return torch.from_numpy(result).to(pixels.device)
