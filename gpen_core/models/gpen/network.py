"""The GPEN generator: a U-shaped encoder whose features drive a StyleGAN2 decoder.

Parameter names and shapes are those of the published checkpoints. Styles scale the activations and one shared weight
convolves the whole batch, which equals modulating the weight per picture (Karras et al. 2020, section 2.2) and needs no
grouped convolution. Styles and their norms stay in float32 whatever the type of the features: their sums leave the
range of half precision.

Source: Yang et al. 2021, "GAN Prior Embedded Network for Blind Face Restoration in the Wild", section 3; Karras et al.
2020, "Analyzing and Improving the Image Quality of StyleGAN", appendix B.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from .spec import GpenSpec

SLOPE, ACTIVATION_GAIN = 0.2, math.sqrt(2)
"""Of the leaky ReLU after every layer."""

_MAPPING_LR = 0.01


def _fir_kernel(gain: float = 1.0) -> Tensor:
    """Give the 4×4 binomial low-pass kernel, summing to `gain`."""
    taps = (1, 3, 3, 1)
    return torch.tensor([[row * column * gain / 64 for column in taps] for row in taps])


def _random(*shape: int, std: float = 1.0) -> Tensor:
    """Draw from N(0, std); on the device "meta" nothing is drawn, which there would import 150 MB of decompositions."""
    values = torch.empty(shape)
    return values if values.is_meta else values.normal_(0.0, std)


def _per_channel(kernel: Tensor, features: Tensor) -> Tensor:
    channels = features.shape[1]
    return kernel.to(features.dtype).expand(channels, 1, *kernel.shape)


def _biased_leaky_relu(features: Tensor, bias: Tensor) -> Tensor:
    return F.leaky_relu(features + bias.to(features.dtype), SLOPE) * ACTIVATION_GAIN


class Blur(nn.Module):
    """Low-pass filter before taking, or after making, every second pixel: (N, C, H, W) -> (N, C, H+2p-3, W+2p-3)."""

    kernel: Tensor

    def __init__(self, padding: int, gain: float = 1.0) -> None:
        super().__init__()
        self.padding = padding
        self.register_buffer("kernel", _fir_kernel(gain))

    def forward(self, features: Tensor) -> Tensor:
        """Filter every channel."""
        kernel = _per_channel(self.kernel, features)
        return F.conv2d(features, kernel, padding=self.padding, groups=features.shape[1])


class Upsample(nn.Module):
    """Double a picture's sides: (N, C, H, W) -> (N, C, 2H, 2W)."""

    kernel: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("kernel", _fir_kernel(4.0))

    def forward(self, picture: Tensor) -> Tensor:
        """Insert zeros and filter, in one transposed convolution."""
        kernel = _per_channel(self.kernel, picture)
        return F.conv_transpose2d(picture, kernel, stride=2, padding=1, groups=picture.shape[1])


class EqualizedConv2d(nn.Module):
    """Convolution whose weight is scaled to unit variance at run time; no bias."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1) -> None:
        super().__init__()
        self.weight = nn.Parameter(_random(out_channels, in_channels, kernel_size, kernel_size))
        self.scale = 1 / math.sqrt(in_channels * kernel_size**2)
        self.stride = stride

    def forward(self, features: Tensor) -> Tensor:
        """Convolve without padding: a blur before it pads."""
        return F.conv2d(features, self.weight * self.scale, stride=self.stride)


class EqualizedLinear(nn.Module):
    """Linear layer in float32 with run-time scaled weight, optionally followed by the leaky ReLU."""

    def __init__(
        self, inputs: int, outputs: int, *, bias: float = 0.0, lr: float = 1.0, activate: bool = False
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(_random(outputs, inputs, std=1 / lr))
        self.bias = nn.Parameter(torch.full((outputs,), bias))
        self.scale = lr / math.sqrt(inputs)
        self.lr = lr
        self.activate = activate

    def forward(self, vector: Tensor) -> Tensor:
        """Map (N, inputs) to (N, outputs), float32."""
        result = F.linear(vector.float(), self.weight.float() * self.scale, self.bias.float() * self.lr)
        return F.leaky_relu(result, SLOPE) * ACTIVATION_GAIN if self.activate else result


class BiasedLeakyReLU(nn.Module):
    """Add a bias per channel, then leaky ReLU of slope 0.2 and gain √2."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, features: Tensor) -> Tensor:
        """Activate (N, C, H, W)."""
        return _biased_leaky_relu(features, self.bias[:, None, None])


class PixelNorm(nn.Module):
    """Scale each vector to unit mean square."""

    def forward(self, vector: Tensor) -> Tensor:
        """Normalise (N, D)."""
        return vector * torch.rsqrt(vector.square().mean(dim=1, keepdim=True) + 1e-8)


