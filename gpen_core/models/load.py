"""Make restorers and upscalers of weights files."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, get_args

import torch
from torch import Tensor

from ..errors import UnsupportedWeightsError
from ..types import TemplateName
from .descriptor import Restorer, Upscaler
from .places import EMBEDDED_FOLDER, describe_file, resolve_source
from .registry import RESTORERS, UPSCALERS, Architecture, SpecT, describe_foreign, find_architecture
from .state_dict import read_layout, read_metadata, read_state_dict

__all__ = ["EMBEDDED_RESTORER", "load_restorer", "load_upscaler", "read_metadata", "read_state_dict"]

EMBEDDED_RESTORER = EMBEDDED_FOLDER / "gpen_small_256.safetensors"
"""The restorer that comes with the package."""


@dataclass(frozen=True)
class _Role(Generic[SpecT]):
    """What a file was asked for: its name before users, where such files belong, and the families it can be of."""

    name: str
    belongs: str
    known: tuple[Architecture[SpecT], ...]


_RESTORER = _Role("a restorer", "GPEN files belong in models/gpen or models/facerestore_models", RESTORERS)
_UPSCALER = _Role("an upscaler", "ESRGAN files belong in models/upscale_models", UPSCALERS)


def load_restorer(
    source: str | Path | None = None, *, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
) -> Restorer:
    """Make a restorer of a weights file; the file itself says which network, size and template it needs.

    Args:
        source: path of a .safetensors, .pth, .pt or .ckpt file, or a name of the catalogue; None for the embedded
            restorer.
        device: where the network shall be.
        dtype: the type to compute in, whatever type the file stores.

    Raises:
        WeightsNotFoundError: if there is no such file.
        UnsupportedWeightsError: if the file holds anything but a whole restorer, or one that colours, fills or draws.
    """
    path = EMBEDDED_RESTORER if source is None else resolve_source(source)
    network, spec = _build(path, _RESTORER, device, dtype)
    record = read_metadata(path)
    _check_task(path, record)
    return Restorer(
        network=network,
        size=spec.size,
        template=_template(path, record),
        name=record.get("name", path.stem),
        spec=spec,
        source=path,
    )


def _check_task(path: Path, record: Mapping[str, str]) -> None:
    """Refuse a network that was trained for something else, as its record or the card it was fetched by says."""
    tasks = [record["task"]] if "task" in record else [card.task for card in describe_file(path).cards]
    if tasks and "restore" not in tasks:
        raise UnsupportedWeightsError(
            f'"{path.name}" is for the task "{tasks[0]}", which this pack cannot do yet; expected weights that '
            "restore, such as GPEN-BFR-512"
        )


def load_upscaler(
    source: str | Path, *, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
) -> Upscaler:
    """Make an upscaler of the weights of an RRDBNet (ESRGAN, Real-ESRGAN), whose scale is read from the file.

    Args:
        source: path of a .safetensors, .pth, .pt or .ckpt file, or a name of the catalogue.
        device: where the network shall be.
        dtype: the type to compute in, whatever type the file stores.

    Raises:
        WeightsNotFoundError: if there is no such file.
        UnsupportedWeightsError: if the file holds anything but a whole upscaler of this kind.
        MissingPackageError: if basicsr is not installed.
    """
    path = resolve_source(source)
    network, spec = _build(path, _UPSCALER, device, dtype)
    return Upscaler(network, spec.scale, read_metadata(path).get("name", path.stem), spec, path)


def _build(
    path: Path, role: _Role[SpecT], device: str | torch.device, dtype: torch.dtype
) -> tuple[torch.nn.Module, SpecT]:
    """Make a network of a file and check that each fits the other."""
    layout = read_layout(path)  # what does not fit is refused before a gigabyte of it is read
    architecture = find_architecture(layout, role.known)
    if architecture is None:
        raise UnsupportedWeightsError(
            f'"{path.name}" is not {role.name} this pack knows: {describe_foreign(layout)}. {role.belongs}.'
        )
    try:
        spec = architecture.read_spec(layout)
    except UnsupportedWeightsError as error:
        raise UnsupportedWeightsError(f'"{path.name}" is {error}. {role.belongs}.') from error
    whole = f"a whole {architecture.kind}"
    with torch.inference_mode(False):  # weights made inside of it would not tell when they are changed
        with torch.device("meta"):
            network = architecture.build(spec)
        _check_tensors(path, layout, network.state_dict(), whole, role.belongs)
        state_dict = read_state_dict(path)
        _check_tensors(path, state_dict, network.state_dict(), whole, role.belongs)  # it may have been exchanged since
        network.load_state_dict({key: value.to(dtype) for key, value in state_dict.items()}, strict=True, assign=True)
        return network.requires_grad_(False).eval().to(device), spec


def _check_tensors(
    path: Path, state_dict: Mapping[str, Tensor], expected: Mapping[str, Tensor], whole: str, belongs: str
) -> None:
    missing = sorted(expected.keys() - state_dict.keys())
    surplus = sorted(state_dict.keys() - expected.keys())
    if missing or surplus:
        word, key = ("is missing", missing[0]) if missing else ("is one too many", surplus[0])
        raise UnsupportedWeightsError(
            f'"{path.name}" is not {whole}: key "{key}" {word} '
            f"({len(missing)} missing, {len(surplus)} too many of {len(expected)}). {belongs}."
        )
    for key, value in expected.items():
        if state_dict[key].shape != value.shape:
            raise UnsupportedWeightsError(
                f'"{path.name}": expected {tuple(value.shape)} for "{key}", got {tuple(state_dict[key].shape)}'
            )


def _template(path: Path, record: Mapping[str, str]) -> TemplateName:
    name = record.get("template", "gpen")
    for known in get_args(TemplateName):
        if name == known:
            return known
    raise UnsupportedWeightsError(
        f'"{path.name}" asks for the face template "{name}"; known are {", ".join(get_args(TemplateName))}'
    )
