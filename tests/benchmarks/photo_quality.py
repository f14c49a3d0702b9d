"""How much nearer to the truth do whole portraits come, with faces as large as the photos show them?

    python -m tests.benchmarks.photo_quality FOLDER [--scales 1 0.45 0.22] [--every 4] [--smallest 210]

Clean portraits are made poor at their own size, once for every scale, restored by the pack's defaults, and compared
where the mask shows the face. Prints PSNR in dB and SSIM of the poor photo, of the result without the photo's detail,
and of the result. Needs scikit-image.
"""

import argparse
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
import torch
from skimage.metrics import structural_similarity

from gpen_core.paste import PasteSettings
from gpen_core.photo import list_photos
from gpen_core.pipeline import PortraitSettings, restore_portrait
from gpen_core.training.data import read_face
from gpen_core.training.degrade import Picture, jpeg

Pair: TypeAlias = tuple[Picture, Picture]
SETTINGS = {"no detail": PortraitSettings(paste=PasteSettings(keep_detail=0)), "restored": PortraitSettings()}
METHODS = ("nothing", *SETTINGS)


def grain(clear: Picture, seed: int, levels: float) -> Pair:
    noise = np.random.default_rng(seed).normal(0, levels / 255, clear.shape).astype(np.float32)
    return clear, jpeg(np.clip(clear + noise, 0, 1), 85)


def compressed(clear: Picture, seed: int, quality: int) -> Pair:
    return clear, jpeg(clear, quality)


def out_of_focus(clear: Picture, seed: int) -> Pair:
    return clear, jpeg(cv2.GaussianBlur(clear, (0, 0), 2), 85)


def soft_with_grain(clear: Picture, seed: int) -> Pair:
    return clear, grain(cv2.GaussianBlur(clear, (0, 0), 1.5), seed, 6)[1]


def enlarged(clear: Picture, seed: int) -> Pair:
    height, width = clear.shape[:2]
    small = grain(cv2.resize(clear, (width // 2, height // 2), interpolation=cv2.INTER_AREA), seed, 6)[1]
    return clear, jpeg(np.clip(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC), 0, 1), 85)


def dim_phone(clear: Picture, seed: int) -> Pair:
    dark = clear**1.4 * np.float32(0.6)
    noise = np.random.default_rng(seed).normal(0, 0.03, clear.shape).astype(np.float32)
    return dark, jpeg(cv2.bilateralFilter(np.clip(dark + noise, 0, 1), 5, 0.06, 2), 80)


CASES: dict[str, Callable[[Picture, int], Pair]] = {
    "clean (JPEG 97)": partial(compressed, quality=97),
    "JPEG 60": partial(compressed, quality=60),
    "JPEG 30": partial(compressed, quality=30),
    **{f"noise {levels}, JPEG 85": partial(grain, levels=levels) for levels in (3, 6, 9, 15)},
    "out of focus": out_of_focus,
    "soft, noise 6": soft_with_grain,
    "enlarged by 2, noise 6": enlarged,
    "dim phone": dim_phone,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--scales", type=float, nargs="+", default=[1.0])
    parser.add_argument("--every", type=int, default=1, help="take every so-manieth photo")
    parser.add_argument("--smallest", type=float, default=24, help="leave photos with a smaller face, in pixels")
    args = parser.parse_args()
    for scale in args.scales:
        figures: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
        sizes: list[float] = []
        for number, path in enumerate(list_photos(args.folder)[:: args.every]):
            clear = read_face(path)
            clear = cv2.resize(clear, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale != 1 else clear
            faces = restore_portrait(tensor(clear)).faces
            if len(faces) == 1 and faces[0].size_px >= args.smallest:
                sizes.append(faces[0].size_px)
                measure(clear, number, figures)
        if sizes:
            print(f"\nscale {scale:g}: {len(sizes)} faces of {min(sizes):.0f} to {max(sizes):.0f} px\n")
            print(table(figures))


def measure(clear: Picture, number: int, figures: dict[tuple[str, str], list[tuple[float, float]]]) -> None:
    """Add the figures of one photo in every case."""
    for case, make in CASES.items():
        truth, poor = make(clear, number)
        results = {name: restore_portrait(tensor(poor), settings=settings) for name, settings in SETTINGS.items()}
        shown = results["restored"].mask.numpy() > 0.5
        if not shown.any():
            continue
        pictures = {name: result.pixels.numpy().transpose(1, 2, 0) for name, result in results.items()}
        for name, picture in {"nothing": poor, **pictures}.items():
            figures[case, name].append(compare(picture, truth, shown))


def compare(picture: Picture, truth: Picture, shown: np.ndarray) -> tuple[float, float]:
    """Give PSNR in dB and SSIM where the face shows."""
    error = float(np.square(picture - truth).mean(axis=2)[shown].mean())
    likeness = structural_similarity(picture, truth, channel_axis=2, data_range=1.0, full=True)[1]
    return -10 * float(np.log10(max(error, 1e-9))), float(likeness.mean(axis=2)[shown].mean())


def tensor(picture: Picture) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)))


def table(figures: dict[tuple[str, str], list[tuple[float, float]]]) -> str:
    """Give the means per case, one column per method."""
    lines = [f"| poor photo | {' | '.join(METHODS)} |", "| --- " * (1 + len(METHODS)) + "|"]
    for case in CASES:
        means = [np.mean(figures[case, name], axis=0) for name in METHODS if figures[case, name]]
        lines.append(f"| {case} | {' | '.join(f'{psnr:.2f}, {ssim:.3f}' for psnr, ssim in means)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
