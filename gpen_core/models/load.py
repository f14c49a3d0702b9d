"""Make restorers of weights files."""

from collections.abc import Mapping
from pathlib import Path
from typing import get_args

import torch
from torch import Tensor

from ..errors import UnsupportedWeightsError
from ..types import TemplateName
from .descriptor import Restorer
from .places import resolve_source
from .registry import describe_foreign, find_architecture
from .state_dict import read_layout, read_metadata, read_state_dict

__all__ = ["EMBEDDED_RESTORER", "GPEN_FOLDERS", "load_restorer", "read_metadata", "read_state_dict"]

EMBEDDED_RESTORER = Path(__file__).parent.parent / "weights" / "gpen_small_256.safetensors"
"""The restorer that comes with the package."""

GPEN_FOLDERS = "GPEN files belong in models/gpen or models/facerestore_models"


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
        UnsupportedWeightsError: if the file holds anything but a whole restorer.
    """
    path = EMBEDDED_RESTORER if source is None else resolve_source(source)
    layout = read_layout(path)  # what does not fit is refused before a gigabyte of it is read
    architecture = find_architecture(layout)
    if architecture is None:
        raise UnsupportedWeightsError(
            f'"{path.name}" is not a restorer this pack knows: {describe_foreign(layout)}. {GPEN_FOLDERS}.'
        )
    try:
        spec = architecture.read_spec(layout)
    except UnsupportedWeightsError as error:
        raise UnsupportedWeightsError(f'"{path.name}" is {error}. {GPEN_FOLDERS}.') from error
    with torch.device("meta"), torch.inference_mode(False):
        network = architecture.build(spec)
    _check_tensors(path, layout, network.state_dict())
    with torch.inference_mode(False):  # weights made inside of it would not tell when they are changed
        state_dict = read_state_dict(path)
        _check_tensors(path, state_dict, network.state_dict())  # the file may have been exchanged in between
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
