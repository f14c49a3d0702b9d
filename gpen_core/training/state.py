"""All that a training run must remember, and its checkpoint on disk."""

import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import SettingsError, UnsupportedWeightsError, WeightsNotFoundError
from ..models.gpen import GpenGenerator, GpenSpec
from ..models.load import load_restorer
from ..models.state_dict import read_saved
from .grow import grow, widen
from .initial import initial_generator
from .muon import Muon
from .rival import Rival
from .settings import TrainSettings

CHECKPOINT = "last.pth"
_PARTS = {"network", "g_ema", "optimizers", "images", "seconds"}
_RIVAL_RATE = 5e-4


@dataclass
class TrainState:
    """A run at one moment.

    Attributes:
        network: the generator being trained.
        average: the exponential moving average of its weights, which is what gets exported.
        optimizers: Muon for the 3×3 convolutions, Adam for all else.
        rival: the adversarial part, if the run has or had one; it rests where `adversarial` is 0.
        images: pictures seen so far.
        seconds: time spent training so far.
    """

    network: GpenGenerator
    average: GpenGenerator
    optimizers: tuple[Muon, torch.optim.Adam]
    rival: Rival | None = None
    images: int = 0
    seconds: float = 0.0


def new_state(settings: TrainSettings) -> TrainState:
    """Begin a run from the identity-like initial weights, or from trained weights."""
    network = _first_network(settings)
    average = copy.deepcopy(network).requires_grad_(False).eval()
    rival = Rival(_RIVAL_RATE, settings.seed) if settings.adversarial else None
    return TrainState(network, average, _optimizers(network, settings), rival)


def _optimizers(network: GpenGenerator, settings: TrainSettings) -> tuple[Muon, torch.optim.Adam]:
    rate, dtype = settings.learning_rate, getattr(torch, settings.precision)
    convolutions: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for weight in network.parameters():
        (convolutions if weight.dim() >= 4 and weight.shape[-1] == 3 else others).append(weight)
    return Muon(convolutions, rate, dtype=dtype), torch.optim.Adam(others, lr=rate, betas=(0.9, 0.99))


def _first_network(settings: TrainSettings) -> GpenGenerator:
    if settings.start_from is None:
        return initial_generator(settings.spec, settings.seed)
    trained = load_restorer(settings.start_from).network
    if not isinstance(trained, GpenGenerator):
        raise SettingsError(f'"{settings.start_from}" holds no GPEN generator to start from')
    trained.float()
    if trained.spec.size < settings.spec.size:
        network = grow(trained, settings.seed)
    elif _is_wider(settings.spec, trained.spec):
        network = widen(trained, settings.spec.channels, settings.seed)
    else:
        network = trained
    if network.spec != settings.spec:
        raise SettingsError(
            f'expected weights of {settings.spec!r}, narrower ones or half the size, "{settings.start_from}" holds '
            f"{trained.spec!r}"
        )
    return network.requires_grad_(True)


def _is_wider(spec: GpenSpec, other: GpenSpec) -> bool:
    if replace(other, channels=spec.channels) != spec:
        return False
    return all(one >= two for one, two in zip(spec.channels, other.channels, strict=True))


def save_state(state: TrainState, folder: Path) -> Path:
    """Write the checkpoint so that a crash at any moment leaves a whole one behind."""
    content = {
        "network": state.network.state_dict(),
        "g_ema": state.average.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in state.optimizers],
        "images": state.images,
        "seconds": state.seconds,
        **({"rival": state.rival.state_dict()} if state.rival else {}),
    }
    path = folder / CHECKPOINT
    unfinished = path.with_suffix(".part")
    torch.save(content, unfinished)
    unfinished.replace(path)
    return path


def resume_state(settings: TrainSettings) -> TrainState:
    """Read the checkpoint of the run's folder; a run that was without a rival may get one now.

    Raises:
        WeightsNotFoundError: if there is none.
        UnsupportedWeightsError: if it is damaged, no checkpoint of a run, or holds a generator of another shape.
    """
    path = settings.out / CHECKPOINT
    content = _read_checkpoint(path)
    state = new_state(settings)
    try:
        state.network.load_state_dict(content["network"])
        state.average.load_state_dict(content["g_ema"])
    except RuntimeError as error:
        raise UnsupportedWeightsError(f'"{path}" was trained with another shape than {settings.spec}') from error
    for optimizer, kept in zip(state.optimizers, content["optimizers"], strict=True):
        optimizer.load_state_dict(kept)
    if "rival" in content:  # kept while it rests
        state.rival = state.rival or Rival(_RIVAL_RATE, settings.seed)
        state.rival.load_state_dict(content["rival"])
    state.images = int(content["images"])
    state.seconds = float(content["seconds"])
    return state


def _read_checkpoint(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise WeightsNotFoundError(f'there is no checkpoint "{path}" to resume; start without --resume')
    try:
        content = read_saved(path)
    except UnsupportedWeightsError as error:
        raise UnsupportedWeightsError(
            f'"{path}" cannot be resumed: it is damaged or no checkpoint of a run. Start anew in another folder.'
        ) from error
    if not isinstance(content, dict) or not content.keys() >= _PARTS:
        raise UnsupportedWeightsError(f'"{path}" is no checkpoint of a run. Start anew in another folder.')
    return content


def start_state(settings: TrainSettings, *, resume: bool) -> TrainState:
    """Begin or resume a run.

    Raises:
        SettingsError: if a new run would overwrite the checkpoint of an old one, or cannot grow from what it is given.
    """
    settings.out.mkdir(parents=True, exist_ok=True)
    if resume:
        return resume_state(settings)
    if (settings.out / CHECKPOINT).exists():
        raise SettingsError(f'"{settings.out}" holds a checkpoint already; add --resume, or choose another folder')
    return new_state(settings)


def update_average(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Move the average towards the network: average = decay · average + (1 − decay) · network."""
    with torch.no_grad():
        for slow, fast in zip(average.parameters(), network.parameters(), strict=True):
            slow.lerp_(fast, 1 - decay)
