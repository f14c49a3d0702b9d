"""The text that the nodes give about a run."""

from collections.abc import Sequence

from ..gpen_core.models.descriptor import Restorer
from ..gpen_core.models.load import EMBEDDED_RESTORER
from ..gpen_core.types import Face, FaceCrop, FaceReport, PortraitResult


def describe_picture(faces: Sequence[FaceReport], number: int, note: str = "") -> str:
    """Say in words what became of the faces of one picture; `number` counts from 1."""
    restored = sum(face.outcome == "restored" for face in faces)
    lines = [f"picture {number}: {restored} of {len(faces)} faces restored"]
    for face in faces:
        remark = f", {face.remark}" if face.remark else ""
        x, y = face.box.center
        lines.append(
            f"  {face.outcome}: {face.size_px:.0f} px at ({x:.0f}, {y:.0f}), confidence {face.score:.2f}{remark}"
        )
    return "\n".join([*lines, f"  {note}"] if note else lines)


def describe_restorer(restorer: Restorer) -> str:
    """Say which network ran, and what a user of the embedded one should know."""
    words = f"restorer: {restorer.name}, {restorer.size} px"
    if restorer.source == EMBEDDED_RESTORER:
        words += (
            "\n  This is the small embedded network. The published GPEN weights rebuild far more detail "
            "(non-commercial licence): python -m gpen_core models fetch GPEN-BFR-512"
        )
    return words


def describe_run(results: Sequence[PortraitResult], restorer: Restorer) -> str:
    """Say in words what became of a batch."""
    pictures = [describe_picture(result.faces, number, result.note) for number, result in enumerate(results, 1)]
    return "\n".join([*pictures, describe_restorer(restorer)])


def describe_pasted(found: Sequence[Face], crops: Sequence[FaceCrop], number: int) -> str:
    """Say in words which of the detected faces of one picture were pasted; `number` counts from 1."""
    if crops and not found:
        return f"picture {number}: no face found, the whole picture was taken for one"
    words = f"picture {number}: {len(crops)} of {len(found)} faces pasted"
    sizes = ", ".join(f"{crop.face.box.size:.0f} px" for crop in crops)
    return f"{words} ({sizes})" if sizes else words
