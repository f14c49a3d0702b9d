"""The face detector as a whole: weights, network, priors and decoding behind one call."""

from dataclasses import dataclass
from pathlib import Path

import torch

from ...errors import ShapeError
from ..placed import PlacedNetwork
from .spec import RetinaFaceSpec

_MEAN_BGR = (104.0, 117.0, 123.0)


@dataclass(frozen=True, eq=False)
class Candidates:
    """What the network says about every prior of every picture, decoded, before any choice.

    Attributes:
        boxes: (B, P, 4), x0, y0, x1, y1 in pixels of the picture.
        landmarks: (B, P, 5, 2), (x, y) in pixels, in the order of `Face.landmarks`.
        scores: (B, P) in [0, 1].
    """

    boxes: torch.Tensor
    landmarks: torch.Tensor
    scores: torch.Tensor


class FaceDetector(PlacedNetwork):
    """RetinaFace with its weights. Decoding is always float32.

    Args:
        network: facexlib's RetinaFace, in evaluation mode.
        spec: its shape.
        name: what to call it in reports.
        source: the file it came from.
    """

    def __init__(self, network: torch.nn.Module, spec: RetinaFaceSpec, name: str, source: Path) -> None:
        self.network = network
        self.spec = spec
        self.name = name
        self.source = source

    def __call__(self, images: torch.Tensor) -> Candidates:
        """Run the network on pictures as they are, without scaling, thresholds or suppression.

        Args:
            images: (B, 3, H, W), sRGB in [0, 1], any size and floating type, any device.

        Raises:
            ShapeError: if `images` is not (B, 3, H, W) of a floating type.
        Source: the decoding of Pytorch_Retinaface, `utils/box_utils.py`.
        """
        if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
            raise ShapeError(f"expected floating (B, 3, H, W), got {images.dtype} {tuple(images.shape)}")
        pixels = images.to(device=self.device, dtype=torch.float32).flip(1).mul_(255)  # flip gives a copy
        pixels.sub_(pixels.new_tensor(_MEAN_BGR).view(1, 3, 1, 1))
        with torch.inference_mode():
            answer = self.network(pixels.to(self.dtype).contiguous(memory_format=torch.channels_last))
        offsets, scores, points = (part.float() for part in answer)
        priors = prior_boxes((images.shape[2], images.shape[3]), self.spec).to(self.device)
        centers, sizes = priors[:, :2], priors[:, 2:]
        shift, stretch = self.spec.variances
        box_centers = centers + offsets[..., :2] * shift * sizes
        box_halves = sizes * torch.exp(offsets[..., 2:] * stretch) / 2
        boxes = torch.cat((box_centers - box_halves, box_centers + box_halves), dim=-1)
        landmarks = centers[:, None] + points.unflatten(-1, (5, 2)) * shift * sizes[:, None]
        return Candidates(boxes, landmarks, scores[..., 1])


def prior_boxes(size: tuple[int, int], spec: RetinaFaceSpec) -> torch.Tensor:
    """Give the priors of a picture in the order of the network's answer.

    Args:
        size: (height, width) of the picture.
        spec: which sides and strides.

    Returns:
        (P, 4): centre x, centre y, width, height, in pixels.
    Source: Pytorch_Retinaface, `layers/functions/prior_box.py`; there in parts of the picture, here in pixels.
    """
    levels = []
    for sides, step in zip(spec.min_sizes, spec.steps, strict=True):
        rows, columns = (-(-length // step) for length in size)
        y, x = torch.meshgrid(torch.arange(rows) + 0.5, torch.arange(columns) + 0.5, indexing="ij")
        centers = torch.stack((x, y), dim=-1).view(-1, 1, 2).expand(-1, len(sides), 2) * step
        squares = torch.tensor(sides, dtype=torch.float32).view(1, -1, 1).expand(rows * columns, -1, 2)
        levels.append(torch.cat((centers, squares), dim=-1).view(-1, 4))
    return torch.cat(levels)
