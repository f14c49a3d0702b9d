"""The report on a folder run: one table for spreadsheets, one file for programs, one page for people."""

import base64
import csv
import html
import io
import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import torch
from torch.nn.functional import interpolate

from .align import enlarged_box
from .compare import face_window
from .errors import PhotoError, SettingsError
from .folder_journal import JOURNAL_NAME, Journal, PhotoRecord, Thumbnails, Verdict
from .photo_write import replacing, to_pillow
from .types import Box

_THUMBNAIL_PX = 144
_NAMES = ("report.csv", "report.json", "report.html")
_COLUMNS = ("photo", "verdict", "reason", "output", "ask_client", "faces", "restored", "width", "height", "seconds")
_ORDER: tuple[Verdict, ...] = ("failed", "rejected", "skipped", "restored")


@dataclass(frozen=True)
class FolderReport:
    """What became of the photos of a folder.

    Attributes:
        source: the input folder.
        output: the output folder.
        model: the restorer's name.
        records: one per photo that was reached, in the order of their names.
        total: how many photos there are; more than the records if the run was stopped.
        elapsed_s: time taken.
        problems: why a report was not written, in words.
    """

    source: Path
    output: Path
    model: str
    records: tuple[PhotoRecord, ...]
    total: int
    elapsed_s: float
    problems: tuple[str, ...] = ()

    def count(self, verdict: Verdict) -> int:
        """How many photos have this verdict."""
        return sum(record.verdict == verdict for record in self.records)

    @property
    def restored(self) -> int:
        """How many photos were restored in this run."""
        return self.count("restored")

    @property
    def failed(self) -> int:
        """How many photos failed."""
        return self.count("failed")

    @property
    def ask_client(self) -> tuple[PhotoRecord, ...]:
        """The photos in whose place a better one is needed."""
        return tuple(record for record in self.records if record.ask_client)

    @property
    def page(self) -> Path:
        """The report for people."""
        return self.output / "report.html"

    def summary(self) -> str:
        """Say in a few lines how the run went."""
        worked = sum(record.seconds > 0 for record in self.records)
        speed = f", {self.elapsed_s / worked:.2f} s per photo" if worked else ""
        lines = [
            f"{len(self.records)} of {self.total} photos in {self.elapsed_s:.0f} s{speed}: "
            + ", ".join(f"{self.count(verdict)} {verdict}" for verdict in reversed(_ORDER))
        ]
        lines += [f"  failed: {record.photo}: {record.reason}" for record in self.records if record.verdict == "failed"]
        if self.ask_client:
            lines.append(f"  {len(self.ask_client)} better photos to ask for, listed in the report")
        lines += [f"  {problem}" for problem in self.problems]
        lines.append(f"Report: {self.page}")
        return "\n".join(lines)


def picture_thumbnails(before: torch.Tensor, after: torch.Tensor | None, face: Box | None) -> Thumbnails:
    """Make the small pictures of one photo: its largest face, or the whole of it if there is none.

    Args:
        before: (3, H, W), sRGB in [0, 1].
        after: (3, n·H, n·W), if there is a result.
        face: the face to show, in pixels of the result.
    """
    return Thumbnails(*("" if picture is None else _jpeg(_shown(picture, after, face)) for picture in (before, after)))


def _shown(picture: torch.Tensor, after: torch.Tensor | None, face: Box | None) -> torch.Tensor:
    if face is None or after is None:
        return picture
    rows, columns = face_window(enlarged_box(face, picture.shape[2] / after.shape[2]), picture)
    return picture[:, rows, columns]


def refuse_foreign_reports(folder: Path) -> None:
    """Refuse an output folder whose reports are not known to be those of such runs, since each run writes them anew.

    Raises:
        SettingsError: naming the file.
    """
    found = [name for name in _NAMES if (folder / name).exists()]
    if found and not (folder / JOURNAL_NAME).exists():
        raise SettingsError(
            f'"{folder / found[0]}" would be replaced by the report on this run, but no run is known to have written '
            f"it ({JOURNAL_NAME} is missing beside it): move it away, or choose another output folder."
        )


def write_reports(report: FolderReport, journal: Journal) -> tuple[str, ...]:
    """Write report.csv, report.json and report.html into the output folder, each whole or not at all.

    Args:
        report: what to write.
        journal: where the thumbnails are.

    Returns:
        What went wrong, in words: a table that is open in a spreadsheet cannot be replaced on Windows.
    """
    problems = []
    for name, lines in zip(_NAMES, (_csv(report), _json(report), _html(report, journal)), strict=True):
        try:
            with replacing(report.output / name, overwrite=True, protect=()) as file:
                for line in lines:
                    # File names of old disks may hold bytes that are no text.
                    file.write(line.encode("utf-8", "backslashreplace"))
        except PhotoError as error:
            problems.append(str(error))
    return tuple(problems)


def _jpeg(pixels: torch.Tensor) -> str:
    height, width = pixels.shape[1:]
    scale = min(1.0, _THUMBNAIL_PX / max(height, width))
    size = max(1, round(height * scale)), max(1, round(width * scale))
    small = interpolate(pixels[None].float(), size=size, mode="area")[0]
    file = io.BytesIO()
    to_pillow(small).save(file, "JPEG", quality=75)
    return base64.b64encode(file.getvalue()).decode("ascii")


