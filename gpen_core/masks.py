"""Where in a crop the restored face goes: soft masks from face parsing, the face mesh or the five landmarks."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import cv2
import numpy as np
import torch

from .geometry import Pixels, apply_affine
from .models.facemesh import FACE_OVAL, FaceMesh
from .models.faceparsing import FaceParser
from .types import FaceCrop, MaskSource, Points

MaskArea: TypeAlias = Literal["head", "face"]
"""What is blended in without face parsing: the "head" with its hair and a little of what is behind, or the "face"."""

# CelebAMask-HQ classes as facexlib's networks number them: what is not the person's head.
_NOT_FACE = (0, 14, 18)
# Border and feather as shares of the crop's side. The published code clears 26 pixels of 512 and blurs twice with
# sigma 4; parsing maps with hair and neck reach the border, hence the softer inner box here.
_PUBLISHED_BORDER = 26 / 512
_PUBLISHED_SIGMA = 4 / 512
_BORDER = 0.03
_BORDER_FEATHER = 0.09
_FEATHER = 0.025
# The face oval of the mesh ends at the hairline and the jaw. These factors, about its centre, widen it sideways,
# upwards and downwards: to the first hair and the neck's beginning, or around the hair of most heads.
_GROWTH: dict[str, tuple[float, float, float]] = {"face": (1.12, 1.12, 1.08), "head": (1.5, 1.65, 1.3)}
# Centre and half axes of the face oval in the 512 crop, for want of anything better than five landmarks.
_LANDMARK_OVAL = ((256.0, 285.0), (140.0, 185.0))


@dataclass(frozen=True, eq=False)
class FaceMask:
    """A soft mask in crop space.

    Attributes:
        pixels: (S, S) float32 in [0, 1].
        source: what it was made from.
    """

    pixels: torch.Tensor
    source: MaskSource


def face_mask(
    crop: FaceCrop,
    image: torch.Tensor,
    *,
    parser: FaceParser | None = None,
    mesh: FaceMesh | None = None,
    area: MaskArea = "head",
) -> FaceMask:
    """Make the soft mask by which a restored crop is blended into its photo.

    The best source at hand is used: face parsing; else the oval of the face mesh, if it recognises the face; else an
    oval laid through the five landmarks. All of them fade out inside the crop's border.

    Args:
        crop: the restored crop; only face parsing looks at its pixels.
        image: (3, H, W) photo that the crop was cut from, sRGB in [0, 1]; the mesh is found here.
        parser: face parsing network, if its weights are present.
        mesh: face mesh network.
        area: what the oval is widened to; face parsing knows the head by itself.
    """
    size = crop.size
    if parser is not None:
        labels = parser.labels(crop.pixels[None])[0]
        return FaceMask(_soften(_parsed(labels.cpu().numpy()), size), "parsing")
    points = mesh.points(image, crop.face) if mesh is not None else None
    if points is None:
        return FaceMask(_soften(_filled(_grown(_landmark_oval(size), area), size), size), "landmarks")
    oval = apply_affine(crop.image_to_crop, points.xy[list(FACE_OVAL)])
    return FaceMask(_soften(_filled(_grown(oval, area), size), size), "mesh")


def published_mask(parsed: torch.Tensor) -> torch.Tensor:
    """Soften a parsing mask exactly as GPEN's published code does, for comparison with it.

    Args:
        parsed: (S, S), 1 on the face, 0 elsewhere.

    Returns:
        (S, S) float32 in [0, 1].

    Source: `mask_postprocess` of the published code, its figures scaled from 512.
    """
    size = parsed.shape[-1]
    mask = parsed.to(torch.float32).numpy().copy()
    border = round(_PUBLISHED_BORDER * size)
    mask[:border] = mask[-border:] = 0
    mask[:, :border] = mask[:, -border:] = 0
    sigma = _PUBLISHED_SIGMA * size
    for _ in range(2):
        mask = cv2.GaussianBlur(mask, (0, 0), sigma)
    return torch.from_numpy(mask)


def inner_box(size: int) -> Pixels:
    """Return (size, size): 1 inside, 0 on the border, a smooth ramp between."""
    distance = np.minimum(np.arange(size), np.arange(size)[::-1]) / size
    ramp = np.clip((distance - _BORDER) / _BORDER_FEATHER, 0, 1)
    ramp = (ramp * ramp * (3 - 2 * ramp)).astype(np.float32)
    return np.minimum.outer(ramp, ramp)


def _soften(mask: Pixels, size: int) -> torch.Tensor:
    soft = cv2.GaussianBlur(mask, (0, 0), _FEATHER * size) * inner_box(size)
    soft[soft < 1 / 512] = 0  # below half a grey level of 8 bits nothing shows, and the photo stays untouched
    return torch.from_numpy(np.clip(soft, 0, 1).astype(np.float32, copy=False))


def _parsed(labels: np.ndarray) -> Pixels:
    return np.where(np.isin(labels, _NOT_FACE), 0, 1).astype(np.float32)


def _grown(oval: Points, area: MaskArea) -> Points:
    """Widen an upright oval about its centre; y grows downwards."""
    sideways, upwards, downwards = _GROWTH[area]
    center = (oval.min(axis=0) + oval.max(axis=0)) / 2
    offset = oval - center
    vertical = np.where(offset[:, 1] < 0, upwards, downwards)
    return np.asarray(center + offset * np.column_stack([np.full(len(oval), sideways), vertical]))


def _filled(points: Points, size: int) -> Pixels:
    mask = np.zeros((size, size), np.float32)
    subpixel = 4
    outline = np.round(points * 2**subpixel).astype(np.int32)
    cv2.fillPoly(mask, [outline], 1.0, lineType=cv2.LINE_8, shift=subpixel)
    return mask


def _landmark_oval(size: int) -> Points:
    """Return an oval (64, 2) where an aligned crop holds its face."""
    center, half_axes = np.array(_LANDMARK_OVAL) * (size / 512)
    angles = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    return np.asarray(center + half_axes * np.column_stack([np.cos(angles), np.sin(angles)]))
