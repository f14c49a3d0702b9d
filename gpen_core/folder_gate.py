"""The photo check as the gate of a folder run: what it rejects is not restored."""

from dataclasses import dataclass, field

from .check import check_photo
from .check_limits import CheckThresholds
from .models.facemesh import FaceMesh, load_face_mesh
from .models.manager import shared_manager
from .models.retinaface import FaceDetector
from .photo import Photo


@dataclass(frozen=True, eq=False)
class CheckGate:
    """Rejects the photos that the photo check rejects; warnings pass. NIQE is not asked for.

    Attributes:
        thresholds: the limits.
        detector: finds the faces.
        mesh: finds outline, eyes and pose.
    """

    thresholds: CheckThresholds = field(default_factory=CheckThresholds)
    detector: FaceDetector = field(default_factory=lambda: shared_manager().detector())
    mesh: FaceMesh = field(default_factory=load_face_mesh)

    @property
    def key(self) -> str:
        """The limits, as text."""
        return repr(self.thresholds)

    def __call__(self, photo: Photo) -> str:
        """Give the advice of every finding that rejects `photo`; empty if it passes."""
        check = check_photo(photo.pixels, self.detector, self.thresholds, mesh=self.mesh, with_niqe=False)
        rejecting = (finding for finding in check.deciding if finding.verdict == "reject")
        return "; ".join(dict.fromkeys(finding.advice or finding.name for finding in rejecting))
