"""Where weights are looked for, and how a name or a path becomes a file."""

import logging
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ..errors import GpenError, WeightsNotFoundError
from .catalog import CATALOG, WeightsCard, card_by_hash, find_card
from .content import cards_for
from .ledger import Entry, read_ledger
from .state_dict import WEIGHTS_SUFFIXES

logger = logging.getLogger(__name__)

EMBEDDED_FOLDER = Path(__file__).parent.parent / "weights"
"""The weights that come with the package."""

FOLDERS_VARIABLE = "GPEN_MODELS"
"""Environment variable with the folders to use first, split as in PATH; the first of them is where fetches go."""

_COMFYUI_KINDS = ("gpen", "facerestore_models", "facedetection", "face_parsing", "upscale_models")
_MODELSCOPE_GROUPS = ("iic", "damo")  # the publisher's name now and before
_MODELSCOPE_PATTERN = "cv_gpen_image-portrait-enhancement*"


@dataclass(frozen=True)
class FoundFile:
    """A file with the ending of weights in a place that is searched.

    Attributes:
        path: where it is.
        cards: the cards it can be, by its content; empty if it is no file of the catalogue.
        problem: why it cannot be used at all, in words; empty if it can.
    """

    path: Path
    cards: tuple[WeightsCard, ...]
    problem: str = ""


def user_folder() -> Path:
    """Give the folder that weights are fetched into; it may not exist yet.

    The first folder of `GPEN_MODELS`; without it ComfyUI's `models/gpen` if this package lies in its `custom_nodes`;
    otherwise the system's folder for a user's data.
    """
    named = _named_folders()
    if named:
        return named[0]
    comfyui = _comfyui_folders()
    return comfyui[0] if comfyui else _data_folder() / "gpen-portrait" / "models"


def search_folders(extra: Iterable[Path] = ()) -> list[Path]:
    """Give every existing folder that is searched, in order, each once.

    Args:
        extra: folders the host knows, e.g. those of extra_model_paths.yaml; searched after `GPEN_MODELS`.
    """
    wanted = [*_named_folders(), *extra, *_comfyui_folders(), user_folder(), *_modelscope_folders(), EMBEDDED_FOLDER]
    return list(dict.fromkeys(folder.resolve() for folder in wanted if _is_folder(folder)))


def find_files(folders: Sequence[Path]) -> list[FoundFile]:
    """Find every weights file in `folders` and tell each by its content; sub-folders are not entered.

    A folder that cannot be read is left out, which the log says once.
    """
    paths = [path for folder in folders for path in _weights_in(folder)]
    return [describe_file(path) for path in dict.fromkeys(paths)]


def describe_file(path: Path, sha256: str | None = None) -> FoundFile:
    """Tell which cards a file can be: by its folder's ledger, by its hash if it is given, and by its content."""
    try:
        fetched = {entry.file_name: name for name, entry in read_ledger(path.parent).items()}
        if path.name in fetched:
            return FoundFile(path, (find_card(fetched[path.name]),))
        return FoundFile(path, tuple(cards_for(path, sha256)))
    except (GpenError, OSError) as error:
        return FoundFile(path, (), str(error))


def certain_card(path: Path, sha256: str) -> WeightsCard | None:
    """Tell which card a file is beyond doubt: by its published hash, or by the one recorded when it came; else None."""
    recorded = [name for name, entry in read_ledger(path.parent).items() if entry.sha256 == sha256]
    return card_by_hash(sha256) or (find_card(recorded[0]) if recorded else None)


def locate(card: WeightsCard, folders: Sequence[Path]) -> Path | None:
    """Find a card's file, whatever it is called; None if it is nowhere.

    What a folder's ledger says was fetched for the card comes first, then files whose content can only be that card,
    then files that can be it among others.
    """
    for folder in folders:
        entry = _readable_ledger(folder).get(card.name)
        if entry is not None and (folder / entry.file_name).is_file():
            return folder / entry.file_name
    fitting = [found for found in find_files(folders) if card in found.cards]
    return min(fitting, key=lambda found: len(found.cards)).path if fitting else None


def resolve_source(source: str | Path, extra: Iterable[Path] = ()) -> Path:
    """Turn what a user gave for a model into the path of an existing file.

    It is a path, a name of the catalogue, or the name of weights that come with the package, such as "gpen_small_256".

    Raises:
        WeightsNotFoundError: if there is no such file; the text says where it was looked for and how to fetch it.
    """
    path = _expanded(source)
    if path.is_file():
        return path
    if _is_path(str(source)):
        raise WeightsNotFoundError(f'there is no weights file "{path}". Weights belong in {user_folder()}.')
    embedded = EMBEDDED_FOLDER / f"{source}.safetensors"
    if embedded.is_file():
        return embedded
    card = find_card(str(source))
    folders = search_folders(extra)
    found = locate(card, folders)
    if found is None:
        raise WeightsNotFoundError(
            f"{card.name} is not on this machine (looked in {', '.join(map(str, folders))}). Fetch it with "
            f'"python -m gpen_core models fetch {card.name}", or set {FOLDERS_VARIABLE} to the folder it is in.'
        )
    return found


def _expanded(path: str | Path) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError:  # "~name" of a user who does not exist: an ordinary name
        return Path(path)


def _is_path(source: str) -> bool:
    if "/" in source or "\\" in source:
        return True
    return source.lower().endswith(WEIGHTS_SUFFIXES) and source.lower() not in {
        card.file_name.lower() for card in CATALOG
    }


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError as error:
        _say_unreadable(path, error.strerror or str(error))
        return False


def _weights_in(folder: Path) -> list[Path]:
    try:
        return [path for path in sorted(folder.iterdir()) if path.suffix.lower() in WEIGHTS_SUFFIXES and path.is_file()]
    except OSError as error:
        _say_unreadable(folder, error.strerror or str(error))
        return []


def _readable_ledger(folder: Path) -> dict[str, Entry]:
    try:
        return read_ledger(folder)
    except PermissionError as error:
        _say_unreadable(folder, error.strerror or str(error))
        return {}


@cache
def _say_unreadable(folder: Path, why: str) -> None:
    """Say so once: every name that is looked up goes through every folder."""
    logger.warning("%s is not searched for weights: %s", folder, why)


def _named_folders() -> list[Path]:
    folders = os.environ.get(FOLDERS_VARIABLE, "").split(os.pathsep)
    return [_expanded(folder) for folder in folders if folder.strip()]


def _comfyui_folders() -> list[Path]:
    nodes_folder = Path(__file__).parents[3]
    if nodes_folder.name != "custom_nodes":
        return []
    return [nodes_folder.parent / "models" / kind for kind in _COMFYUI_KINDS]


def _modelscope_folders() -> list[Path]:
    cache = os.environ.get("MODELSCOPE_CACHE", "")
    root = _expanded(cache) if cache else Path.home() / ".cache" / "modelscope" / "hub"
    hubs = (root, root / "models", root / "hub")
    return [
        folder for hub in hubs for group in _MODELSCOPE_GROUPS for folder in (hub / group).glob(_MODELSCOPE_PATTERN)
    ]


def _data_folder() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
