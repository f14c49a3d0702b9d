"""The face mesh: 468 points of a face, run by OpenCV's network engine."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from ..align import cut
from ..errors import MissingPackageError, ShapeError, UnsupportedWeightsError, WeightsNotFoundError
from ..geometry import apply_affine, invert, scale_of, square_about
from ..types import Face, Matrix, Points
from .places import EMBEDDED_FOLDER

EMBEDDED = EMBEDDED_FOLDER / "mediapipe_face_landmark.tflite"
"""MediaPipe Face Landmark; see the card beside it."""

# Indices into the mesh, in order around each outline. Left and right are the picture's, as in `Face.landmarks`: the
# mesh's authors name the sides by the person. Source: MediaPipe, `face_mesh_connections.py`, edges joined into rings.
FACE_OVAL = (
    *(10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377),
    *(152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109),
)
"""From the top of the forehead around the picture's right cheek and the chin."""
LEFT_EYE = (33, 246, 161, 160, 159, 158, 157, 173, 133, 155, 154, 153, 145, 144, 163, 7)
RIGHT_EYE = (263, 466, 388, 387, 386, 385, 384, 398, 362, 382, 381, 380, 374, 373, 390, 249)
"""From the outer corner along the upper lid to the inner corner and back along the lower lid."""
LEFT_EYEBROW = (46, 53, 52, 65, 55, 107, 66, 105, 63, 70)
RIGHT_EYEBROW = (276, 283, 282, 295, 285, 336, 296, 334, 293, 300)
LIPS = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146)
"""The outer outline of the lips, from the corner on the picture's left along the upper lip."""
NOSE_TIP = 4

_INPUT_SIZE = 192
_POINT_COUNT = 468
_POINTS_LAYER, _PRESENCE_LAYER = "conv2d_21", "conv2d_31"
_CROP_SIDE = 1.35
_PRESENT = 0.5
"""What MediaPipe's own face mesh asks for by default (`min_tracking_confidence`)."""


@dataclass(frozen=True, eq=False)
class MeshPoints:
    """The mesh of one face.

    Attributes:
        xyz: (468, 3); x and y in image pixels, z in the same unit, negative towards the viewer.
        presence: how sure the network is that the crop showed a face, in [0, 1].
    """

    xyz: NDArray[np.float64]
    presence: float

    @property
    def xy(self) -> Points:
        """(468, 2), image pixels."""
        return self.xyz[:, :2]


class FaceMesh:
    """MediaPipe's face landmark network.

    Args:
        source: the .tflite file.

    Raises:
        WeightsNotFoundError: if the file does not exist.
        UnsupportedWeightsError: if it is not this network.
        MissingPackageError: if OpenCV is older than 4.8 and cannot read the format.
    """

    def __init__(self, source: Path) -> None:
        self.source = source
        self._network = _read_network(source)

    def points(self, image: torch.Tensor, face: Face) -> MeshPoints | None:
        """Give the mesh of `face`, or None where the network does not recognise a face.

        Args:
            image: (3, H, W), sRGB in [0, 1].
            face: which face of it; its box and landmarks choose the crop.

        Raises:
            ShapeError: if `image` is not (3, H, W).
        """
        mesh = self.look(image, face)
        return mesh if mesh.presence >= _PRESENT else None

    def look(self, image: torch.Tensor, face: Face) -> MeshPoints:
        """Give the mesh of `face` and how much it is to be trusted, even if that is little.

        Args:
            image: (3, H, W), sRGB in [0, 1].
            face: which face of it; its box and landmarks choose the crop.

        Raises:
            ShapeError: if `image` is not (3, H, W).
        """
        if image.ndim != 3 or image.shape[0] != 3:
            raise ShapeError(f"expected (3, H, W), got {tuple(image.shape)}")
        image_to_crop = mesh_crop(face)
        crop_to_image = invert(image_to_crop)
        crop = cut(image, image_to_crop, _INPUT_SIZE, border=cv2.BORDER_REPLICATE)
        self._network.setInput(crop[None].numpy())
        # By name, one by one: OpenCV 5.0 knows only the first of the network's two outputs as such.
        presence = float(self._network.forward(_PRESENCE_LAYER).ravel()[0])
        points = self._network.forward(_POINTS_LAYER).reshape(_POINT_COUNT, 3).astype(np.float64)
        xy = apply_affine(crop_to_image, points[:, :2])
        xyz = np.column_stack((xy, points[:, 2] * scale_of(crop_to_image)))
        return MeshPoints(xyz, 1 / (1 + math.exp(-presence)))


def load_face_mesh(source: str | Path | None = None) -> FaceMesh:
    """Load the face mesh network; None for the embedded one.

    Raises:
        WeightsNotFoundError: if the file does not exist.
        UnsupportedWeightsError: if it is not this network.
        MissingPackageError: if OpenCV is older than 4.8 and cannot read the format.
    """
    return FaceMesh(EMBEDDED if source is None else Path(source))


def mesh_crop(face: Face) -> Matrix:
    """Give the (2, 3) image_to_crop matrix of the square the mesh looks at: the box × 1.35, turned upright.

    Upright is where the eyes point, and the mouth below them: in profile the eyes alone say little.

    Source: MediaPipe takes 1.5 times its own, wider boxes; with RetinaFace's, 1.35 gave the highest mean presence over
    204 portraits (0.958; 0.947 at 1.2, 0.940 at 1.5, 0.892 at 1.7).
    """
    eye_0, eye_1, _, mouth_0, mouth_1 = face.landmarks
    down = (mouth_0 + mouth_1 - eye_0 - eye_1) / 2
    right = (eye_1 - eye_0) + np.array((down[1], -down[0]))
    length = float(np.hypot(*right)) or 1.0
    scale = _INPUT_SIZE / (_CROP_SIDE * max(face.box.width, face.box.height, 1.0))
    cosine, sine = right / length * scale if np.any(right) else (scale, 0.0)
    return square_about(np.array(face.box.center), cosine, sine, _INPUT_SIZE)


def _read_network(source: Path) -> Any:  # noqa: ANN401 (cv2.dnn.Net is not typed in every OpenCV)
    if not source.is_file():
        raise WeightsNotFoundError(f'no face mesh at "{source}"; none is needed for the embedded one')
    if not hasattr(cv2.dnn, "readNetFromTFLite"):
        raise MissingPackageError(
            f'the face mesh needs OpenCV 4.8 or newer, got {cv2.__version__}: pip install "opencv-python>=4.8"'
        )
    try:
        network = cv2.dnn.readNetFromTFLite(
            np.fromfile(source, dtype=np.uint8)
        )  # OpenCV's own reading fails on 人.tflite
    except cv2.error as error:
        raise UnsupportedWeightsError(f'"{source.name}" is not a TFLite network: {error.err}') from error
    if not {_POINTS_LAYER, _PRESENCE_LAYER} <= set(network.getLayerNames()):
        raise UnsupportedWeightsError(f'"{source.name}" is not MediaPipe\'s face mesh of {_POINT_COUNT} points')
    return network
