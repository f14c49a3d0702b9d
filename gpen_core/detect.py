"""Find the faces of any picture: choose the scales to look at, choose among what the detector sees there."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from .errors import SettingsError, ShapeError
from .geometry import apply_affine
from .models.retinaface import FaceDetector
from .progress import NoProgress, Progress
from .types import Box, Face, Matrix
from .upright import seen_upright

_COARSE_PIXELS = 1.2e6
"""The whole picture is looked at with this many pixels at most: 28 ms for MobileNet-0.25 on two cores."""

_FINE_PIXELS = 3.4e6
_THOROUGH_PIXELS = 1.2e7
"""A second look for small faces at pictures that have more to show than the coarse look: at where small faces are
hinted at, or at everything if nothing was found."""

_CLOSE_PIXELS = 1.1e5
"""A look from far away, in which a face that fills the picture fits the largest prior (512 px)."""

_LARGE_PX = (250.0, 300.0)
"""Sides in the coarse look: from the first on faces are taken from far away as well, above the second from there alone.
Of a face that is larger, the coarse look sees pieces, each as sure as a face."""

_UPSCALED_PIXELS = 3.0e5
"""A picture smaller than this in which nothing was found is looked at once more, doubled."""

_HINT_SCORE = 0.2
_HINT_PX = 64.0
"""Something as sure as the score and as small as the side, in the coarse look, is worth the fine look: points of faces
under 64 px are off by up to 7 % of the face, above it by 2 to 3 %."""

_COMFORT_PX = (48.0, 400.0)
"""Sides, as the network sees them, at which its points are best: such a sighting wins over another of the same face."""

_PART_SIDE, _PART_INSIDE = 0.35, 0.8
"""A box this much narrower than another face's and this much inside it is a part of that face, e.g. an eye of a face
that fills the picture."""

_TURNED_SCORE = 0.95
"""What is seen only in the turned picture must be as sure as this: three more looks find more that is no face."""

_MIN_SIDE = 32
"""The coarsest stride; anything narrower is padded to it."""

_MAX_CANDIDATES = 5000
_PIXELS_AT_ONCE = 5.0e6


@dataclass(frozen=True)
class DetectSettings:
    """Which of the detector's sightings count as faces.

    Attributes:
        score_threshold: least confidence, between 0 and 1. The published GPEN pipeline asks for 0.9. The embedded
            detector at 0.8 finds a tenth more of the faces that need restoring most (18 to 24 px, blurred, compressed),
            and in 24 pictures without any it saw two, a clock and gravel, both at 0.88.
        nms_iou: two sightings that overlap more than this are one face.
        min_face_px: least side of a face's box in image pixels.
        max_faces: keep the largest so many of each picture; None for all.
        thorough: look for small faces everywhere and in up to 12 megapixels, even when nothing hints at them; takes
            five times as long.
    """

    score_threshold: float = 0.8
    nms_iou: float = 0.4
    min_face_px: float = 12.0
    max_faces: int | None = None
    thorough: bool = False

    def __post_init__(self) -> None:
        for name in ("score_threshold", "nms_iou"):
            if not 0 < getattr(self, name) < 1:
                raise SettingsError(f"{name} must lie between 0 and 1, got {getattr(self, name)}")
        if self.max_faces is not None and self.max_faces < 1:
            raise SettingsError(f"max_faces must be at least 1, or None for all, got {self.max_faces}")


@dataclass(frozen=True, eq=False)
class _Sightings:
    """What one or more looks at a picture saw, in image pixels; `seen_px` is the side of each box in its look."""

    boxes: NDArray[np.float64]
    landmarks: NDArray[np.float64]
    scores: NDArray[np.float64]
    seen_px: NDArray[np.float64]

    @staticmethod
    def none() -> "_Sightings":
        return _Sightings(np.empty((0, 4)), np.empty((0, 5, 2)), np.empty(0), np.empty(0))

    def where(self, choice: NDArray[np.bool_] | NDArray[np.intp]) -> "_Sightings":
        return _Sightings(self.boxes[choice], self.landmarks[choice], self.scores[choice], self.seen_px[choice])

    def moved(self, x: float, y: float) -> "_Sightings":
        shift = np.array((x, y))
        return _Sightings(self.boxes + np.tile(shift, 2), self.landmarks + shift, self.scores, self.seen_px)

    def mapped(self, to_image: Matrix) -> "_Sightings":
        """Carry them from a turned picture into the picture it was made from."""
        corners = apply_affine(to_image, self.boxes.reshape(-1, 2)).reshape(-1, 2, 2)
        boxes = np.concatenate((corners.min(axis=1), corners.max(axis=1)), axis=1)
        landmarks = apply_affine(to_image, self.landmarks.reshape(-1, 2)).reshape(-1, 5, 2)
        return _Sightings(boxes, landmarks, self.scores, self.seen_px)

    def __add__(self, other: "_Sightings") -> "_Sightings":
        return _Sightings(
            np.concatenate((self.boxes, other.boxes)),
            np.concatenate((self.landmarks, other.landmarks)),
            np.concatenate((self.scores, other.scores)),
            np.concatenate((self.seen_px, other.seen_px)),
        )


def detect_faces(
    images: torch.Tensor,
    detector: FaceDetector,
    settings: DetectSettings | None = None,
    progress: Progress | None = None,
) -> list[list[Face]]:
    """Find the faces of each picture, largest first; no face is an empty list.

    Each picture is looked at as a whole and from far away, and, where something small shows, at a finer scale. Faces
    may be tilted by any angle (see `upright`); if nothing shows, the picture is turned on its sides and on its head.

    Convention: boxes and landmarks in pixels of `images`, (x, y); boxes of faces half out of the frame reach past it.

    Args:
        images: (B, 3, H, W), sRGB in [0, 1], any size, any floating type; B may be 0.
        detector: see `load_detector`.
        settings: what counts as a face; None for the defaults.
        progress: told after each picture.

    Raises:
        ShapeError: if `images` is not (B, 3, H, W) of a floating type, or has no pixels.
    """
    settings = settings or DetectSettings()
    progress = progress or NoProgress()
    _check(images)
    progress.start(len(images), "Looking for faces")
    batch = _pictures_at_once(images)
    found: list[list[Face]] = []
    for first in range(0, len(images), batch):
        progress.check_cancelled()
        chunk = [_reduced(image[None], _COARSE_PIXELS) for image in images[first : first + batch]]
        looks = _look(torch.cat(chunk), detector, _scale(chunk[0], images))
        for offset, (reduced, coarse) in enumerate(zip(chunk, looks, strict=True)):
            progress.check_cancelled()
            image = images[first + offset : first + offset + 1]
            sightings = _look_again(image, reduced, coarse, detector, settings)
            faces = _faces(_without_parts(_suppress(sightings, settings.nms_iou)), settings)
            found.append([seen_upright(image[0], face, detector) for face in faces])
            progress.advance()
    return found


def _check(images: torch.Tensor) -> None:
    if images.ndim != 4 or images.shape[1] != 3:
        raise ShapeError(
            f"expected pictures (B, 3, H, W), got {tuple(images.shape)}"
            + ("; repeat the one channel of a grey picture three times" if images.ndim == 4 else "")
        )
    if not images.is_floating_point():
        raise ShapeError(f"expected floating pixels in [0, 1], got {images.dtype}; divide by its largest value")
    if images.shape[2] < 1 or images.shape[3] < 1:
        raise ShapeError(f"expected at least one pixel, got {tuple(images.shape)}")


def _pictures_at_once(images: torch.Tensor) -> int:
    pixels = min(images.shape[2] * images.shape[3], _COARSE_PIXELS)
    return max(1, int(_PIXELS_AT_ONCE // pixels))


def _look_again(
    image: torch.Tensor, reduced: torch.Tensor, coarse: _Sightings, detector: FaceDetector, settings: DetectSettings
) -> _Sightings:
    """Add to the `coarse` look at one picture (1, 3, H, W), `reduced` for it, those other looks that can show more."""
    pixels = image.shape[2] * image.shape[3]
    sightings = coarse
    if pixels > 2 * _CLOSE_PIXELS:
        distant = _reduced(reduced, _CLOSE_PIXELS)
        far = _look(distant, detector, _scale(distant, image))[0]
        larger = float(np.mean(_scale(reduced, distant)))
        sightings = coarse.where(coarse.seen_px <= _LARGE_PX[1]) + far.where(far.seen_px * larger > _LARGE_PX[0])
    sure = sightings.scores >= settings.score_threshold
    small = coarse.where(coarse.seen_px < _HINT_PX)
    if pixels > _COARSE_PIXELS and (settings.thorough or len(small.boxes) or not sure.any()):
        fine_pixels = _THOROUGH_PIXELS if settings.thorough else _FINE_PIXELS
        x0, y0, x1, y1 = _all_of(image) if settings.thorough or not sure.any() else _around(small.boxes, image)
        part = image[..., y0:y1, x0:x1]
        closer = _reduced(part, fine_pixels * part[0, 0].numel() / pixels)
        fine = _look(closer, detector, _scale(closer, part))[0].moved(x0, y0)
        sightings += fine.where(fine.seen_px < 4 * _HINT_PX)
    elif pixels < _UPSCALED_PIXELS and not sure.any():
        doubled = _resized(image, 2.0)
        sightings += _look(doubled, detector, _scale(doubled, image))[0]
    if not (sightings.scores >= settings.score_threshold).any():
        sightings += _turned_looks(image, reduced, detector)
    return sightings.where(sightings.scores >= settings.score_threshold)


def _turned_looks(image: torch.Tensor, reduced: torch.Tensor, detector: FaceDetector) -> _Sightings:
    """Look at a picture lying on either side and standing on its head."""
    last_y, last_x = image.shape[2] - 1, image.shape[3] - 1
    to_image = (((0, -1, last_x), (1, 0, 0)), ((-1, 0, last_x), (0, -1, last_y)), ((0, 1, 0), (-1, 0, last_y)))
    ratio = _scale(reduced, image)
    seen = _Sightings.none()
    for quarters, matrix in enumerate(to_image, 1):
        turned = torch.rot90(reduced, quarters, (2, 3))
        look = _look(turned, detector, ratio[::-1] if quarters % 2 else ratio)[0]
        seen += look.where(look.scores >= _TURNED_SCORE).mapped(np.array(matrix, dtype=np.float64))
    return seen


def _all_of(image: torch.Tensor) -> tuple[int, int, int, int]:
    return 0, 0, image.shape[3], image.shape[2]


def _around(boxes: NDArray[np.float64], image: torch.Tensor) -> tuple[int, int, int, int]:
    """Give the part of the picture that holds all `boxes` with a face's width around them: x0, y0, x1, y1."""
    margin = np.max(boxes[:, 2:] - boxes[:, :2])
    x0, y0 = np.maximum(boxes[:, :2].min(axis=0) - margin, 0).astype(int)
    x1, y1 = np.ceil(boxes[:, 2:].max(axis=0) + margin).astype(int)
    return int(x0), int(y0), min(int(x1), image.shape[3]), min(int(y1), image.shape[2])


