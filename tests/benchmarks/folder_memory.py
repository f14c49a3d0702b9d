"""Weigh a long folder run: python tests/benchmarks/folder_memory.py [--photos 500].

Photos of 0.2 to 5 megapixels, made from the built-in sample, go through `restore_folder` with the embedded models in
one process (Linux). Fails if a photo fails or memory grows by 50 MiB or more between photo 50 and the last.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch.nn.functional import interpolate

from gpen_core.batch import FolderSpec, restore_folder
from gpen_core.commands.restore import SAMPLE
from gpen_core.photo import read_photo, write_photo
from gpen_core.progress import NoProgress

LIMIT_MIB = 50
SETTLED = 50
SUFFIXES = (".jpg", ".png", ".webp", ".jpg", ".tif")


class Scale(NoProgress):
    """Notes the resident memory between photos, in MiB."""

    def __init__(self):
        self.weights = []
        self._between = False

    def advance(self, units=1, preview=None):
        self._between = True

    def check_cancelled(self):
        if self._between:
            self._between = False
            self.weigh()

    def weigh(self):
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        self.weights.append(pages * 4096 / 2**20)
        if len(self.weights) % 50 == 0:
            print(f"after photo {len(self.weights):4d}: {self.weights[-1]:7.1f} MiB", flush=True)


def make_photos(folder, count):
    sample = read_photo(SAMPLE).pixels
    random = torch.Generator().manual_seed(0)
    for number in range(count):
        side = int(torch.randint(450, 1400, (), generator=random))
        if number % 25 == 7:
            side = 2450
        photo = interpolate(sample[None], size=(side, side * 4 // 5), mode="bicubic", antialias=True)[0].clamp(0, 1)
        photo = photo.roll(int(torch.randint(-40, 40, (), generator=random)), -1)
        write_photo(folder / f"{number:04d}{SUFFIXES[number % len(SUFFIXES)]}", photo, quality=85)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=500)
    count = parser.parse_args().photos
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "in"
        make_photos(source, count)
        scale, start = Scale(), time.monotonic()
        report = restore_folder(FolderSpec(source, Path(folder) / "out"), progress=scale)
        elapsed = time.monotonic() - start
        scale.weigh()
    growth = scale.weights[-1] - scale.weights[min(SETTLED, count) - 1]
    print(report.summary())
    print(f"{elapsed / count:.2f} s per photo; highest between photos {max(scale.weights):.1f} MiB")
    print(f"growth from photo {min(SETTLED, count)} to {count}: {growth:+.1f} MiB (limit {LIMIT_MIB})")
    return 0 if report.restored == count and growth < LIMIT_MIB else 1


if __name__ == "__main__":
    sys.exit(main())
