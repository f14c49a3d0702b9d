"""`tone`: livelier skin in one photo, its hue and its luminance kept."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import NoFaceError, SettingsError
from . import shell

if TYPE_CHECKING:
    import torch

HELP = "give skin a healthier tone without changing its hue"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.epilog = "Everything outside the skin of the found faces (or outside --mask) stays as it is."
    add = parser.add_argument
    add("-i", "--input", type=Path, required=True, metavar="FILE", help="photo")
    add(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="where to write; default: beside the input, named …_tone (…_tone_2 if taken)",
    )
    add("--saturation", type=float, default=1.15, metavar="0…3", help="colourfulness of skin (default %(default)s)")
    add("--lift", type=float, default=0.0, metavar="±0.25", help="lighter or darker skin (default %(default)s)")
    add("--warmth", type=float, default=0.0, metavar="±1", help="towards orange or blue (default %(default)s)")
    add(
        "--protect-highlights",
        type=float,
        default=0.8,
        metavar="0…1",
        help="keep shine from gaining colour (default %(default)s)",
    )
    add("--original", type=Path, metavar="FILE", help="the photo before restoring: its complexion is brought back")
    add("--match", type=float, default=1.0, metavar="0…1", help="how far, with --original (default %(default)s)")
    add("--mask", type=Path, metavar="FILE", help="grey picture of the photo's size: white and opaque where to tone")
    add("--save-mask", type=Path, metavar="FILE", help="write the mask that was used")
    add("--parser", metavar="FILE|NAME", help="face parsing weights for the mask; default: the face mesh")
    add("--quality", type=int, default=95, metavar="1…100", help="of JPEG and WebP results (default %(default)s)")
    shell.add_detector_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Tone what the options name; return the exit code."""
    from ..photo import read_photo, write_photo, write_version
    from ..photo_write import WRITABLE_SUFFIXES
    from ..tone import ToneSpec, apply_tone

    spec = ToneSpec(
        saturation=arguments.saturation,
        lift=arguments.lift,
        warmth=arguments.warmth,
        protect_highlights=arguments.protect_highlights,
        match_original=arguments.match if arguments.original else 0,
    )
    photo = read_photo(arguments.input)
    original = read_photo(arguments.original) if arguments.original else None
    mask = _read_mask(arguments.mask, photo.size) if arguments.mask else _find_mask(photo.pixels, arguments)
    toned = apply_tone(photo.pixels, mask, spec, original.pixels if original else None)
    source: Path = arguments.input
    suffix = source.suffix if source.suffix.lower() in WRITABLE_SUFFIXES else ".png"
    output = arguments.output or shell.free_name(source.with_name(f"{source.stem}_tone{suffix}"))
    sources = [path for path in (source, arguments.original, arguments.mask) if path is not None]
    write_version(output, photo, toned, quality=arguments.quality, protect=sources)
    if arguments.save_mask:
        write_photo(arguments.save_mask, mask.expand(3, -1, -1), protect=[*sources, output])
    print(f"{source.name} -> {output}: {float((mask > 0).float().mean()):.1%} of the photo toned")
    for read in (photo, original):
        if read is not None:
            shell.say_notes(read)
    return 0


def _read_mask(path: Path, size: tuple[int, int]) -> "torch.Tensor":
    from ..photo import read_photo

    photo = read_photo(path)
    if photo.size != size:
        raise SettingsError(
            f'the mask "{path}" has {photo.size[1]}x{photo.size[0]} pixels, expected {size[1]}x{size[0]} as the photo.'
        )
    mask = photo.pixels.mean(0)
    return mask if photo.alpha is None else mask * photo.alpha


def _find_mask(pixels: "torch.Tensor", arguments: argparse.Namespace) -> "torch.Tensor":
    from ..detect import detect_faces
    from ..skin import skin_mask

    faces = detect_faces(pixels[None], shell.chosen_detector(arguments))[0]
    mask = skin_mask(pixels, faces, parser=shell.chosen_parser(arguments))
    if not bool((mask > 0).any()):
        raise NoFaceError(f'no face to tone was found in "{arguments.input}": give a mask of your own with --mask.')
    return mask