def _look(seen: torch.Tensor, detector: FaceDetector, ratio: NDArray[np.float64]) -> list[_Sightings]:
    """Run the detector on resized pictures (B, 3, H, W); `ratio` is by how much they were, (x, y)."""
    pad = (0, max(0, _MIN_SIDE - seen.shape[3]), 0, max(0, _MIN_SIDE - seen.shape[2]))
    candidates = detector(functional.pad(seen, pad, value=0.45) if any(pad) else seen)
    looks = []
    for boxes, landmarks, scores in zip(candidates.boxes, candidates.landmarks, candidates.scores, strict=True):
        keep = torch.nonzero(scores >= _HINT_SCORE).flatten()
        if len(keep) > _MAX_CANDIDATES:
            keep = keep[scores[keep].topk(_MAX_CANDIDATES).indices]
        seen_boxes = boxes[keep].cpu().double().numpy()
        sides = np.minimum(seen_boxes[:, 2] - seen_boxes[:, 0], seen_boxes[:, 3] - seen_boxes[:, 1])
        points = landmarks[keep].cpu().double().numpy() / ratio
        looks.append(_Sightings(seen_boxes / np.tile(ratio, 2), points, scores[keep].cpu().double().numpy(), sides))
    return looks


def _scale(resized: torch.Tensor, image: torch.Tensor) -> NDArray[np.float64]:
    return np.array((resized.shape[3] / image.shape[3], resized.shape[2] / image.shape[2]))


