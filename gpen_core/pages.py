"""Memory for what is large: in large pages where the system has them, and given back as soon as nobody uses it."""

import contextlib
import mmap

import torch
from torch import Tensor

_LARGE = 4 << 20
"""Bytes from which memory is taken from the system itself: two large pages of common processors."""


def allocate(count: int) -> Tensor:
    """Give `count` bytes of memory with undefined content: (count,) uint8 on the CPU.

    Linux fills fresh memory with zeros page by page, which takes longer than reading a weights file into it; in pages
    of 2 MB in place of 4 kB it takes a third. What the allocator of the C library frees, it may keep for itself; memory
    from here goes back at once.

    Raises:
        RuntimeError: if there is not enough memory, as torch raises it.
    """
    if count >= _LARGE and hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # torch says it in the usual words
            pages = mmap.mmap(-1, count, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            with contextlib.suppress(OSError):  # a system without large pages
                pages.madvise(mmap.MADV_HUGEPAGE)
            return torch.frombuffer(pages, dtype=torch.uint8)
    return torch.empty(count, dtype=torch.uint8, device="cpu")
