"""The GPEN generator as a processor likes it: the picture of the plain network to 1e-5, in a third of its time.

The plain network is the truth: this form is made from it, holds nothing that could be trained or saved, and differs
only in the order of the arithmetic. What it saves: 3×3 convolutions with 2.25 products per pixel in place of 9, blurs
inside their transforms, no concatenation, no scaled copies of weights, no fresh memory after the first call.

It costs memory of its own for the transformed weights, up to twice that of the plain ones.
"""

import math
import threading
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from .feature_map import BORDER, SLOPE, FeatureMap, Injection
from .network import Blur, EqualizedLinear, GpenGenerator, StyledConv, ToRGB, Upsample
from .spec import GpenSpec
from .tile_conv import Finished, TileConv
from .tiles import down_plan, same_plan, up_plan
from .workspace import Crew, Workspace

_GAIN = math.sqrt(2)
"""Of the published leaky ReLU. Features are kept without it; whoever reads them next has it among his factors."""

_LARGEST_TILES = ((4, 0.25), (2, 0.25))
_LARGEST_RESAMPLING_TILES = ((4, 2.0), (2, 0.25))
"""Sides of tiles, and from how many tiles per output channel they are worth it, measured: larger tiles need fewer
products but more weights to read and to keep (36/9 for 4, 16/9 for 2; resampling 81/9 and 25/9)."""

_PAYS_FROM_SIZE, _PAYS_FROM_WIDTH = 512, 256

_FIRST_ROWS = 8
"""Rows that the first layer makes at a time: 1 MB of the widest network."""


