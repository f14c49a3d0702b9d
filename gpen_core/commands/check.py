"""`check`: is a photo good enough for a portrait, and if not, what should the client do?"""

import argparse
import json
import logging
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import PhotoError, SettingsError
from . import shell

if TYPE_CHECKING:
    from ..check import PhotoCheck
    from ..check_limits import CheckThresholds
    from ..models.facemesh import FaceMesh
    from ..models.headpose import HeadPoseNetwork
    from ..models.retinaface import FaceDetector

logger = logging.getLogger(__name__)

HELP = "check whether photos are good enough for portraits"


@dataclass(frozen=True, eq=False)
class _Checker:
    detector: "FaceDetector"
    mesh: "FaceMesh"
    pose: "HeadPoseNetwork | None"
    thresholds: "CheckThresholds"
    with_niqe: bool


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.epilog = "Exit code: 0 if no photo is rejected, 1 if one is, or cannot be read."
    add = parser.add_argument
    add("-i", "--input", type=Path, metavar="FILE|DIR", help="photo, or folder of photos with its sub-folders")
    add("-o", "--output", type=Path, metavar="FILE|DIR", help="write the photo with what was found drawn on it")
    add("--json", metavar="FILE", help="write the report as JSON; - for standard output instead of text")
    add(
        "--limit",
        action="append",
        default=[],
        metavar="NAME=WARN[:REJECT]",
        help="change a limit, e.g. width=600:300 or yaw=15:25; may be given several times",
    )
    add("--limits", action="store_true", help="print every limit with its name and its reason, and stop")
    add("--no-niqe", action="store_true", help="leave the NIQE out, which takes longest")
    add("--head-pose", metavar="FILE", help="HopeNet weights for the head's pose; default: the face mesh")
    shell.add_detector_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Check what the options name; return the exit code."""
    from ..check_limits import names_of_limits
    from ..check_report import reasons

    thresholds = _thresholds(arguments.limit)
    if arguments.limits:
        print(reasons(thresholds, names_of_limits()))
        return 0
    if arguments.input is None:
        raise SettingsError("no photo given: -i FILE or -i DIR (or --limits to see the limits)")
    checker = _checker(arguments, thresholds)
    if arguments.input.is_dir():
        return _check_folder(arguments, checker)
    check = _check_file(arguments.input, arguments.output, checker)
    if arguments.json != "-":
        print(check.text())
    _write_json(arguments.json, check.as_json(), [arguments.input])
    return 0 if check.ok else 1


def _thresholds(changes: list[str]) -> "CheckThresholds":
    from ..check_limits import CheckThresholds

    thresholds = CheckThresholds()
    for change in changes:
        name, _, values = change.partition("=")
        warn, _, reject = values.partition(":")
        try:
            thresholds = thresholds.with_limit(name, float(warn), float(reject) if reject else None)
        except ValueError as error:
            if isinstance(error, SettingsError):
                raise
            raise SettingsError(f'--limit: expected NAME=WARN or NAME=WARN:REJECT, got "{change}"') from error
    return thresholds


def _checker(arguments: argparse.Namespace, thresholds: "CheckThresholds") -> _Checker:
    from ..models.facemesh import load_face_mesh
    from ..models.headpose import load_head_pose

    pose = load_head_pose(arguments.head_pose) if arguments.head_pose else None
    return _Checker(shell.chosen_detector(arguments), load_face_mesh(), pose, thresholds, not arguments.no_niqe)


def _check_file(path: Path, annotated: Path | None, checker: _Checker) -> "PhotoCheck":
    from ..check import check_photo
    from ..check_report import annotate
    from ..photo import read_photo
    from ..photo_write import write_photo

    photo = read_photo(path)
    pixels = photo.on_white
    check = check_photo(
        pixels,
        checker.detector,
        checker.thresholds,
        mesh=checker.mesh,
        head_pose=checker.pose,
        with_niqe=checker.with_niqe,
    )
    if annotated is not None:
        write_photo(annotated, annotate(pixels, check), protect=[path])
    return replace(check, notes=(*photo.notes, *check.notes))


def _check_folder(arguments: argparse.Namespace, checker: _Checker) -> int:
    from ..photo import list_photos, refuse_output_about

    folder: Path = arguments.input
    output: Path | None = arguments.output
    if output is not None:
        refuse_output_about(folder, output)
    reports = []
    bad = 0
    photos = list_photos(folder, exclude=[output] if output else [])
    for path in photos:
        inside = path.relative_to(folder)
        annotated = output / inside.with_name(f"{inside.name}.jpg") if output else None
        report = {"file": inside.as_posix(), **_report_on(path, annotated, checker)}
        bad += not report["ok"]
        reports.append(report)
        if arguments.json != "-":
            advice = report["advice"]
            words = "; ".join(map(str, advice)) if isinstance(advice, list) else ""
            print(f"{report['verdict']!s:10s} {report['file']}{'  ' + words if words else ''}")
    if arguments.json != "-":
        print(f"{len(reports)} photos, {bad} rejected or unreadable")
    _write_json(arguments.json, json.dumps(reports, ensure_ascii=False, indent=2), photos)
    return 1 if bad else 0


def _report_on(path: Path, annotated: Path | None, checker: _Checker) -> dict[str, object]:
    """Give the JSON report on one photo of many; what goes wrong with it stands in the report."""
    from ..photo_trouble import PHOTO_TROUBLE, in_words

    try:
        return dict(json.loads(_check_file(path, annotated, checker).as_json()))
    except PhotoError as error:
        return {"ok": False, "verdict": "unreadable", "advice": [str(error)]}
    except PHOTO_TROUBLE as error:
        logger.debug("%s failed", path, exc_info=True)
        return {"ok": False, "verdict": "failed", "advice": [in_words(error, path)]}


def _write_json(target: str | None, text: str, checked: Collection[Path]) -> None:
    from ..photo_write import replacing

    if target == "-":
        print(text)
    elif target is not None:
        with replacing(Path(target), overwrite=True, protect=checked) as file:
            file.write(f"{text}\n".encode("utf-8", "backslashreplace"))  # names of old disks may be no text
