"""The GPEN generator as a processor likes it: the picture of the plain network to 2e-5, in less time.

The plain network is the truth: this form is made from it, holds nothing that could be trained or saved, and differs
only in the order of the arithmetic (`fast_layers.py`, `winograd.py`) and in using its memory again in the next call.
"""

import logging
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .fast_layers import Features, First, FirstFeatures, Halving, Reader, Styled, linear
from .network import Blur, EqualizedLinear, GpenGenerator, StyledConv, ToRGB, Upsample
from .products import multiplies_bfloat16
from .workspace import Workspace

logger = logging.getLogger(__name__)

_AT_ONCE = 2
"""Faces computed at the same time, each by its share of torch's threads: the fewer threads divide a face, the less they
wait for each other. Every one of them takes buffers."""

_SAMPLED = 8
"""Numbers of each weight that are looked at before every call."""


class FastGenerator:
    """A face picture in, the restored one out, as `GpenGenerator`, on the processor.

    Calls from several threads wait for each other, since they share the buffers.

    Args:
        network: as `suits` wants it. Its weights are used in place, some of them in another order of memory than
            before. bfloat16 is for processors that multiply it (AMX, AVX512-BF16); on others it is slow, which the
            log says.
    """

    def __init__(self, network: GpenGenerator) -> None:
        self._lock = threading.Lock()
        self._dtype = next(network.parameters()).dtype
        self._spaces: list[Workspace] = []
        self._channels = network.spec.channels
        decoder = network.generator
        # Memory laid out in inference mode could not be used outside of it.
        with torch.inference_mode(False), torch.no_grad(), torch.autocast("cpu", enabled=False):
            if self._dtype == torch.bfloat16 and not multiplies_bfloat16():
                logger.warning("this processor does not multiply bfloat16: float32 (fp32) is many times faster here")
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
        return sum(space.nbytes for space in self._spaces)

    def release(self) -> None:
        """Give the buffers back; the next call takes new ones."""
        with self._lock:
            self._spaces.clear()

    def __call__(self, pictures: Tensor) -> Tensor:
        """Restore (N, 3, S, S) sRGB in [-1, 1]; float32, not clamped."""
        with self._lock, torch.autocast("cpu", enabled=False):  # the buffers are of the weights' type
            workers = max(1, min(len(pictures), torch.get_num_threads(), _AT_ONCE))
            self._spaces += [Workspace(self._dtype) for _ in range(workers - len(self._spaces))]
            restored = torch.empty(pictures.shape, dtype=torch.float32, device="cpu")
            for first, share in enumerate(self._restore_shares([pictures[first::workers] for first in range(workers)])):
                restored[first::workers] = share
        return restored

    def _restore_shares(self, shares: list[Tensor]) -> list[Tensor]:
        """Restore each share of the pictures in a thread of its own, which has its part of torch's threads."""
        if len(shares) == 1:
            return [self._restore_all(shares[0], self._spaces[0])]
        threads = torch.get_num_threads()
        limit = threads // len(shares)
        try:
            with ThreadPoolExecutor(len(shares), initializer=torch.set_num_threads, initargs=(limit,)) as pool:
                return list(pool.map(self._restore_all, shares, self._spaces))
        finally:
            torch.set_num_threads(threads)  # the limit also held for threads that other code starts

    @torch.inference_mode()
    def _restore_all(self, pictures: Tensor, space: Workspace) -> Tensor:
        return torch.stack([self._restore(picture.to(self._dtype), space) for picture in pictures]).permute(0, 3, 1, 2)

    def _restore(self, picture: Tensor, space: Workspace) -> Tensor:
        """Restore (3, S, S) to (S, S, 3)."""
        skips = self._encode(picture, space)
        deepest = skips[0].rows(0, skips[0].side) * skips[0].factor
        code = linear(self._joint, deepest.permute(2, 0, 1).flatten()[None])
        for layer in self._mapping:
            code = linear(layer, code) if isinstance(layer, EqualizedLinear) else layer(code)
        return self._decode(code, skips, space)

    def _encode(self, picture: Tensor, space: Workspace) -> list[Features | FirstFeatures]:
        """Give the features of every level from 4×4 up."""
        skips: list[Features | FirstFeatures] = [self._first(space, picture)]
        for stage, layer in enumerate(self._encoder, start=1):
            out = Features.take(space, f"skip{stage}", skips[0].side >> stage, self._channels[-1 - stage])
            skips.append(layer(skips[-1], out))
        return skips[::-1]

    def _decode(self, style: Tensor, skips: list[Features | FirstFeatures], space: Workspace) -> Tensor:
        """Give the picture: (S, S, 3)."""
        features = Features.take(space, "odd", 4, self._channels[0])
        features.rows(0, 4).copy_(self._constant)
        picture: Tensor | None = None
        for level, skip in enumerate(skips):
            strips: Iterable[tuple[tuple[int, int], Features]] = [((0, 4), features)]
            factor = features.factor
            if level > 0:
                up = self._convs[2 * level - 1].under(style, features.factor, features.side)
                strips, factor = up.strips(space, features, skip), up.factor
            same, to_rgb = self._convs[2 * level].under(style, factor, skip.side), self._to_rgbs[level]
            picture = to_rgb.begin(picture)
            add = to_rgb.adder(picture, style, same.factor)
            out = None  # of the last level only the picture is kept
            if level < len(skips) - 1:
                out = Features.take(space, "odd" if level % 2 else "even", skip.side, 2 * self._channels[level])
            for rows, strip in strips:
                same.make(space, strip, skip, rows, out.rows(*rows) if out else None, add)
            features = out.times(same.factor) if out else features
        if picture is None:
            raise ValueError("expected the features of at least one level, got none")
        return picture


