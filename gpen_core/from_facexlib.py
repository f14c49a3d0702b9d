"""The only door to facexlib: its network classes, imported when first needed and built without weights.

What is taken is the bare networks. Decoding, alignment, pasting and reading of weights are this package's own, so none
of facexlib's downloads, default devices or drawing code runs. Importing facexlib takes about two seconds, most of them
for torchvision.
"""

import importlib
import warnings
from collections.abc import Callable
from typing import Literal

import torch

from .errors import MissingPackageError

Backbone = Literal["mobile0.25", "resnet50"]

_HOPENET_LAYERS = [3, 4, 6, 3]
_HOPENET_BINS = 66


def retinaface_network(backbone: Backbone) -> torch.nn.Module:
    """Build facexlib's RetinaFace on the CPU, in float32, with random weights.

    Its forward takes (N, 3, H, W) BGR in [0, 255] minus (104, 117, 123) and gives, over all priors, box offsets
    (N, P, 4), softmax scores (N, P, 2) of background and face, and landmark offsets (N, P, 10).

    Raises:
        MissingPackageError: if facexlib cannot be imported.
    Source: Deng et al. 2020, RetinaFace; biubug6/Pytorch_Retinaface by way of facexlib.
    """
    network_class = _load("facexlib.detection.retinaface", "RetinaFace")
    # Without an explicit device its constructor takes CUDA whenever there is one.
    return _build(lambda: network_class(network_name=backbone, half=False, device=torch.device("cpu")))


def parsenet_network(size: int = 512, classes: int = 19) -> torch.nn.Module:
    """Build facexlib's ParseNet with random weights: (N, 3, size, size) RGB in [-1, 1] to the scores, first of 2.

    Raises:
        MissingPackageError: if facexlib cannot be imported.
    Source: chaofengc/Face-SPARNet by way of facexlib.
    """
    network_class = _load("facexlib.parsing.parsenet", "ParseNet")
    return _build(lambda: network_class(in_size=size, out_size=size, parsing_ch=classes))


def bisenet_network(classes: int = 19) -> torch.nn.Module:
    """Build facexlib's BiSeNet with random weights: (N, 3, H, W) RGB, ImageNet-normalised, to the scores, first of 3.

    Raises:
        MissingPackageError: if facexlib cannot be imported.
    Source: Yu et al. 2018, BiSeNet; zllrunning/face-parsing.PyTorch by way of facexlib.
    """
    network_class = _load("facexlib.parsing.bisenet", "BiSeNet")
    return _build(lambda: network_class(num_class=classes))


def hopenet_network() -> torch.nn.Module:
    """Build facexlib's HopeNet with random weights: (N, 3, 224, 224) RGB, ImageNet-normalised, to (yaw, pitch, roll).

    Each answer is (N,) in degrees.

    Raises:
        MissingPackageError: if facexlib cannot be imported.
    Source: Ruiz et al. 2018, Fine-Grained Head Pose Estimation Without Keypoints; facexlib.
    """
    network_class = _load("facexlib.headpose.hopenet_arch", "HopeNet")
    return _build(lambda: network_class("resnet", _HOPENET_LAYERS, _HOPENET_BINS))


def _load(module: str, name: str) -> Callable[..., torch.nn.Module]:
    try:
        network_class: Callable[..., torch.nn.Module] = getattr(importlib.import_module(module), name)
    except ImportError as error:
        raise MissingPackageError(
            f"facexlib is needed for its {name} network and cannot be imported ({error}). "
            'Install it into the Python that runs this: python -m pip install "facexlib>=0.3.0"'
        ) from error
    return network_class


def _build(construct: Callable[[], torch.nn.Module]) -> torch.nn.Module:
    # Their initialisation draws from torch's global generator, and torchvision warns about an argument they pass.
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore", category=UserWarning)
        return construct().eval()
