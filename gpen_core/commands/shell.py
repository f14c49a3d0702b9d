"""What the verbs share: progress in the shell, options for models and device, and loading them."""

import argparse
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, NoReturn

import torch
from tqdm import tqdm

from ..errors import SettingsError

if TYPE_CHECKING:
    from ..models.descriptor import Restorer, Upscaler
    from ..models.faceparsing import FaceParser
    from ..models.retinaface import FaceDetector
    from ..photo import Photo
    from ..upscale import PlainUpscaler


_PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class ShellProgress:
    """A `Progress` drawn by tqdm on stderr; Ctrl-C cancels by itself."""

    def __init__(self) -> None:
        self._bar: tqdm[NoReturn] | None = None

    def __enter__(self) -> "ShellProgress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def start(self, total: int, label: str) -> None:
        """Begin a bar."""
        self._close()
        self._bar = tqdm(total=total, desc=label, disable=None, leave=False)

    def advance(self, units: int = 1, preview: torch.Tensor | None = None) -> None:
        """Move the bar on; the shell shows no preview."""
        if self._bar is not None:
            self._bar.update(units)

    def check_cancelled(self) -> None:
        """Do nothing: Ctrl-C raises KeyboardInterrupt."""

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def say_notes(photo: "Photo") -> None:
    """Print what a user should know about the reading of a photo."""
    for note in photo.notes:
        print(f"Note: {photo.source.name}: {note}")


def free_name(path: Path) -> Path:
    """Give `path`, or the first of "name_2", "name_3", … where it is taken: only a name the user gave is replaced."""
    names = (path if number == 1 else path.with_stem(f"{path.stem}_{number}") for number in count(1))
    return next(name for name in names if not name.exists())


def add_detector_options(parser: argparse.ArgumentParser) -> None:
    """Declare --detector and --device."""
    parser.add_argument("--detector", metavar="FILE|NAME", help="face detector weights; default: the embedded ones")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (default %(default)s)")


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Declare --model, --precision, --parser, --detector and --device."""
    parser.add_argument(
        "--model", metavar="FILE|NAME", help="restorer weights; default: the embedded ones (see the verb models)"
    )
    parser.add_argument(
        "--precision",
        choices=tuple(_PRECISIONS),
        default="fp32",
        help="what the restorer computes in: bf16 and fp16 take half the memory, and bf16 about half the time on "
        "processors with AMX (default %(default)s)",
    )
    parser.add_argument(
        "--parser", metavar="FILE|NAME", help="face parsing weights for the masks; default: the face mesh"
    )
    add_detector_options(parser)


def pick_device(name: str) -> torch.device:
    """Turn the option --device into a device; "auto" takes a CUDA device if there is one, else the CPU.

    Raises:
        SettingsError: if the device does not exist here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise SettingsError(f'the device "{name}" cannot be used here: {error}; try --device cpu') from error
    return device


def chosen_restorer(arguments: argparse.Namespace) -> "Restorer":
    """Load what --model, --precision and --device name."""
    from ..models.manager import shared_manager

    device, dtype = pick_device(arguments.device), _PRECISIONS[arguments.precision]
    return shared_manager().restorer(arguments.model, device=device, dtype=dtype).to(device)


def chosen_detector(arguments: argparse.Namespace) -> "FaceDetector":
    """Load what --detector and --device name."""
    from ..models.manager import shared_manager

    device = pick_device(arguments.device)
    return shared_manager().detector(arguments.detector, device=device).to(device)


def chosen_parser(arguments: argparse.Namespace) -> "FaceParser | None":
    """Load what --parser names; None without it."""
    if arguments.parser is None:
        return None
    from ..models.faceparsing import load_face_parser
    from ..models.manager import shared_manager
    from ..models.places import resolve_source

    device, path = pick_device(arguments.device), resolve_source(arguments.parser)
    return shared_manager().get("parser", load_face_parser, path, device=device).to(device)


def chosen_upscaler(arguments: argparse.Namespace) -> "Upscaler | PlainUpscaler | None":
    """Load what --upscaler names; None without it."""
    if arguments.upscaler is None:
        return None
    from ..models.manager import shared_manager
    from ..upscale import PLAIN_UPSCALERS

    if arguments.upscaler in PLAIN_UPSCALERS:
        return PLAIN_UPSCALERS[arguments.upscaler]

    device = pick_device(arguments.device)
    return shared_manager().upscaler(arguments.upscaler, device=device).to(device)
