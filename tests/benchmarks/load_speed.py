"""How long a GPEN of the published 512 size takes to load: as PyTorch saved it, and as a .safetensors copy.

python -m tests.benchmarks.load_speed
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import torch

from gpen_core.memory import return_free_memory
from gpen_core.models.convert import convert
from gpen_core.models.gpen import GpenGenerator, GpenSpec
from gpen_core.models.load import load_restorer
from gpen_core.models.manager import ModelManager


def forget(path: Path) -> None:
    """Drop a file from the system's cache, where the system can."""
    if hasattr(os, "posix_fadvise"):
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def load_ms(path: Path, cold: bool) -> float:
    if cold:
        forget(path)
    return_free_memory()  # or the second load finds the memory of the first one ready
    began = time.perf_counter()
    load_restorer(path)
    return (time.perf_counter() - began) * 1000


def main() -> None:
    """Print the best and the median of each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=9)
    repeats = parser.parse_args().repeats
    with tempfile.TemporaryDirectory() as folder:
        saved = Path(folder) / "large.pth"
        torch.save({"g_ema": GpenGenerator(GpenSpec.published(512)).state_dict()}, saved)
        copy = convert(saved)
        load_ms(saved, cold=False)
        for cold in (False, True):
            times = {path: [] for path in (saved, copy)}
            for _ in range(repeats):
                for path, taken in times.items():
                    taken.append(load_ms(path, cold))
            state = "not in the system's cache" if cold else "in the system's cache"
            for name, figure in (("best", min), ("median", statistics.median)):
                pth, safe = (figure(taken) for taken in times.values())
                print(f"{state}, {name}: .pth {pth:.0f} ms, .safetensors {safe:.0f} ms, ratio {safe / pth:.2f}")
        manager = ModelManager()
        manager.restorer(copy)
        began = time.perf_counter()
        manager.restorer(copy)
        print(f"held by the manager: {(time.perf_counter() - began) * 1000:.2f} ms")


if __name__ == "__main__":
    main()
