"""The photo check: is this photo good enough for a portrait, and if not, what should the client do?"""

import logging
from dataclasses import dataclass, fields

import torch

from .check_limits import LABELS, CheckThresholds, Verdict
from .check_measures import FaceMeasures, PhotoMeasures, measure_face, measure_photo
from .detect import DetectSettings, detect_faces
from .errors import MissingPackageError, ShapeError
from .models.facemesh import FaceMesh, MeshPoints, load_face_mesh
from .models.headpose import HeadPoseNetwork
from .models.manager import shared_manager
from .models.retinaface import FaceDetector
from .types import Face

logger = logging.getLogger(__name__)

_MOST_FACES = 20
_NO_FACE = "no face was found: send a photo that shows the person from the front"


@dataclass(frozen=True)
class Finding:
    """One thing that was checked.

    Attributes:
        name: which, as in `CheckThresholds`.
        value: what was measured; None if it cannot be told.
        unit: of the value.
        limit: the limits in words.
        verdict: what follows from them.
        advice: what to do; empty if nothing.
    """

    name: str
    value: float | None
    unit: str
    limit: str
    verdict: Verdict
    advice: str


@dataclass(frozen=True, eq=False)
class FaceCheck:
    """What was found on one face.

    Attributes:
        face: which.
        mesh: its mesh.
        findings: one per limit that concerns a face.
    """

    face: Face
    mesh: MeshPoints
    findings: tuple[Finding, ...]

    @property
    def verdict(self) -> Verdict:
        """The worst of its findings."""
        return worst(self.findings)


@dataclass(frozen=True, eq=False)
class PhotoCheck:
    """What was found on one photo.

    Attributes:
        size: (height, width).
        findings: one per limit that concerns the photo as a whole.
        faces: one per face, largest first. Only the first face's findings decide about the photo.
        notes: what a user should know about the reading and the check, e.g. that NIQE is missing.
    """

    size: tuple[int, int]
    findings: tuple[Finding, ...]
    faces: tuple[FaceCheck, ...]
    notes: tuple[str, ...] = ()

    @property
    def deciding(self) -> tuple[Finding, ...]:
        """The findings that decide: those of the photo and of its largest face."""
        return self.findings + (self.faces[0].findings if self.faces else ())

    @property
    def verdict(self) -> Verdict:
        """The worst of the deciding findings."""
        return worst(self.deciding)

    @property
    def ok(self) -> bool:
        """Whether the photo will do: it is not rejected; warnings pass."""
        return self.verdict != "reject"

    @property
    def advice(self) -> tuple[str, ...]:
        """What to ask of the client, most pressing first, nothing twice."""
        ordered = sorted(self.deciding, key=lambda finding: finding.verdict != "reject")
        return tuple(dict.fromkeys(finding.advice for finding in ordered if finding.advice))

    def text(self) -> str:
        """Give the report as lines of text."""
        from .check_report import as_text

        return as_text(self)

    def as_json(self) -> str:
        """Give the report as JSON."""
        from .check_report import as_json

        return as_json(self)


def check_photo(
    pixels: torch.Tensor,
    detector: FaceDetector | None = None,
    thresholds: CheckThresholds | None = None,
    *,
    mesh: FaceMesh | None = None,
    head_pose: HeadPoseNetwork | None = None,
    detect: DetectSettings | None = None,
    with_niqe: bool = True,
) -> PhotoCheck:
    """Check whether a photo is good enough for a portrait.

    Args:
        pixels: (3, H, W), sRGB in [0, 1].
        detector: finds the faces; the embedded one if None, held by the shared manager.
        thresholds: the limits; the defaults if None.
        mesh: finds outline, eyes and pose of each face; the embedded one if None.
        head_pose: finds the pose instead of the mesh, if given.
        detect: what counts as a face.
        with_niqe: whether to find the NIQE, about 0.3 s; without basicsr a note says that it is missing.

    Raises:
        ShapeError: if `pixels` is not a floating (3, H, W).
    """
    if pixels.ndim != 3:
        raise ShapeError(f"expected one photo (3, H, W), got {tuple(pixels.shape)}")
    thresholds = thresholds or CheckThresholds()
    models = shared_manager()
    detector = detector or models.detector()
    with models.in_use(detector):
        faces = detect_faces(pixels[None], detector, detect)[0]
    notes: list[str] = []
    try:
        photo = measure_photo(pixels, faces, with_niqe=with_niqe)
    except MissingPackageError as error:
        notes.append(f"NIQE is left out: {error}")
        logger.warning("%s", notes[-1])
        photo = measure_photo(pixels, faces, with_niqe=False)
    if not with_niqe:
        notes.append("NIQE was not asked for")
    if len(faces) > _MOST_FACES:
        notes.append(f"only the {_MOST_FACES} largest of {len(faces)} faces are reported")
    network = mesh or load_face_mesh()
    checks = [_check_face(pixels, face, network, head_pose, thresholds) for face in faces[:_MOST_FACES]]
    size = (int(pixels.shape[1]), int(pixels.shape[2]))
    return PhotoCheck(size, _judge(photo, thresholds), tuple(checks), tuple(notes))


def worst(findings: tuple[Finding, ...]) -> Verdict:
    """Give the worst verdict; what cannot be told counts as nothing against a photo."""
    verdicts = {finding.verdict for finding in findings}
    return "reject" if "reject" in verdicts else "warn" if "warn" in verdicts else "ok"


def _check_face(
    pixels: torch.Tensor, face: Face, mesh: FaceMesh, pose: HeadPoseNetwork | None, thresholds: CheckThresholds
) -> FaceCheck:
    measures, points = measure_face(pixels, face, mesh, pose)
    return FaceCheck(face, points, _judge(measures, thresholds))


def _judge(measures: FaceMeasures | PhotoMeasures, thresholds: CheckThresholds) -> tuple[Finding, ...]:
    return tuple(_finding(field.name, getattr(measures, field.name), thresholds) for field in fields(measures))


def _finding(name: str, value: float | None, thresholds: CheckThresholds) -> Finding:
    limit = thresholds.limit(name)
    if name == "faces" and value == 0:
        return Finding(name, 0, "", "exactly 1", "reject", _NO_FACE)
    signed = name in ("yaw", "pitch", "roll") and value is not None
    verdict = limit.judge(abs(value) if signed and value is not None else value)
    advice = f"{LABELS[name]}: {limit.advice}" if verdict in ("warn", "reject") else ""
    return Finding(name, value, limit.unit, limit.words(), verdict, advice)
