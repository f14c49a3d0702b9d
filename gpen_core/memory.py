"""What to do when memory runs out: try with less, and say so."""

import ctypes
import gc
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import torch

from .errors import ModelMemoryError, SettingsError

logger = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")

_ALLOCATOR_WORDS = (
    "out of memory",  # CUDA, MPS, HIP; also "CUDA error: out of memory"
    "can't allocate memory",  # c10 DefaultCPUAllocator on Linux and macOS
    "not enough memory",  # c10 DefaultCPUAllocator on Windows
    "cudnn_status_alloc_failed",
    "cublas_status_alloc_failed",
    "could not allocate tensor",  # DirectML
)


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an exception means that an allocator ran dry.

    Recognises `torch.OutOfMemoryError` under both its names, Python's and NumPy's `MemoryError`, and the plain
    `RuntimeError`s of the CPU, MPS, cuDNN and DirectML allocators, which can be told only by their words. A
    `ModelMemoryError` is already an answer and is not counted.
    """
    if isinstance(error, ModelMemoryError):
        return False
    if isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _ALLOCATOR_WORDS)


@dataclass(frozen=True)
class OutOfMemory:
    """That something did not fit; `words` is the first line of what the allocator said."""

    words: str


def attempt(run: Callable[[], Result]) -> Result | OutOfMemory:
    """Run something that may not fit into memory, and tell it if it does not; every other exception passes through.

    After an `OutOfMemory` nothing of the failed work is held any more, and what torch cached went back to the device.
    """
    try:
        return run()
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        words = (str(error).strip() or type(error).__name__).splitlines()[0]
    # Outside the except block: the traceback that held the work's tensors is gone by now.
    empty_caches()
    return OutOfMemory(words)


def run_halving(
    items: Sequence[Item],
    run: Callable[[Sequence[Item]], list[Result]],
    batch_size: int,
    on_halved: Callable[[int], None],
) -> list[Result]:
    """Run `items` in batches, halving the batch each time memory runs out.

    A batch that fails is run again in smaller ones; what succeeded before is kept, and the smaller size stays for the
    rest. Every other exception passes through untouched.

    Args:
        items: what to work on, in order.
        run: works on one batch, never empty; gives one result per item.
        batch_size: how many items to try at once, at least 1.
        on_halved: called with each new, smaller batch size.

    Returns:
        One result per item, in order.

    Raises:
        ModelMemoryError: if a single item does not fit.
    """
    if batch_size < 1:
        raise SettingsError(f"batch_size must be at least 1, got {batch_size}")
    results: list[Result] = []
    size = max(1, min(batch_size, len(items)))
    while len(results) < len(items):
        batch = items[len(results) : len(results) + size]
        outcome = attempt(partial(run, batch))
        if not isinstance(outcome, OutOfMemory):
            results += outcome
            continue
        if len(batch) == 1:
            raise ModelMemoryError(_too_small(batch_size, len(items), outcome.words)) from None
        size = len(batch) // 2
        logger.warning("Out of memory with %d at once; trying again with %d (%s)", len(batch), size, outcome.words)
        on_halved(size)
    return results


def empty_caches() -> None:
    """Give memory that torch holds but does not use back to the device; live tensors stay."""
    gc.collect()
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()


def return_free_memory() -> None:
    """Give what is freed back to the device and to the system."""
    empty_caches()
    trim_heap()


def trim_heap() -> None:
    """Give freed memory back to the system; takes milliseconds.

    The allocator of Linux keeps the memory of freed weights and pictures for itself, and the process stays as large as
    before, until it is told to trim its heap.
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc has it, musl does not
        if trim is not None:
            trim(0)


def _too_small(batch_size: int, count: int, words: str) -> str:
    tried = "one face" if min(batch_size, count) <= 1 else f"batches of {min(batch_size, count)} and then one face"
    return (
        f"Out of memory: {tried} at a time does not fit ({words}). Close other programs that use this device, "
        "choose a smaller restorer, or run on the CPU."
    )
