"""What a restorer must beat."""

from collections.abc import Callable
from typing import TypeAlias

import cv2
import numpy as np
import torch
from torch import Tensor

Method: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""Takes a poor face and the same enlarged by bicubic interpolation, both (3, S, S) in [0, 1]; gives the better one."""


def nothing(poor: Tensor, poor_cubic: Tensor) -> Tensor:
    return poor


def bicubic(poor: Tensor, poor_cubic: Tensor) -> Tensor:
    return poor_cubic


def means_and_unsharp(poor: Tensor, poor_cubic: Tensor) -> Tensor:
    """OpenCV's non-local means, then an unsharp mask: what an image editor offers."""
    levels = (poor.numpy().transpose(1, 2, 0) * 255).round().astype(np.uint8)
    smooth = cv2.fastNlMeansDenoisingColored(levels, None, 4, 4, 5, 15).astype(np.float32)
    sharp = smooth + 0.5 * (smooth - cv2.GaussianBlur(smooth, (0, 0), 1.5))
    return torch.from_numpy(np.clip(sharp / 255, 0, 1).transpose(2, 0, 1).copy())


METHODS: dict[str, Method] = {"nothing": nothing, "bicubic": bicubic, "means+unsharp": means_and_unsharp}
