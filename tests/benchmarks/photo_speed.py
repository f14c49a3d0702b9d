"""Time reading, writing and printing at 12 megapixels, weigh memory at 100: python tests/benchmarks/photo_speed.py.

Memory is the highest resident size of a process of its own above what it held before the call (Linux).
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image

from gpen_core.photo import read_photo, write_photo
from gpen_core.printing import PAPERS, PrintSpec, lay_out, write_print

ASTRONAUT = Path(__file__).parents[1] / "data" / "astronaut.png"


def photo_like(width: int, height: int) -> np.ndarray:
    """Give (H, W, 3) uint8 with a photo's edges and a camera's noise."""
    picture = cv2.resize(cv2.imread(str(ASTRONAUT)), (width, height), interpolation=cv2.INTER_CUBIC)
    noise = np.random.default_rng(1).integers(-4, 5, (256, 256, 3), dtype=np.int16)
    for top in range(0, height, 256):
        for left in range(0, width, 256):
            part = picture[top : top + 256, left : left + 256]
            part[:] = np.clip(part + noise[: part.shape[0], : part.shape[1]], 0, 255)
    return picture[:, :, ::-1]


def fastest(name: str, call: Callable[[], object], runs: int = 3) -> None:
    seconds, work = [], []
    for _ in range(runs):
        start, start_work = time.perf_counter(), time.process_time()
        call()
        seconds.append(time.perf_counter() - start)
        work.append(time.process_time() - start_work)
    print(f"{name:38s} {min(seconds):6.3f} s, {min(work):6.3f} s of processor time")


def time_all(folder: Path) -> None:
    picture = Image.fromarray(photo_like(4000, 3000))
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(folder / "a.jpg", quality=92)
    picture.save(folder / "turned.jpg", quality=92, exif=exif)
    picture.save(folder / "a.webp", quality=90, method=0)
    picture.save(folder / "a.png", compress_level=1)
    picture.convert("CMYK").save(folder / "cmyk.jpg", quality=92)
    for name in ("a.jpg", "turned.jpg", "cmyk.jpg", "a.png", "a.webp"):
        fastest(f"read {name}", lambda name=name: read_photo(folder / name))
    pixels = read_photo(folder / "a.jpg").pixels
    for name, settings in (
        ("b.jpg", {}),
        ("b.png", {}),
        ("b.tif", {}),
        ("b.webp", {}),
        ("deep.png", {"bit_depth": 16}),
        ("deep.tif", {"bit_depth": 16}),
    ):
        fastest(f"write {name}", lambda name=name, s=settings: write_photo(folder / name, pixels, dpi=300, **s), 1)
        print(f"{'':38s} {(folder / name).stat().st_size / 1e6:6.1f} MB")
    for name in ("deep.png", "deep.tif"):
        fastest(f"read {name} (16 bits)", lambda name=name: read_photo(folder / name), 2)
    fastest("lay out ×1.5 (12 → 27 megapixels)", lambda: lay_out(pixels, PrintSpec()))
    a3 = PrintSpec(paper=PAPERS["A3"])
    fastest("lay out on A3 at 300 dpi", lambda: lay_out(pixels, a3))
    sheet = lay_out(pixels, a3)
    fastest("write A3 as PDF", lambda: write_print(folder / "a3.pdf", sheet), 1)


WEIGH = """
import sys
from pathlib import Path
from gpen_core.photo import read_photo, write_photo
from gpen_core.printing import PrintSpec, lay_out
def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith("VmHWM")))
read_photo(sys.argv[2]); before = peak()
photo = read_photo(sys.argv[1]); after_read = peak()
print(f"{'read ' + sys.argv[1][-40:]:60s} + {(after_read - before) / 2**20:6.0f} MiB")
if len(sys.argv) > 3:
    write_photo(sys.argv[3], photo.pixels); after_write = peak()
    print(f"{'then written as ' + sys.argv[3][-4:]:60s} + {(after_write - after_read) / 2**20:6.0f} MiB")
"""


def weigh_all(folder: Path) -> None:
    picture = Image.fromarray(photo_like(12_000, 8_400))
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.resize((64, 48)).save(folder / "small.jpg")
    picture.save(folder / "large.jpg", quality=92)
    picture.save(folder / "large_turned.jpg", quality=92, exif=exif)
    write_photo(folder / "large_16.tif", torch.rand(3, 8400, 12_000), bit_depth=16)
    del picture
    for name, output in (("large.jpg", "out.jpg"), ("large_turned.jpg", "out.tif"), ("large_16.tif", None)):
        words = [str(folder / word) for word in (name, "small.jpg", output) if word]
        subprocess.run([sys.executable, "-c", WEIGH, *words], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--no-memory", action="store_true", help="leave the 100-megapixel part out")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    cv2.setNumThreads(arguments.threads)
    with tempfile.TemporaryDirectory() as folder:
        time_all(Path(folder))
        if not arguments.no_memory:
            weigh_all(Path(folder))


if __name__ == "__main__":
    main()
