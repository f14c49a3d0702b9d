"""Face parsing: which pixel of an aligned face is skin, eye, hair …, by facexlib's ParseNet or BiSeNet from a file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
from torch.nn import functional

from ..errors import ShapeError, UnsupportedWeightsError
from ..from_facexlib import bisenet_network, parsenet_network
from .load import read_state_dict
from .placed import PlacedNetwork

ParserKind = Literal["parsenet", "bisenet"]

LABELS: dict[ParserKind, tuple[str, ...]] = {
    "parsenet": (
        *("background", "skin", "nose", "glasses", "left_eye", "right_eye", "left_brow", "right_brow"),
        *("left_ear", "right_ear", "mouth", "upper_lip", "lower_lip", "hair", "hat", "earring", "necklace", "neck"),
        "cloth",
    ),
    "bisenet": (
        *("background", "skin", "left_brow", "right_brow", "left_eye", "right_eye", "glasses", "left_ear"),
        *("right_ear", "earring", "nose", "mouth", "upper_lip", "lower_lip", "neck", "necklace", "cloth", "hair"),
        "hat",
    ),
}
"""What each network's class numbers mean, in order.

Source: CelebAMask-HQ's attributes as ordered by chaofengc/Face-SPARNet and by zllrunning/face-parsing.PyTorch.
"""

_SIZE = 512
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)


class FaceParser(PlacedNetwork):
    """A face parsing network with its weights; its labels are always those of ParseNet.

    Args:
        network: facexlib's network, in evaluation mode.
        kind: which of the two it is.
        source: the file it came from.
    """

    def __init__(self, network: torch.nn.Module, kind: ParserKind, source: Path) -> None:
        self.network = network
        self.kind = kind
        self.source = source
        self._to_parsenet = torch.tensor([LABELS["parsenet"].index(name) for name in LABELS[kind]])

    def labels(self, crops: torch.Tensor) -> torch.Tensor:
        """Give the class of every pixel, numbered as `LABELS["parsenet"]` whichever network runs.

        Args:
            crops: (N, 3, S, S) aligned faces, sRGB in [0, 1], any size; parsed at 512 px.

        Returns:
            (N, S, S) int64 in 0 … 18, on the CPU.

        Raises:
            ShapeError: if `crops` is not (N, 3, S, S) of a floating type.
        """
        if crops.ndim != 4 or crops.shape[1] != 3 or crops.shape[2] != crops.shape[3] or not crops.is_floating_point():
            raise ShapeError(f"expected floating (N, 3, S, S), got {crops.dtype} {tuple(crops.shape)}")
        size = crops.shape[-1]
        if len(crops) == 0:
            return torch.zeros(0, size, size, dtype=torch.int64)
        pixels = crops.to(device=self.device, dtype=torch.float32)
        if size != _SIZE:
            pixels = functional.interpolate(pixels, (_SIZE, _SIZE), mode="bilinear", antialias=True)
        with torch.inference_mode():
            scores = self.network(self._normalised(pixels).to(self.dtype))[0].float()
        if size != _SIZE:
            scores = functional.interpolate(scores, (size, size), mode="bilinear", antialias=size < _SIZE)
        return self._to_parsenet[scores.argmax(dim=1).cpu()]

    def _normalised(self, pixels: torch.Tensor) -> torch.Tensor:
        if self.kind == "parsenet":
            return pixels * 2 - 1
        mean, std = (pixels.new_tensor(values).view(1, 3, 1, 1) for values in (_IMAGENET_MEAN, _IMAGENET_STD))
        return (pixels - mean) / std


def load_face_parser(
    source: str | Path, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> FaceParser:
    """Load a ParseNet or BiSeNet of 19 classes; which of the two, is read from the weights.

    Args:
        source: a weights file, e.g. `parsing_parsenet.pth` or `parsing_bisenet.pth` of facexlib.
        device: where it runs.
        dtype: what it computes in.

    Raises:
        WeightsNotFoundError: if the file does not exist.
        UnsupportedWeightsError: if the file holds something else than one of the two networks.
        MissingPackageError: if facexlib cannot be imported.
    """
    path = Path(source)
    state_dict = read_state_dict(path)
    kind = _kind(path, state_dict)
    network = parsenet_network(_SIZE) if kind == "parsenet" else bisenet_network()
    try:
        network.load_state_dict({key: value.float() for key, value in state_dict.items()}, strict=True)
    except RuntimeError as error:  # torch names every key that does not fit
        raise UnsupportedWeightsError(f'"{path.name}" is not a whole {kind} of 19 classes: {error}') from error
    return FaceParser(network.requires_grad_(False).eval(), kind, path).to(device, dtype)


def is_face_parser(state_dict: Mapping[str, torch.Tensor]) -> bool:
    """Tell whether `state_dict` is that of a ParseNet or a BiSeNet."""
    return "out_mask_conv.conv2d.weight" in state_dict or "cp.resnet.conv1.weight" in state_dict


def _kind(path: Path, state_dict: Mapping[str, torch.Tensor]) -> ParserKind:
    if "out_mask_conv.conv2d.weight" in state_dict:
        return "parsenet"
    if "cp.resnet.conv1.weight" in state_dict:
        return "bisenet"
    first = next(iter(state_dict), "none")
    raise UnsupportedWeightsError(
        f'"{path.name}" is no face parsing network: neither ParseNet\'s key "out_mask_conv.conv2d.weight" nor '
        f'BiSeNet\'s "cp.resnet.conv1.weight" is there ({len(state_dict)} keys, first "{first}")'
    )