def _csv(report: FolderReport) -> Iterator[str]:
    yield "\ufeff"  # by this mark Excel knows UTF-8
    yield _csv_line(_COLUMNS)
    for record in report.records:
        row = _row(record)
        yield _csv_line([row[column] for column in _COLUMNS])


def _csv_line(values: "list[object] | tuple[str, ...]") -> str:
    # A cell that begins like a formula would be run by a spreadsheet: file names come from outside.
    safe = [f"'{value}" if isinstance(value, str) and value[:1] in tuple("=+-@\t\r") else value for value in values]
    line = io.StringIO()
    csv.writer(line).writerow(safe)
    return line.getvalue()


def _row(record: PhotoRecord) -> dict[str, object]:
    values: dict[str, object] = {column: getattr(record, column, "") for column in _COLUMNS}
    values["height"], values["width"] = record.size
    return values


def _json(report: FolderReport) -> Iterator[str]:
    content = {
        "source": str(report.source),
        "output": str(report.output),
        "model": report.model,
        "photos_total": report.total,
        "elapsed_s": round(report.elapsed_s, 1),
        "counts": {verdict: report.count(verdict) for verdict in reversed(_ORDER)},
        "ask_client": [{"photo": record.photo, "reason": record.reason} for record in report.ask_client],
        "photos": [_row(record) for record in report.records],
    }
    yield json.dumps(content, ensure_ascii=False, indent=1) + "\n"


def _html(report: FolderReport, journal: Journal) -> Iterator[str]:
    counts = Counter(record.verdict for record in report.records)
    tiles = "".join(f'<li class="{verdict}"><b>{counts[verdict]}</b> {verdict}</li>' for verdict in reversed(_ORDER))
    left = report.total - len(report.records)
    yield _HEAD
    yield f"<h1>{html.escape(report.source.resolve().name)}</h1>\n<ul class=tiles>{tiles}</ul>\n"
    yield f"<p>{report.total} photos, {report.elapsed_s:.0f} s, restorer {html.escape(report.model)}."
    yield f" <b>Stopped: {left} photos not reached; run again to go on.</b></p>\n" if left else "</p>\n"
    if report.ask_client:
        yield "<h2>Please ask the client for a better photo</h2>\n<ul class=ask>\n"
        for record in report.ask_client:
            yield f"<li><b>{html.escape(record.photo)}</b>: {html.escape(record.reason)}</li>\n"
        yield "</ul>\n"
    yield "<h2>All photos</h2>\n<table>\n<tr><th>Before<th>After<th>Photo<th>Verdict<th>Faces<th>Size<th>Time</tr>\n"
    for record in sorted(report.records, key=lambda record: _ORDER.index(record.verdict)):  # type: ignore[arg-type]
        yield _html_row(record, journal.thumbnails(record))
    yield "</table>\n"


def _html_row(record: PhotoRecord, thumbnails: Thumbnails) -> str:
    cells = [_image(thumbnails.before, "before"), _image(thumbnails.after, "after")]
    name = html.escape(record.photo)
    if record.output:
        name += f'<br><a href="{quote(os.fsencode(record.output))}">{html.escape(record.output)}</a>'
    reason = f"<br>{html.escape(record.reason)}" if record.reason else ""
    cells += [name, f'<span class="{record.verdict}">{record.verdict}</span>{reason}']
    cells += [f"{record.restored} of {record.faces}" if record.faces else "", "", ""]
    if record.size[0]:
        cells[-2] = f"{record.size[1]}×{record.size[0]}"
    if record.seconds:
        cells[-1] = f"{record.seconds:.1f} s"
    return "<tr>" + "".join(f"<td>{cell}" for cell in cells) + "</tr>\n"


def _image(jpeg: str, what: str) -> str:
    return f'<img src="data:image/jpeg;base64,{jpeg}" alt="{what}" loading=lazy>' if jpeg else ""


_HEAD = """<!doctype html>
<html lang=en><meta charset=utf-8><meta name=viewport content="width=device-width">
<title>Restored photos</title>
<style>
body { font: 15px/1.45 system-ui, "Noto Sans CJK SC", "Microsoft YaHei", sans-serif; margin: 2em auto; max-width: 76em;
  padding: 0 1em; color: #222; background: #fff }
h1 { margin-bottom: .3em } h2 { margin-top: 1.6em }
.tiles { list-style: none; display: flex; gap: 1em; padding: 0; flex-wrap: wrap }
.tiles li { border-radius: 8px; padding: .5em 1.2em } .tiles b { font-size: 1.6em; display: block }
.restored { background: #dff3e3 } .skipped { background: #eceef1 } .rejected { background: #fff0cc }
.failed { background: #fbdcd9 }
span { border-radius: 5px; padding: .1em .5em }
table { border-collapse: collapse; width: 100% } th { text-align: left }
td, th { padding: .4em .6em; border-bottom: 1px solid #ddd; vertical-align: middle; overflow-wrap: anywhere }
th, td:nth-child(n+5) { white-space: nowrap } td:nth-child(3) { min-width: 11em }
img { display: block; border-radius: 4px }
</style>
"""
