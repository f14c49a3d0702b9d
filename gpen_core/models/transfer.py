"""One attempt to get one file from one URL, going on where an earlier attempt stopped."""

import http.client
import json
import os
import time
import urllib.error
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from ..progress import Progress
from .connection import TransferError, TransferSettings, broken, check_scheme, open_url

_CHUNK = 256 * 1024
_MAX_BYTES = 8 * 2**30  # where neither the card nor the server says how long a file is
_TEMPORARY = (408, 425, 429)  # request timeout, too early, too many requests


@dataclass(frozen=True)
class _Origin:
    """Where a part came from; `validator` is the server's ETag or date of that version, "" if it gave none."""

    url: str
    validator: str


@dataclass(frozen=True, eq=False)
class Transfer:
    """What is to be brought where.

    Attributes:
        part: the file to be completed; kept when the transfer breaks off.
        expected_bytes: the exact length, if it is known.
        any_origin: whether bytes from another URL may be built upon, because a hash will tell in the end.
        settings: how patient to be.
        progress: told of each piece; asked before each one whether the user cancelled.
    """

    part: Path
    expected_bytes: int | None
    any_origin: bool
    settings: TransferSettings
    progress: Progress


def fetch_part(url: str, transfer: Transfer) -> None:
    """Bring a part to the whole length of what `url` holds, going on from what is there.

    Args:
        url: https, or http to this machine if the settings allow it.
        transfer: what to bring where.

    Raises:
        TransferError: if the file could not be completed.
    """
    check_scheme(url, transfer.settings)
    have = _usable_bytes(url, transfer)
    if transfer.expected_bytes is not None and have == transfer.expected_bytes:
        return
    try:
        with open_url(url, _conditions(url, have, transfer.part), transfer.settings) as response:
            _receive(response, url, have, transfer)
    except urllib.error.HTTPError as error:
        with error:
            _answer_refusal(error, transfer.part, have)


def discard(part: Path) -> None:
    """Delete a part and what is known of it."""
    part.unlink(missing_ok=True)
    _origin_file(part).unlink(missing_ok=True)


def _answer_refusal(error: urllib.error.HTTPError, part: Path, have: int) -> None:
    if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        if error.headers.get("Content-Range", "") == f"bytes */{have}":
            return  # nothing was left to fetch
        discard(part)
        raise TransferError("the server holds less than was fetched before", True) from error
    temporary = error.code >= 500 or error.code in _TEMPORARY
    raise TransferError(f"the server says {error.code} {' '.join(str(error.reason).split())}", temporary) from error


def _conditions(url: str, have: int, part: Path) -> dict[str, str]:
    """Ask for what is missing only, and only if it is of the version that is here."""
    if not have:
        return {}
    validator = _version_here(url, part)
    return {"Range": f"bytes={have}-", **({"If-Range": validator} if validator else {})}


def _receive(response: http.client.HTTPResponse, url: str, have: int, transfer: Transfer) -> None:
    part, expected = transfer.part, transfer.expected_bytes
    if response.status != http.HTTPStatus.PARTIAL_CONTENT:
        have = 0  # the server sends all of it, whatever was asked
    elif _range_start(response) != have:
        discard(part)
        raise TransferError("the server sent another range than it was asked for", True)
    total = _total(response, have)
    if expected is not None and total is not None and total != expected:
        raise TransferError(f"expected a file of {expected:,} bytes, the server has one of {total:,}", False)
    _write_origin(part, _Origin(url, _validator(response)))
    transfer.progress.start(total or expected or 0, part.stem)
    transfer.progress.advance(have)
    with part.open("r+b" if have else "wb") as file:
        file.seek(have)
        file.truncate()
        received = have + _copy(response, file, transfer, (total or expected or _MAX_BYTES) - have)
        file.flush()
        os.fsync(file.fileno())  # or a power cut could leave a file under its final name without its content
    if total is not None and received < total:
        raise TransferError(f"the connection broke after {received:,} of {total:,} bytes", True)


def _copy(response: http.client.HTTPResponse, file: IO[bytes], transfer: Transfer, limit: int) -> int:
    settings = transfer.settings
    received = in_window = 0
    window_start = time.monotonic()
    while True:
        transfer.progress.check_cancelled()
        piece = _read_piece(response, settings)
        if not piece:
            return received
        received += len(piece)
        in_window += len(piece)
        if received > limit:
            raise TransferError(f"the server sent more than the {limit:,} bytes that were left", False)
        file.write(piece)
        transfer.progress.advance(len(piece))
        elapsed = time.monotonic() - window_start
        if elapsed >= settings.window_s:
            if in_window < settings.slowest_bytes_per_s * elapsed:
                raise TransferError(f"too slow: {in_window / elapsed:,.0f} bytes per second", True)
            in_window, window_start = 0, time.monotonic()


def _read_piece(response: http.client.HTTPResponse, settings: TransferSettings) -> bytes:
    try:
        return response.read1(_CHUNK)
    except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: a broken chunk length
        raise broken(error, settings) from error


def _range_start(response: http.client.HTTPResponse) -> int:
    words = response.headers.get("Content-Range", "").removeprefix("bytes ").split("-")
    return int(words[0]) if words[0].isdigit() else -1


def _total(response: http.client.HTTPResponse, have: int) -> int | None:
    whole = response.headers.get("Content-Range", "").rpartition("/")[2]
    if whole.isdigit():  # a server may send less than the range it was asked for
        return int(whole)
    length = response.headers.get("Content-Length", "")
    return have + int(length) if length.isdigit() else None


def _validator(response: http.client.HTTPResponse) -> str:
    tag = str(response.headers.get("ETag", ""))
    # A weak ETag may not stand in If-Range (RFC 9110, 13.1.5).
    return tag if tag and not tag.startswith("W/") else str(response.headers.get("Last-Modified", ""))


def _usable_bytes(url: str, transfer: Transfer) -> int:
    part = transfer.part
    if not part.is_file():
        return 0
    have = part.stat().st_size
    too_long = transfer.expected_bytes is not None and have > transfer.expected_bytes
    if too_long or not (transfer.any_origin or _version_here(url, part)):
        discard(part)
        return 0
    return have


def _version_here(url: str, part: Path) -> str:
    """Give the server's name for the version that a part is of; "" if it gave none, or the part is from elsewhere."""
    origin = _read_origin(part)
    return origin.validator if origin is not None and origin.url == url else ""


def _origin_file(part: Path) -> Path:
    return part.with_name(part.name + ".origin.part")


def _read_origin(part: Path) -> _Origin | None:
    path = _origin_file(part)
    if not path.is_file():
        return None
    try:
        return _Origin(**json.loads(path.read_text("utf-8")))
    except (ValueError, TypeError):
        return None  # cut short by a crash: as good as none, the part is fetched anew


def _write_origin(part: Path, origin: _Origin) -> None:
    _origin_file(part).write_text(json.dumps(asdict(origin)), "utf-8")
