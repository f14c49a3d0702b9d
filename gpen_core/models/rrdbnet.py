"""RRDBNet, the network of the ESRGAN upscalers: its shape, read from the weights, and how it is built."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from ..errors import UnsupportedWeightsError
from ..from_basicsr import rrdbnet_class

_BLOCK = re.compile(r"body\.(\d{1,3})\.rdb1\.conv1\.weight$")
_FIRST, _GROWTH, _LAST = "conv_first.weight", "body.0.rdb1.conv1.weight", "conv_last.weight"
_ENLARGEMENT = 4  # of the network behind its first layer
_UNSHUFFLE_OF = {3: 1, 12: 2, 48: 4}  # channels of the first layer -> how many pixels a side they gather


def is_rrdbnet(state_dict: Mapping[str, torch.Tensor]) -> bool:
    """Tell whether `state_dict` has the three parts of an RRDBNet: first layer, body and last layer."""
    return all(key in state_dict for key in (_FIRST, _GROWTH, _LAST))


@dataclass(frozen=True)
class RrdbNetSpec:
    """The shape of one RRDBNet.

    Attributes:
        scale: how many times larger its picture is than the one it takes: 1, 2 or 4.
        width: channels between the blocks.
        blocks: how many residual-in-residual dense blocks there are.
        growth: channels each dense layer adds.
    """

    scale: int
    width: int
    blocks: int
    growth: int

    @classmethod
    def from_state_dict(cls, state_dict: Mapping[str, torch.Tensor]) -> "RrdbNetSpec":
        """Read every hyper-parameter from the weights themselves.

        Raises:
            UnsupportedWeightsError: if a part is missing, or it is not a network from colour picture to colour picture.
        """
        blocks = sorted(int(match[1]) for key in state_dict if (match := _BLOCK.match(key)))
        if not is_rrdbnet(state_dict) or blocks != list(range(len(blocks))):
            raise UnsupportedWeightsError(f"not a whole ESRGAN upscaler: blocks {blocks}, {len(state_dict)} keys")
        first, growth, last = (state_dict[key].shape for key in (_FIRST, _GROWTH, _LAST))
        if any(len(shape) != 4 or 0 in shape for shape in (first, growth, last)):
            raise UnsupportedWeightsError(
                f"not a whole ESRGAN upscaler: expected three convolutions, got weights of {tuple(first)}, "
                f"{tuple(growth)} and {tuple(last)}"
            )
        if first[1] not in _UNSHUFFLE_OF or last[0] != 3:
            raise UnsupportedWeightsError(
                f"an ESRGAN upscaler of another kind: expected a first layer of 3, 12 or 48 channels and a last one of "
                f"3, got {tuple(first)} and {tuple(last)}"
            )
        return cls(_ENLARGEMENT // _UNSHUFFLE_OF[first[1]], first[0], len(blocks), growth[0])

    @property
    def unshuffle(self) -> int:
        """Side of the blocks of pixels that the first layer gathers into channels; pictures must be multiples of it."""
        return _ENLARGEMENT // self.scale

    def __str__(self) -> str:
        return f"ESRGAN x{self.scale} ({self.blocks} blocks, width {self.width})"


def build_rrdbnet(spec: RrdbNetSpec) -> torch.nn.Module:
    """Make the network, with weights yet to be loaded.

    Raises:
        MissingPackageError: if basicsr is not installed.
    Source: Wang et al. 2018, ESRGAN; Wang et al. 2021, Real-ESRGAN (pixel unshuffling in front for x2 and x1).
    """
    return rrdbnet_class()(3, 3, scale=spec.scale, num_feat=spec.width, num_block=spec.blocks, num_grow_ch=spec.growth)
