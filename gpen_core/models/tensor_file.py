"""Read .safetensors files: checked before anything is allocated, and with several hands at once."""

import json
import math
import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..pages import allocate

MAX_DIMENSIONS = 8
"""Of a tensor; no layer has more than five, and not every NumPy takes more than 32."""

_LENGTH_BYTES = 8
_MAX_HEADER_BYTES = 32 * 2**20  # the header of the largest known file takes 0.03 MB
_MAX_NUMBERS = 2**48  # of one tensor; also where a size of 0 hides how large the others are
_THREADS = 4
_DTYPES: Mapping[str, torch.dtype] = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


@dataclass(frozen=True)
class StoredTensor:
    """Where one tensor stands in its file.

    Attributes:
        dtype: the type of its numbers.
        shape: its shape.
        start: its first byte, from the beginning of the file.
    """

    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int

    @property
    def size_bytes(self) -> int:
        """How many bytes it takes in the file."""
        return math.prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True)
class TensorFile:
    """What the header of a .safetensors file says, checked against the file's length.

    Attributes:
        path: the file.
        tensors: name -> where it stands, in the file's order.
        metadata: the record the file carries about itself.
    """

    path: Path
    tensors: Mapping[str, StoredTensor]
    metadata: Mapping[str, str]

    @classmethod
    def open(cls, path: Path) -> "TensorFile":
        """Read and check a header: the tensors must fill the file exactly, without gaps or overlaps.

        Raises:
            ValueError: if it is damaged, of an unknown type, or does not fit the file.
        Source: safetensors, `README.md`, "Format".
        """
        with path.open("rb") as file:
            length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
            if length > _MAX_HEADER_BYTES:
                raise ValueError(f"its header claims {length:,} bytes")
            header = _parsed(file.read(length))
        if not isinstance(header, dict):
            raise ValueError("its header is no table")
        metadata = header.pop("__metadata__", None) or {}
        if not isinstance(metadata, dict):
            raise ValueError("its record is no table")
        tensors = _tensors(header, _LENGTH_BYTES + length, path.stat().st_size)
        return cls(path, tensors, {str(key): str(value) for key, value in metadata.items()})

    def outline(self) -> dict[str, Tensor]:
        """Give every tensor on the device "meta": shapes and types without numbers."""
        return {name: torch.empty(one.shape, dtype=one.dtype, device="meta") for name, one in self.tensors.items()}

    def read(self) -> dict[str, Tensor]:
        """Read every tensor into memory of its own, on the CPU.

        Memory mapping would be quicker still, but a file rewritten in place would then change or crash a network that
        is running.

        Raises:
            ValueError: if the file has become shorter since its header was read.
        """
        # Allocated here and not by the readers: threads have heaps of their own, which give nothing back to each other.
        content = [allocate(one.size_bytes) for one in self.tensors.values()]
        in_threads(self._fill, content, self.tensors.values())
        return {
            name: numbers.view(one.dtype).view(one.shape)
            for (name, one), numbers in zip(self.tensors.items(), content, strict=True)
        }

    def _fill(self, content: Tensor, one: StoredTensor) -> None:
        left = memoryview(content.numpy().data)
        with self.path.open("rb", buffering=0) as file:
            file.seek(one.start)
            while left:
                count = file.readinto(left)
                if not count:
                    raise ValueError("it is shorter than its header says")
                left = left[count:]


def in_threads(work: Callable[..., object], *items: Iterable[object]) -> None:
    """Call `work` for the items of each position, several at once; the first exception in their order is raised."""
    with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)) as pool:
        list(pool.map(work, *items))


def _parsed(header: bytes) -> object:
    try:
        return json.loads(header.decode("utf-8"))
    except RecursionError as error:
        raise ValueError("its header is nested too deeply") from error


def _tensors(header: Mapping[str, object], data_start: int, file_size: int) -> dict[str, StoredTensor]:
    tensors: dict[str, StoredTensor] = {}
    end = data_start
    for name, (start, stop, one) in sorted(
        ((name, _entry(name, entry, data_start)) for name, entry in header.items()), key=lambda item: item[1][:2]
    ):
        if start != end or stop - start != one.size_bytes:
            raise ValueError(f'"{name}" does not stand where its header says')
        tensors[name] = one
        end = stop
    if end != file_size:
        raise ValueError(f"its tensors end at byte {end:,}, the file at {file_size:,}")
    return tensors


def _entry(name: str, entry: object, data_start: int) -> tuple[int, int, StoredTensor]:
    if not isinstance(entry, dict):
        raise ValueError(f'the entry of "{name}" is no table')
    dtype = _DTYPES.get(str(entry.get("dtype")))
    if dtype is None:
        raise ValueError(f'"{name}" is of the type {entry.get("dtype")}, which no network here uses')
    shape, offsets = _sizes(name, entry.get("shape")), _sizes(name, entry.get("data_offsets"))
    if len(offsets) != 2:
        raise ValueError(f'the entry of "{name}" is damaged')
    if len(shape) > MAX_DIMENSIONS or math.prod(max(1, size) for size in shape) > _MAX_NUMBERS:
        raise ValueError(f'"{name}" claims a shape that no weight has')
    start, stop = (data_start + offset for offset in offsets)
    return start, stop, StoredTensor(dtype, shape, start)


def _sizes(name: str, values: object) -> tuple[int, ...]:
    if not isinstance(values, list) or not all(type(value) is int and value >= 0 for value in values):
        raise ValueError(f'the entry of "{name}" is damaged')
    return tuple(values)
