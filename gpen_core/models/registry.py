"""The network families this package can build, and how a state dict is told to be of one of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

import torch

from .gpen import GpenGenerator, GpenSpec, is_gpen
from .rrdbnet import RrdbNetSpec, build_rrdbnet, is_rrdbnet

StateDict: TypeAlias = Mapping[str, torch.Tensor]
SpecT = TypeVar("SpecT")


@dataclass(frozen=True)
class Architecture(Generic[SpecT]):
    """One family of networks.

    Attributes:
        name: the family's name, as users know it.
        kind: what one network of it is called before users.
        detect: tells whether a state dict belongs to it.
        read_spec: reads the hyper-parameters from a state dict.
        build: makes the network, with weights yet to be loaded.
    """

    name: str
    kind: str
    detect: Callable[[StateDict], bool]
    read_spec: Callable[[StateDict], SpecT]
    build: Callable[[SpecT], torch.nn.Module]


RESTORERS: tuple[Architecture[GpenSpec], ...] = (
    Architecture("GPEN", "GPEN generator", is_gpen, GpenSpec.from_state_dict, GpenGenerator),
)
UPSCALERS: tuple[Architecture[RrdbNetSpec], ...] = (
    Architecture("ESRGAN", "ESRGAN upscaler", is_rrdbnet, RrdbNetSpec.from_state_dict, build_rrdbnet),
)

# Keys by which files are told that users take for something else, or put in the wrong folder. First match wins.
_FOREIGN: tuple[tuple[str, str], ...] = (
    ("ecd0.0.0.weight", "a GPEN restorer"),
    ("quantize.embedding.weight", "a CodeFormer or RestoreFormer restorer"),
    ("stylegan_decoder.style_mlp.1.weight", "a GFPGAN restorer"),
    ("ClassHead.0.conv1x1.weight", "a RetinaFace detector"),
    ("body.0.rdb1.conv1.weight", "an ESRGAN upscaler"),
    ("model.1.sub.0.RDB1.conv1.0.weight", "an ESRGAN upscaler with the key names of 2018"),
    ("encoder.0.conv2d.weight", "a ParseNet face parser"),
    ("cp.resnet.conv1.weight", "a BiSeNet face parser"),
    ("convs.0.0.weight", "a GPEN discriminator, used in training only"),
    ("model.diffusion_model.input_blocks.0.0.weight", "a Stable Diffusion checkpoint"),
)


def find_architecture(state_dict: StateDict, known: Sequence[Architecture[SpecT]]) -> Architecture[SpecT] | None:
    """Find which of the `known` families `state_dict` belongs to; None if it is none of them."""
    return next((architecture for architecture in known if architecture.detect(state_dict)), None)


def describe_foreign(state_dict: StateDict) -> str:
    """Say in words what a state dict of no family that was asked for seems to hold."""
    first = next(iter(state_dict), "")
    size = f'{len(state_dict)} keys, first "{first}"' if first else "no tensors"
    for key, words in _FOREIGN:
        if key in state_dict:
            return f"it looks like {words} ({size})"
    return f"it holds {size}"
