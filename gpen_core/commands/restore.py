"""`restore`: one photo, or a folder of them, with the faces restored."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, cast

from ..errors import SettingsError
from . import shell

if TYPE_CHECKING:
    from ..folder_spec import OutputSuffix
    from ..models.descriptor import Restorer
    from ..pipeline import PortraitSettings
    from ..types import PortraitResult

SAMPLE = Path(__file__).parents[1] / "samples" / "astronaut_poor.jpg"
"""The built-in sample photo; its source stands in samples/README.md."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.epilog = (
        "Without --input the built-in sample is restored; result and before/after sheet go to the working folder. "
        "A folder is restored photo by photo; a run that was stopped goes on where it was."
    )
    add = parser.add_argument
    add("-i", "--input", type=Path, metavar="FILE|DIR", help="photo, or folder of photos")
    add(
        "-o",
        "--output",
        type=Path,
        metavar="FILE|DIR",
        help="where to write; default: beside the input, named …_restored (a photo's result: …_restored_2 if taken)",
    )
    shell.add_model_options(parser)
    add("--upscaler", metavar="FILE|NAME", help=_UPSCALER_HELP)
    add("--strength", type=float, default=1.0, metavar="0…1", help="share of the restored face (default %(default)s)")
    add("--area", choices=("head", "face"), default="head", help=_AREA_HELP)
    add("--no-face", choices=("keep", "whole", "stop"), default="keep", help=_NO_FACE_HELP)
    add("--faces", default="all", metavar="NUMBERS", help=_FACES_HELP)
    add("--order", choices=_ORDERS, default=_ORDERS[0], help=_ORDER_HELP)
    add(
        "--smallest-face",
        type=float,
        default=16.0,
        metavar="PX",
        help="leave smaller faces alone (default %(default)s)",
    )
    add("--min-score", type=float, default=0.8, metavar="0…1", help=_MIN_SCORE_HELP)
    add("--keep-detail", type=float, default=1.0, metavar="0…1", help=_KEEP_DETAIL_HELP)
    add("--batch-size", type=int, default=4, metavar="N", help="faces restored at once (default %(default)s)")
    add("--compare", type=Path, metavar="FILE", help="also write a before/after sheet")
    add("--keep-gps", action="store_true", help="carry over where a photo was taken; other EXIF is always kept")
    add("--quality", type=int, default=95, metavar="1…100", help="of JPEG and WebP results (default %(default)s)")
    of_folders = parser.add_argument_group("for a folder")
    of_folders.add_argument("--pattern", default="{name}", help=_PATTERN_HELP)
    of_folders.add_argument("--format", choices=_FORMATS, default="same", help=_FORMAT_HELP)
    of_folders.add_argument("--flat", action="store_true", help="leave sub-folders out")
    of_folders.add_argument("--check", action="store_true", help="reject the photos that the verb check rejects")


_FACES_HELP = (
    'which faces of each photo are restored: "all", or numbers from 1 such as "1", "1, 3" or "2-4" (default '
    "%(default)s)"
)
_ORDERS = ("largest", "left", "top", "surest")
_ORDER_HELP = "what the numbers count: from the largest face, the left, the top, or the surest (default %(default)s)"
_MIN_SCORE_HELP = "how sure the detector must be that something is a face (default %(default)s)"
_KEEP_DETAIL_HELP = "how much of the photo's own fine detail is kept in a face (default %(default)s)"
_FORMATS = ("same", "png", "jpg", "tif", "webp")
_PATTERN_HELP = "name of a result without its ending, of {name}, {ext} and {model} (default %(default)s)"
_FORMAT_HELP = "of the results; same: the photo's own where it can be written, else png (default %(default)s)"
_AREA_HELP = "what is blended in without face parsing: the head with its hair, or the face alone (default %(default)s)"
_UPSCALER_HELP = (
    "the result is 2 or 4 times larger, the faces restored on a background that is enlarged: plain_x2 and plain_x4 do "
    "it by interpolation, ESRGAN weights, e.g. RealESRGAN_x2plus, by a network; default: the size stays"
)
_NO_FACE_HELP = 'a photo without a face: "keep" it unchanged, take the "whole" picture for a face, or "stop"'


def run(arguments: argparse.Namespace) -> int:
    """Restore what the options name; return the exit code."""
    if arguments.input is not None and arguments.input.is_dir():
        return _run_folder(arguments)
    source = arguments.input or SAMPLE
    output = arguments.output or shell.free_name(_default_output(arguments.input))
    sheet = arguments.compare
    if arguments.input is None and sheet is None:
        sheet = shell.free_name(output.with_name("gpen_before_after.png"))
    _restore_file(source, output, sheet, arguments)
    return 0


