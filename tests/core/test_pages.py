"""Large memory: usable as any other, given back at once, and refused in torch's own words."""

import gc
import mmap
import sys
from pathlib import Path

import pytest
import torch

from gpen_core.memory import is_out_of_memory
from gpen_core.pages import allocate

LARGE = 64 << 20


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE


@pytest.mark.parametrize("count", [0, 1, 4096, LARGE + 1])
def test_memory_of_any_size_can_be_written_and_viewed(count):
    memory = allocate(count)

    assert memory.shape == (count,)
    assert memory.dtype == torch.uint8
    memory.fill_(7)
    assert int(memory.sum(dtype=torch.int64)) == 7 * count
    assert allocate(4 * LARGE).view(torch.float32).shape == (LARGE,)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_large_memory_goes_back_when_the_last_view_is_gone():
    memory = allocate(LARGE).fill_(1)
    view = memory.view(torch.float32)[5:]
    full = resident()

    del memory
    assert view[0] != 0
    del view
    gc.collect()

    assert full - resident() > LARGE * 0.9


def test_more_than_there_is_is_an_error_of_the_usual_kind():
    with pytest.raises(RuntimeError) as caught:
        allocate(1 << 55)

    assert is_out_of_memory(caught.value)


def test_a_system_without_large_pages_gives_small_ones(monkeypatch):
    monkeypatch.delattr(mmap, "MADV_HUGEPAGE", raising=False)

    assert int(allocate(LARGE).fill_(1)[-1]) == 1