class FastForm:
    """Keeps the fast form of a network true: made when first asked for, and again whenever the weights are others.

    Weights that were replaced or changed in place are noticed. torch does not tell of changes through `.data`: of each
    weight some numbers are compared, which shows a change of a whole weight, but not that of a few of its numbers.

    A copy of it, also by `pickle`, is a new one, which has made nothing yet.
    """

    def __init__(self) -> None:
        self._made: FastGenerator | None = None
        self._state: tuple[object, ...] = ()
        self._samples: list[NDArray[np.generic]] = []

    def __reduce__(self) -> tuple[type["FastForm"], tuple[()]]:
        return FastForm, ()

    def of(self, network: nn.Module) -> FastGenerator | None:
        """Give the fast form of `network` as its weights are now; None where it has none (see `suits`)."""
        if not suits(network):
            self._made, self._samples = None, []
            return None
        if self._made is None or _state(network, self._samples) != self._state:
            self._made, self._samples = None, []  # they hold the weights of before
            self._made = FastGenerator(cast(GpenGenerator, network))
            self._samples = [_sample(value) for value in network.parameters()]
            self._state = _state(network, self._samples)
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
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=torch.float32, device="cpu")
    kernel = torch.outer(taps, taps) / 64
    blurs = [part for part in network.modules() if isinstance(part, Blur | Upsample)]
    gains = [1.0 if isinstance(part, Blur) and part.padding == 2 else 4.0 for part in blurs]
    return all(
        torch.allclose(part.kernel.float(), kernel * gain, atol=1e-6) for part, gain in zip(blurs, gains, strict=True)
    )


def _state(network: nn.Module, samples: Iterable[NDArray[np.generic]]) -> tuple[object, ...]:
    """Tell where the weights are, how often they were changed in place, and what their samples hold."""
    places = tuple((value.data_ptr(), value._version) for value in network.parameters())
    return places, b"".join([sample.tobytes() for sample in samples])


def _sample(weight: Tensor) -> NDArray[np.generic]:
    """View some numbers of a weight, spread evenly over its memory, as integers of their bits."""
    last = sum((size - 1) * stride for size, stride in zip(weight.shape, weight.stride(), strict=True))
    step = max(1, last // _SAMPLED)
    numbers = weight.detach().as_strided((last // step + 1,), (step,))
    return np.asarray(numbers.view(torch.int16 if weight.dtype == torch.bfloat16 else torch.int32).numpy())
