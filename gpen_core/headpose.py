"""Which way a head is turned, from the face mesh and a mean head."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from .models.facemesh import MeshPoints

# A mean head: mesh points in distances between the eyes' centres, x to the picture's right, y down, z away from the
# viewer, origin between the eyes. Measured with the mesh on 699 official portraits (US governors, senators, members of
# congress, and the Face Research Lab London set), rotated onto each other, averaged, made symmetric. Zero yaw and pitch
# are therefore how people hold their heads in official portraits.
_MIDDLE: dict[int, tuple[float, float]] = {
    168: (-0.07, -0.33),
    6: (0.04, -0.40),
    197: (0.15, -0.48),
    195: (0.26, -0.57),
    5: (0.38, -0.66),
    4: (0.52, -0.70),
    1: (0.63, -0.66),
    2: (0.73, -0.40),
    10: (-0.86, -0.27),
    151: (-0.60, -0.32),
    9: (-0.31, -0.36),
    152: (1.80, -0.01),
}
_PAIRS: dict[tuple[int, int], tuple[float, float, float]] = {
    (33, 263): (0.72, -0.01, 0.04),
    (133, 362): (0.28, 0.01, -0.04),
    (98, 327): (0.30, 0.67, -0.27),
    (234, 454): (1.13, 0.31, 0.93),
    (127, 356): (1.14, 0.08, 0.85),
    (93, 323): (1.11, 0.55, 0.94),
    (61, 291): (0.50, 1.02, 0.01),
    (70, 300): (0.91, -0.22, 0.04),
    (172, 397): (0.91, 1.28, 0.66),
    (21, 251): (1.06, -0.37, 0.46),
}
_VIEWING_DISTANCE = 5.0
"""Camera to head, in head heights: about 1.2 m, a portrait. Twice or half of it changes yaw and pitch by 2° or less."""


@dataclass(frozen=True)
class HeadPose:
    """How a head is turned, in degrees, as seen in the picture.

    Attributes:
        yaw: to the picture's right positive, to its left negative.
        pitch: up positive, down negative.
        roll: tilted clockwise positive.
    """

    yaw: float
    pitch: float
    roll: float

    @property
    def largest(self) -> float:
        """The largest of the three, without sign."""
        return max(abs(self.yaw), abs(self.pitch), abs(self.roll))


def head_pose(mesh: MeshPoints) -> HeadPose:
    """Find how the head under a face mesh is turned.

    The mesh's network never draws more than about 60° of yaw: a pure profile reads as that.

    Source: the perspective-n-point problem as solved by OpenCV (SQPnP, Terzakis & Lourakis 2020, then refined).
    """
    indices, head = _mean_head()
    points = np.ascontiguousarray(mesh.xy[indices])
    focal = _VIEWING_DISTANCE * max(float(np.ptp(mesh.xy, axis=0).max()), 1.0)
    center = points.mean(axis=0)
    camera = np.array(((focal, 0, center[0]), (0, focal, center[1]), (0, 0, 1)))
    _, turn, shift = cv2.solvePnP(head, points, camera, None, flags=cv2.SOLVEPNP_SQPNP)
    _, turn, _ = cv2.solvePnP(head, points, camera, None, turn, shift, True, flags=cv2.SOLVEPNP_ITERATIVE)
    return pose_of_rotation(np.asarray(cv2.Rodrigues(turn)[0], dtype=np.float64))


def pose_of_rotation(rotation: NDArray[np.float64]) -> HeadPose:
    """Give the angles of a rotation from the upright head to the camera, x right, y down, z away.

    Convention: rotation = Rz(roll) · Ry(yaw) · Rx(pitch) with the signs of `HeadPose`.

    Args:
        rotation: (3, 3).
    """
    yaw = np.arctan2(rotation[2, 0], np.hypot(rotation[2, 1], rotation[2, 2]))
    pitch = -np.arctan2(rotation[2, 1], rotation[2, 2])
    roll = np.arctan2(rotation[1, 0], rotation[0, 0])
    return HeadPose(*(float(np.degrees(angle)) for angle in (yaw, pitch, roll)))


def _mean_head() -> tuple[list[int], NDArray[np.float64]]:
    points = {index: (0.0, y, z) for index, (y, z) in _MIDDLE.items()}
    for (left, right), (x, y, z) in _PAIRS.items():
        points[left], points[right] = (-x, y, z), (x, y, z)
    return list(points), np.array(list(points.values()))