def _run_folder(arguments: argparse.Namespace) -> int:
    from ..batch import FolderSpec, restore_folder

    if arguments.compare is not None:
        raise SettingsError("--compare is for one photo; for folders there is the verb compare")
    folder = arguments.input.resolve()  # "." has no name of its own
    output = arguments.output or folder.with_name(folder.name + "_restored")
    suffix = cast("OutputSuffix", arguments.format if arguments.format == "same" else f".{arguments.format}")
    spec = FolderSpec(
        arguments.input,
        output,
        pattern=arguments.pattern,
        suffix=suffix,
        recursive=not arguments.flat,
        quality=arguments.quality,
        keep_gps=arguments.keep_gps,
    )
    restorer, detector = shell.chosen_restorer(arguments), shell.chosen_detector(arguments)
    gate = None
    if arguments.check:
        from ..folder_gate import CheckGate

        gate = CheckGate(detector=detector)
    with shell.ShellProgress() as progress:
        report = restore_folder(
            spec,
            detector,
            restorer,
            _settings(arguments),
            parser=shell.chosen_parser(arguments),
            upscaler=shell.chosen_upscaler(arguments),
            gate=gate,
            progress=progress,
        )
    print(report.summary())
    _say_model(restorer)
    return 1 if report.failed else 0


def _restore_file(source: Path, output: Path, sheet: Path | None, arguments: argparse.Namespace) -> None:
    from ..photo import read_photo, write_photo, write_version
    from ..pipeline import restore_portrait

    photo = read_photo(source)
    restorer = shell.chosen_restorer(arguments)
    with shell.ShellProgress() as progress:
        result = restore_portrait(
            photo.pixels,
            shell.chosen_detector(arguments),
            restorer,
            _settings(arguments),
            parser=shell.chosen_parser(arguments),
            upscaler=shell.chosen_upscaler(arguments),
            progress=progress,
            in_place=sheet is None,  # a sheet shows the photo as it was
        )
    write_version(output, photo, result.pixels, quality=arguments.quality, keep_gps=arguments.keep_gps)
    _say_result(source, output, result)
    shell.say_notes(photo)
    _say_model(restorer)
    if sheet is not None:
        from ..compare import CompareSpec, before_after

        boxes = [report.box for report in result.faces if report.outcome == "restored"]
        spec = CompareSpec(layout="zoom", magnify=2) if boxes else CompareSpec()
        write_photo(sheet, before_after(photo.pixels, result.pixels, spec, faces=boxes), protect=(source, output))
        print(f"Before/after: {sheet}")


def _settings(arguments: argparse.Namespace) -> "PortraitSettings":
    from ..detect import DetectSettings
    from ..paste import PasteSettings
    from ..pipeline import PortraitSettings
    from ..select import FaceChoice

    return PortraitSettings(
        detect=DetectSettings(score_threshold=arguments.min_score),
        paste=PasteSettings(strength=arguments.strength, keep_detail=arguments.keep_detail),
        mask_area=arguments.area,
        on_no_face=arguments.no_face,
        choice=FaceChoice(arguments.faces, arguments.order),
        smallest_face_px=arguments.smallest_face,
        batch_size=arguments.batch_size,
    )


def _default_output(source: Path | None) -> Path:
    from ..photo_write import WRITABLE_SUFFIXES

    if source is None:
        return Path("gpen_restored.png")
    # Formats that Pillow reads but that are unwise or impossible to write become PNG.
    suffix = source.suffix if source.suffix.lower() in WRITABLE_SUFFIXES else ".png"
    return source.with_name(f"{source.stem}_restored{suffix}")


def _say_result(source: Path, output: Path, result: "PortraitResult") -> None:
    print(f"{source.name} -> {output}: {result.restored} of {len(result.faces)} faces restored")
    for face in result.faces:
        note = f" ({face.remark})" if face.remark else ""
        print(f"  {face.outcome}: {face.size_px:.0f} px at {face.box.center[0]:.0f}, {face.box.center[1]:.0f}{note}")
    if result.note:
        print(f"  {result.note}")


def _say_model(restorer: "Restorer") -> None:
    from ..models.load import EMBEDDED_RESTORER

    print(f"Restorer: {restorer.name} ({restorer.size} px)")
    if restorer.source == EMBEDDED_RESTORER:
        print(
            "  This is the small built-in model. The published GPEN weights rebuild far more detail (non-commercial "
            "licence): python -m gpen_core models fetch GPEN-BFR-512"
        )