def _reduced(image: torch.Tensor, pixels: float) -> torch.Tensor:
    """Shrink a picture (1, 3, H, W) to `pixels` at most."""
    return _resized(image, min(1.0, math.sqrt(pixels / (image.shape[2] * image.shape[3]))))


def _resized(image: torch.Tensor, scale: float) -> torch.Tensor:
    if scale == 1.0:
        return image.float()
    size = (max(1, round(image.shape[2] * scale)), max(1, round(image.shape[3] * scale)))
    if scale < 1.0:
        return functional.interpolate(image.float(), size=size, mode="area")  # half the time of antialiased bilinear
    return functional.interpolate(image.float(), size=size, mode="bilinear", align_corners=False)


def _suppress(sightings: _Sightings, iou: float) -> _Sightings:
    """Keep the best sighting of each face: one in the network's comfort first, then the surest."""
    low, high = _COMFORT_PX
    comfortable = (sightings.seen_px >= low) & (sightings.seen_px <= high)
    order = np.lexsort((-sightings.scores, ~comfortable))
    kept: list[int] = []
    while len(order):
        best, rest = order[0], order[1:]
        kept.append(int(best))
        order = rest[_overlap(sightings.boxes[best], sightings.boxes[rest]) <= iou]
    return sightings.where(np.array(kept, dtype=np.intp))