class ModulatedConv2d(nn.Module):
    """Convolution steered by a style: (N, in, H, W) and (N, style_dim) -> (N, out, H, W), or twice the sides."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, style_dim: int, *, up: bool = False
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(_random(1, out_channels, in_channels, kernel_size, kernel_size))
        self.modulation = EqualizedLinear(style_dim, in_channels, bias=1.0)
        self.scale = 1 / math.sqrt(in_channels * kernel_size**2)
        self.demodulate = kernel_size > 1
        if up:
            self.blur = Blur(padding=1, gain=4.0)
        self.up = up

    def forward(self, features: Tensor, style: Tensor) -> Tensor:
        """Scale the features by the style, convolve, and scale the result to unit variance."""
        factors = self.modulation(style) * self.scale
        weight = self.weight[0]
        scaled = features * factors.to(features.dtype)[:, :, None, None]
        if self.up:
            result = self.blur(F.conv_transpose2d(scaled, weight.transpose(0, 1), stride=2))
        else:
            result = F.conv2d(scaled, weight, padding=weight.shape[-1] // 2)
        if not self.demodulate:
            return result
        energy = weight.float().square().sum(dim=(2, 3))
        norm = torch.rsqrt(factors.square() @ energy.t() + 1e-8)
        return result * norm.to(result.dtype)[:, :, None, None]


class SkipInjection(nn.Module):
    """Put the encoder's feature beside the decoder's: GPEN's place for StyleGAN2's noise."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, features: Tensor, skip: Tensor) -> Tensor:
        """Concatenate (N, C, H, W) and the weighted (N, C, H, W)."""
        return torch.cat((features, skip * self.weight.to(skip.dtype)), dim=1)


class StyledConv(nn.Module):
    """Modulated convolution, injection of the encoder's feature, bias and activation; twice as many channels leave."""

    def __init__(self, in_channels: int, out_channels: int, style_dim: int, *, up: bool = False) -> None:
        super().__init__()
        self.conv = ModulatedConv2d(in_channels, out_channels, 3, style_dim, up=up)
        self.noise = SkipInjection()
        self.activate = BiasedLeakyReLU(2 * out_channels)

    def forward(self, features: Tensor, style: Tensor, skip: Tensor) -> Tensor:
        """Give (N, 2·out, H, W)."""
        return self.activate(self.noise(self.conv(features, style), skip))


class ToRGB(nn.Module):
    """Read a picture off the features and add it to the enlarged picture of the level below."""

    def __init__(self, in_channels: int, style_dim: int, *, up: bool) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1, 3, 1, 1))
        if up:
            self.upsample = Upsample()
        self.conv = ModulatedConv2d(in_channels, 3, 1, style_dim)

    def forward(self, features: Tensor, style: Tensor, below: Tensor | None = None) -> Tensor:
        """Give (N, 3, H, W)."""
        picture = self.conv(features, style) + self.bias.to(features.dtype)
        return picture if below is None else picture + self.upsample(below)


class ConstantInput(nn.Module):
    """The learnt 4×4 picture from which every decoding starts."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.input = nn.Parameter(_random(1, channels, 4, 4))

    def forward(self, batch: int) -> Tensor:
        """Give (batch, C, 4, 4)."""
        return self.input.expand(batch, -1, -1, -1)


class Decoder(nn.Module):
    """StyleGAN2's synthesis network, fed with the encoder's features in place of noise."""

    def __init__(self, spec: GpenSpec) -> None:
        super().__init__()
        style_dim, widths = spec.style_dim, spec.channels
        mapping = [EqualizedLinear(style_dim, style_dim, lr=_MAPPING_LR, activate=True) for _ in range(spec.n_mlp)]
        self.style = nn.Sequential(PixelNorm(), *mapping)
        self.input = ConstantInput(widths[0])
        self.conv1 = StyledConv(widths[0], widths[0], style_dim)
        self.to_rgb1 = ToRGB(2 * widths[0], style_dim, up=False)
        self.convs = nn.ModuleList()
        self.to_rgbs = nn.ModuleList()
        for below, width in pairwise(widths):
            self.convs.append(StyledConv(2 * below, width, style_dim, up=True))
            self.convs.append(StyledConv(2 * width, width, style_dim))
            self.to_rgbs.append(ToRGB(2 * width, style_dim, up=True))

    def forward(self, code: Tensor, skips: Sequence[Tensor]) -> Tensor:
        """Decode.

        Args:
            code: (N, style_dim), goes through the mapping network.
            skips: the encoder's features, one per level from 4×4 up.
        """
        style = self.style(code)
        features = self.conv1(self.input(code.shape[0]).to(skips[0].dtype), style, skips[0])
        picture = self.to_rgb1(features, style)
        for level, skip in enumerate(skips[1:]):
            features = self.convs[2 * level](features, style, skip)
            features = self.convs[2 * level + 1](features, style, skip)
            picture = self.to_rgbs[level](features, style, picture)
        return picture


class GpenGenerator(nn.Module):
    """A face picture in, the restored one out: (N, 3, S, S) sRGB in [-1, 1] -> the same; not clamped, deterministic."""

    def __init__(self, spec: GpenSpec) -> None:
        super().__init__()
        self.spec = spec
        widths = list(reversed(spec.channels))
        first = nn.Sequential(EqualizedConv2d(3, widths[0], 1), BiasedLeakyReLU(widths[0]))
        self.add_module("ecd0", nn.Sequential(first))
        for stage, (above, width) in enumerate(pairwise(widths), start=1):
            halve = nn.Sequential(Blur(padding=2), EqualizedConv2d(above, width, 3, stride=2), BiasedLeakyReLU(width))
            self.add_module(f"ecd{stage}", nn.Sequential(halve))
        joint = EqualizedLinear(widths[-1] * 16, spec.style_dim, activate=True)
        self.final_linear = nn.Sequential(joint)
        self.generator = Decoder(spec)

    def forward(self, picture: Tensor) -> Tensor:
        """Restore (N, 3, S, S)."""
        skips: list[Tensor] = []
        features = picture
        for stage in range(len(self.spec.channels)):
            features = self.get_submodule(f"ecd{stage}")(features)
            skips.append(features)
        code = self.final_linear(features.flatten(start_dim=1))
        return self.generator(code, skips[::-1])
