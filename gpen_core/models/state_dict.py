"""Read the tensors of a weights file, whatever it is called and whoever made it, without running anything it holds."""

# Only for the name of its exception; nothing is unpickled with it.
import pickle  # nosec B403
import re
import struct
import warnings
import zipfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from ..errors import UnsupportedWeightsError, WeightsNotFoundError
from .tensor_file import MAX_DIMENSIONS, TensorFile, in_threads

WEIGHTS_SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt", ".bin")
"""Endings of files that may hold weights; what a file is, is read from its content alone."""

FileFormat: TypeAlias = Literal["safetensors", "zip", "pickle"]

_WRAPPERS = ("g_ema", "params_ema", "params", "state_dict", "model_state_dict", "model")
_MAX_WRAPPERS = 4
_MAX_PICKLE_BYTES = 32 * 2**20  # the names and shapes of the largest known file take 0.3 MB
_ZIP_MAGIC = b"PK\x03\x04"
_LEGACY_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # torch.serialization.MAGIC_NUMBER, pickled
_FETCH_AGAIN = "Fetch it again"
_WANTED = re.compile(r"GLOBAL (\S+)")

# Everything torch.load was seen to raise on damaged files (each byte of a small one changed in turn).
_DAMAGE = (
    RuntimeError,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    OverflowError,
    MemoryError,
    ImportError,
    struct.error,
    zipfile.BadZipFile,
)


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Read the tensors of a weights file: .safetensors, or whatever torch saved.

    The dict may stand bare or under `g_ema`, `params_ema`, `params`, `state_dict` or `model`; the prefix `module.`
    of multi-GPU training is taken off. The tensors are on the CPU and do not depend on the file any more, so that it
    may be replaced while they are in use.

    Raises:
        WeightsNotFoundError: if there is no such file.
        UnsupportedWeightsError: if it is of another format, damaged, larger when unpacked than on disk, holds more
            than tensors, or holds NaN or infinite weights.
    """
    path = Path(path)
    state_dict = _unwrap(path, _read(path, "cpu"))
    in_threads(partial(_check_finite, path), state_dict.keys(), state_dict.values())
    return state_dict


def read_layout(path: str | Path) -> dict[str, Tensor]:
    """Read names, shapes and types of the tensors of a weights file, but not their numbers: quick for any size of file.

    Returns:
        What `read_state_dict` would return, on the device "meta".

    Raises:
        WeightsNotFoundError, UnsupportedWeightsError: as `read_state_dict` does, except for numbers that are not
            finite.
    """
    path = Path(path)
    return {key: value.to("meta") for key, value in _unwrap(path, _read(path, "meta")).items()}


def read_metadata(path: str | Path) -> dict[str, str]:
    """Read the record a .safetensors file carries about itself; empty for every other format.

    Raises:
        WeightsNotFoundError: if there is no such file.
        UnsupportedWeightsError: if it is no weights file, or damaged.
    """
    path = Path(path)
    if file_format(path) != "safetensors":
        return {}
    return dict(_open_safetensors(path).metadata)


def read_saved(path: Path) -> object:
    """Read whatever torch saved that is made of tensors and plain values, such as a checkpoint.

    Raises:
        WeightsNotFoundError: if there is no such file.
        UnsupportedWeightsError: if it is of another format, damaged, or holds other Python objects.
    """
    return _read(path, "cpu")


def file_format(path: Path) -> FileFormat:
    """Tell a weights file's format by its first bytes.

    Raises:
        WeightsNotFoundError: if there is no such file.
        UnsupportedWeightsError: if they are those of no weights file.
    """
    if not path.is_file():
        raise WeightsNotFoundError(f'there is no weights file "{path}"')
    with path.open("rb") as file:
        head = file.read(64)
    if head.startswith(_ZIP_MAGIC):
        return "zip"
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= path.stat().st_size:
        return "safetensors"
    if head.startswith(_LEGACY_MAGIC):
        return "pickle"
    raise UnsupportedWeightsError(f'"{path.name}" is no weights file: {_what_it_is(head)}')


def _what_it_is(head: bytes) -> str:
    start = head.lstrip().lower()
    if not head:
        return f"it is empty. {_FETCH_AGAIN}"
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        return f"it is a web page, as servers send in place of a file they do not give. {_FETCH_AGAIN}"
    if start.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer, which only says where the weights are. Fetch the file itself"
    if start.startswith(b"\x80"):
        return "it is a pickle that torch.save did not write; such files can run code and are refused"
    if start.startswith(b"gguf"):
        return "it is a GGUF language model"
    expected = "expected a .safetensors file, or a .pth, .pt or .ckpt file of PyTorch"
    return (
        f"{expected}, got one that begins with {head[:8]!r}. If it came from a broken transfer: {_FETCH_AGAIN.lower()}"
    )


def _read(path: Path, device: Literal["cpu", "meta"]) -> object:
    kind = file_format(path)
    if kind == "safetensors":
        return _read_safetensors(path, device)
    return _read_torch(path, device, kind)


def _open_safetensors(path: Path) -> TensorFile:
    try:
        return TensorFile.open(path)
    except ValueError as error:
        raise _damaged(path, error) from error


def _read_safetensors(path: Path, device: str) -> dict[str, Tensor]:
    file = _open_safetensors(path)
    if device == "meta":
        return file.outline()
    try:
        return file.read()
    except ValueError as error:
        raise _damaged(path, error) from error


def _read_torch(path: Path, device: str, kind: FileFormat) -> object:
    try:
        if kind == "zip":
            _check_archive(path)
        # An open file, because torch.load chooses another reader by the ending of a path.
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns about its own old storage classes
            content: object = torch.load(file, map_location=device, weights_only=True)
    except pickle.UnpicklingError as error:
        wanted = _WANTED.search(str(error))  # torch's own words advise to switch the check off
        what = (
            f'holds more than tensors: it asks for "{wanted[1]}"'
            if wanted
            else "is damaged, or holds more than tensors"
        )
        raise UnsupportedWeightsError(
            f'"{path.name}" {what}. Python objects in such files can run code and are refused. Use a file from its '
            "publisher, best as .safetensors."
        ) from error
    except _DAMAGE as error:
        raise _damaged(path, error) from error
    return content


def _check_archive(path: Path) -> None:
    # torch stores tensors uncompressed: an honest archive never unpacks to more than its own length.
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    unpacked = sum(entry.file_size for entry in entries)
    on_disk = path.stat().st_size
    if unpacked > on_disk:
        raise UnsupportedWeightsError(
            f'"{path.name}" would unpack from {on_disk:,} to {unpacked:,} bytes; weights files never do. It was made '
            "to fill memory, or is no weights file: delete it."
        )
    largest = max((entry.file_size for entry in entries if entry.filename.endswith(".pkl")), default=0)
    if largest > _MAX_PICKLE_BYTES:
        raise UnsupportedWeightsError(
            f'"{path.name}" holds a list of tensors of {largest:,} bytes; {_MAX_PICKLE_BYTES:,} are far more than any '
            "network needs. It is no weights file: delete it."
        )


def _unwrap(path: Path, content: object) -> dict[str, Tensor]:
    for _ in range(_MAX_WRAPPERS):
        inner = _wrapped(content)
        if inner is None:
            break
        content = inner
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        kind = ", ".join(map(str, content)) if isinstance(content, Mapping) else type(content).__name__
        raise UnsupportedWeightsError(f'"{path.name}" holds no state dict, but: {kind[:200]}')
    state_dict = {str(key).removeprefix("module."): value.detach() for key, value in content.items()}
    for key, value in state_dict.items():
        _check_plain(path, key, value)
    return state_dict


def _wrapped(content: object) -> Mapping[Any, Any] | None:
    if isinstance(content, Mapping):
        for wrapper in _WRAPPERS:
            inner = content.get(wrapper)
            if isinstance(inner, Mapping):
                return inner
    return None


def _check_plain(path: Path, key: str, value: Tensor) -> None:
    if value.layout != torch.strided or value.is_quantized or value.is_complex():
        raise UnsupportedWeightsError(
            f'"{path.name}": "{key}" is stored as {value.layout} {value.dtype}; expected plain tensors of numbers'
        )
    if value.dim() > MAX_DIMENSIONS:
        raise UnsupportedWeightsError(f'"{path.name}": "{key}" has {value.dim()} dimensions; no weight has so many')
    # A tensor of stride 0 spans any shape over one stored number, and would fill memory once copied.
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        raise UnsupportedWeightsError(
            f'"{path.name}": "{key}" claims shape {tuple(value.shape)} over {value.untyped_storage().nbytes():,} '
            "stored bytes. The file was made to fill memory: delete it."
        )


def _check_finite(path: Path, key: str, value: Tensor) -> None:
    if not value.is_floating_point() or value.numel() == 0:
        return
    # NaN and infinity survive a sum: one quick pass. torch's own reductions wait for every core, which on a busy
    # machine took longer than reading the file. Only a sum that is not finite is looked at number by number.
    numbers = value.float().numpy() if value.dtype == torch.bfloat16 else value.numpy()
    with np.errstate(all="ignore"):
        suspect = not np.isfinite(np.sum(numbers, dtype=np.float32))
    if suspect and not np.isfinite(numbers).all():
        raise UnsupportedWeightsError(
            f'"{path.name}" is damaged: "{key}" holds NaN or infinite weights. {_FETCH_AGAIN}, or use another file.'
        )


def _damaged(path: Path, error: BaseException) -> UnsupportedWeightsError:
    return UnsupportedWeightsError(
        f'"{path.name}" is damaged or cut short ({_first_line(error)}). {_FETCH_AGAIN}: it has '
        f"{path.stat().st_size:,} bytes."
    )


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:160].rstrip(". ")
