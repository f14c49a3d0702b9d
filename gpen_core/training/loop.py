"""The training loop: pairs in, better weights out, resumable at every checkpoint."""

import logging
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset

from ..errors import SettingsError
from ..models.gpen.products import multiplies_bfloat16
from ..progress import NoProgress, Progress
from .data import FacePairs, find_faces
from .degrade import DegradeSettings
from .export import export_generator
from .losses import RestorationLoss, cut_window
from .settings import TrainSettings
from .state import TrainState, save_state, start_state, update_average
from .validate import ValidationSet, signed, validate, validation_set

logger = logging.getLogger(__name__)

EXPORT = "ema.safetensors"
_LOWEST_RATE = 0.02
_MAX_GRADIENT = 1.0
_TINY = 1e-12


def train(settings: TrainSettings, *, resume: bool = False, progress: Progress | None = None) -> Path:
    """Train until `settings.images` pictures were seen; write checkpoint, log, contact sheets and weights on the way.

    The same settings give the same weights, whether or not the run was interrupted at a checkpoint.

    Returns:
        The exported weights file.

    Raises:
        SettingsError: if the data folder is of no use, the run's folder is taken, no step is left to do, or the
            processor does not multiply bfloat16 that was asked for.
        MissingPackageError: if basicsr or the feature network is not installed.
    """
    if settings.precision == "bfloat16" and not multiplies_bfloat16():
        raise SettingsError(
            "this processor does not multiply bfloat16, and training would take many times as long as in float32; "
            "leave --bf16 out"
        )
    progress = progress or NoProgress()
    files = find_faces(settings.data)
    state = start_state(settings, resume=resume)
    _check_length(settings, state.images)
    faces = validation_set(files.validation, settings.aligned_size, settings.spec.size, count=24)
    step = Stepper(settings, state)
    progress.start(max(0, settings.images - state.images), "images")
    saved = state.images
    parts: dict[str, float] = {}
    started = time.monotonic() - state.seconds
    for poor, clear in _batches(settings, files.train, state.images):
        progress.check_cancelled()
        parts = step(signed(poor), signed(clear))
        state.images += len(poor)
        state.seconds = time.monotonic() - started
        progress.advance(len(poor))
        if state.images - saved >= settings.save_every:
            saved = state.images
            _report(settings, state, faces, parts)
    if state.images > saved or not (settings.out / EXPORT).is_file():
        _report(settings, state, faces, parts)
    return settings.out / EXPORT


def _check_length(settings: TrainSettings, seen: int) -> None:
    """Refuse a run that has no step to do, and no weights to export either."""
    wanted = seen + settings.batch_size
    lacks_export = seen > 0 and not (settings.out / EXPORT).is_file()
    if settings.images < wanted and not lacks_export:
        raise SettingsError(
            f"no step is left to do: {seen:,} pictures were seen, a step takes {settings.batch_size}, and the run ends "
            f"at {settings.images:,}; let it see at least {wanted:,}"
        )


class Stepper:
    """One step of the optimiser, with what it needs at hand."""

    def __init__(self, settings: TrainSettings, state: TrainState) -> None:
        self.settings = settings
        self.state = state
        self.loss = RestorationLoss(settings.spec.size, settings.loss)
        self.forward: Callable[[Tensor], Tensor] = torch.compile(state.network) if settings.compile else state.network

    def __call__(self, poor: Tensor, clear: Tensor) -> dict[str, float]:
        """Learn from one batch in [-1, 1]; give the parts of its loss."""
        settings, state = self.settings, self.state
        for optimizer in state.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(settings, state.images)
        with self._autocast():
            restored = self.forward(poor)
        parts, pull = self._judge(poor, restored.detach().requires_grad_(), clear)
        state.network.zero_grad()
        restored.backward(pull)
        nn.utils.clip_grad_norm_(state.network.parameters(), _MAX_GRADIENT)
        for optimizer in state.optimizers:
            optimizer.step()
        decay = 0.5 ** (len(poor) / min(settings.ema_images, 1 + state.images / 4))
        update_average(state.average, state.network, decay)
        return {name: float(value.detach()) for name, value in parts.items()}

    def _judge(self, poor: Tensor, restored: Tensor, clear: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Give the parts of the loss, and the gradient by which they pull at the restored picture."""
        rival = self.state.rival if self.settings.adversarial else None
        window = _window(self.settings, self.state.images)
        parts = self.loss(restored, clear, window)
        (pull,) = torch.autograd.grad(parts["total"], restored)
        if rival:
            near = [cut_window(pictures, window) for pictures in (poor, restored, clear)]
            with self._autocast():
                parts["adversarial"] = rival.displeasure(*near[:2])
            (rival_pull,) = torch.autograd.grad(parts["adversarial"], restored)
            pull = pull + rival_pull * (self.settings.adversarial * pull.norm() / (rival_pull.norm() + _TINY))
            with self._autocast():
                parts["rival"] = torch.tensor(rival.learn(*near))
        return parts, pull

    def _autocast(self) -> torch.autocast:
        return torch.autocast("cpu", torch.bfloat16, enabled=self.settings.precision == "bfloat16")


def learning_rate(settings: TrainSettings, images: int) -> float:
    """Rise in a straight line, stay, then fall along half a cosine to a fiftieth."""
    if images < settings.warm_up:
        return settings.learning_rate * (images + settings.batch_size) / (settings.warm_up + settings.batch_size)
    fall = settings.fall * (settings.images - settings.warm_up)
    fallen = min(1.0, max(0.0, 1 - (settings.images - images) / max(1.0, fall)))
    return settings.learning_rate * (_LOWEST_RATE + (1 - _LOWEST_RATE) * (1 + math.cos(math.pi * fallen)) / 2)


def _window(settings: TrainSettings, images: int) -> tuple[int, int]:
    """Choose where features are compared and a rival looks in this step; the middle more often than the border."""
    room = settings.spec.size // 2
    x, y = np.random.default_rng((settings.seed, images, 1)).triangular(0, 0.5, 1, 2) * room
    return int(x), int(y)


def _batches(settings: TrainSettings, files: tuple[Path, ...], start: int) -> Iterator[tuple[Tensor, Tensor]]:
    size = settings.spec.size
    ranges = DegradeSettings.for_size(size)
    pairs = FacePairs(files, size, settings.aligned_size, settings.seed, settings.images, ranges)
    remaining = Subset(pairs, range(start, settings.images))
    yield from DataLoader(
        remaining,
        batch_size=settings.batch_size,
        num_workers=settings.workers,
        drop_last=True,
        prefetch_factor=6 if settings.workers else None,
    )


def _report(settings: TrainSettings, state: TrainState, faces: ValidationSet, parts: dict[str, float]) -> None:
    """Save everything, measure, and add a line to the log."""
    record = {"images": str(state.images), "hours": f"{state.seconds / 3600:.2f}", "spec": str(settings.spec)}
    export_generator(state.average, settings.out / EXPORT, name=f"small {settings.spec}", record=record)
    save_state(state, settings.out)  # last: a run that was interrupted before it comes here again and exports
    figures = validate(state.average, faces, settings.out / f"sheet_{state.images:07d}.png")
    gains = " ".join(f"{name} {before:.2f}->{after:.2f}" for name, (before, after) in figures.items())
    losses = " ".join(f"{name} {value:.4f}" for name, value in parts.items())
    rate = learning_rate(settings, state.images)
    line = f"{state.images} images {state.seconds:.0f} s rate {rate:.5f} | {losses} | PSNR {gains}"
    logger.info("%s", line)
    with (settings.out / "log.txt").open("a", encoding="utf8") as log:
        log.write(line + "\n")
