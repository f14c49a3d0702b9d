"""RetinaFace, the face detector: facexlib's network, our reading of its weights and of its answers."""

from .detector import Candidates, FaceDetector
from .load import load_detector
from .spec import RetinaFaceSpec, is_retinaface

__all__ = ["Candidates", "FaceDetector", "RetinaFaceSpec", "is_retinaface", "load_detector"]
