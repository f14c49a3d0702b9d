"""The page on data: what passes between the steps.

Everywhere in this package: images are torch tensors (3, H, W), a batch (B, 3, H, W), float32 sRGB in [0, 1]; masks are
(H, W) float32 in [0, 1]; points are (x, y) and boxes x0, y0, x1, y1 in image pixels with pixel centres at integers and
the origin at the top left; sizes are (height, width); matrices are named from_to. Nothing is changed in place.
"""

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

Points: TypeAlias = NDArray[np.float64]
"""(N, 2) points, (x, y)."""

Matrix: TypeAlias = NDArray[np.float64]
"""(2, 3) affine matrix."""

TemplateName: TypeAlias = Literal["gpen", "ffhq"]
"""Which five-point template a restorer was trained on; see `geometry.template_points`."""


@dataclass(frozen=True)
class Box:
    """An axis-aligned rectangle in image pixels; it may reach past the image's border."""

    x0: float
    y0: float
    x1: float
    y1: float

    @property
    def width(self) -> float:
        """Width in pixels."""
        return self.x1 - self.x0

    @property
    def height(self) -> float:
        """Height in pixels."""
        return self.y1 - self.y0

    @property
    def center(self) -> tuple[float, float]:
        """Centre as (x, y)."""
        return (self.x0 + self.x1) / 2, (self.y0 + self.y1) / 2

    @property
    def size(self) -> float:
        """Length of the shorter side in pixels: the figure meant by "face size" in settings and reports."""
        return min(self.width, self.height)


@dataclass(frozen=True, eq=False)
class Face:
    """One detected face.

    Attributes:
        box: the detector's box, image pixels.
        landmarks: (5, 2), in this order: the eye on the picture's left, the eye on its right, nose tip, the mouth
            corner on the picture's left, the one on its right.
        score: the detector's confidence in [0, 1].
    """

    box: Box
    landmarks: Points
    score: float


@dataclass(frozen=True, eq=False)
class FaceCrop:
    """One face warped upright into a restorer's square, before or after restoring.

    Attributes:
        pixels: (3, S, S), sRGB in [0, 1].
        image_to_crop: (2, 3); maps image pixels to crop pixels.
        face: the face it was cut from.
        image_index: which image of the batch it belongs to.
    """

    pixels: torch.Tensor
    image_to_crop: Matrix
    face: Face
    image_index: int = 0

    @property
    def size(self) -> int:
        """Side of the square in pixels."""
        return int(self.pixels.shape[-1])


Outcome: TypeAlias = Literal["restored", "skipped"]

MaskSource: TypeAlias = Literal["parsing", "mesh", "landmarks", "picture"]
"""What a face's mask was made from; "picture" means the whole picture was taken for a face."""


@dataclass(frozen=True)
class FaceReport:
    """What became of one face.

    Attributes:
        image_index: which image of the batch.
        box: the detector's box, in pixels of the result.
        score: the detector's confidence in [0, 1].
        size_px: length of the box's shorter side in pixels of the photo, which an upscaler may have enlarged.
        outcome: whether it was restored.
        reason: why not, in words for a user; empty if it was restored.
        mask_source: what its mask was made from; None if it was not restored.
    """

    image_index: int
    box: Box
    score: float
    size_px: float
    outcome: Outcome
    reason: str = ""
    mask_source: MaskSource | None = None

    @property
    def remark(self) -> str:
        """What a user should know about this face: why it was not restored, or that its mask is a rough one."""
        if self.mask_source == "landmarks":
            return "blended by a plain oval: the face mesh did not recognise the face"
        return self.reason


@dataclass(frozen=True, eq=False)
class PortraitResult:
    """A photo with its faces restored.

    Attributes:
        pixels: (3, H, W), sRGB in [0, 1]; wherever `mask` is 0 bit-identical to the input, or to what an upscaler made
            of it.
        mask: (H, W) in [0, 1]; how much of each pixel comes from the restorer.
        faces: one report per detected face, largest face first.
        note: what a user should know about the run, e.g. that no face was found; empty if nothing.
    """

    pixels: torch.Tensor
    mask: torch.Tensor
    faces: tuple[FaceReport, ...] = field(default=())
    note: str = ""

    @property
    def restored(self) -> int:
        """How many faces were restored."""
        return sum(report.outcome == "restored" for report in self.faces)
