"""Which RetinaFace a state dict holds, read from its keys."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from ...errors import UnsupportedWeightsError
from ...from_facexlib import Backbone

_HEAD_KEYS = tuple(f"{head}.0.conv1x1.weight" for head in ("ClassHead", "BboxHead", "LandmarkHead"))


@dataclass(frozen=True)
class RetinaFaceSpec:
    """The shape of one RetinaFace network.

    Attributes:
        backbone: MobileNet v1 at a quarter of its width, or ResNet-50.
        min_sizes: sides of the two square priors of each level, in pixels of the network's input.
        steps: the stride of each level in pixels.
        variances: how box centres and landmarks, and box sizes, are scaled in the network's answer.
    Source: biubug6/Pytorch_Retinaface, `data/config.py`: the same for both backbones.
    """

    backbone: Backbone
    min_sizes: tuple[tuple[int, int], ...] = ((16, 32), (64, 128), (256, 512))
    steps: tuple[int, ...] = (8, 16, 32)
    variances: tuple[float, float] = (0.1, 0.2)

    @classmethod
    def from_state_dict(cls, state_dict: Mapping[str, torch.Tensor]) -> "RetinaFaceSpec":
        """Read the backbone from the weights themselves.

        Raises:
            UnsupportedWeightsError: if the weights are not a RetinaFace of a known backbone.
        """
        if is_retinaface(state_dict):
            if "body.stage1.0.0.weight" in state_dict:
                return cls("mobile0.25")
            if "body.layer4.2.conv3.weight" in state_dict:
                return cls("resnet50")
        missing = [key for key in _HEAD_KEYS if key not in state_dict] or ["body.stage1.0.0.weight"]
        first = next(iter(state_dict), "none")
        raise UnsupportedWeightsError(
            f'not a RetinaFace of MobileNet-0.25 or ResNet-50: key "{missing[0]}" is missing '
            f'({len(state_dict)} keys, first "{first}")'
        )


def is_retinaface(state_dict: Mapping[str, torch.Tensor]) -> bool:
    """Tell whether `state_dict` has the three kinds of heads of a RetinaFace."""
    return all(key in state_dict for key in _HEAD_KEYS)
