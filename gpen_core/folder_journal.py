"""What a folder run has done, on disk after every photo, so that a run killed at any moment can go on.

One line of JSON per event is appended to a hidden file in the output folder: the name chosen for a photo before it is
written, and what became of it afterwards. A last line cut short by a crash is left aside.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import IO, Literal, TypeAlias

from .errors import PhotoError

JOURNAL_NAME = ".restore_folder.jsonl"

_Key: TypeAlias = tuple[str, str]
"""Input folder, and path below it: cameras give the same names again and again."""

Verdict: TypeAlias = Literal["restored", "skipped", "rejected", "failed"]


@dataclass(frozen=True)
class PhotoRecord:
    """What became of one photo of a folder.

    Attributes:
        photo: the source's path below the input folder, "/" between folders.
        verdict: "restored"; "skipped": passed on unchanged, or done in an earlier run; "rejected": no photo to work
            with, nothing was written; "failed": an error.
        reason: why, in words for a user; empty for a plain "restored".
        name: the path below the output folder that is set aside for the result.
        written: whether the result is there.
        made: SHA-256 of the last result written under that name: what differs from it was changed by somebody else.
        ask_client: whether a better photo would help.
        faces: how many faces were found.
        restored: how many of them were restored.
        size: (height, width) of the photo in pixels; (0, 0) if it could not be read.
        seconds: time spent on it.
        content: SHA-256 of the source file.
        settings: what it was made with, as a hash; another value means that it must be done again.
        naming: the naming pattern that gave `name`.
        root: the input folder.
    """

    photo: str
    verdict: Verdict | Literal["begun"]
    reason: str = ""
    name: str = ""
    written: bool = False
    made: str = ""
    ask_client: bool = False
    faces: int = 0
    restored: int = 0
    size: tuple[int, int] = (0, 0)
    seconds: float = 0.0
    content: str = ""
    settings: str = ""
    naming: str = ""
    root: str = ""

    @property
    def output(self) -> str:
        """The result's path below the output folder; empty if nothing was written."""
        return self.name if self.written else ""


@dataclass(frozen=True)
class Thumbnails:
    """Small JPEG pictures of one photo, as base64 text; empty where there is none."""

    before: str = ""
    after: str = ""


class Journal:
    """The journal of one output folder, held open for appending.

    Thumbnails stay on disk: what is held in memory is a few hundred bytes per photo.

    Args:
        folder: the output folder; it must exist.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / JOURNAL_NAME
        self._records: dict[_Key, PhotoRecord] = {}
        self._offsets: dict[_Key, int] = {}
        self._file: IO[bytes] = self._path.open("a+b")
        self._load()

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def find(self, like: PhotoRecord) -> PhotoRecord | None:
        """Give the last record of the photo of `like`; None if there is none.

        That is the one of the same path in the same input folder, or, of a folder that was moved, of the same path and
        content.
        """
        same = self._records.get(_key(like))
        if same is not None or not like.content:
            return same
        moved = (one for one in self._records.values() if (one.photo, one.content) == (like.photo, like.content))
        return next(moved, None)

    def records(self) -> Iterator[PhotoRecord]:
        """Give the last record of every photo."""
        yield from self._records.values()

    def append(self, record: PhotoRecord, thumbnails: Thumbnails | None = None) -> None:
        """Write one record; when this returns, it outlives the process.

        Raises:
            PhotoError: if it cannot be written, e.g. because the disk is full.
        """
        line = {**asdict(record), "thumbnails": asdict(thumbnails or Thumbnails())}
        try:
            offset = self._file.seek(0, os.SEEK_END)
            self._file.write(json.dumps(line).encode() + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise PhotoError(
                f'"{self._path.parent}" cannot be written to: {error.strerror or error}. What is done is kept; run '
                "again to go on."
            ) from error
        self._records[_key(record)], self._offsets[_key(record)] = record, offset

    def thumbnails(self, record: PhotoRecord) -> Thumbnails:
        """Read the thumbnails that were written with the last record of a photo."""
        if _key(record) not in self._offsets:
            return Thumbnails()
        self._file.seek(self._offsets[_key(record)])
        return Thumbnails(**json.loads(self._file.readline())["thumbnails"])

    def _load(self) -> None:
        self._file.seek(0)
        offset = 0
        for line in self._file:
            record = _parsed(line)
            if record is not None:
                self._records[_key(record)], self._offsets[_key(record)] = record, offset
            offset += len(line)
        if offset and not line.endswith(b"\n"):
            # So that the next record does not join a line cut short.
            self._file.write(b"\n")


def _key(record: PhotoRecord) -> _Key:
    return record.root, record.photo


def _parsed(line: bytes) -> PhotoRecord | None:
    try:
        fields = json.loads(line)
        fields.pop("thumbnails", None)
        record = PhotoRecord(**fields)
    except (ValueError, TypeError, AttributeError):
        return None
    return replace(record, size=(record.size[0], record.size[1]))
