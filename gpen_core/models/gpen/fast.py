"""The GPEN generator as a processor likes it: the picture of the plain network to 1e-5, in half of its time or less.

The plain network is the truth: this form is made from it, holds nothing that could be trained or saved, and differs
only in the order of the arithmetic (`fast_layers.py`, `winograd.py`) and in using its memory again in the next call.
"""

import threading
from typing import cast

import torch
from torch import Tensor, nn

from .fast_layers import Features, First, Halving, Reader, Styled, linear
from .network import Blur, EqualizedLinear, GpenGenerator, StyledConv, ToRGB, Upsample
from .workspace import Workspace


class FastGenerator:
    """A face picture in, the restored one out, as `GpenGenerator`, on the processor.

    Calls from several threads wait for each other, since they share the buffers.

    Args:
        network: as `suits` wants it. Its weights are used in place, some of them in another order of memory than
            before. bfloat16 is for processors that multiply it (AMX, AVX512-BF16); on others it is slow.
    """

    def __init__(self, network: GpenGenerator) -> None:
        self._lock = threading.Lock()
        self._dtype = next(network.parameters()).dtype
        self._space = Workspace(self._dtype)
        self._channels = network.spec.channels
        decoder = network.generator
        # Memory laid out in inference mode could not be used outside of it.
        with torch.inference_mode(False), torch.no_grad():
            stages = [network.get_submodule(f"ecd{stage}.0") for stage in range(len(self._channels))]
            self._first = First(stages[0])
            self._encoder = [Halving(stage) for stage in stages[1:]]
            self._joint = network.get_submodule("final_linear.0")
            self._mapping = decoder.style
            self._constant = decoder.input.input[0].permute(1, 2, 0)
            self._convs = [Styled(decoder.conv1, 4)]
            self._convs += [
                Styled(cast(StyledConv, layer), 4 << (number + 1) // 2) for number, layer in enumerate(decoder.convs)
            ]
            self._to_rgbs = [Reader(cast(ToRGB, layer)) for layer in (decoder.to_rgb1, *decoder.to_rgbs)]

    @property
    def weights_nbytes(self) -> int:
        """Memory of transformed weights, beside those of the network."""
        return sum(conv.winograd.nbytes for conv in self._convs if conv.winograd)

    @property
    def buffers_nbytes(self) -> int:
        """Memory kept for the next call."""
        return self._space.nbytes

    def release(self) -> None:
        """Give the buffers back; the next call takes new ones."""
        with self._lock:
            self._space = Workspace(self._dtype)

    def __call__(self, pictures: Tensor) -> Tensor:
        """Restore (N, 3, S, S) sRGB in [-1, 1], one after the other; float32, not clamped."""
        with self._lock, torch.inference_mode():
            restored = [self._restore(picture.to(self._dtype)).permute(2, 0, 1) for picture in pictures]
        return torch.stack(restored)

    def _restore(self, picture: Tensor) -> Tensor:
        """Restore (3, S, S) to (S, S, 3)."""
        skips = self._encode(picture)
        deepest = skips[0].inside * skips[0].factor
        code = linear(self._joint, deepest.permute(2, 0, 1).flatten()[None])
        for layer in self._mapping:
            code = linear(layer, code) if isinstance(layer, EqualizedLinear) else layer(code)
        return self._decode(code, skips)

    def _encode(self, picture: Tensor) -> list[Features]:
        """Give the features of every level from 4×4 up."""
        side = picture.shape[-1]
        skips = [self._first(picture, self._take("skip0", side, self._channels[-1]))]
        for stage, layer in enumerate(self._encoder, start=1):
            out = self._take(f"skip{stage}", side >> stage, self._channels[-1 - stage])
            skips.append(layer(skips[-1], out))
        return skips[::-1]

    def _decode(self, style: Tensor, skips: list[Features]) -> Tensor:
        """Give the picture: (S, S, 3)."""
        features = self._take("odd", 4, self._channels[0])
        features.inside.copy_(self._constant)
        picture: Tensor | None = None
        for level, skip in enumerate(skips):
            width = 2 * self._channels[level]
            if level > 0:
                up = self._convs[2 * level - 1].under(style, features)
                features = up(self._space, skip, self._take("odd", skip.side, width))
            same, to_rgb = self._convs[2 * level].under(style, features), self._to_rgbs[level]
            picture = to_rgb.begin(picture)
            out = self._take("even", skip.side, width) if level < len(skips) - 1 else None
            features = same(self._space, skip, out, to_rgb.adder(picture, style, same.factor))
        if picture is None:
            raise ValueError("expected the features of at least one level, got none")
        return picture

    def _take(self, name: str, side: int, channels: int) -> Features:
        return Features.take(self._space, name, side, channels)


class FastForm:
    """Keeps the fast form of a network true: made when first asked for, and again whenever the weights are others."""

    def __init__(self) -> None:
        self._made: FastGenerator | None = None
        self._state: tuple[object, ...] = ()

    def of(self, network: nn.Module) -> FastGenerator | None:
        """Give the fast form of `network` as its weights are now; None where it has none (see `suits`)."""
        if not suits(network):
            self._made = None
            return None
        if self._made is None or _state(network) != self._state:
            self._made = None
            self._made = FastGenerator(cast(GpenGenerator, network))
            self._state = _state(network)
        return self._made


def suits(network: nn.Module) -> bool:
    """Tell whether a network has a fast form: a GPEN generator that is not in training, with the usual blurs.

    Its weights are float32 or bfloat16, and on the processor. They are no tensors of torch's inference mode, which do
    not tell when they are changed in place.
    """
    if not isinstance(network, GpenGenerator) or network.training:
        return False
    values = list(network.parameters())
    dtype = values[0].dtype
    if dtype not in (torch.float32, torch.bfloat16):
        return False
    if any(v.dtype != dtype or v.device.type != "cpu" or v.is_inference() for v in values):
        return False
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
    kernel = torch.outer(taps, taps) / 64
    blurs = [part for part in network.modules() if isinstance(part, Blur | Upsample)]
    gains = [1.0 if isinstance(part, Blur) and part.padding == 2 else 4.0 for part in blurs]
    return all(
        torch.allclose(part.kernel.float(), kernel * gain, atol=1e-6) for part, gain in zip(blurs, gains, strict=True)
    )


def _state(network: nn.Module) -> tuple[object, ...]:
    """Tell where the weights are and how often they were changed in place."""
    return tuple((value.data_ptr(), value._version) for value in network.parameters())
