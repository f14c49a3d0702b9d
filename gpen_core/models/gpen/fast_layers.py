"""The layers of the fast generator: channels-last features, in bands of rows that stay in the processor's cache.

Both halves of a styled convolution, the convolved one and the encoder's, are written where the next layer reads them,
so that nothing is concatenated. No pass over the features is made for a factor that can be carried elsewhere: the leaky
ReLU lets positive factors through, so the scale, gain and norm of one layer go into the style, weight or bias of the
next. Every operation is divided among torch's own threads.

Weights are not copied: they are laid out anew in the order of memory that convolutions read, with the same values.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from .enlarging import enlarge
from .network import ACTIVATION_GAIN, SLOPE, EqualizedConv2d, EqualizedLinear, StyledConv, ToRGB
from .products import onednn_is_faster
from .winograd import TILE, WinogradConv
from .workspace import Workspace

_EDGE = 2
"""Rows of zeros above and below a feature map, which a layer may read."""

_BAND_BYTES = 4 << 20
"""Features read for one band, measured: smaller ones cost more calls, larger ones leave the cache."""

_STRIP_BYTES = 16 << 20
"""Features kept between the two convolutions of a level, and read for one band where every call has a price: where
`WinogradConv` transforms its weight, or oneDNN multiplies."""

_AXES = "oihw"
"""Axes of a convolution's weight: results, inputs, height and width."""

_WIDE, _WIDE_ONEDNN, _TALL = 128, 256, 32
"""Channels, with products by MKL and by oneDNN, and rows from which `WinogradConv` is faster than the plain
convolution, which is oneDNN's. Measured on two cores of an Intel Xeon with AVX-512 (MKL): 1024 channels on 64 rows 44
against 122 ms, 256 on 64 rows 4.4 against 7.5 ms, 128 on 64 rows 1.9 against 2.0 ms; with AVX2 it gains more. On two
cores of an AMD EPYC with AVX-512 (oneDNN) GPEN 512 took 628 ms from 128 channels, 611 from 256, 628 from 512."""


@dataclass(frozen=True)
class Features:
    """A square feature map, or a strip of it, without some of its factors.

    Attributes:
        data: (rows, W, C), contiguous; rows beyond the map are zeros.
        factor: (C,) or (); the true features are `data * factor`.
        top: which row of the map the first one is.
    """

    data: Tensor
    factor: Tensor
    top: int = -_EDGE

    @classmethod
    def take(cls, space: Workspace, name: str, side: int, channels: int) -> "Features":
        """Take a whole map from a workspace, of undefined features and factor 1."""
        data = space.take(name, side + 2 * _EDGE, side, channels)
        data[:_EDGE].zero_()
        data[-_EDGE:].zero_()
        return cls(data, torch.ones((), dtype=torch.float32, device="cpu"))

    @property
    def side(self) -> int:
        """W, and of a whole map also H."""
        return self.data.shape[1]

    def rows(self, first: int, end: int) -> Tensor:
        """Rows `first` to `end`, which may lie beyond the map by _EDGE: (end − first, W, C)."""
        return self.data[first - self.top : end - self.top]

    def times(self, factor: Tensor) -> "Features":
        """Give the same data with another factor."""
        return Features(self.data, factor, self.top)


