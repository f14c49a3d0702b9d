"""The architectures of restorers this package knows, and how a state dict is told to be one of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import torch

from .gpen import GpenGenerator, GpenSpec, is_gpen

StateDict: TypeAlias = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Architecture:
    """One family of networks.

    Attributes:
        name: the family's name, as users know it.
        detect: tells whether a state dict belongs to it.
        read_spec: reads the hyper-parameters from a state dict.
        build: makes the network, with weights yet to be loaded.
    """

    name: str
    detect: Callable[[StateDict], bool]
    read_spec: Callable[[StateDict], GpenSpec]
    build: Callable[[GpenSpec], torch.nn.Module]


ARCHITECTURES: tuple[Architecture, ...] = (
    Architecture("GPEN", detect=is_gpen, read_spec=GpenSpec.from_state_dict, build=GpenGenerator),
)

# Keys by which files are told that users take for a restorer, or put in the wrong folder. First match wins.
_FOREIGN: tuple[tuple[str, str], ...] = (
    ("quantize.embedding.weight", "a CodeFormer or RestoreFormer restorer"),
    ("stylegan_decoder.style_mlp.1.weight", "a GFPGAN restorer"),
    ("ClassHead.0.conv1x1.weight", "a RetinaFace detector"),
    ("body.0.rdb1.conv1.weight", "an ESRGAN upscaler"),
    ("model.1.sub.0.RDB1.conv1.0.weight", "an ESRGAN upscaler"),
    ("encoder.0.conv2d.weight", "a ParseNet face parser"),
    ("cp.resnet.conv1.weight", "a BiSeNet face parser"),
    ("convs.0.0.weight", "a GPEN discriminator, used in training only"),
    ("model.diffusion_model.input_blocks.0.0.weight", "a Stable Diffusion checkpoint"),
)


def find_architecture(state_dict: StateDict) -> Architecture | None:
    """Find the family `state_dict` belongs to; None if this package knows none."""
    return next((architecture for architecture in ARCHITECTURES if architecture.detect(state_dict)), None)


def describe_foreign(state_dict: StateDict) -> str:
    """Say in words what a state dict of no known restorer seems to hold."""
    first = next(iter(state_dict), "")
    size = f'{len(state_dict)} keys, first "{first}"' if first else "no tensors"
    for key, words in _FOREIGN:
        if key in state_dict:
            return f"it looks like {words} ({size})"
    return f"it holds {size}"
