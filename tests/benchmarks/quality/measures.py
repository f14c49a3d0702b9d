"""What is measured between a restored face and the true one, both (3, S, S) in [0, 1]."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import dlib
import numpy as np
import torch
from skimage.color import deltaE_ciede2000, rgb2lab
from skimage.metrics import structural_similarity
from torch import Tensor

from gpen_core.training.losses import EfficientNetFeatures


class Figures(NamedTuple):
    """One face's figures.

    psnr in dB and ssim (higher is better); perceptual: distance of unit-length ImageNet features; identity: distance
    of dlib's face embeddings, below 0.6 for the same person; skin: CIEDE2000 between the mean colours of the face.
    """

    psnr: float
    ssim: float
    perceptual: float
    identity: float
    skin: float


class Measures:
    """The measuring networks, loaded once."""

    def __init__(self) -> None:
        self.features = EfficientNetFeatures(blocks=11)
        folder = Path(find_spec("face_recognition_models").origin).parent / "models"
        self.landmarks = dlib.shape_predictor(str(folder / "shape_predictor_5_face_landmarks.dat"))
        self.embedding = dlib.face_recognition_model_v1(str(folder / "dlib_face_recognition_resnet_model_v1.dat"))

    def __call__(self, restored: Sequence[Tensor], true: Tensor) -> list[Figures]:
        perceptual = self.perceptual(restored, true)
        *ours, own = self.embeddings([*restored, true], true)
        truth = hwc(true)
        results = []
        for index, picture in enumerate(map(hwc, restored)):
            mean_square = float(((picture - truth) ** 2).mean())
            results.append(
                Figures(
                    psnr=min(60.0, -10 * np.log10(max(mean_square, 1e-9))),
                    ssim=structural_similarity(picture, truth, channel_axis=2, data_range=1.0),
                    perceptual=perceptual[index],
                    identity=float(np.linalg.norm(ours[index] - own)),
                    skin=skin_distance(picture, truth),
                )
            )
        return results

    def perceptual(self, restored: Sequence[Tensor], true: Tensor) -> list[float]:
        """Source: the form of Zhang et al. 2018, LPIPS, with equal weights on EfficientNet-Lite0's levels."""
        with torch.no_grad():
            levels = self.features(torch.stack([*restored, true]) * 2 - 1)
        total = torch.zeros(len(restored))
        for features in levels:
            unit = features / (features.norm(dim=1, keepdim=True) + 1e-6)
            total += (unit[:-1] - unit[-1:]).square().sum(dim=1).mean(dim=(1, 2))
        return (total / len(levels)).tolist()

    def embeddings(self, pictures: Sequence[Tensor], true: Tensor) -> list[np.ndarray]:
        """Embed all pictures by the landmarks of the true one, so that only what they show counts."""
        side = true.shape[-1]
        box = dlib.rectangle(int(side * 0.26), int(side * 0.30), int(side * 0.74), int(side * 0.82))
        shape = self.landmarks(levels_of(true), box)
        chips = [dlib.get_face_chip(levels_of(picture), shape) for picture in pictures]
        return [np.array(self.embedding.compute_face_descriptor(chip)) for chip in chips]


def hwc(picture: Tensor) -> np.ndarray:
    return picture.numpy().transpose(1, 2, 0)


def levels_of(picture: Tensor) -> np.ndarray:
    return np.ascontiguousarray((hwc(picture) * 255).round().clip(0, 255).astype(np.uint8))


def skin_distance(picture: np.ndarray, truth: np.ndarray) -> float:
    """CIEDE2000 between the mean colours of cheeks and nose, where an aligned face shows skin."""
    side = truth.shape[0]
    part = np.s_[int(side * 0.52) : int(side * 0.64), int(side * 0.38) : int(side * 0.62)]
    means = [rgb2lab(np.clip(values[part], 0, 1)).mean(axis=(0, 1)) for values in (picture, truth)]
    return float(deltaE_ciede2000(*means))
