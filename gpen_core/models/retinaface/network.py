"""facexlib's RetinaFace with its weights, made ready to run: batch norms folded, channels last."""

from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ...errors import UnsupportedWeightsError
from ...from_facexlib import retinaface_network
from .spec import RetinaFaceSpec


def build_network(state_dict: Mapping[str, torch.Tensor], spec: RetinaFaceSpec) -> nn.Module:
    """Give the network of `spec` holding `state_dict`, in evaluation mode, on the CPU, in float32.

    Folding the batch norms changes the outputs by less than 1e-4 and, with channels last, makes a 1-megapixel picture
    about three times as fast on a CPU.

    Raises:
        UnsupportedWeightsError: if a key is missing, unknown, or of another shape.
        MissingPackageError: if facexlib cannot be imported.
    """
    network = retinaface_network(spec.backbone)
    try:
        network.load_state_dict({key: value.float() for key, value in state_dict.items()}, strict=True)
    except RuntimeError as error:  # torch names every key that does not fit
        raise UnsupportedWeightsError(f"not a whole RetinaFace {spec.backbone}: {error}") from error
    network.requires_grad_(False).eval()
    fold_batch_norms(network)
    return network.to(memory_format=torch.channels_last)


def fold_batch_norms(module: nn.Module) -> None:
    """Fold each batch norm of `module`, in place, into the convolution that stands right before it.

    Relies on the order in which both kinds of RetinaFace register their layers, which is the order they run in.
    """
    children = list(module.named_children())
    for (conv_name, conv), (norm_name, norm) in pairwise(children):
        if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            setattr(module, conv_name, fuse_conv_bn_eval(conv, norm))
            setattr(module, norm_name, nn.Identity())
    for child in module.children():
        fold_batch_norms(child)
