"""Where the skin of faces is: a soft mask from the face mesh, or from face parsing when its weights are there."""

import logging
from collections.abc import Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from .align import align_face
from .geometry import bounds_of, invert, shifted, warp
from .masks import inner_box
from .models.facemesh import FACE_OVAL, LEFT_EYE, LEFT_EYEBROW, LIPS, RIGHT_EYE, RIGHT_EYEBROW, FaceMesh, load_face_mesh
from .models.faceparsing import LABELS, FaceParser
from .types import Face, Points

logger = logging.getLogger(__name__)

_NOT_SKIN = (LEFT_EYE, RIGHT_EYE, LEFT_EYEBROW, RIGHT_EYEBROW, LIPS)
_EDGE = 0.035
"""Standard deviation of the soft outer edge, as a share of the face's width."""
_INNER_EDGE = 0.015
"""The same at eyes, brows and lips, which are small."""
_GROWTH = 0.012
"""Eyes, brows and lips are cut out wider by this share: lashes and the rim of the lips lie outside the mesh's lines."""
_WORK_PX = 384
"""Masks of larger faces are drawn at this width and enlarged: nothing in them is sharper than that."""
_PARSED_SKIN = tuple(LABELS["parsenet"].index(name) for name in ("skin", "nose", "left_ear", "right_ear", "neck"))
_PARSING_PX = 512
_PARSED_EDGE = 0.01


def skin_mask(
    image: torch.Tensor, faces: Sequence[Face], *, mesh: FaceMesh | None = None, parser: FaceParser | None = None
) -> torch.Tensor:
    """Find the skin of `faces`.

    With face parsing it is skin, nose, ears and the neck within the crop; without, each face's oval in the mesh less
    eyes, brows and lips. The edges fade inwards over a few hundredths of the face's width; outside the mask is exactly
    0. A face that the mesh does not recognise (turned away, covered) gets no mask, and a warning is logged.

    Args:
        image: (3, H, W), sRGB in [0, 1].
        faces: as `detect_faces` gives them for this image.
        mesh: the face mesh; None loads the embedded one. Not used if there is a `parser`.
        parser: face parsing network.

    Returns:
        (H, W) float32 in [0, 1].
    """
    height, width = image.shape[1:]
    result = np.zeros((height, width), np.float32)
    if parser is not None:
        for face in faces:
            _add_parsed(result, image, face, parser)
        return torch.from_numpy(result)
    mesh = mesh or load_face_mesh()
    for face in faces:
        found = mesh.points(image, face)
        if found is None:
            x, y = face.box.center
            logger.warning("no skin mask for the face at (%.0f, %.0f): the face mesh does not recognise it", x, y)
            continue
        _add_face(result, found.xy)
    return torch.from_numpy(result)


def _add_face(mask: NDArray[np.float32], points: Points) -> None:
    """Draw one face's skin into `mask`, where faces overlap the larger value."""
    height, width = mask.shape
    oval = points[list(FACE_OVAL)]
    x0, y0 = (max(0, int(np.floor(value)) - 1) for value in oval.min(axis=0))
    x1, y1 = (int(np.ceil(value)) + 2 for value in oval.max(axis=0))
    x1, y1 = min(x1, width), min(y1, height)
    if x0 >= x1 or y0 >= y1:
        return
    scale = min(1.0, _WORK_PX / (oval[:, 0].max() - oval[:, 0].min()))
    size = max(1, round((x1 - x0) * scale)), max(1, round((y1 - y0) * scale))
    # Half pixels: the outer edges of window and work area meet, not the centres of their outer pixels.
    work = (points - (x0, y0) + 0.5) * scale - 0.5
    drawn = _draw(work, size)
    if scale < 1:
        drawn = np.asarray(cv2.resize(drawn, (x1 - x0, y1 - y0), interpolation=cv2.INTER_LINEAR), np.float32)
    window = mask[y0:y1, x0:x1]
    np.maximum(window, drawn, out=window)


def _add_parsed(mask: NDArray[np.float32], image: torch.Tensor, face: Face, parser: FaceParser) -> None:
    """Parse one face and draw its skin into `mask`, where faces overlap the larger value."""
    crop = align_face(image, face, _PARSING_PX, "ffhq")
    labels = parser.labels(crop.pixels[None])[0].numpy()
    skin = _inside(np.isin(labels, _PARSED_SKIN).astype(np.float32), _PARSED_EDGE * _PARSING_PX)
    crop_to_image = invert(crop.image_to_crop)
    x0, y0, x1, y1 = bounds_of(crop_to_image, _PARSING_PX, (image.shape[1], image.shape[2]))
    if x0 >= x1 or y0 >= y1:
        return
    window = mask[y0:y1, x0:x1]
    drawn = warp(skin * inner_box(_PARSING_PX), shifted(crop_to_image, to_origin=(x0, y0)), (y1 - y0, x1 - x0))
    np.maximum(window, np.clip(drawn, 0, 1), out=window)


def _draw(points: Points, size: tuple[int, int]) -> NDArray[np.float32]:
    """Draw the skin of one face on an area of `size` (width, height)."""
    oval = points[list(FACE_OVAL)]
    face_width = float(np.ptp(oval[:, 0]))
    skin = _inside(_filled([oval], size), _EDGE * face_width)
    holes = _filled([points[list(ring)] for ring in _NOT_SKIN], size)
    reach = round(_GROWTH * face_width)
    if reach:
        brush = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
        holes = np.asarray(cv2.dilate(holes, brush), np.float32)
    return skin * (1 - _outside(holes, _INNER_EDGE * face_width))


def _filled(rings: Sequence[Points], size: tuple[int, int]) -> NDArray[np.float32]:
    """Fill closed outlines, each drawn as its convex hull: crossed lines in profile leave no gaps."""
    subpixel = 4
    area = np.zeros((size[1], size[0]), np.float32)
    for ring in rings:
        hull = cv2.convexHull(ring.astype(np.float32))
        cv2.fillPoly(area, [np.round(hull * 2**subpixel).astype(np.int32)], 1.0, shift=subpixel)
    return area


def _inside(area: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    """Soften an area inwards: 0 at its edge and outside."""
    blurred = cv2.GaussianBlur(area, (0, 0), max(sigma, 0.5), borderType=cv2.BORDER_REPLICATE)
    return np.clip(2 * blurred - 1, 0, 1, dtype=np.float32)


def _outside(area: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    """Soften an area outwards: 1 on it, fading outside."""
    return 1 - _inside(1 - area, sigma)
