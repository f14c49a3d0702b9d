"""Look at a run: figures and a contact sheet of faces it never learns from."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from .data import centre_crop, fit_to_template, read_face, to_tensor
from .degrade import DegradeSettings, degrade

_BASE = DegradeSettings(
    blur_chance=1.0,
    motion_chance=0.0,
    keep_size_chance=0.0,
    no_jpeg_chance=0.0,
    second_chance=0.0,
    clean_chance=0.0,
    enlarge=(cv2.INTER_LINEAR,),
)

DEGRADATION_SETS: dict[str, DegradeSettings] = {
    "mild": replace(
        _BASE, shrink=(1.5, 1.5), blur_sigma=(0.4, 1.0), noise_sigma=(6, 12), poisson_scale=(0.3, 0.8), jpeg=(60, 80)
    ),
    "middle": replace(
        _BASE, shrink=(3.0, 3.0), blur_sigma=(0.5, 1.2), noise_sigma=(5, 11), poisson_scale=(0.2, 0.6), jpeg=(60, 80)
    ),
    "strong": replace(
        _BASE, shrink=(5.0, 5.0), blur_sigma=(0.5, 1.4), noise_sigma=(4, 10), poisson_scale=(0.2, 0.6), jpeg=(60, 80)
    ),
}
"""Down-scaling by 1.5, 3 and 5 with blur, noise and JPEG in proportion, as `degrade` takes them."""


@dataclass(frozen=True, eq=False)
class ValidationSet:
    """Poor and clear faces, both (N, 3, S, S) uint8 sRGB, under the name of their degradation."""

    poor: dict[str, Tensor]
    clear: Tensor


def validation_set(files: Sequence[Path], aligned_size: int, size: int, count: int) -> ValidationSet:
    """Make fixed poor pictures of `count` files spread evenly over the list, or of all if there are fewer."""
    count = min(count, len(files))
    chosen = [files[index * len(files) // count] for index in range(count)]
    clear = [centre_crop(fit_to_template(read_face(path), aligned_size, size), size) for path in chosen]
    poor = {
        name: torch.stack([to_tensor(degrade(face, 1000 + number, settings)) for number, face in enumerate(clear)])
        for name, settings in DEGRADATION_SETS.items()
    }
    return ValidationSet(poor, torch.stack([to_tensor(face) for face in clear]))


def signed(levels: Tensor) -> Tensor:
    """Turn uint8 into float32 in [-1, 1]."""
    return levels.float() / 127.5 - 1


def restore_all(network: nn.Module, levels: Tensor, batch_size: int = 8) -> Tensor:
    """Restore (N, 3, S, S) uint8 to float32 in [-1, 1]."""
    with torch.no_grad():
        return torch.cat([network(signed(part)).clamp(-1, 1) for part in levels.split(batch_size)])


def mean_psnr(first: Tensor, second: Tensor) -> float:
    """Give the mean over pictures of the peak signal-to-noise ratio in dB, for pictures in [-1, 1]."""
    squared = (first - second).square().mean(dim=(1, 2, 3)) / 4
    return float((-10 * torch.log10(squared)).mean())


def validate(
    network: nn.Module, faces: ValidationSet, sheet: Path, columns: int = 12
) -> dict[str, tuple[float, float]]:
    """Give PSNR before and after per degradation, and write the contact sheet: poor, restored, true.

    Args:
        network: restores (N, 3, S, S) in [-1, 1].
        faces: what to restore.
        sheet: PNG file to write.
        columns: how many faces the sheet shows, divided among the degradations.
    """
    figures: dict[str, tuple[float, float]] = {}
    truth = signed(faces.clear)
    shown: list[Tensor] = []
    each = columns // len(faces.poor)
    for number, (name, poor) in enumerate(faces.poor.items()):
        restored = restore_all(network, poor)
        figures[name] = mean_psnr(signed(poor), truth), mean_psnr(restored, truth)
        part = slice(number * each, (number + 1) * each)
        shown.append(torch.cat((signed(poor)[part], restored[part], truth[part]), dim=2))
    strip = torch.cat(shown).permute(1, 2, 0, 3).flatten(start_dim=2)
    levels = ((strip + 1) * 127.5).round().byte().numpy().transpose(1, 2, 0)
    cv2.imencode(".png", np.ascontiguousarray(levels[:, :, ::-1]))[1].tofile(sheet)
    return figures
