"""`models`: list, fetch, verify, import and convert weights."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from . import shell

if TYPE_CHECKING:
    from ..models.catalog import WeightsCard
    from ..models.places import FoundFile

HELP = "list, fetch, verify, import and convert model weights"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the actions and their options."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    actions.add_parser("list", help="what is known, what is here and where, and under which licence")
    fetch = actions.add_parser("fetch", help="fetch weights by name, checked and resumable")
    fetch.add_argument("names", nargs="+", metavar="NAME", help="as in the list, e.g. GPEN-BFR-512")
    fetch.add_argument("--to", type=Path, metavar="DIR", help="where to; default: the first folder of GPEN_MODELS")
    fetch.add_argument("--accept-change", action="store_true", help="take a file that differs from the recorded one")
    verify = actions.add_parser("verify", help="check files against their published or recorded hashes")
    verify.add_argument("files", nargs="*", metavar="NAME|FILE", help="default: every weights file that is found")
    bring = actions.add_parser("import", help="copy a file into the folder of weights, under its right name")
    bring.add_argument("file", type=Path, metavar="FILE")
    bring.add_argument("--as", dest="card", metavar="NAME", help="which one it is, if its content can be several")
    convert = actions.add_parser("convert", help="write a .safetensors copy")
    convert.add_argument("file", type=Path, metavar="FILE")
    convert.add_argument("-o", "--output", type=Path, metavar="FILE", help="default: beside it, ending .safetensors")


def run(arguments: argparse.Namespace) -> int:
    """Do what the action says; return the exit code."""
    actions = {"list": _list, "fetch": _fetch, "verify": _verify, "import": _import, "convert": _convert}
    return actions[arguments.action](arguments)


class ByteProgress(shell.ShellProgress):
    """A progress bar that counts bytes; shown in a terminal only."""

    def start(self, total: int, label: str) -> None:
        """Begin a bar."""
        self._close()
        self._bar = tqdm(total=total or None, desc=label, unit="B", unit_scale=True, disable=None, leave=False)


def _list(arguments: argparse.Namespace) -> int:
    from ..models.catalog import CATALOG
    from ..models.places import find_files, locate, search_folders, user_folder

    folders = search_folders()
    for card in CATALOG:
        path = locate(card, folders)
        size = f"{card.expected_bytes / 1e6:.0f} MB" if card.expected_bytes else "size unknown"
        print(f"{card.name:25} {card.role:8} {card.task:8} {size:>12}  {_licence(card)}{_use(card)}")
        if path is not None:
            print(f"{'':25} here: {path}")
    others = [found for found in find_files(folders) if not found.cards]
    if others:
        print("\nOther files:")
    for found in others:
        print(f"  {found.path}: {_content(found)}")
    print("\nSearched: " + "".join(f"\n  {folder}" for folder in folders))
    print(f"Fetched files go to {user_folder()}")
    return 0


def _fetch(arguments: argparse.Namespace) -> int:
    from ..models.catalog import find_card
    from ..models.download import fetch

    cards = [find_card(name) for name in arguments.names]
    for card in cards:
        print(f"{card.name}: licence: {_licence(card)}")
        if not card.is_usable:
            print(f"{card.name}: this pack cannot use it yet; it is fetched for other programs")
        with ByteProgress() as progress:
            path = fetch(card, arguments.to, progress=progress, accept_change=arguments.accept_change)
        print(f"{card.name}: {path}")
    return 0


def _verify(arguments: argparse.Namespace) -> int:
    from ..models.places import describe_file, find_files, resolve_source, search_folders

    if arguments.files:
        found = [describe_file(resolve_source(name)) for name in arguments.files]
    else:
        found = find_files(search_folders())
    problems = 0
    for file in found:
        verdict, fine = _verdict(file)
        problems += not fine
        print(f"{file.path}: {verdict}")
    if not found:
        print("No weights files were found.")
    return 1 if problems else 0


def _verdict(found: "FoundFile") -> tuple[str, bool]:
    from ..errors import GpenError
    from ..models.content import hash_file, is_converted
    from ..models.download import problem_with
    from ..models.places import certain_card, describe_file
    from ..models.state_dict import read_state_dict

    sha256 = hash_file(found.path)
    cards = describe_file(found.path, sha256).cards
    converted = len(cards) == 1 and is_converted(found.path, cards[0])
    if len(cards) == 1 and not converted and (problem := problem_with(found.path, cards[0])):
        return f"NOT {cards[0].name}: {problem}", False
    card = certain_card(found.path, sha256)
    if card is not None:
        return f"{card.name}: genuine, as {'published' if card.sha256 else 'first recorded'}", True
    try:
        count = len(read_state_dict(found.path))
    except GpenError as error:
        return f"UNUSABLE: {error}", False
    if converted:
        source = "published" if cards[0].sha256 else "unpublished"
        return f"{cards[0].name}: converted from the {source} file by its own record; whole, {count} tensors", True
    names = " or ".join(card.name for card in cards)
    guess = f"may be {names}, whose hash was never published" if names else "not in the catalogue"
    return f"whole, {count} tensors, {_content(found)}; {guess}", True


def _import(arguments: argparse.Namespace) -> int:
    from ..models.convert import import_file

    path, card = import_file(arguments.file, arguments.card)
    print(f"{path}: {card.name if card else 'not in the catalogue, usable by its path'}")
    return 0


def _convert(arguments: argparse.Namespace) -> int:
    from ..models.convert import convert

    path = convert(arguments.file, arguments.output)
    print(f"{path} ({path.stat().st_size / 1e6:.1f} MB)")
    return 0


def _licence(card: "WeightsCard") -> str:
    return card.licence.name + ("  [NON-COMMERCIAL]" if card.licence.non_commercial else "")


def _use(card: "WeightsCard") -> str:
    return "" if card.is_usable else "  [NOT USABLE YET]"


def _content(found: "FoundFile") -> str:
    from ..errors import GpenError
    from ..models.content import read_content

    try:
        return str(read_content(found.path))
    except GpenError as error:
        return str(error)
