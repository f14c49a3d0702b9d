"""Affine geometry of faces: templates, similarity transforms, and the warps between image and crop space.

Convention for everything here: points are (x, y), pixel centres lie at integers, the origin is the centre of the top
left pixel, and a (2, 3) matrix named a_to_b maps a point of a to b by `b = matrix[:, :2] @ a + matrix[:, 2]`.
"""

import math

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from .errors import SettingsError, ShapeError
from .types import Matrix, Points, TemplateName

Pixels = NDArray[np.float32]
"""(H, W, C) or (H, W) picture as OpenCV wants it."""

# The five points of the 96x112 template that face recognition made common (InsightFace, SphereFace), which GPEN's
# published code pads by 36 and 28 pixels to a square of 168.
_POINTS_112 = np.array(
    [
        (30.29459953, 51.69630051),
        (65.53179932, 51.50139999),
        (48.02519989, 71.73660278),
        (33.54930115, 92.3655014),
        (62.72990036, 92.20410156),
    ]
)
_GPEN_168 = _POINTS_112 + np.array((36.0, 28.0))

# The mean landmarks of FFHQ at 512 pixels, as used by facexlib, GFPGAN and CodeFormer.
_FFHQ_512 = np.array(
    [
        (192.98138, 239.94708),
        (318.90277, 240.19360),
        (256.63416, 314.01935),
        (201.26117, 371.41043),
        (313.08905, 371.15118),
    ]
)


def template_points(name: TemplateName, size: int) -> Points:
    """Return where a template puts the five landmarks in a square crop.

    Args:
        name: "gpen" or "ffhq".
        size: side of the crop in pixels.

    Returns:
        (5, 2) points in crop pixels.

    Raises:
        SettingsError: if the name is unknown.

    Source: "gpen" Yang et al. 2021 (`align_faces.py` of the published code); "ffhq" facexlib.
    """
    if name == "gpen":
        return _GPEN_168 * (size / 168)
    if name == "ffhq":
        return _FFHQ_512 * (size / 512)
    raise SettingsError(f'expected the template "gpen" or "ffhq", got "{name}"')


def similarity_from_points(source: Points, target: Points) -> Matrix:
    """Fit the rotation, uniform scale and shift that carry one set of points onto another.

    Args:
        source: (N, 2) points, N >= 2, not all the same.
        target: (N, 2) points they should land on.

    Returns:
        (2, 3) source_to_target, best in the least squares sense, never mirrored.

    Raises:
        ShapeError: if the points do not match in shape, are not finite or all coincide.

    Source: Umeyama 1991, "Least-squares estimation of transformation parameters between two point patterns".
    """
    source = np.asarray(source, dtype=np.float64)
    target = np.asarray(target, dtype=np.float64)
    if source.shape != target.shape or source.ndim != 2 or source.shape[1] != 2 or len(source) < 2:
        raise ShapeError(f"expected two equal sets of (N, 2) points, got {source.shape} and {target.shape}")
    if not (np.isfinite(source).all() and np.isfinite(target).all()):
        raise ShapeError("expected finite points, got NaN or infinity")
    from_mean, to_mean = source.mean(axis=0), target.mean(axis=0)
    centred = source - from_mean
    variance = (centred**2).sum() / len(source)
    if variance < 1e-12:
        raise ShapeError("expected points that differ, got the same point each time")
    u, spread, vt = np.linalg.svd((target - to_mean).T @ centred / len(source))
    sign = np.array([1.0, np.sign(np.linalg.det(u) * np.linalg.det(vt)) or 1.0])
    rotation = (u * sign) @ vt
    scale = (spread * sign).sum() / variance
    linear = scale * rotation
    return np.column_stack([linear, to_mean - linear @ from_mean])


def invert(a_to_b: Matrix) -> Matrix:
    """Return b_to_a, the (2, 3) inverse of an affine matrix."""
    linear = np.linalg.inv(a_to_b[:, :2])
    return np.column_stack([linear, -linear @ a_to_b[:, 2]])


def apply_affine(a_to_b: Matrix, points: Points) -> Points:
    """Map (N, 2) points through a (2, 3) affine matrix."""
    return np.asarray(points, dtype=np.float64) @ a_to_b[:, :2].T + a_to_b[:, 2]


def chained(a_to_b: Matrix, b_to_c: Matrix) -> Matrix:
    """Return a_to_c, the (2, 3) product of two affine matrices."""
    return np.column_stack([b_to_c[:, :2] @ a_to_b[:, :2], apply_affine(b_to_c, a_to_b[None, :, 2])[0]])


def enlarge(pixels: torch.Tensor, scale: int) -> torch.Tensor:
    """Enlarge photos or masks by bilinear interpolation, aligned with what `upscale_photo` gives.

    Convention: the outer edges of the two pictures meet, not their outer pixel centres.

    Args:
        pixels: (B, C, H, W).
        scale: how many times.

    Returns:
        (B, C, H * scale, W * scale).
    """
    if scale == 1:
        return pixels
    return functional.interpolate(pixels, scale_factor=scale, mode="bilinear", align_corners=False)