def _without_parts(sightings: _Sightings) -> _Sightings:
    """Drop what is only an eye or a mouth of a larger face."""
    widths = sightings.boxes[:, 2] - sightings.boxes[:, 0]
    areas = _areas(sightings.boxes)
    part = np.zeros(len(areas), dtype=np.bool_)
    for box, width in zip(sightings.boxes, widths, strict=True):
        part |= (widths < _PART_SIDE * width) & (_shared(box, sightings.boxes) > _PART_INSIDE * areas)
    return sightings.where(~part)


def _overlap(box: NDArray[np.float64], boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Intersection over union of one box (4,) with boxes (N, 4)."""
    shared = _shared(box, boxes)
    return np.asarray(shared / (_areas(box[None]) + _areas(boxes) - shared))


def _shared(box: NDArray[np.float64], boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    corner_0, corner_1 = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    return np.asarray(np.prod(np.clip(corner_1 - corner_0, 0, None), axis=1))


def _areas(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1))


def _faces(sightings: _Sightings, settings: DetectSettings) -> list[Face]:
    faces = [
        Face(Box(*map(float, box)), landmarks, float(score))
        for box, landmarks, score in zip(sightings.boxes, sightings.landmarks, sightings.scores, strict=True)
    ]
    large = [face for face in faces if face.box.size >= settings.min_face_px]
    return sorted(large, key=lambda face: face.box.width * face.box.height, reverse=True)[: settings.max_faces]
