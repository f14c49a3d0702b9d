"""`compare`: before and after on one sheet, or every photo of two folders on contact sheets."""

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import SettingsError
from . import shell

if TYPE_CHECKING:
    import torch

    from ..compare import Captions, ComparePair
    from ..types import Face

HELP = "put before and after side by side"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.epilog = (
        "Two folders give contact sheets. A photo is paired with the one of the same name, or of the longest name that "
        "its own begins with (a.jpg with a_restored.png, not with ab.png), in the same sub-folder. The restored side "
        "is not resampled."
    )
    add = parser.add_argument
    add("-i", "--before", "--input", type=Path, required=True, metavar="FILE|DIR", help="the original, or a folder")
    add("-a", "--after", type=Path, required=True, metavar="FILE|DIR", help="the restored photo, or a folder")
    add(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="the sheet; default: before_after.png in the working folder (before_after_2.png if taken)",
    )
    add("--layout", choices=("side", "split", "zoom"), default="side", help="of a single pair (default %(default)s)")
    add("--language", choices=("en", "zh"), default="en", help="of the captions (default %(default)s)")
    add("--captions", nargs=2, metavar=("BEFORE", "AFTER"), help="your own captions")
    add("--font", type=Path, metavar="FILE", help="for captions with characters that the embedded font lacks")
    add("--split", type=float, default=0.5, metavar="0…1", help="where the parting line stands (default %(default)s)")
    add("--magnify", type=int, default=1, metavar="N", help="zoom: repeat each pixel N times (default %(default)s)")
    add("--dark", action="store_true", help="black ground")
    add("--columns", type=int, default=0, metavar="N", help="contact sheet: pairs per row; 0 chooses (default)")
    add("--cell", type=int, default=480, metavar="PX", help="contact sheet: longest side; 0 leaves all as they are")
    add("--per-page", type=int, default=40, metavar="N", help="contact sheet: pairs per file (default %(default)s)")
    shell.add_detector_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Write the sheet or sheets; return the exit code."""
    output = arguments.output or shell.free_name(Path("before_after.png"))
    if arguments.before.is_dir() != arguments.after.is_dir():
        raise SettingsError(f"expected two files or two folders, got {arguments.before} and {arguments.after}.")
    if arguments.before.is_dir():
        return _contact_sheets(arguments, output)
    from ..compare import CompareSpec, before_after
    from ..photo import read_photo, write_photo

    photos = read_photo(arguments.before), read_photo(arguments.after)
    before, after = (photo.on_white for photo in photos)
    spec = CompareSpec(
        layout=arguments.layout,
        captions=_captions(arguments),
        split=arguments.split,
        magnify=arguments.magnify,
        dark=arguments.dark,
        font=arguments.font,
    )
    faces = _faces(after, arguments) if arguments.layout == "zoom" else []
    sheet = before_after(before, after, spec, faces=faces)
    write_photo(output, sheet, protect=(arguments.before, arguments.after))
    print(f"{output}: {sheet.shape[2]}x{sheet.shape[1]} pixels")
    for photo in photos:
        shell.say_notes(photo)
    return 0


def pair_photos(before: Path, after: Path) -> tuple[list[tuple[Path, Path]], list[Path]]:
    """Pair the photos of two folders by name.

    Returns:
        The pairs (original, restored), and the restored photos without an original.
    """
    from ..photo import list_photos

    originals: dict[Path, list[Path]] = {}
    for path in list_photos(before, exclude=(after,)):
        originals.setdefault(path.parent.relative_to(before), []).append(path)
    pairs, alone = [], []
    for path in list_photos(after, exclude=(before,)):
        original = _original_of(path, originals.get(path.parent.relative_to(after), []))
        if original is None:
            alone.append(path)
        else:
            pairs.append((original, path))
    return pairs, alone


def _original_of(restored: Path, originals: Sequence[Path]) -> Path | None:
    """Find the original whose name a restored photo bears whole; of equal names, the one whose ending it bears too.

    A folder run names the results of a.jpg and a.png, if both become JPEG, a.jpg and a_png.jpg.
    """

    def likeness(original: Path) -> tuple[int, bool, bool, bool]:
        added = re.split(r"[\W_]+", restored.stem[len(original.stem) :].lower())
        named = original.name == restored.name
        return len(original.stem), named, original.suffix[1:].lower() in added, original.suffix == restored.suffix

    named = (
        original
        for original in originals
        if restored.stem.startswith(original.stem) and not restored.stem[len(original.stem) :][:1].isalnum()
    )
    return max(named, key=likeness, default=None)


def _contact_sheets(arguments: argparse.Namespace, output: Path) -> int:
    from ..compare import SheetSpec, contact_sheet
    from ..photo import list_photos, write_photo
    from ..photo_write import refuse_sources

    if arguments.per_page < 1:
        raise SettingsError(f"--per-page must be at least 1, got {arguments.per_page}.")
    spec = SheetSpec(
        columns=arguments.columns,
        cell_px=arguments.cell,
        captions=_captions(arguments),
        dark=arguments.dark,
        font=arguments.font,
    )
    pairs, alone = pair_photos(arguments.before, arguments.after)
    if not pairs:
        raise SettingsError(f"no photo in {arguments.after} bears the name of one in {arguments.before}.")
    pages = [pairs[start : start + arguments.per_page] for start in range(0, len(pairs), arguments.per_page)]
    paths = [output, *(output.with_stem(f"{output.stem}_{number}") for number in range(2, len(pages) + 1))]
    paths = paths if arguments.output else [shell.free_name(path) for path in paths]
    photos = [*list_photos(arguments.before), *list_photos(arguments.after)]
    for path in paths:
        refuse_sources(path, photos)
    with shell.ShellProgress() as progress:
        progress.start(len(pairs), "Reading")
        for path, page in zip(paths, pages, strict=True):
            sheet = contact_sheet(_read_pairs(page, progress), spec)
            write_photo(path, sheet, protect=photos)
            print(f"{path}: {len(page)} pairs")
    for path in alone:
        sys.stderr.write(f"no original for {path}\n")
    return 1 if alone else 0


def _read_pairs(pairs: list[tuple[Path, Path]], progress: shell.ShellProgress) -> "Iterator[ComparePair]":
    from ..compare import ComparePair
    from ..photo import read_photo

    for before, after in pairs:
        photos = read_photo(before), read_photo(after)
        for photo in photos:
            shell.say_notes(photo)
        yield ComparePair(photos[0].on_white, photos[1].on_white, before.name)
        progress.advance()


def _faces(pixels: "torch.Tensor", arguments: argparse.Namespace) -> "list[Face]":
    from ..detect import detect_faces

    found = detect_faces(pixels[None], shell.chosen_detector(arguments))[0]
    if not found:
        raise SettingsError(f'no face found in {arguments.after} to zoom on: choose --layout "side" or "split".')
    return found[:4]


def _captions(arguments: argparse.Namespace) -> "Captions":
    from ..compare import CHINESE, ENGLISH

    if arguments.captions:
        return arguments.captions[0], arguments.captions[1]
    return CHINESE if arguments.language == "zh" else ENGLISH
