"""What was fetched into a folder: the hash of each file when it first came, so that a change is seen later."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from ..errors import DownloadError
from .locking import locked

LEDGER_NAME = "gpen_weights.json"
"""The ledger's name in each folder that weights were fetched or imported into."""


@dataclass(frozen=True)
class Entry:
    """One file that was fetched or imported.

    Attributes:
        file_name: its name in the ledger's folder.
        sha256: of the whole file, lower-case hex, when it came.
        size_bytes: its length then.
        origin: the URL or path it came from.
    """

    file_name: str
    sha256: str
    size_bytes: int
    origin: str


def read_ledger(folder: Path) -> dict[str, Entry]:
    """Read a folder's ledger: card name -> entry; empty if there is none.

    Raises:
        DownloadError: if it is damaged.
    """
    path = folder / LEDGER_NAME
    if not path.is_file():
        return {}
    try:
        return {name: Entry(**fields) for name, fields in json.loads(path.read_text("utf-8")).items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise DownloadError(
            f'"{path}" is damaged ({error}); it holds the recorded hashes of weights. Put back a copy or delete it.'
        ) from error


def record(folder: Path, card_name: str, entry: Entry, while_waiting: Callable[[], None] = lambda: None) -> None:
    """Write one entry into a folder's ledger, safely against other processes.

    Args:
        folder: an existing folder.
        card_name: the card of the file.
        entry: what to record; an older entry of that card is replaced.
        while_waiting: as in `locked`.
    """
    path = folder / LEDGER_NAME
    with locked(path, while_waiting):
        entries = {**read_ledger(folder), card_name: entry}
        text = json.dumps({name: asdict(entries[name]) for name in sorted(entries)}, indent=2)
        fresh = path.with_name(path.name + ".part")
        fresh.write_text(text + "\n", "utf-8")
        fresh.replace(path)
