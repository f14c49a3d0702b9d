"""Load a face detector: the embedded one, or any RetinaFace file."""

from pathlib import Path

import torch

from ...errors import UnsupportedWeightsError, WeightsNotFoundError
from ..load import read_state_dict
from .detector import FaceDetector
from .network import build_network
from .spec import RetinaFaceSpec

EMBEDDED = Path(__file__).parents[2] / "weights" / "retinaface_mobilenet025.safetensors"
"""RetinaFace MobileNet-0.25; see the card beside it."""


def load_detector(
    source: str | Path | None = None, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> FaceDetector:
    """Load a RetinaFace; which backbone it is, is read from the weights.

    Args:
        source: a weights file; None for the embedded MobileNet-0.25.
        device: where it runs.
        dtype: what the network computes in.

    Raises:
        WeightsNotFoundError: if the file does not exist.
        UnsupportedWeightsError: if the file holds something else than a RetinaFace of a known backbone.
        MissingPackageError: if facexlib cannot be imported.
    """
    path = EMBEDDED if source is None else Path(source)
    if not path.is_file():
        raise WeightsNotFoundError(
            f'no face detector at "{path}"; give the path of a RetinaFace file, or none for the embedded one'
        )
    state_dict = read_state_dict(path)
    try:
        spec = RetinaFaceSpec.from_state_dict(state_dict)
        network = build_network(state_dict, spec)
    except UnsupportedWeightsError as error:
        raise UnsupportedWeightsError(f'"{path.name}" is {error}') from error
    return FaceDetector(network, spec, path.stem, path, device, dtype)
