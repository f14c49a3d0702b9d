"""Fetch weights: only when asked, only what their card says, and whole or not at all."""

import logging
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from ..errors import DownloadError, GpenError
from ..progress import NoProgress, Progress
from .catalog import WeightsCard
from .connection import NO_CONNECTION, TransferError, TransferSettings
from .content import ABOUT, hash_file, mismatch, read_content
from .ledger import Entry, read_ledger, record
from .locking import locked
from .places import FOLDERS_VARIABLE, user_folder
from .transfer import Transfer, discard, fetch_part

logger = logging.getLogger(__name__)

_ROOM_TO_SPARE = 50 * 2**20
_HEADWAY = 2**20


def fetch(
    card: WeightsCard,
    folder: Path | None = None,
    *,
    progress: Progress | None = None,
    accept_change: bool = False,
    settings: TransferSettings | None = None,
) -> Path:
    """Fetch a card's file, or give the genuine one that is there already.

    Mirrors are tried in order; a broken transfer goes on where it stopped, now or at the next call. What arrives is
    checked for length, hash and content before it gets its name. A file whose hash nobody published is taken on
    trust once: its hash is recorded beside it, and another one is refused later. Two processes that fetch the same
    file wait for each other.

    Args:
        card: what to fetch.
        folder: where to put it; None for `places.user_folder()`.
        progress: counts bytes; may cancel, which keeps what was fetched for the next call.
        accept_change: take a file whose hash differs from the one recorded at the first fetch.
        settings: how patient to be.

    Returns:
        Path of the whole, checked file.

    Raises:
        DownloadError: if no mirror gave the genuine file, or a different file stands in its place; the text says what
            each mirror did.
    """
    folder = user_folder() if folder is None else folder
    progress = NoProgress() if progress is None else progress
    path = folder / card.file_name
    try:
        with locked(path, progress.check_cancelled):
            if path.exists():
                _take_existing(path, card, accept_change)
            else:
                job = _Fetch(path, card, accept_change, settings or TransferSettings(), progress)
                _check_room(job)
                _fetch_new(job)
    except OSError as error:
        if isinstance(error, GpenError):
            raise
        if not accept_change and _is_there(path, card):  # in a folder that cannot be written
            return path
        raise DownloadError(
            f"{card.name} could not be stored in {folder}: {error.strerror or error}. Make it writable, or set "
            f"{FOLDERS_VARIABLE} to another one."
        ) from error
    return path


def problem_with(path: Path, card: WeightsCard, accept_change: bool = False) -> str:
    """Say in words why a file is not its card's; "" if it is.

    Checks, in order: length, hash, and where no hash was ever published the hash recorded at the first fetch and the
    content.

    Args:
        path: an existing file.
        card: what it should be.
        accept_change: do not compare with the recorded hash.
    """
    length = path.stat().st_size
    if card.size_bytes is not None and length != card.size_bytes:
        return f"it has {length:,} bytes, expected {card.size_bytes:,}"
    sha256 = hash_file(path)
    if card.sha256 is not None:
        return "" if sha256 == card.sha256 else f"its SHA-256 is {sha256}, expected {card.sha256}"
    if card.about_bytes is not None and abs(length - card.about_bytes) > ABOUT * card.about_bytes:
        return f"it has {length:,} bytes, expected about {card.about_bytes:,}"
    recorded = read_ledger(path.parent).get(card.name)
    if recorded is not None and recorded.sha256 != sha256 and not accept_change:
        return (
            f"its SHA-256 is {sha256}, but {recorded.sha256} was recorded when it first came from {recorded.origin}; "
            f'if you trust the change: "python -m gpen_core models fetch {card.name} --accept-change"'
        )
    try:
        return mismatch(card, read_content(path))
    except GpenError as error:
        return str(error)


def _take_existing(path: Path, card: WeightsCard, accept_change: bool) -> None:
    problem = problem_with(path, card, accept_change)
    if problem:
        raise DownloadError(f'"{path}" is not {card.name}: {problem}. Move it away, then fetch again.')
    if accept_change or card.name not in read_ledger(path.parent):
        record(path.parent, card.name, Entry(path.name, hash_file(path), path.stat().st_size, str(path)))


def _is_there(path: Path, card: WeightsCard) -> bool:
    try:
        return path.is_file() and not problem_with(path, card)
    except OSError:
        return False


@dataclass(frozen=True, eq=False)
class _Fetch:
    path: Path
    card: WeightsCard
    accept_change: bool
    settings: TransferSettings
    progress: Progress

    @property
    def part(self) -> Path:
        return self.path.with_name(self.path.name + ".part")


def _fetch_new(job: _Fetch) -> None:
    path, card = job.path, job.card
    failures: list[str] = []
    for url in card.urls:
        problem = _complete(url, job)
        if not problem:
            sha256 = hash_file(job.part)
            if card.sha256 is None:
                logger.warning("%s: nobody published its hash; %s is recorded for later checks", card.name, sha256)
            job.part.replace(path)
            discard(job.part)
            record(path.parent, card.name, Entry(path.name, sha256, path.stat().st_size, url))
            return
        logger.info("%s: %s gave nothing usable: %s", card.name, url, problem)
        failures.append(f"{url}: {problem}")
    offline = all(NO_CONNECTION in failure for failure in failures)
    raise DownloadError(
        f"{card.name} could not be fetched{': no mirror can be reached, is this machine online?' if offline else '.'} "
        f"{'; '.join(failures)}. Behind a proxy, set HTTPS_PROXY. Without internet, fetch the file elsewhere, then "
        '"python -m gpen_core models import FILE".'
    )


def _complete(url: str, job: _Fetch) -> str:
    resumed = job.part.exists()
    problem = _transfer(url, job)
    if problem:
        return problem
    problem = problem_with(job.part, job.card, job.accept_change)
    if problem:
        discard(job.part)
        if resumed:  # what was there before may have been at fault
            return _complete(url, job)
    return problem


def _transfer(url: str, job: _Fetch) -> str:
    card, settings = job.card, job.settings
    transfer = Transfer(job.part, card.size_bytes, card.sha256 is not None, settings, job.progress)
    best, attempts = _length(job.part), 0
    while True:
        try:
            fetch_part(url, transfer)
        except TransferError as error:
            # Attempts count anew after real headway, so that a poor line gets there in the end.
            attempts = 1 if _length(job.part) >= best + _HEADWAY else attempts + 1
            best = max(best, _length(job.part))
            if not error.temporary or attempts >= settings.attempts:
                return str(error)
            logger.info("%s: %s; asking again", url, error)
            _wait(settings.pause_s * 2 ** (attempts - 1), job.progress)
        else:
            return ""


def _wait(seconds: float, progress: Progress) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        progress.check_cancelled()
        time.sleep(min(left, 0.1))


def _length(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _check_room(job: _Fetch) -> None:
    card, folder = job.card, job.path.parent
    needed = max(0, (card.expected_bytes or 0) - _length(job.part)) + _ROOM_TO_SPARE
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise DownloadError(
            f"{card.name} needs {needed / 1e6:,.0f} MB in {folder}, which has {free / 1e6:,.0f} MB left. Make room, or "
            f"set {FOLDERS_VARIABLE} to a folder on another disk."
        )