def parts(first: int, end: int, row_bytes: int, size: int) -> Iterator[tuple[int, int]]:
    """Cut rows into parts of about `size` bytes, of whole tiles if they are that high: first row and end of each."""
    height = max(1, size // row_bytes)
    height = height // TILE * TILE or height
    for start in range(first, end, height):
        yield start, min(start + height, end)


Finished = Callable[[slice, Tensor], None]
"""Told rows and their features (rows, W, C), before factors, as soon as they are made."""


def linear(layer: nn.Module, vector: Tensor) -> Tensor:
    """Evaluate an `EqualizedLinear` in float32, without making its scaled weight.

    Raises:
        TypeError: if it is another layer.
    """
    if not isinstance(layer, EqualizedLinear):
        raise TypeError(f"expected an EqualizedLinear, got {type(layer).__name__}")
    weight, bias = layer.weight.float(), layer.bias.float()
    made = torch.addmm(bias, vector.float(), weight.t(), beta=layer.lr, alpha=layer.scale)
    return F.leaky_relu_(made, SLOPE).mul_(ACTIVATION_GAIN) if layer.activate else made


class First:
    """The encoder's 1×1 convolution."""

    def __init__(self, stage: nn.Module) -> None:
        conv = _part(stage, "0")
        self._weight = conv.weight.data.view(conv.weight.shape[-4:-2]).t() * conv.scale
        self._bias = stage.get_parameter("1.bias")

    def __call__(self, space: Workspace, picture: Tensor) -> "FirstFeatures":
        """Read (3, S, S)."""
        return FirstFeatures(space, picture.permute(1, 2, 0).contiguous(), self._weight, self._bias)


class FirstFeatures:
    """What the encoder's 1×1 convolution makes, row by row when asked: as a map it would be the largest of all.

    Attributes:
        factor: the true features are the rows times this.
        side: W and H.
    """

    def __init__(self, space: Workspace, picture: Tensor, weight: Tensor, bias: Tensor) -> None:
        self.factor = torch.tensor(ACTIVATION_GAIN, dtype=torch.float32, device="cpu")
        self.side = len(picture)
        self._space, self._picture, self._weight, self._bias = space, picture, weight, bias

    def rows(self, first: int, end: int) -> Tensor:
        """Make rows `first` to `end`, zeros where they lie beyond the map: (end − first, W, C).

        They are valid until more are asked for, or something else takes the buffer "products".
        """
        made = self._space.take("products", end - first, self.side, len(self._bias))
        top, bottom = max(0, first), min(end, self.side)
        made[: top - first].zero_()
        made[bottom - first :].zero_()
        inner = made[top - first : bottom - first].view(-1, len(self._bias))
        torch.addmm(self._bias, self._picture[top:bottom].view(-1, 3), self._weight, out=inner)
        F.leaky_relu_(inner, SLOPE)
        return made


class Halving:
    """The blur and the convolution with stride 2 of an encoder stage."""

    def __init__(self, stage: nn.Module) -> None:
        conv = _part(stage, "1")
        self._weight, self._scale = _laid_out(conv.weight, "ohwi").permute(0, 3, 1, 2), conv.scale
        self._bias = stage.get_parameter("2.bias")
        self._blur = _blur_weight(stage.get_submodule("0"), self._weight.shape[1])

    def __call__(self, features: Features | FirstFeatures, out: Features) -> Features:
        """Give features of half the side, in the memory of `out`."""
        factor = features.factor * self._scale
        bias = (self._bias / factor).to(self._bias.dtype)
        for first, end in parts(0, out.side, out.data[0].nbytes, _BAND_BYTES):
            rows = _planar(features.rows(2 * first - 2, 2 * end + 2))
            blurred = F.conv2d(rows, self._blur, padding=(0, 2), groups=len(self._blur))
            _activate(F.conv2d(blurred, self._weight, bias, stride=2), out.rows(first, end))
        return out.times(factor * ACTIVATION_GAIN)


class Styled:
    """A modulated convolution and the injection beside it.

    Args:
        layer: where the weights are.
        side: of the features it will read.
    """

    def __init__(self, layer: StyledConv, side: int) -> None:
        conv, weight = layer.conv, layer.conv.weight
        self.width = weight.shape[1]
        self._energy = weight[0].float().square().sum(dim=(2, 3)).t().contiguous()
        self._modulation, self._scale = conv.modulation, conv.scale
        self.blur = _blur_weight(conv.blur, self.width) if conv.up else None
        self.onednn = weight.dtype == torch.float32 and onednn_is_faster()
        wide = _WIDE_ONEDNN if self.onednn else _WIDE
        is_wide = weight.shape[2] >= wide and side >= _TALL and weight.dtype == torch.float32 and not conv.up
        order = "hwio" if is_wide else "ihwo" if conv.up else "ohwi"
        self.weight = _laid_out(weight, order)
        self._by_input = [-1 if axis == "i" else 1 for axis in order]
        self.winograd = WinogradConv(self.weight, onednn=self.onednn) if is_wide else None
        wants_rows = self.winograd is not None and (self.onednn or not self.winograd.keeps_filters)
        self.band_bytes = _STRIP_BYTES if wants_rows else _BAND_BYTES
        self.bias, self.skip_bias = layer.activate.bias.split(self.width)
        self.skip_weight = layer.noise.weight

    def under(self, style: Tensor, factor: Tensor, side: int) -> "Applied":
        """Prepare the convolution of features of this factor and side under (1, style_dim)."""
        factors = (linear(self._modulation, style) * self._scale)[0]
        norm = torch.rsqrt(factors.square() @ self._energy + 1e-8)
        weight, factors = self.weight, factors * factor
        scales_weight = self.winograd is None and 9 * self.width < side**2
        if scales_weight:
            weight = (weight * factors.view(self._by_input)).to(weight.dtype)
        bias = (self.bias / norm).to(weight.dtype)
        made = torch.cat((norm, torch.ones_like(norm))) * ACTIVATION_GAIN
        return Applied(self, weight, bias, None if scales_weight else factors.to(weight.dtype), made)


@dataclass(frozen=True)
class Applied:
    """A styled convolution under a certain style.

    Attributes:
        layer: the convolution.
        weight: the layer's, multiplied by style and factor of the features where that costs less than to multiply
            the features.
        bias: (out,), by the norm.
        factors: (in,) by which the features are still to be multiplied, or None.
        factor: (2·out,) of the result.
    """

    layer: Styled
    weight: Tensor
    bias: Tensor
    factors: Tensor | None
    factor: Tensor

    def make(
        self,
        space: Workspace,
        features: Features,
        skip: Features | FirstFeatures,
        rows: tuple[int, int],
        target: Tensor | None,
        finished: Finished | None = None,
    ) -> None:
        """Convolve, and inject.

        Args:
            space: for what is between, and for rows that nobody keeps.
            features: what is convolved; one row more than `rows` need, above and below.
            skip: the encoder's features, of the side of the result.
            rows: first and end of the rows of the result to make.
            target: (end − first, W, 2·out), where they go; None if only `finished` wants them.
            finished: told of them band by band.
        """
        layer, grown = self.layer, skip.side // features.side
        skip_weight = (layer.skip_weight * skip.factor).to(layer.skip_weight.dtype)
        for top, bottom in parts(rows[0] // grown, rows[1] // grown, features.data[0].nbytes, layer.band_bytes):
            first, end = top * grown, bottom * grown
            if target is None:
                band = space.take("kept", end - first, skip.side, 2 * layer.width)
            else:
                band = target[first - rows[0] : end - rows[0]]
            convolved, beside = band.split(layer.width, dim=-1)
            self._convolve(space, features.rows(top - 1, bottom + 1), convolved, goes_on=top > 0)
            torch.addcmul(layer.skip_bias, skip.rows(first, end), skip_weight, out=beside)
            F.leaky_relu_(beside, SLOPE)
            if finished:
                finished(slice(first, end), band)

    def strips(
        self, space: Workspace, features: Features, skip: Features | FirstFeatures
    ) -> Iterator[tuple[tuple[int, int], Features]]:
        """Make the whole result, but keep only a strip of it at a time.

        Yields:
            First and end of some rows, and the features that a 3×3 convolution to these rows reads; valid until the
            next are asked for.
        """
        side, width = skip.side, 2 * self.layer.width
        row_bytes = side * width * space.dtype.itemsize
        bounds = list(parts(0, side, row_bytes, max(_STRIP_BYTES, TILE * row_bytes)))
        data = space.take("strip", bounds[0][1] + 2 * _EDGE, side, width)
        data[:_EDGE].zero_()
        for first, end in bounds:
            if first:
                data[: 2 * _EDGE].copy_(data[-2 * _EDGE :])  # the strip before ends with them
            strip = Features(data, self.factor, first - _EDGE)
            rows = (first + _EDGE if first else 0, min(end + _EDGE, side))
            self.make(space, features, skip, rows, strip.rows(*rows))
            strip.rows(rows[1], end + _EDGE).zero_()
            yield (first, end), strip

    def _convolve(self, space: Workspace, source: Tensor, target: Tensor, *, goes_on: bool) -> None:
        """Convolve rows that reach one beyond the band on both sides."""
        layer = self.layer
        if layer.winograd and self.factors is not None:
            layer.winograd(space, source, self.factors, self.bias, target)
            return
        source = source if self.factors is None else source * self.factors
        if layer.blur is None:
            _activate(F.conv2d(_planar(source), self.weight.permute(0, 3, 1, 2), self.bias, padding=(0, 1)), target)
        else:
            weights = (self.weight, layer.blur, self.bias)
            enlarge(space, source, *weights, target, goes_on=goes_on, onednn=layer.onednn)


class Reader:
    """Adds up the picture from the features of every level: `ToRGB`."""

    def __init__(self, layer: ToRGB) -> None:
        self._weight = layer.conv.weight[0, :, :, 0, 0]
        self._modulation, self._scale = layer.conv.modulation, layer.conv.scale
        self._bias = layer.bias.view(3).float()

    def begin(self, below: Tensor | None) -> Tensor:
        """Give (S, S, 3) float32: the bias, and the picture of the level below, doubled.

        The published kernel [1, 3, 3, 1]/4 is bilinear interpolation, with zeros beyond the border.
        """
        if below is None:
            return self._bias.expand(4, 4, 3).clone()
        padded = F.pad(below.permute(2, 0, 1)[None], (1, 1, 1, 1))
        doubled = F.interpolate(padded, scale_factor=2, mode="bilinear", align_corners=False)
        return doubled[0, :, 2:-2, 2:-2].permute(1, 2, 0) + self._bias

    def adder(self, picture: Tensor, style: Tensor, factor: Tensor) -> Finished:
        """Give the function that adds rows of features of this factor to `picture`."""
        factors = (linear(self._modulation, style) * self._scale)[0] * factor
        weight = (self._weight * factors).to(self._weight.dtype)

        def add(rows: slice, features: Tensor) -> None:
            picture[rows].add_(F.linear(features, weight))

        return add


def _part(stage: nn.Module, name: str) -> EqualizedConv2d:
    part = stage.get_submodule(name)
    if not isinstance(part, EqualizedConv2d):
        raise TypeError(f"expected an EqualizedConv2d, got {type(part).__name__}")
    return part


def _planar(rows: Tensor) -> Tensor:
    """View (H, W, C) as (1, C, H, W) in channels-last order."""
    return rows.permute(2, 0, 1)[None]


def _activate(made: Tensor, target: Tensor) -> None:
    """Write the leaky ReLU of (1, C, H, W) to (H, W, C)."""
    torch._C._nn.leaky_relu(made[0].permute(1, 2, 0), SLOPE, out=target)


def _laid_out(parameter: nn.Parameter, order: str) -> Tensor:
    """Lay out a weight ([1,] out, in, h, w) in memory in another order of these axes, and give it in that order."""
    weight = parameter.data.view(parameter.shape[-4:]).permute([_AXES.index(axis) for axis in order]).contiguous()
    parameter.data = weight.permute([order.index(axis) for axis in _AXES]).unflatten(0, parameter.shape[:-3])
    return weight


def _blur_weight(blur: nn.Module, channels: int) -> Tensor:
    kernel = blur.get_buffer("kernel")
    return kernel.expand(channels, 1, *kernel.shape).clone(memory_format=torch.channels_last)
