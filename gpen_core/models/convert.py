"""Bring weights into the user's folder, and make .safetensors copies of them."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file

from ..errors import DownloadError, SettingsError, UnsupportedWeightsError
from .catalog import WeightsCard, find_card
from .content import hash_file, is_converted, read_content
from .download import problem_with
from .ledger import Entry, record
from .locking import locked
from .places import certain_card, describe_file, user_folder
from .state_dict import read_metadata, read_state_dict


def convert(path: Path, output: Path | None = None) -> Path:
    """Write a .safetensors copy of a weights file: safe to pass on, and quicker to load.

    The copy carries a record of what it is, so that it is known without its name. Its numbers are read back and
    compared before it gets its name.

    Args:
        path: any weights file that can be loaded.
        output: where to write; None for the same name with the ending .safetensors.

    Returns:
        Path of the copy.

    Raises:
        SettingsError: if `output` exists.
        UnsupportedWeightsError: if the file is no network this pack knows.
    """
    output = path.with_suffix(".safetensors") if output is None else output
    if output.exists():
        raise SettingsError(f'"{output}" exists already; move it away, or name another file to write')
    content = read_content(path)
    if not content.architecture:
        raise UnsupportedWeightsError(f'"{path.name}" is not converted: it holds {content}, which this pack cannot use')
    state_dict = {key: value.contiguous().clone() for key, value in read_state_dict(path).items()}
    part = output.with_name(output.name + ".part")
    output.parent.mkdir(parents=True, exist_ok=True)
    try:
        save_file(state_dict, part, metadata=_record_of(path))
        _compare(part, state_dict)
        shutil.copymode(path, part)  # safetensors writes for its owner alone
        part.replace(output)
    finally:
        part.unlink(missing_ok=True)
    return output


def import_file(
    path: Path, card_name: str | None = None, folder: Path | None = None
) -> tuple[Path, WeightsCard | None]:
    """Copy a weights file into the user's folder, under the name its card gives it.

    A copy that `convert` made keeps its ending, and is not recorded: the genuine file may still come.

    Args:
        path: the file.
        card_name: which card it is, where its content can be several; None to tell by the content alone.
        folder: where to; None for `places.user_folder()`.

    Returns:
        Path of the copy, and its card; None if it is a known network but no file of the catalogue.

    Raises:
        SettingsError: if another file has that name already, or the content can be several cards.
        UnsupportedWeightsError: if it is not the card that was named, or no network this pack knows.
    """
    folder = user_folder() if folder is None else folder
    content = read_content(path)
    if not content.architecture:
        raise UnsupportedWeightsError(f'"{path.name}" is not imported: it holds {content}, which this pack cannot use')
    sha256 = hash_file(path)
    card = find_card(card_name) if card_name else _only_card(path, sha256)
    converted = card is not None and is_converted(path, card)
    problem = problem_with(path, card) if card and not converted else ""
    if card and problem:
        raise UnsupportedWeightsError(f'"{path.name}" is not {card.name}: {problem}.')
    target = folder / (card.file_name if card else path.name)
    target = target.with_suffix(path.suffix) if converted else target
    with locked(target):
        if target.exists() and hash_file(target) != sha256:
            raise SettingsError(f'"{target}" exists already and is another file; move it away')
        if not target.exists():
            _copy(path, target, sha256)
        if card and not converted:
            record(folder, card.name, Entry(target.name, sha256, target.stat().st_size, str(path)))
    return target, card


def _only_card(path: Path, sha256: str) -> WeightsCard | None:
    cards = describe_file(path, sha256).cards
    if len(cards) > 1:
        names = ", ".join(card.name for card in cards)
        raise SettingsError(f'"{path.name}" can be any of {names}; say which with --as NAME')
    return cards[0] if cards else None


def _copy(path: Path, target: Path, sha256: str) -> None:
    part = target.with_name(target.name + ".part")
    try:
        shutil.copyfile(path, part)
        if hash_file(part) != sha256:
            raise DownloadError(f'"{path}" changed while it was copied; try again')
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def _record_of(path: Path) -> dict[str, str]:
    sha256 = hash_file(path)
    about = {"format": "pt", **read_metadata(path), "source_sha256": sha256}
    card = certain_card(path, sha256)
    if card is not None:
        about |= {"card": card.name, "name": card.name, "task": card.task}
        if card.template is not None:
            about["template"] = card.template
    return about


def _compare(copy: Path, state_dict: Mapping[str, torch.Tensor]) -> None:
    written = read_state_dict(copy)
    same = written.keys() == state_dict.keys() and all(torch.equal(written[key], state_dict[key]) for key in written)
    if not same:
        raise DownloadError(f'"{copy}" did not come back as it was written; the disk may be failing')
