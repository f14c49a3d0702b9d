"""Run a restorer over face crops, in batches that shrink when memory runs out."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from .errors import SettingsError, ShapeError
from .memory import run_halving
from .models.descriptor import Restorer
from .progress import NoProgress, Progress
from .tint import tint_of
from .types import FaceCrop

_NO_PROGRESS = NoProgress()


def restore_faces(
    crops: Sequence[FaceCrop], restorer: Restorer, *, batch_size: int = 4, progress: Progress = _NO_PROGRESS
) -> list[FaceCrop]:
    """Restore aligned faces. Those of one tint, black and white for one, stay in it.

    Args:
        crops: faces at the restorer's size and template, as `align_face` gives them.
        restorer: what to run.
        batch_size: how many faces go through the network at once; halves itself when memory runs out.
        progress: advances by one per face, with the restored face as preview.

    Returns:
        The same crops with new pixels, in the same order, on the CPU.

    Raises:
        ShapeError: if a crop is not of the restorer's size.
        ModelMemoryError: if not even one face fits into memory.
    """
    if batch_size < 1:
        raise SettingsError(f"expected a batch size of at least 1, got {batch_size}")
    for crop in crops:
        if tuple(crop.pixels.shape) != (3, restorer.size, restorer.size):
            raise ShapeError(
                f"expected crops of shape (3, {restorer.size}, {restorer.size}) for {restorer.name}, "
                f"got {tuple(crop.pixels.shape)}; align the faces at the size of the restorer that runs"
            )

    def run(batch: Sequence[FaceCrop]) -> list[FaceCrop]:
        progress.check_cancelled()
        pixels = restorer(torch.stack([crop.pixels for crop in batch]).to(restorer.device))
        return [replace(crop, pixels=_in_tint_of(crop, face)) for crop, face in zip(batch, pixels.cpu(), strict=True)]

    restored: list[FaceCrop] = []
    size = batch_size

    def shrink(smaller: int) -> None:
        nonlocal size
        size = smaller

    for start in range(0, len(crops), batch_size):
        for crop in run_halving(crops[start : start + batch_size], run, size, shrink):
            restored.append(crop)
            progress.advance(preview=crop.pixels)
    return restored


def _in_tint_of(crop: FaceCrop, restored: torch.Tensor) -> torch.Tensor:
    tint = tint_of(crop.pixels)
    return restored if tint is None else tint.of(restored)
