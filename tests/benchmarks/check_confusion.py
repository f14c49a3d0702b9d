"""Hold the photo check against labelled portraits and print what it said of each label.

The folder holds photos and `manifest.tsv` with the columns file and label (tab-separated):
python tests/benchmarks/check_confusion.py FOLDER [--sheet out.jpg --label profile] [--niqe]
"""

import argparse
import csv
import math
from collections import Counter, defaultdict
from pathlib import Path

import cv2
import numpy as np

from gpen_core.check import PhotoCheck, check_photo
from gpen_core.check_report import annotate
from gpen_core.models.facemesh import load_face_mesh
from gpen_core.models.retinaface import load_detector
from gpen_core.photo import read_photo

ASPECTS: dict[str, tuple[str, ...]] = {
    "no face": ("faces", "visible"),
    "turned": ("yaw",),
    "up/down": ("pitch",),
    "tilted": ("roll",),
    "eyes": ("eyes_open",),
    "light": ("brightness", "near_black", "backlight", "clipped"),
    "glare": ("glare",),
    "blurred": ("sharpness",),
    "noise": ("noise", "blockiness"),
    "scene": ("background", "off_center", "cut_off", "face_size", "niqe"),
}


def main() -> None:
    """Print one row per label: verdicts, and how many photos each aspect complained about."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sheet", type=Path, help="write the annotated photos of --label here")
    parser.add_argument("--label", help="which labels, separated by commas")
    parser.add_argument("--niqe", action="store_true")
    arguments = parser.parse_args()
    with (arguments.folder / "manifest.tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    wanted = arguments.label.split(",") if arguments.label else sorted({row["label"] for row in rows})
    detector, mesh = load_detector(), load_face_mesh()
    checks: dict[str, list[PhotoCheck]] = defaultdict(list)
    sheet = []
    for row in rows:
        if row["label"] in wanted:
            pixels = read_photo(arguments.folder / row["file"]).pixels
            check = check_photo(pixels, detector, mesh=mesh, with_niqe=arguments.niqe)
            checks[row["label"]].append(check)
            if arguments.sheet:
                picture = (annotate(pixels, check).permute(1, 2, 0).numpy()[..., ::-1] * 255).astype(np.uint8).copy()
                picture = cv2.resize(picture, (320, 320), interpolation=cv2.INTER_AREA)
                cv2.putText(picture, Path(row["file"]).stem, (4, 314), 0, 0.45, (255, 255, 255), 1, cv2.LINE_AA)
                sheet.append(picture)
    print_table(checks)
    if arguments.sheet:
        columns = 6
        sheet += [np.zeros_like(sheet[0])] * (math.ceil(len(sheet) / columns) * columns - len(sheet))
        lines = [np.hstack(sheet[first : first + columns]) for first in range(0, len(sheet), columns)]
        cv2.imwrite(str(arguments.sheet), np.vstack(lines))


def print_table(checks: dict[str, list[PhotoCheck]]) -> None:
    """Print the confusion table; 3+1 means three rejected and one warned about for that aspect."""
    print(f"{'label':15s} {'n':>2s} {'ok':>3s} {'warn':>4s} {'rej':>3s} | " + " ".join(f"{a:>8s}" for a in ASPECTS))
    for label, found in sorted(checks.items()):
        verdicts = Counter(check.verdict for check in found)
        cells = [_cell(found, names) for names in ASPECTS.values()]
        counts = f"{len(found):2d} {verdicts['ok']:3d} {verdicts['warn']:4d} {verdicts['reject']:3d}"
        print(f"{label:15s} {counts} | " + " ".join(f"{cell:>8s}" for cell in cells))


def _cell(checks: list[PhotoCheck], names: tuple[str, ...]) -> str:
    worst = [{finding.verdict for finding in check.deciding if finding.name in names} for check in checks]
    rejected = sum("reject" in verdicts for verdicts in worst)
    warned = sum("warn" in verdicts and "reject" not in verdicts for verdicts in worst)
    return f"{rejected}+{warned}" if rejected or warned else "."


if __name__ == "__main__":
    main()
