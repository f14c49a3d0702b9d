"""Write a trained generator as a weights file that loads like any other."""

from pathlib import Path

import torch
from safetensors.torch import save_file

from ..models.gpen import GpenGenerator
from ..types import TemplateName


def export_generator(
    network: GpenGenerator,
    path: Path,
    *,
    name: str,
    template: TemplateName = "gpen",
    record: dict[str, str] | None = None,
    dtype: torch.dtype = torch.float16,
) -> Path:
    """Write a .safetensors file with the record that `load_restorer` reads.

    Args:
        network: any GPEN generator.
        path: file to write.
        name: what to call the restorer before users.
        template: the five-point template its faces are aligned to.
        record: further facts to keep in the file.
        dtype: storage type; weights are computed with in float32 after loading.
    """
    tensors = {key: value.detach().to("cpu", dtype).contiguous() for key, value in network.state_dict().items()}
    save_file(tensors, path, metadata={"name": name, "template": template, "task": "restore", **(record or {})})
    return path
