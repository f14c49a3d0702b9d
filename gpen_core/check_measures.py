"""The figures of the photo check: what is measured on a photo and on each of its faces."""

import math
import warnings
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from . import quality
from .headpose import HeadPose, head_pose
from .models import facemesh
from .models.facemesh import FaceMesh, MeshPoints
from .models.headpose import HeadPoseNetwork
from .quality import Luma, Mask
from .types import Box, Face, Points

_SHARPNESS_WIDTH = 160
_NIQE_SIDE, _NIQE_LEAST = 576, 192
_NOISE_SIDE = 1536
_EYES_READABLE = 35.0
"""Degrees of yaw or pitch beyond which the mesh only guesses the eyelids."""
_BACKGROUND_LEAST, _BACKGROUND_SIDE = 0.05, 640
_LIT = 0.17
"""Middle luma of a face that no light from behind can have spoilt: the darkest skin, rightly exposed, has 0.22."""

# Indices into the mesh; outlines of the skin that shines first, and six points of each eye: outer corner, two on the
# upper lid, inner corner, two on the lower lid. Source of the eye aspect ratio: Soukupová & Čech 2016.
_FOREHEAD = (103, 67, 109, 10, 338, 297, 332, 334, 296, 336, 107, 66, 105)
_NOSE = (168, 193, 417, 198, 420, 98, 327)
_EYES = ((33, 160, 158, 133, 153, 144), (263, 387, 385, 362, 380, 373))


@dataclass(frozen=True)
class FaceMeasures:
    """Figures of one face, named and in the units of `CheckThresholds`; None is what cannot be told."""

    face_size: float
    visible: float
    off_center: float
    cut_off: float
    yaw: float
    pitch: float
    roll: float
    eyes_open: float | None
    brightness: float | None
    near_black: float | None
    clipped: float | None
    backlight: float | None
    glare: float | None
    sharpness: float | None


@dataclass(frozen=True)
class PhotoMeasures:
    """Figures of a whole photo, named and in the units of `CheckThresholds`; None is what cannot be told."""

    width: float
    height: float
    faces: float
    noise: float | None
    blockiness: float | None
    background: float | None
    niqe: float | None


def measure_photo(pixels: torch.Tensor, faces: list[Face], *, with_niqe: bool = True) -> PhotoMeasures:
    """Measure a photo as a whole.

    Large photos are measured around the largest face: the noise of 1536 × 1536 pixels, the NIQE of 576 × 576.

    Args:
        pixels: (3, H, W), sRGB in [0, 1].
        faces: its faces, largest first.
        with_niqe: whether NIQE is to be found.

    Raises:
        MissingPackageError: if NIQE is wanted and basicsr is missing.
    """
    height, width = pixels.shape[1:]
    middle = faces[0].box.center if faces else ((width - 1) / 2, (height - 1) / 2)
    near = _luma(_window(pixels, middle, _NOISE_SIDE))
    # Of noise of single pixels the coarse measure tells half; of what JPEG left of it, more than the fine one.
    noise = max(quality.noise(near), 2 * quality.coarse_noise(near))
    return PhotoMeasures(
        width=width,
        height=height,
        faces=len(faces),
        noise=_known(noise * 255),
        blockiness=_known(quality.blockiness(near)),
        background=_background(pixels, faces[0].box) if faces else None,
        niqe=_niqe(_window(pixels, middle, _NIQE_SIDE)) if with_niqe else None,
    )


def measure_face(
    pixels: torch.Tensor, face: Face, mesh_network: FaceMesh, pose_network: HeadPoseNetwork | None = None
) -> tuple[FaceMeasures, MeshPoints]:
    """Measure one face; also give its mesh, as drawn in reports.

    Args:
        pixels: (3, H, W), sRGB in [0, 1].
        face: which face of it.
        mesh_network: finds the face's outline, eyes and pose.
        pose_network: finds the pose instead of the mesh, if given.
    """
    size = (int(pixels.shape[1]), int(pixels.shape[2]))
    mesh = mesh_network.look(pixels, face)
    pose = pose_network.pose(pixels, face) if pose_network else head_pose(mesh)
    part, origin = _around(pixels, face.box)
    luma, points = _luma(part), mesh.xy - origin
    oval = _filled(points[list(facemesh.FACE_OVAL)], luma.shape)
    skin = _filled(points[list(_FOREHEAD)], luma.shape) | _filled(_hull(points[list(_NOSE)]), luma.shape)
    middle = quality.median(luma, oval)
    glare = quality.glare_share(luma, quality.saturation(part), skin & oval)
    return FaceMeasures(
        face_size=face.box.size,
        visible=100 * mesh.presence,
        off_center=100 * _off_center(face.box, size),
        cut_off=100 * _cut_off(mesh, size),
        yaw=pose.yaw,
        pitch=pose.pitch,
        roll=pose.roll,
        eyes_open=_eyes_open(mesh, pose),
        brightness=_known(100 * middle),
        near_black=_known(100 * quality.dark_share(luma, oval)),
        clipped=_known(100 * quality.clipped_share(part, oval)),
        backlight=_known(_backlight(_surroundings(luma, face.box, origin), middle)),
        glare=_known(100 * glare),
        sharpness=_known(_sharpness(luma, oval, face.box.width)),
    ), mesh


def _eyes_open(mesh: MeshPoints, pose: HeadPose) -> float | None:
    """Mean height over width of the eyes, in three dimensions, so that turning the head does not close them."""
    if mesh.presence < 0.5 or max(abs(pose.yaw), abs(pose.pitch)) > _EYES_READABLE:
        return None
    ratios = []
    for eye in _EYES:
        outer, upper_0, upper_1, inner, lower_1, lower_0 = mesh.xyz[list(eye)]
        opening = np.linalg.norm(upper_0 - lower_0) + np.linalg.norm(upper_1 - lower_1)
        ratios.append(float(opening / (2 * np.linalg.norm(outer - inner))))
    return sum(ratios) / 2