def enlargement(factor: float) -> Matrix:
    """Return the (2, 3) matrix from a picture's pixels to those of the same picture `factor` times larger.

    Convention: the outer edges of the two pictures meet, as `enlarge` has it.
    """
    shift = (factor - 1) / 2
    return np.array([[factor, 0, shift], [0, factor, shift]], dtype=np.float64)


def square_about(center: Points, cosine: float, sine: float, size: int) -> Matrix:
    """Return the (2, 3) matrix into a square of `size` with `center`, (2,), in its middle.

    Args:
        center: in pixels of the picture.
        cosine: of the angle by which the picture is turned back, times the scale.
        sine: likewise.
        size: side of the square in pixels.
    """
    linear = np.array(((cosine, sine), (-sine, cosine)))
    return np.column_stack((linear, np.full(2, (size - 1) / 2) - linear @ center))


def scale_of(a_to_b: Matrix) -> float:
    """Return how many b pixels one a pixel becomes along a side."""
    return math.sqrt(abs(float(np.linalg.det(a_to_b[:, :2]))))


def bounds_of(
    crop_to_image: Matrix,
    size: int,
    image_size: tuple[int, int],
    part: tuple[slice, slice] = (slice(None), slice(None)),
) -> tuple[int, int, int, int]:
    """Return the image pixels that a square crop can touch.

    Args:
        crop_to_image: (2, 3).
        size: side of the crop in pixels.
        image_size: (height, width).
        part: rows and columns of the crop that count.

    Returns:
        x0, y0, x1, y1 as slice bounds, clipped to the image; empty (x0 >= x1 or y0 >= y1) if they do not meet.
    """
    (top, bottom, _), (left, right, _) = (span.indices(size) for span in part)
    edges = [(x - 0.5, y - 0.5) for x in (left, right) for y in (top, bottom)]
    corners = apply_affine(crop_to_image, np.array(edges))
    height, width = image_size
    x0, y0 = np.floor(corners.min(axis=0)).astype(int) - 1
    x1, y1 = np.ceil(corners.max(axis=0)).astype(int) + 2
    return max(0, int(x0)), max(0, int(y0)), min(width, int(x1)), min(height, int(y1))


def shifted(
    a_to_b: Matrix, *, from_origin: tuple[float, float] = (0, 0), to_origin: tuple[float, float] = (0, 0)
) -> Matrix:
    """Restate a matrix for cut-outs of its spaces.

    Args:
        a_to_b: (2, 3).
        from_origin: where the cut-out of a begins in a, (x, y).
        to_origin: where the cut-out of b begins in b, (x, y).
    """
    linear = a_to_b[:, :2]
    return np.column_stack([linear, a_to_b[:, 2] + linear @ np.asarray(from_origin) - np.asarray(to_origin)])


def warp(
    picture: Pixels,
    a_to_b: Matrix,
    size: tuple[int, int],
    *,
    antialias: bool = True,
    border: int = cv2.BORDER_CONSTANT,
    out: Pixels | None = None,
) -> Pixels:
    """Resample a picture into another space.

    Where the matrix shrinks the picture, it is first reduced by area averaging to the target's resolution, so that
    nothing aliases; where it enlarges, it is interpolated bilinearly.

    Args:
        picture: (H, W) or (H, W, C) float32, C <= 4.
        a_to_b: (2, 3), from the picture to the result.
        size: (height, width) of the result.
        antialias: False samples bilinearly at any scale, as GPEN's published code does.
        border: OpenCV's border mode; constant means 0.
        out: where to write the result, of its shape; a new array if None.

    Returns:
        (height, width) or (height, width, C) float32.
    """
    scale = scale_of(a_to_b)
    flags = cv2.INTER_LINEAR
    if antialias and scale < 1 - 1e-6:
        height, width = picture.shape[:2]
        small = (max(1, round(width * scale)), max(1, round(height * scale)))
        ratio = np.array([small[0] / width, small[1] / height])
        picture = cv2.resize(picture, small, interpolation=cv2.INTER_AREA).astype(np.float32, copy=False)
        # A pixel centre x becomes (x + 0.5) * ratio - 0.5.
        small_to_a = np.column_stack([np.diag(1 / ratio), 0.5 / ratio - 0.5])
        a_to_b = chained(small_to_a, a_to_b)
        flags = cv2.INTER_CUBIC
        if min(small) < 2 and border == cv2.BORDER_REFLECT_101:
            border = cv2.BORDER_REPLICATE  # the same there, and OpenCV 5.0.0 mirrors a single row for ever
    warped = cv2.warpAffine(picture, a_to_b, (size[1], size[0]), dst=out, flags=flags, borderMode=border)
    return warped.astype(np.float32, copy=False)


def warp_image(
    image: torch.Tensor,
    a_to_b: Matrix,
    size: tuple[int, int],
    *,
    antialias: bool = True,
    border: int = cv2.BORDER_CONSTANT,
) -> torch.Tensor:
    """Resample an image (C, H, W) by `warp`, plane by plane: (C, height, width) float32 on the CPU."""
    warped = torch.empty(len(image), *size, dtype=torch.float32, device="cpu")
    for plane, target in zip(image.detach().to("cpu", torch.float32), warped, strict=True):
        warp(plane.numpy(), a_to_b, size, antialias=antialias, border=border, out=target.numpy())
    return warped
