"""Cut faces out of a photo, upright and at a restorer's size: the one place where image space becomes crop space."""

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
import torch

from .errors import ShapeError
from .geometry import (
    apply_affine,
    bounds_of,
    chained,
    enlargement,
    invert,
    shifted,
    similarity_from_points,
    template_points,
    warp_image,
)
from .types import Box, Face, FaceCrop, Matrix, TemplateName


def align_face(image: torch.Tensor, face: Face, size: int, template: TemplateName, image_index: int = 0) -> FaceCrop:
    """Warp one face upright into a square crop.

    A face larger than the crop is reduced without aliasing. What lies past the photo's border is mirrored, so that a
    restorer never sees a black edge.

    Convention: pixel centres at integers, origin top left, (x, y); `image_to_crop` maps image pixels to crop pixels.

    Args:
        image: (3, H, W), sRGB in [0, 1].
        face: its landmarks are carried onto the template.
        size: side of the crop in pixels.
        template: the template the restorer was trained on.
        image_index: which image of a batch this is; only passed on.

    Raises:
        ShapeError: if `image` is not (3, H, W) or the landmarks are not five different finite points.

    Source: Yang et al. 2021, GPEN (`align_faces.py` of the published code); Umeyama 1991.
    """
    require_image(image)
    if face.landmarks.shape != (5, 2):
        raise ShapeError(f"expected landmarks of shape (5, 2), got {face.landmarks.shape}")
    image_to_crop = similarity_from_points(face.landmarks, template_points(template, size))
    return FaceCrop(cut(image, image_to_crop, size), image_to_crop, face, image_index)


def align_faces(
    images: torch.Tensor, faces: Sequence[Sequence[Face]], size: int, template: TemplateName
) -> list[FaceCrop]:
    """Align every face of a batch; see `align_face`.

    Args:
        images: (B, 3, H, W), sRGB in [0, 1].
        faces: one list per image, as `detect_faces` gives them; lists may be empty and of different lengths.
        size: side of the crops in pixels.
        template: the template the restorer was trained on.

    Raises:
        ShapeError: if there is not one list of faces per image.
    """
    if images.ndim != 4 or len(images) != len(faces):
        raise ShapeError(f"expected one list of faces per image, got {len(faces)} for images {tuple(images.shape)}")
    return [
        align_face(image, face, size, template, index)
        for index, (image, found) in enumerate(zip(images, faces, strict=True))
        for face in found
    ]


def enlarged_crop(crop: FaceCrop, factor: int) -> FaceCrop:
    """Restate a crop for the picture a whole number of times larger; its own pixels stay."""
    image_to_crop = chained(invert(enlargement(factor)), crop.image_to_crop)
    return replace(crop, face=enlarged_face(crop.face, factor), image_to_crop=image_to_crop)


def crop_of_size(crop: FaceCrop, pixels: torch.Tensor) -> FaceCrop:
    """Give a crop other pixels, (3, S, S): the same view at any size."""
    image_to_crop = chained(crop.image_to_crop, enlargement(pixels.shape[-1] / crop.size))
    return replace(crop, pixels=pixels, image_to_crop=image_to_crop)


def enlarged_face(face: Face, factor: float) -> Face:
    """Restate a face for the picture `factor` times larger."""
    landmarks = apply_affine(enlargement(factor), face.landmarks)
    return replace(face, box=enlarged_box(face.box, factor), landmarks=landmarks)


def enlarged_box(box: Box, factor: float) -> Box:
    """Restate a box for the picture `factor` times larger."""
    (x0, y0), (x1, y1) = apply_affine(enlargement(factor), np.array([(box.x0, box.y0), (box.x1, box.y1)]))
    return Box(float(x0), float(y0), float(x1), float(y1))


def cut(
    image: torch.Tensor,
    image_to_crop: Matrix,
    size: int,
    *,
    antialias: bool = True,
    border: int = cv2.BORDER_REFLECT_101,
) -> torch.Tensor:
    """Sample a square crop out of a photo, touching only the pixels it needs.

    Args:
        image: (3, H, W), sRGB in [0, 1].
        image_to_crop: (2, 3).
        size: side of the crop in pixels.
        antialias: see `geometry.warp`.
        border: OpenCV's mode for what lies past the photo's border; mirrored by default.

    Returns:
        (3, size, size) float32 on the CPU. A crop that does not meet the photo at all is black.
    """
    x0, y0, x1, y1 = bounds_of(invert(image_to_crop), size, (image.shape[1], image.shape[2]))
    if x0 >= x1 or y0 >= y1:
        return torch.zeros(3, size, size)
    region_to_crop = shifted(image_to_crop, from_origin=(x0, y0))
    crop = warp_image(image[:, y0:y1, x0:x1], region_to_crop, (size, size), antialias=antialias, border=border)
    return crop.clamp_(0, 1)


def require_image(image: torch.Tensor) -> None:
    """Raise ShapeError unless `image` is a floating-point (3, H, W) tensor with at least one pixel."""
    if image.ndim != 3 or image.shape[0] != 3 or image.shape[1] < 1 or image.shape[2] < 1:
        raise ShapeError(f"expected an image of shape (3, height, width), got {tuple(image.shape)}")
    if not image.is_floating_point():
        raise ShapeError(f"expected a floating-point image in [0, 1], got {image.dtype}")
