"""Grow a trained generator by one level or in width, what was learnt kept.

Training starts small, where a step costs a fraction, and goes on at full size.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ..models.gpen import GpenGenerator, GpenSpec
from ..models.gpen.network import SkipInjection, ToRGB

# f(x) − f(−x) = (1 + 0.2)·√2·x for the leaky ReLU f of slope 0.2 and gain √2.
_PAIR_GAIN = 1.2 * math.sqrt(2)


def grow(small: GpenGenerator, seed: int) -> GpenGenerator:
    """Make a generator of twice the side that starts as the small one on the halved picture, its output doubled.

    The new encoder stage carries the picture and its negative in six channels; the stage below reads the halved picture
    off their difference, where the small generator's first stage took the picture itself. The new decoder level adds
    next to nothing at first.
    """
    torch.manual_seed(seed)
    widths = small.spec.channels
    spec = GpenSpec(2 * small.spec.size, small.spec.style_dim, small.spec.n_mlp, (*widths, max(6, widths[-1] // 2)))
    grown = GpenGenerator(spec)
    weights = grown.state_dict()
    for key, value in small.state_dict().items():
        stage, _, rest = key.partition(".")
        if stage == "ecd0":
            continue
        new = f"ecd{int(stage[3:]) + 1}.{rest}" if stage.startswith("ecd") else key
        weights[new] = value.clone()
    weights.update(_first_stages(small, weights))
    grown.load_state_dict(weights)
    _quieten_last_level(grown)
    return grown


def _first_stages(small: GpenGenerator, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    carrier = weights["ecd0.0.0.weight"].clone()
    carrier[:6] = 0
    reader = weights["ecd1.0.1.weight"] * 0.02
    before = small.get_parameter("ecd0.0.0.weight").detach()[:, :, 0, 0] / math.sqrt(3)
    middle = before / _PAIR_GAIN * math.sqrt(reader[0].numel())
    for colour in range(3):
        for sign, channel in ((1.0, 2 * colour), (-1.0, 2 * colour + 1)):
            carrier[channel, colour] = sign * math.sqrt(3)
            reader[:, channel] = 0
            reader[:, channel, 1, 1] = sign * middle[:, colour]
    bias = small.get_parameter("ecd0.0.1.bias").detach().clone()
    return {"ecd0.0.0.weight": carrier, "ecd1.0.1.weight": reader, "ecd1.0.2.bias": bias}


def _quieten_last_level(grown: GpenGenerator) -> None:
    last = grown.generator.to_rgbs[-1]
    with torch.no_grad():
        for module in list(grown.generator.convs)[-2:]:
            for part in module.modules():
                if isinstance(part, SkipInjection):
                    part.weight.fill_(1.0)
        if isinstance(last, ToRGB):
            last.conv.weight.mul_(0.02)


def widen(narrow: GpenGenerator, channels: Sequence[int], seed: int) -> GpenGenerator:
    """Make a generator with more channels that starts as exactly the narrow one.

    The new channels see all that the old ones see, through random weights; the old ones do not see them yet.

    Args:
        narrow: any generator.
        channels: width of each level from 4×4 up, none below that of `narrow`.
        seed: of the random weights.

    Source: after Chen et al. 2016, "Net2Net: Accelerating Learning via Knowledge Transfer".
    """
    torch.manual_seed(seed)
    wide = GpenGenerator(replace(narrow.spec, channels=tuple(channels)))
    old = narrow.state_dict()
    wide.load_state_dict({key: _widened(key, old[key], random) for key, random in wide.state_dict().items()})
    return wide


def _widened(key: str, old: Tensor, random: Tensor) -> Tensor:
    """Put an old tensor into its wider successor, which holds random numbers."""
    if old.shape == random.shape:
        return old
    decodes = key.startswith(("generator.convs.", "generator.to_rgb"))
    if key.endswith("modulation.weight") or random.dim() < 2:
        rows = _places(old.shape[0], random.shape[0], is_pair=decodes or key.endswith("activate.bias"))
        return random.index_copy(0, rows, old)
    if key == "generator.input.input":
        return torch.cat((old, random[:, old.shape[1] :]), dim=1)
    outputs, inputs = (1, 2) if random.dim() == 5 else (0, 1)
    columns = _places(old.shape[inputs], random.shape[inputs], is_pair=decodes)
    kept = torch.zeros_like(random.narrow(outputs, 0, old.shape[outputs]))
    # Equalised learning rates divide by the root of the number of inputs.
    kept.index_copy_(inputs, columns, old * math.sqrt(random.shape[inputs] / old.shape[inputs]))
    return random.index_copy(outputs, torch.arange(old.shape[outputs]), kept)


def _places(before: int, after: int, *, is_pair: bool) -> Tensor:
    """Tell where old channels go: to the front, or to the fronts of the decoder's and the encoder's half."""
    halves = 2 if is_pair else 1
    return (torch.arange(halves)[:, None] * (after // halves) + torch.arange(before // halves)).flatten()
