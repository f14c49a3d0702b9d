"""A generator that starts as the identity: what goes in comes out, and training only has to learn what to mend."""

import math

import torch

from ..errors import SettingsError
from ..models.gpen import GpenGenerator, GpenSpec
from ..models.gpen.network import ModulatedConv2d, SkipInjection, ToRGB

_LEAK = 0.2
_CARRIERS = 6


def initial_generator(spec: GpenSpec, seed: int) -> GpenGenerator:
    """Make a generator with random weights whose output is close to its input.

    Six channels of the first encoder stage carry the picture and its negative; they reach the last ToRGB beside the
    decoder's features, through two leaky ReLUs of gain √2, and their difference gives the picture back. Everything
    else that writes to the picture starts small.

    Raises:
        SettingsError: if the last level has fewer than six channels.
    """
    width = spec.channels[-1]
    if width < _CARRIERS:
        raise SettingsError(f"expected a last width of at least {_CARRIERS}, which carry the picture, got {width}")
    torch.manual_seed(seed)
    network = GpenGenerator(spec)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, SkipInjection):
                module.weight.fill_(1.0)
            if isinstance(module, ToRGB):
                module.conv.weight.mul_(0.02)
        carrier = network.get_parameter("ecd0.0.0.weight")
        reader = network.generator.to_rgbs[-1].conv
        if not isinstance(reader, ModulatedConv2d):
            raise TypeError("the last ToRGB holds no modulated convolution")
        # f(f(x)) − f(f(−x)) = 2·(1 + 0.2²)·x for the leaky ReLU f of slope 0.2 and gain √2.
        read_back = 1 / (2 * (1 + _LEAK**2)) / reader.scale
        for colour in range(3):
            for sign, channel in ((1.0, 2 * colour), (-1.0, 2 * colour + 1)):
                carrier[channel] = 0
                carrier[channel, colour] = sign * math.sqrt(3)
                reader.weight[0, :, width + channel] = 0
                reader.weight[0, colour, width + channel] = sign * read_back
                reader.modulation.weight[width + channel] *= 0.02
    return network
