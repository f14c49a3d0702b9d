"""Memory of the fast generator: buffers that are used again."""

import torch
from torch import Tensor

from ...pages import allocate


class Workspace:
    """Buffers by name, kept between calls: fresh memory costs more than the arithmetic done on it."""

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        self.dtype = dtype
        self._buffers: dict[str, Tensor] = {}

    def take(self, name: str, *shape: int) -> Tensor:
        """Give the buffer `name` in `shape`, undefined; whoever took this name before must be done with it."""
        count = torch.Size(shape).numel()
        if name not in self._buffers or self._buffers[name].numel() < count:
            self._buffers.pop(name, None)
            self._buffers[name] = allocate(count * self.dtype.itemsize).view(self.dtype)
        return self._buffers[name][:count].view(shape)

    @property
    def nbytes(self) -> int:
        """Memory held now."""
        return sum(buffer.nbytes for buffer in self._buffers.values())
