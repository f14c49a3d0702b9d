"""Running out of memory: batches halve, one face is the floor, other errors pass."""

import logging

import numpy as np
import pytest
import torch

from gpen_core.errors import ModelMemoryError, SettingsError
from gpen_core.memory import is_out_of_memory, run_halving

CPU_WORDS = "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried …"
CUDA_WORDS = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 4.00 GiB\nmore lines"


class Device:
    """Holds `room` items at once and raises `error` beyond that; remembers the batches it was given."""

    def __init__(self, room, error):
        self.room, self.error, self.batches = room, error, []

    def __call__(self, batch):
        self.batches.append(list(batch))
        if len(batch) > self.room:
            raise self.error
        return [item * 10 for item in batch]


REAL_ERRORS = [
    torch.OutOfMemoryError(CUDA_WORDS)
    if hasattr(torch, "OutOfMemoryError")
    else torch.cuda.OutOfMemoryError(CUDA_WORDS),
    torch.cuda.OutOfMemoryError(CUDA_WORDS),
    RuntimeError(CPU_WORDS),
    RuntimeError("CUDA error: out of memory"),
    RuntimeError("MPS backend out of memory (MPS allocated: 17.9 GB)"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    MemoryError(),
]


@pytest.mark.parametrize("error", REAL_ERRORS, ids=lambda error: f"{type(error).__name__}-{str(error)[:12]}")
def test_a_batch_that_does_not_fit_is_halved_and_the_order_kept(error):
    device, halved = Device(1, error), []
    assert run_halving([1, 2, 3, 4, 5], device, 4, halved.append) == [10, 20, 30, 40, 50]
    assert halved == [2, 1]
    assert device.batches == [[1, 2, 3, 4], [1, 2], [1], [2], [3], [4], [5]]


def test_the_real_cpu_allocator_error_is_recognised():
    def run(batch):
        if len(batch) > 1:
            torch.empty(2**60, dtype=torch.uint8)
        return list(batch)

    halved = []
    assert run_halving(["a", "b"], run, 2, halved.append) == ["a", "b"]
    assert halved == [1]


def test_the_real_numpy_allocator_error_is_recognised():
    with pytest.raises(MemoryError) as caught:
        np.zeros(2**58, dtype=np.uint8)
    assert is_out_of_memory(caught.value)


def test_what_succeeded_before_is_not_run_again():
    room = iter([3, 1, 1, 1, 1, 1])
    batches = []

    def run(batch):
        batches.append(list(batch))
        if len(batch) > next(room):
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return list(batch)

    assert run_halving([1, 2, 3, 4, 5, 6, 7], run, 3, lambda size: None) == [1, 2, 3, 4, 5, 6, 7]
    assert batches == [[1, 2, 3], [4, 5, 6], [4], [5], [6], [7]]


def test_one_face_that_does_not_fit_is_a_clear_error():
    with pytest.raises(ModelMemoryError, match=r"batches of 4 and then one face at a time does not fit \(CUDA out of"):
        run_halving([1, 2, 3, 4, 5], Device(0, torch.cuda.OutOfMemoryError(CUDA_WORDS)), 4, lambda size: None)


def test_the_clear_error_is_not_halved_again_by_an_outer_loop():
    assert not is_out_of_memory(ModelMemoryError("out of memory"))


@pytest.mark.parametrize("error", [RuntimeError("size mismatch"), ValueError("bad"), KeyboardInterrupt()])
def test_other_errors_pass_untouched(error):
    device = Device(0, error)
    with pytest.raises(type(error)):
        run_halving([1, 2], device, 2, lambda size: None)
    assert device.batches == [[1, 2]]


def test_nothing_to_do_and_a_batch_larger_than_the_work():
    device = Device(9, RuntimeError(CPU_WORDS))
    assert run_halving([], device, 4, lambda size: None) == []
    assert run_halving([7], device, 4, lambda size: None) == [70]
    assert device.batches == [[7]]


def test_a_batch_size_below_one_is_refused():
    with pytest.raises(SettingsError, match="at least 1, got 0"):
        run_halving([1], list, 0, lambda size: None)


def test_the_halving_is_said_in_the_log(caplog):
    with caplog.at_level(logging.WARNING, logger="gpen_core.memory"):
        run_halving([1, 2], Device(1, RuntimeError(CPU_WORDS)), 2, lambda size: None)
    assert "Out of memory with 2 at once; trying again with 1" in caplog.text
