"""Tables and contact sheets of the quality benchmark."""

import csv
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from .measures import Figures

COLUMNS = ("case", "group", "method", "faces", "PSNR", "SSIM", "perceptual", "identity", "skin ΔE")
HEADER = f"| {' | '.join(COLUMNS)} |\n{'| --- ' * len(COLUMNS)}|\n"


class Row(NamedTuple):
    case: str
    group: str
    method: str
    file: str
    figures: Figures


def table(rows: Sequence[Row]) -> str:
    """Means per case and method over all faces, then per group of sources."""
    everywhere = [row._replace(group="all") for row in rows]
    return HEADER + _lines(everywhere) + "\n" + HEADER + _lines(rows)


def _lines(rows: Sequence[Row]) -> str:
    grouped: dict[tuple[str, str, str], list[Figures]] = defaultdict(list)
    for row in rows:
        grouped[row.case, row.group, row.method].append(row.figures)
    text = ""
    for key, figures in grouped.items():
        psnr, ssim, perceptual, identity, skin = np.mean(figures, axis=0)
        figures_text = f"{psnr:.2f} | {ssim:.4f} | {perceptual:.4f} | {identity:.3f} | {skin:.2f}"
        text += f"| {' | '.join(key)} | {len(figures)} | {figures_text} |\n"
    return text


def write_rows(rows: Sequence[Row], path: Path) -> None:
    with path.open("w", newline="", encoding="utf8") as file:
        writer = csv.writer(file, delimiter="\t")
        writer.writerow(("case", "group", "method", "file", *Figures._fields))
        writer.writerows((*row[:4], *(f"{value:.5f}" for value in row.figures)) for row in rows)


def contact_sheet(faces: Sequence[Sequence[Tensor]], path: Path) -> None:
    """One column per face: every method from the top, the true face last."""
    columns = [torch.cat(list(column), dim=1) for column in faces]
    levels = (torch.cat(columns, dim=2).clamp(0, 1) * 255).round().byte().numpy().transpose(1, 2, 0)
    cv2.imencode(".png", np.ascontiguousarray(levels[:, :, ::-1]))[1].tofile(path)