class FastGenerator:
    """A face picture in, the restored one out, as `GpenGenerator`, in float32 on the processor.

    Calls from several threads wait for each other, since they share the buffers.

    Args:
        network: as `suits` wants it. Its linear layers and biases are used in place, its 3×3 weights transformed.
    """

    def __init__(self, network: GpenGenerator) -> None:
        self._lock = threading.Lock()
        self._crew = Crew()
        self._spec = network.spec
        decoder = network.generator
        with torch.no_grad():
            self._first = _FirstLayer(network.get_submodule("ecd0.0"))
            self._encoder = [
                _encoder_stage(network.get_submodule(f"ecd{stage}.0"), self._spec.size >> stage)
                for stage in range(1, len(self._spec.channels))
            ]
            self._joint = cast(EqualizedLinear, network.final_linear[0])
            self._mapping = decoder.style
            self._constant = decoder.input.input.permute(0, 2, 3, 1)
            self._convs = [_StyledConv(decoder.conv1, 4, gain=1.0)]
            self._convs += [
                _StyledConv(cast(StyledConv, conv), 8 << number // 2) for number, conv in enumerate(decoder.convs)
            ]
            self._to_rgbs = [_ToRGB(cast(ToRGB, layer)) for layer in (decoder.to_rgb1, *decoder.to_rgbs)]

    @property
    def weights_nbytes(self) -> int:
        """Memory of the transformed weights."""
        return sum(conv.nbytes for conv in self._encoder) + sum(layer.conv.nbytes for layer in self._convs)

    @property
    def buffers_nbytes(self) -> int:
        """Memory kept for the next call; it grows with the largest batch seen."""
        return self._crew.nbytes

    def release(self) -> None:
        """Give the buffers back; the next call takes new ones."""
        with self._lock:
            self._crew = Crew()

    def __call__(self, picture: Tensor) -> Tensor:
        """Restore (N, 3, S, S) float32 sRGB in [-1, 1]; the result is not clamped."""
        with self._lock, torch.inference_mode():
            skips = self._encode(picture)
            code = _linear(self._joint, skips[0].inside.permute(0, 3, 1, 2).flatten(start_dim=1) * _GAIN)
            for layer in self._mapping:
                code = _linear(layer, code) if isinstance(layer, EqualizedLinear) else layer(code)
            restored = self._decode(code, skips)
        return restored.permute(0, 3, 1, 2).contiguous()

    def _encode(self, picture: Tensor) -> list[FeatureMap]:
        """Give the features of every level from 4×4 up."""
        space, size, channels = self._crew.space, self._spec.size, self._spec.channels
        features = FeatureMap.take(space, "skip0", len(picture), size, channels[-1])
        self._first(self._crew, picture, features)
        skips = [features]
        for stage, conv in enumerate(self._encoder, start=1):
            features = FeatureMap.take(space, f"skip{stage}", len(picture), size >> stage, channels[-1 - stage])
            conv(self._crew, [skips[-1]], features)
            skips.append(features)
        return skips[::-1]

    def _decode(self, style: Tensor, skips: Sequence[FeatureMap]) -> Tensor:
        """Give the picture, channels-last: (N, S, S, 3)."""
        crew, channels = self._crew, self._spec.channels
        constant = FeatureMap.take(crew.space, "odd", len(style), 4, channels[0])
        constant.inside.copy_(self._constant)
        sources: list[FeatureMap | Injection] = [constant]
        picture: Tensor | None = None
        for level, skip in enumerate(skips):
            if level > 0:
                up = self._convs[2 * level - 1]
                features = FeatureMap.take(crew.space, "odd", len(style), 4 << level, channels[level])
                up(crew, sources, features, style)
                sources = [features, up.injection(skip)]
            same, to_rgb = self._convs[2 * level], self._to_rgbs[level]
            is_last = level == len(skips) - 1
            out = None if is_last else FeatureMap.take(crew.space, "even", len(style), 4 << level, channels[level])
            injection = same.injection(skip)
            picture = to_rgb.begin(len(style), 4 << level, picture)
            same(crew, sources, out, style, to_rgb.adder(picture, style, injection))
            sources = [injection] if out is None else [out, injection]
        if picture is None:
            raise ValueError("expected the features of at least one level, got none")
        return picture


class _FirstLayer:
    """The encoder's 1×1 convolution."""

    def __init__(self, layer: nn.Module) -> None:
        weight = layer.get_parameter("0.weight")
        self._weight = (weight[:, :, 0, 0] / math.sqrt(weight.shape[1])).t().contiguous()
        self._bias = layer.get_parameter("1.bias")

    def __call__(self, crew: Crew, picture: Tensor, out: FeatureMap) -> None:
        """Read (N, 3, S, S)."""
        side, width = picture.shape[-1], out.channels

        def task(space: Workspace, index: int, count: int) -> None:
            first, end = (side * share // count for share in (index, index + 1))
            for face, inside in zip(picture, out.inside, strict=True):
                for row in range(first, end, _FIRST_ROWS):
                    pixels = face[:, row : min(row + _FIRST_ROWS, end)].flatten(start_dim=1).t()
                    made = space.take("first", len(pixels), width)
                    F.leaky_relu_(torch.addmm(self._bias, pixels, self._weight, out=made), SLOPE)
                    inside[row : row + len(pixels) // side].copy_(made.view(-1, side, width))

        crew.share(task)


class _StyledConv:
    """A modulated convolution; its result stays without the injection, which whoever reads it makes."""

    def __init__(self, layer: StyledConv, side: int, gain: float = _GAIN) -> None:
        conv, weight = layer.conv, layer.conv.weight[0]
        out_channels = weight.shape[0]
        if conv.up:
            plan = up_plan(_tile((side // 2) ** 2 / out_channels, _LARGEST_RESAMPLING_TILES))
        else:
            plan = same_plan(_tile(side**2 / out_channels, _LARGEST_TILES))
        self.conv = TileConv(weight, layer.activate.bias[:out_channels], plan)
        self._energy = torch.stack([part.square().sum(dim=(1, 2)) for part in weight], dim=1)
        self._modulation = conv.modulation
        self._scale = conv.scale
        self._gain = gain
        self._skip_weight = layer.noise.weight * _GAIN
        self._skip_bias = layer.activate.bias[out_channels:]

    def injection(self, skip: FeatureMap) -> Injection:
        """Give the other half of the layer's result."""
        return Injection(skip, self._skip_weight, self._skip_bias)

    def __call__(
        self,
        crew: Crew,
        sources: Sequence[FeatureMap | Injection],
        out: FeatureMap | None,
        style: Tensor,
        finished: Finished | None = None,
    ) -> None:
        """Convolve under (N, style_dim)."""
        factors = _linear(self._modulation, style) * self._scale
        norm = torch.rsqrt(factors.square() @ self._energy + 1e-8)
        self.conv(crew, sources, out, factors * self._gain, norm, finished)


class _ToRGB:
    """Adds up the picture from the features of every level."""

    def __init__(self, layer: ToRGB) -> None:
        self._weight = layer.conv.weight[0, :, :, 0, 0]
        self._modulation = layer.conv.modulation
        self._scale = layer.conv.scale * _GAIN
        self._bias = layer.bias.view(3)

    def begin(self, batch: int, side: int, below: Tensor | None) -> Tensor:
        """Give (N, side, side, 3): the bias, and the picture of the level below, doubled.

        The published kernel [1, 3, 3, 1]/4 is bilinear interpolation, with zeros beyond the border.
        """
        if below is None:
            return self._bias.expand(batch, side, side, 3).clone()
        padded = F.pad(below.permute(0, 3, 1, 2), (1, 1, 1, 1))
        doubled = F.interpolate(padded, scale_factor=2, mode="bilinear", align_corners=False)
        return doubled[:, :, 2:-2, 2:-2].permute(0, 2, 3, 1) + self._bias

    def adder(self, picture: Tensor, style: Tensor, injection: Injection) -> Finished:
        """Give the function that adds finished rows of features, and the injection beside them, to `picture`."""
        factors = _linear(self._modulation, style) * self._scale
        weights = factors[:, :, None] * self._weight.t()

        def add(space: Workspace, faces: slice, first: int, rows: Tensor) -> None:
            height, width = rows.shape[1], rows.shape[-1]
            beside = injection.rows(space, faces, first, height)[:, :, BORDER:-BORDER]
            for number, face in enumerate(range(faces.start, faces.stop)):
                made = rows[number] @ weights[face, :width] + beside[number] @ weights[face, width:]
                picture[face, first : first + height] += made

        return add


class FastForm:
    """Keeps the fast form of a network true: made when first asked for, and again whenever the weights are others."""

    def __init__(self) -> None:
        self._made: FastGenerator | None = None
        self._state: tuple[tuple[int, int], ...] = ()

    def of(self, network: nn.Module) -> FastGenerator | None:
        """Give the fast form of `network` as its weights are now; None where it has none (see `suits`)."""
        if not isinstance(network, GpenGenerator) or network.training or not suits(network):
            self._made = None
            return None
        state = tuple((value.data_ptr(), _version(value)) for value in network.parameters())
        if self._made is None or state != self._state:
            self._made = None
            self._made, self._state = FastGenerator(network), state
        return self._made


def pays(spec: GpenSpec) -> bool:
    """Tell whether the fast form of a network of this shape is faster than the plain one.

    Its steps are many and each is led by Python, which costs more than it saves where the arithmetic is little.
    Measured on two quiet cores, one face, plain against fast: published 512 network 2.88 and 1.07 s; published 256
    network 0.20 and 0.24 s; a 256 network of 128 channels 0.10 and 0.15 s; of 32 channels 0.03 and 0.09 s.
    """
    return spec.size >= _PAYS_FROM_SIZE and spec.channels[0] >= _PAYS_FROM_WIDTH


def suits(network: nn.Module) -> bool:
    """Tell whether a network has a fast form: a GPEN generator in float32 on the processor, with the usual blurs."""
    if not isinstance(network, GpenGenerator):
        return False
    if any(value.dtype != torch.float32 or value.device.type != "cpu" for value in network.parameters()):
        return False
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
    kernel = torch.outer(taps, taps) / 64
    blurs = [part for part in network.modules() if isinstance(part, Blur | Upsample)]
    gains = [1.0 if isinstance(part, Blur) and part.padding == 2 else 4.0 for part in blurs]
    return all(torch.allclose(part.kernel, kernel * gain, atol=1e-6) for part, gain in zip(blurs, gains, strict=True))


def _version(value: Tensor) -> int:
    """Give the number of changes made in place; tensors of inference mode do not count them."""
    return -1 if value.is_inference() else value._version


def _encoder_stage(layer: nn.Module, side: int) -> TileConv:
    """Make the form of a blur, convolution and activation whose result has this side."""
    weight = layer.get_parameter("1.weight")
    gain = _GAIN / math.sqrt(weight[0].numel())
    plan = down_plan(_tile(side**2 / len(weight), _LARGEST_RESAMPLING_TILES))
    return TileConv(weight * gain, layer.get_parameter("2.bias"), plan)


def _tile(pixels_per_channel: float, sizes: Sequence[tuple[int, float]]) -> int:
    """Choose the side of a tile; of the two ends of a resampling, the pixels of the smaller count."""
    return next((tile for tile, least in sizes if pixels_per_channel >= least * tile**2), 1)


def _linear(layer: EqualizedLinear, vector: Tensor) -> Tensor:
    """Evaluate a layer without making its scaled weight."""
    made = torch.addmm(layer.bias, vector, layer.weight.t(), beta=layer.lr, alpha=layer.scale)
    return F.leaky_relu_(made, SLOPE).mul_(_GAIN) if layer.activate else made
