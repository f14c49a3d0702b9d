"""Weights files: read them safely and make restorers of them."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..errors import UnsupportedWeightsError, WeightsNotFoundError
from ..types import TemplateName
from .descriptor import Restorer
from .registry import describe_foreign, find_architecture

EMBEDDED_RESTORER = Path(__file__).parent.parent / "weights" / "gpen_small_256.safetensors"
"""The restorer that comes with the package."""

GPEN_FOLDERS = "GPEN files belong in models/gpen or models/facerestore_models"

_PICKLE_SUFFIXES = (".pth", ".pt", ".ckpt", ".bin")
_WRAPPERS = ("g_ema", "params_ema", "params", "state_dict", "model_state_dict", "model")


def load_restorer(
    source: str | Path | None = None, *, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
) -> Restorer:
    """Make a restorer of a weights file; the file itself says which network, size and template it needs.

    Args:
        source: path of a .safetensors, .pth, .pt or .ckpt file; None for the embedded restorer.
        device: where the network shall be.
        dtype: the type to compute in, whatever type the file stores.

    Raises:
        WeightsNotFoundError: if there is no such file.
        UnsupportedWeightsError: if the file holds anything but a whole restorer.
    """
    path = EMBEDDED_RESTORER if source is None else Path(source)
    state_dict = read_state_dict(path)
    architecture = find_architecture(state_dict)
    if architecture is None:
        raise UnsupportedWeightsError(
            f'"{path.name}" is not a restorer this pack knows: {describe_foreign(state_dict)}. {GPEN_FOLDERS}.'
        )
    spec = architecture.read_spec(state_dict)
    with torch.device("meta"):
        network = architecture.build(spec)
    _check_tensors(path, state_dict, network.state_dict())
    network.load_state_dict({key: value.to(dtype) for key, value in state_dict.items()}, strict=True, assign=True)
    network.requires_grad_(False).eval().to(device)
    record = read_metadata(path)
    return Restorer(
        network=network,
        size=spec.size,
        template=_template(path, record),
        name=record.get("name", path.stem),
        spec=spec,
        source=path,
        task=record.get("task", "restore"),
    )


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Read the tensors of a weights file without running anything it holds.

    The dict may stand bare or under `g_ema`, `params_ema`, `params`, `state_dict` or `model`; the prefix `module.`
    of multi-GPU training is taken off.

    Raises:
        WeightsNotFoundError: if there is no such file.
        UnsupportedWeightsError: if it is of another format, damaged, or holds more than tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsNotFoundError(f'there is no weights file "{path}". {GPEN_FOLDERS}.')
    if path.suffix == ".safetensors":
        content: object = _read_safetensors(path)
    elif path.suffix in _PICKLE_SUFFIXES:
        content = _read_pickle(path)
    else:
        expected = ", ".join((".safetensors", *_PICKLE_SUFFIXES))
        raise UnsupportedWeightsError(f'"{path.name}": expected a weights file ({expected}), got "{path.suffix}"')
    return _unwrap(path, content)


def read_metadata(path: str | Path) -> dict[str, str]:
    """Read the record a .safetensors file carries about itself; empty for every other format."""
    path = Path(path)
    if path.suffix != ".safetensors":
        return {}
    with safe_open(path, framework="pt") as file:
        return dict(file.metadata() or {})


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (safe_open is no dict)
    except SafetensorError as error:
        raise UnsupportedWeightsError(f'"{path.name}" is damaged or no safetensors file: {error}') from error


def _read_pickle(path: Path) -> object:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UnsupportedWeightsError(
            f'"{path.name}" is not a plain file of tensors: it is no torch file, or it holds Python objects, '
            "which could run code and are refused"
        ) from error
    except (RuntimeError, EOFError, ValueError) as error:
        raise UnsupportedWeightsError(f'"{path.name}" is damaged or cut short: {error}') from error


def _unwrap(path: Path, content: object) -> dict[str, Tensor]:
    if isinstance(content, Mapping):
        for wrapper in _WRAPPERS:
            if isinstance(content.get(wrapper), Mapping):
                return _unwrap(path, content[wrapper])
    if not isinstance(content, Mapping) or not _all_tensors(content):
        kind = ", ".join(map(str, content)) if isinstance(content, Mapping) else type(content).__name__
        raise UnsupportedWeightsError(f'"{path.name}" holds no state dict, but: {kind[:200]}')
    return {str(key).removeprefix("module."): value for key, value in content.items()}


def _all_tensors(content: Mapping[Any, Any]) -> bool:
    return all(isinstance(value, Tensor) for value in content.values())


def _check_tensors(path: Path, state_dict: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    missing = sorted(expected.keys() - state_dict.keys())
    surplus = sorted(state_dict.keys() - expected.keys())
    if missing or surplus:
        word, key = ("is missing", missing[0]) if missing else ("is one too many", surplus[0])
        raise UnsupportedWeightsError(
            f'"{path.name}" is not a whole GPEN generator: key "{key}" {word} '
            f"({len(missing)} missing, {len(surplus)} too many of {len(expected)}). {GPEN_FOLDERS}."
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
