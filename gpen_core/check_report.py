"""The photo check's reports: text, JSON, and the photo with what was found drawn on it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from .check import FaceCheck, Finding, PhotoCheck
from .check_limits import LABELS, CheckThresholds, Verdict
from .errors import ShapeError
from .models import facemesh

Pixels: TypeAlias = NDArray[np.float32]
Color: TypeAlias = tuple[float, float, float]

_MARK: dict[Verdict, str] = {"ok": "  ok    ", "warn": "  WARN  ", "reject": "  REJECT", "unknown": "  ?     "}
_COLOR: dict[Verdict, Color] = {
    "ok": (0.20, 0.80, 0.35),
    "warn": (1.00, 0.75, 0.10),
    "reject": (1.00, 0.25, 0.20),
    "unknown": (0.6, 0.6, 0.6),
}
_SHORT: dict[str, str] = {
    "face_size": "small",
    "visible": "hidden",
    "off_center": "off centre",
    "cut_off": "cut off",
    "yaw": "sideways",
    "pitch": "up/down",
    "roll": "tilted",
    "eyes_open": "eyes closed",
    "brightness": "dark",
    "near_black": "shadow",
    "clipped": "over-exposed",
    "backlight": "backlit",
    "glare": "glare",
    "sharpness": "blurred",
}


def as_text(check: PhotoCheck) -> str:
    """Give the report as lines: verdict, every finding with value and limit, advice."""
    height, width = check.size
    lines = [f"{check.verdict.upper()}: {width} x {height} px, {len(check.faces)} face(s)"]
    lines += [_line(finding) for finding in check.findings]
    for number, face in enumerate(check.faces, start=1):
        deciding = " (decides)" if number == 1 and len(check.faces) > 1 else ""
        lines.append(f"face {number}{deciding}: {face.verdict}")
        lines += [_line(finding) for finding in face.findings]
    lines += [f"advice: {advice}" for advice in check.advice]
    lines += [f"note: {note}" for note in check.notes]
    return "\n".join(lines)


def as_json(check: PhotoCheck) -> str:
    """Give the report as JSON: `ok`, `verdict`, `advice`, `notes`, `findings` and `faces` with theirs."""
    document = {
        "ok": check.ok,
        "verdict": check.verdict,
        "height": check.size[0],
        "width": check.size[1],
        "advice": list(check.advice),
        "notes": list(check.notes),
        "findings": [_plain(finding) for finding in check.findings],
        "faces": [_plain_face(face) for face in check.faces],
    }
    return json.dumps(document, ensure_ascii=False, indent=2)


def annotate(pixels: torch.Tensor, check: PhotoCheck) -> torch.Tensor:
    """Draw what was found on a copy of the photo: each face's box, outline, eyes and complaints, coloured by verdict.

    Args:
        pixels: (3, H, W), sRGB in [0, 1]: the photo that was checked.
        check: what was found on it.

    Returns:
        (3, H, W).

    Raises:
        ShapeError: if `pixels` has another size than the photo that was checked.
    """
    if tuple(pixels.shape) != (3, *check.size):
        raise ShapeError(f"expected the photo that was checked, (3, {check.size}), got {tuple(pixels.shape)}")
    canvas = np.ascontiguousarray(pixels.detach().to("cpu", torch.float32).permute(1, 2, 0).numpy()).copy()
    scale = max(check.size) / 640
    for face in reversed(check.faces):
        _draw_face(canvas, face, scale)
    _write(canvas, [(check.verdict.upper(), _COLOR[check.verdict])], (6 * scale, 6 * scale), 1.5 * scale)
    complaints = [finding for finding in check.findings if finding.verdict in ("warn", "reject")]
    lines = [(f"{LABELS[f.name]} {_value(f)}", _COLOR[f.verdict]) for f in complaints]
    _write(canvas, lines, (6 * scale, 44 * scale), scale)
    return torch.from_numpy(np.ascontiguousarray(canvas.transpose(2, 0, 1)))


def reasons(thresholds: CheckThresholds, names: tuple[str, ...]) -> str:
    """Give the limits of `names` with their reasons as lines of text."""
    limits = [(LABELS[name], name, thresholds.limit(name)) for name in names]
    return "\n".join(f"{label} [{name}]: {limit.words()}; {limit.reason}" for label, name, limit in limits)


def _line(finding: Finding) -> str:
    return f"{_MARK[finding.verdict]} {LABELS[finding.name]:24s} {_value(finding):>20s}   ({finding.limit})"


def _value(finding: Finding) -> str:
    if finding.value is None:
        return "unknown"
    digits = CheckThresholds().limit(finding.name).digits
    space = "" if finding.unit in ("°", "%", "") else " "
    return f"{round(finding.value, digits) + 0.0:.{digits}f}{space}{finding.unit}"  # + 0.0: no "-0"


def _plain(finding: Finding) -> dict[str, Any]:
    value = None if finding.value is None else round(finding.value, 4)
    return {
        "name": finding.name,
        "value": value,
        "unit": finding.unit,
        "limit": finding.limit,
        "verdict": finding.verdict,
        "advice": finding.advice,
    }


def _plain_face(face: FaceCheck) -> dict[str, Any]:
    box = face.face.box
    return {
        "verdict": face.verdict,
        "box": [round(edge, 2) for edge in (box.x0, box.y0, box.x1, box.y1)],
        "score": round(face.face.score, 4),
        "landmarks": [[round(float(x), 2), round(float(y), 2)] for x, y in face.face.landmarks],
        "findings": [_plain(finding) for finding in face.findings],
    }


def _draw_face(canvas: Pixels, face: FaceCheck, scale: float) -> None:
    color, box = _COLOR[face.verdict], face.face.box
    thick = max(1, round(2 * scale))
    corners = [(round(box.x0), round(box.y0)), (round(box.x1), round(box.y1))]
    with _ink(canvas, color) as ink:
        cv2.rectangle(ink, corners[0], corners[1], 255, thick, cv2.LINE_AA)
        for ring in (facemesh.FACE_OVAL, facemesh.LEFT_EYE, facemesh.RIGHT_EYE, facemesh.LIPS):
            outline = np.round(face.mesh.xy[list(ring)] * 16).astype(np.int32)
            cv2.polylines(ink, [outline], True, 255, max(1, thick // 2), cv2.LINE_AA, shift=4)
    complaints = [f for f in face.findings if f.verdict in ("warn", "reject")]
    lines = [(f"{_SHORT[f.name]} {_value(f)}".replace("°", " deg"), _COLOR[f.verdict]) for f in complaints]
    _write(canvas, lines, (box.x0 + 4 * scale, box.y1 + 4 * scale), scale)


def _write(canvas: Pixels, lines: list[tuple[str, Color]], corner: tuple[float, float], scale: float) -> None:
    """Write lines downwards from `corner`, kept inside the canvas, each on a dark bar."""
    size, thick = 0.55 * scale, max(1, round(1.3 * scale))
    step = round(22 * scale) + 1
    height, width = canvas.shape[:2]
    top = min(max(0, round(corner[1])), max(0, height - step * len(lines)))
    for number, (text, color) in enumerate(lines):
        (length, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, thick)
        x = min(max(0, round(corner[0])), max(0, width - length - 4))
        y = top + number * step
        canvas[y : y + step, x : x + length + 4] *= 0.25
        with _ink(canvas, color) as ink:
            base = (x + 2, y + round(0.75 * step))
            cv2.putText(ink, text, base, cv2.FONT_HERSHEY_SIMPLEX, size, 255, thick, cv2.LINE_AA)


@contextmanager
def _ink(canvas: Pixels, color: Color) -> Iterator[NDArray[np.uint8]]:
    """Lend an 8-bit sheet, the only kind OpenCV writes on, then lay what was drawn on the canvas in colour."""
    sheet = np.zeros(canvas.shape[:2], np.uint8)
    yield sheet
    x, y, width, height = cv2.boundingRect(sheet)
    part = (slice(y, y + height), slice(x, x + width))
    cover = sheet[part].astype(np.float32)[..., None] / 255
    canvas[part] += (np.array(color, np.float32) - canvas[part]) * cover
