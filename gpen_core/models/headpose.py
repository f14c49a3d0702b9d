"""Head pose by facexlib's HopeNet, from a file: a second opinion where the face mesh has none."""

from pathlib import Path

import torch
from torch.nn import functional

from ..errors import ShapeError, UnsupportedWeightsError
from ..from_facexlib import hopenet_network
from ..headpose import HeadPose
from ..types import Face
from .load import read_state_dict
from .placed import PlacedNetwork

_SIZE = 224
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_MARGINS = (0.5, 0.75, 0.5, 0.25)
"""How far the crop reaches beyond the box, in box sizes: left, up, right, down.

Source: Ruiz et al., `test_on_video_dlib.py`.
"""


class HeadPoseNetwork(PlacedNetwork):
    """HopeNet with its weights.

    Args:
        network: facexlib's HopeNet, in evaluation mode.
        source: the file it came from.
    """

    def __init__(self, network: torch.nn.Module, source: Path) -> None:
        self.network = network
        self.source = source

    def pose(self, image: torch.Tensor, face: Face) -> HeadPose:
        """Give how the head of `face` is turned.

        Args:
            image: (3, H, W), sRGB in [0, 1].
            face: which face of it.

        Raises:
            ShapeError: if `image` is not (3, H, W) or the face lies outside it.
        Source: HopeNet's angles as its `draw_axis` draws them: its yaw grows to the picture's left.
        """
        if image.ndim != 3 or image.shape[0] != 3:
            raise ShapeError(f"expected (3, H, W), got {tuple(image.shape)}")
        box = face.box
        left, up, right, down = _MARGINS
        x0, x1 = (max(0, round(x)) for x in (box.x0 - left * box.width, box.x1 + right * box.width))
        y0, y1 = (max(0, round(y)) for y in (box.y0 - up * box.height, box.y1 + down * box.height))
        crop = image[None, :, y0:y1, x0:x1].to(self.device, torch.float32)
        if crop.numel() == 0:
            raise ShapeError(f"the face at {box} lies outside the picture of {tuple(image.shape[1:])} pixels")
        crop = functional.interpolate(crop, (_SIZE, _SIZE), mode="bilinear", antialias=True)
        mean, std = (crop.new_tensor(values).view(1, 3, 1, 1) for values in (_MEAN, _STD))
        with torch.inference_mode():
            yaw, pitch, roll = (float(angle) for angle in self.network((crop - mean) / std))
        return HeadPose(-yaw, pitch, roll)


def load_head_pose(source: str | Path, *, device: torch.device | str = "cpu") -> HeadPoseNetwork:
    """Load a HopeNet, e.g. facexlib's `headpose_hopenet.pth`.

    Raises:
        WeightsNotFoundError: if the file does not exist.
        UnsupportedWeightsError: if the file holds something else than a HopeNet.
        MissingPackageError: if facexlib cannot be imported.
    """
    path = Path(source)
    state_dict = read_state_dict(path)
    network = hopenet_network()
    state_dict.setdefault("idx_tensor", torch.arange(66).float())
    known = network.state_dict().keys()
    try:
        network.load_state_dict(
            {key: value for key, value in state_dict.items() if key in known or key != "idx_tensor"}
        )
    except RuntimeError as error:  # torch names every key that does not fit
        raise UnsupportedWeightsError(f'"{path.name}" is not a HopeNet of 66 bins: {error}') from error
    return HeadPoseNetwork(network.requires_grad_(False).eval(), path).to(device)