def _off_center(box: Box, size: tuple[int, int]) -> float:
    x, y = box.center
    return max(abs((x + 0.5) / size[1] - 0.5), abs((y + 0.5) / size[0] - 0.5))


def _cut_off(mesh: MeshPoints, size: tuple[int, int]) -> float:
    """Share of the face's outline outside the picture: the mesh goes on where the picture ends."""
    outline = mesh.xy[list(facemesh.FACE_OVAL)]
    outside = (outline < -0.5) | (outline > np.array((size[1], size[0])) - 0.5)
    return float(outside.any(axis=1).mean())


def _surroundings(luma: Luma, box: Box, origin: Points) -> float:
    """Luma that a fifth of the surroundings of the head exceed: ring from 0.9 to 1.6 boxes around its centre."""
    y, x = np.mgrid[: luma.shape[0], : luma.shape[1]]
    center_x, center_y = np.array(box.center) - origin
    distance = np.hypot((x - center_x) / max(box.width, 1), (y - center_y) / max(box.height, 1))
    ring = (distance > 0.9) & (distance < 1.6) & (y < box.y1 - origin[1])
    return float(np.quantile(luma[ring], 0.8)) if ring.sum() >= 16 else math.nan


def _backlight(surroundings: float, middle: float) -> float:
    """Stops by which the surroundings outshine a face in the dark; 0 for a face that is bright enough in itself.

    Dark skin before a bright wall is 4 stops below it without any light from behind.
    """
    return 0.0 if middle >= _LIT else quality.stops_between(surroundings, middle)


def _sharpness(luma: Luma, oval: Mask, face_width: float) -> float:
    noise = quality.noise(luma)
    scale = min(1.0, _SHARPNESS_WIDTH / max(face_width, 1.0))
    if scale < 1:
        size = (max(1, round(luma.shape[1] * scale)), max(1, round(luma.shape[0] * scale)))
        luma = np.asarray(cv2.resize(luma, size, interpolation=cv2.INTER_AREA), dtype=np.float32)
        oval = cv2.resize(oval.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
    return quality.sharpness(luma, oval, 0.0 if math.isnan(noise) else noise * scale)


def _background(pixels: torch.Tensor, box: Box) -> float | None:
    """Edges beside the head and above it; shoulders are left out."""
    scale = min(1.0, _BACKGROUND_SIDE / max(pixels.shape[1:]))
    small = functional.interpolate(pixels[None].detach().float(), scale_factor=scale, mode="area")[0]
    luma = _luma(_array(small))
    x = np.abs((np.arange(luma.shape[1]) + 0.5) / scale - 0.5 - box.center[0])[None]
    y = ((np.arange(luma.shape[0]) + 0.5) / scale - 0.5)[:, None]
    mask = ((x > 0.85 * box.width) & (y < box.y1)) | (y < box.y0 - 0.45 * box.height)
    return _known(100 * quality.busyness(luma, mask)) if mask.mean() >= _BACKGROUND_LEAST else None


def _niqe(part: NDArray[np.float32]) -> float | None:
    if min(part.shape[1:]) < _NIQE_LEAST:
        return None
    from .from_basicsr import niqe_module

    blue_first = part[::-1].transpose(1, 2, 0) * 255
    with np.errstate(all="ignore"), warnings.catch_warnings():
        # It warns of flat blocks, which it skips, and of scipy's old name for a module.
        for category in (RuntimeWarning, DeprecationWarning):
            warnings.simplefilter("ignore", category=category)
        try:
            return _known(float(niqe_module().calculate_niqe(blue_first, crop_border=0)))
        except np.linalg.LinAlgError:  # a plain picture has no statistics to compare
            return None


def _known(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _window(pixels: torch.Tensor, middle: tuple[float, float], side: int) -> NDArray[np.float32]:
    """Cut (3, side, side) at most out of a photo around a point."""
    height, width = pixels.shape[1:]
    x0 = min(max(0, round(middle[0] - side / 2)), max(0, width - side))
    y0 = min(max(0, round(middle[1] - side / 2)), max(0, height - side))
    return _array(pixels[:, y0 : y0 + side, x0 : x0 + side])


def _around(pixels: torch.Tensor, box: Box) -> tuple[NDArray[np.float32], Points]:
    """Cut a face with its surroundings out of a photo; also give where the cut-out begins, (x, y)."""
    height, width = pixels.shape[1:]
    (x, y), reach_x, reach_y = box.center, 1.6 * box.width, 1.6 * box.height
    x0, x1 = (min(max(0, round(edge)), width) for edge in (x - reach_x, x + reach_x + 1))
    y0, y1 = (min(max(0, round(edge)), height) for edge in (y - reach_y, y + reach_y + 1))
    return _array(pixels[:, y0:y1, x0:x1]), np.array((x0, y0), np.float64)


def _array(pixels: torch.Tensor) -> NDArray[np.float32]:
    return np.ascontiguousarray(pixels.detach().to("cpu", torch.float32).numpy())


def _luma(pixels: NDArray[np.float32]) -> Luma:
    return np.asarray(np.tensordot(quality.LUMA_WEIGHTS, pixels, axes=1), dtype=np.float32)


def _filled(outline: Points, shape: tuple[int, ...]) -> Mask:
    mask = np.zeros(shape, np.uint8)
    if mask.size:
        cv2.fillPoly(mask, [np.round(outline).astype(np.int32)], 1)
    return mask > 0


def _hull(points: Points) -> Points:
    return np.asarray(cv2.convexHull(points.astype(np.float32))[:, 0], dtype=np.float64)
