"""Load a face detector: the embedded one, or any RetinaFace file."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from ...errors import UnsupportedWeightsError
from ..places import EMBEDDED_FOLDER, resolve_source
from ..state_dict import read_layout, read_state_dict
from .detector import FaceDetector
from .network import build_network
from .spec import RetinaFaceSpec

EMBEDDED = EMBEDDED_FOLDER / "retinaface_mobilenet025.safetensors"
"""RetinaFace MobileNet-0.25; see the card beside it."""


def load_detector(
    source: str | Path | None = None, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> FaceDetector:
    """Load a RetinaFace; which backbone it is, is read from the weights.

    Args:
        source: a weights file or a name of the catalogue; None for the embedded MobileNet-0.25.
        device: where it runs.
        dtype: what the network computes in.

    Raises:
        WeightsNotFoundError: if the file does not exist.
        UnsupportedWeightsError: if the file holds something else than a RetinaFace of a known backbone.
        MissingPackageError: if facexlib cannot be imported.
    """
    path = EMBEDDED if source is None else resolve_source(source)
    layout = read_layout(path)  # what does not fit is refused before a gigabyte of it is read
    with _naming(path):
        spec = RetinaFaceSpec.from_state_dict(layout)
    state_dict = read_state_dict(path)
    with _naming(path):
        network = build_network(state_dict, spec)
    return FaceDetector(network, spec, path.stem, path).to(device, dtype)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    try:
        yield
    except UnsupportedWeightsError as error:
        raise UnsupportedWeightsError(f'"{path.name}" is {error}') from error
