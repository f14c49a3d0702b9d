"""`print`: a photo enlarged, or laid out on a paper, and written with its exact physical size."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from . import shell

if TYPE_CHECKING:
    from ..photo import Photo
    from ..printing import PrintSheet, PrintSpec
    from ..types import Box


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add("-i", "--input", type=Path, metavar="FILE", help="photo")
    add(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help=".png, .jpg, .tif or .pdf; default: beside the photo, named …_print.tif (…_print_2.tif if taken)",
    )
    add("--list-papers", action="store_true", help="list the papers by name and stop")
    add("--scale", type=float, default=1.5, metavar="X", help="enlargement without a paper (default %(default)s)")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--paper", metavar="NAME", help="paper by name, e.g. business-card, id-35x45, 5x7in, A4")
    size.add_argument("--size-mm", type=float, nargs=2, metavar=("W", "H"), help="trimmed paper in millimetres")
    add("--dpi", type=float, metavar="DPI", help="dots per inch; default: the paper's, else 300")
    add("--bleed", type=float, default=0.0, metavar="MM", help="printed beyond each edge (default %(default)s)")
    add("--crop", choices=("fill", "fit"), default="fill", help="cover the paper, or show all with margins")
    add("--no-turn", action="store_true", help="never lay the paper sideways")
    add("--resampling", choices=("bicubic", "lanczos"), default="bicubic", help="for enlarging (default %(default)s)")
    add("--sharpen", type=float, default=0.4, metavar="0…3", help="sharpening strength (default %(default)s)")
    add("--radius", type=int, default=2, metavar="PX", help="reach of the sharpening kernel (default %(default)s)")
    add("--halo", type=float, default=0.02, metavar="0…1", help="limit on bright and dark edges (default %(default)s)")
    add("--profile", type=Path, metavar="ICC", help="output profile of the press, for TIFF and PDF; CMYK or RGB")
    add("--quality", type=int, default=95, metavar="1…100", help="of JPEG, and of pictures in PDF (default 95)")
    add("--bits", type=int, choices=(8, 16), default=8, help="per channel, 16 for PNG and TIFF (default %(default)s)")
    add("--no-faces", action="store_true", help="cut evenly without looking for faces")
    shell.add_detector_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print what the options name; return the exit code."""
    from ..errors import SettingsError
    from ..photo import read_photo
    from ..printing import PAPERS, lay_out, write_print

    if arguments.list_papers:
        for name, paper in PAPERS.items():
            print(f"{name:18} {paper.width_mm:g} × {paper.height_mm:g} mm, {paper.dpi:g} dpi")
        return 0
    if arguments.input is None:
        raise SettingsError("expected a photo: give it with --input.")
    spec = _spec(arguments)
    photo = read_photo(arguments.input)
    sheet = lay_out(photo.on_white, spec, faces=_faces(photo, spec, arguments))
    output = arguments.output or shell.free_name(arguments.input.with_name(f"{arguments.input.stem}_print.tif"))
    write_print(
        output,
        sheet,
        output_profile=arguments.profile,
        quality=arguments.quality,
        bit_depth=arguments.bits,
        exif=photo.exif,
        protect=(arguments.input,),
    )
    _say(output, photo, sheet)
    return 0


def _spec(arguments: argparse.Namespace) -> "PrintSpec":
    from ..printing import Paper, PrintSpec, Sharpening, paper_named

    paper = None
    if arguments.paper is not None:
        paper = paper_named(arguments.paper)
    elif arguments.size_mm is not None:
        paper = Paper(*arguments.size_mm)
    return PrintSpec(
        scale=arguments.scale,
        paper=paper,
        dpi=arguments.dpi,
        bleed_mm=arguments.bleed,
        crop=arguments.crop,
        turn=not arguments.no_turn,
        resampling=arguments.resampling,
        sharpening=Sharpening(arguments.sharpen, arguments.radius, arguments.halo),
    )


def _faces(photo: "Photo", spec: "PrintSpec", arguments: argparse.Namespace) -> "list[Box]":
    if arguments.no_faces or spec.paper is None or spec.crop == "fit":
        return []
    from ..detect import detect_faces

    found = detect_faces(photo.on_white[None], shell.chosen_detector(arguments))[0]
    return [face.box for face in found]


def _say(output: Path, photo: "Photo", sheet: "PrintSheet") -> None:
    height, width = sheet.pixels.shape[1:]
    print(
        f"{output}: {sheet.size_mm[0]:.1f} × {sheet.size_mm[1]:.1f} mm, "
        f"{width} × {height} pixels at {sheet.dpi:g} dpi; "
        f"enlarged ×{sheet.enlargement:.2f}, {sheet.effective_dpi:.0f} dpi of real detail"
    )
    shell.say_notes(photo)
    for warning in sheet.warnings:
        print(f"Note: {warning}")
