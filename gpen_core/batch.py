"""Restore a whole folder: one photo at a time, going on where a stopped run was, with a report on every photo."""

import hashlib
import json
import logging
import re
import time
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from .errors import CancelledError, NoFaceError, PhotoError, SettingsError
from .folder_journal import JOURNAL_NAME, Journal, PhotoRecord, Thumbnails
from .folder_report import FolderReport, picture_thumbnails, refuse_foreign_reports, write_reports
from .folder_spec import FolderSpec, Gate
from .memory import trim_heap
from .models.content import hash_file
from .models.descriptor import Restorer, Upscaler
from .models.facemesh import FaceMesh, load_face_mesh
from .models.faceparsing import FaceParser
from .models.locking import locked
from .models.manager import shared_manager
from .models.retinaface import FaceDetector
from .photo import Photo, list_photos, read_photo, refuse_output_about, require_folder, write_version
from .photo_trouble import PHOTO_TROUBLE, in_words
from .photo_write import WRITABLE_SUFFIXES
from .pipeline import NOT_CHOSEN, PortraitSettings, restore_portrait
from .progress import NoProgress, Progress
from .types import PortraitResult
from .upscale import PlainUpscaler

__all__ = ["FolderReport", "FolderSpec", "Gate", "restore_folder"]

logger = logging.getLogger(__name__)

_NO_PROGRESS = NoProgress()
_LEFTOVER = re.compile(r"^\..*\.[0-9a-f]{8}\.part$")


def restore_folder(
    spec: FolderSpec,
    detector: FaceDetector | None = None,
    restorer: Restorer | None = None,
    settings: PortraitSettings | None = None,
    *,
    parser: FaceParser | None = None,
    upscaler: Upscaler | PlainUpscaler | None = None,
    gate: Gate | None = None,
    progress: Progress = _NO_PROGRESS,
) -> FolderReport:
    """Restore every photo of a folder.

    Memory stays flat: one photo is held at a time. A photo is done once for its content and the settings, models
    included; a run that was stopped or killed goes on where it was, and no half-written file is left under a result's
    name. A photo that fails does not stop the run. Nothing is ever overwritten but what the folder's journal knows as
    its own: a result that was retouched since stays, and the new one gets another name. The report (report.csv,
    report.json, report.html) is written at the end, also of a cancelled run.

    Args:
        spec: which photos, and where to.
        detector: the embedded one if None, held by the shared manager.
        restorer: the embedded one if None, held likewise.
        settings: the defaults of a single portrait if None.
        parser: face parsing for the masks, if its weights are present.
        upscaler: enlarges the backgrounds; photos keep their size if None.
        gate: judges photos first; what it rejects is not restored.
        progress: advances by one per photo, with the result as preview; may cancel within one.

    Raises:
        SettingsError: if the two folders are one, another run is writing to the output folder, or reports of
            somebody else lie there.
        PhotoError: if the input folder does not exist.
    """
    photos = _sources(spec)
    restorer, detector = restorer or shared_manager().restorer(), detector or shared_manager().detector()
    settings = settings or PortraitSettings()
    within = _WithinPhoto(progress)
    models = _Models(detector, restorer, parser, upscaler, load_face_mesh())
    with _alone_in(spec.output), Journal(spec.output) as journal:
        key = _settings_key(spec, models, settings, gate)
        run = _Run(spec, models, settings, gate, key, journal, within, {_folded(r.name) for r in journal.records()})
        records: list[PhotoRecord] = []
        started = time.monotonic()
        progress.start(len(photos), "Restoring photos")
        try:
            for photo in photos:
                progress.check_cancelled()
                record, preview = run.one(photo)
                records.append(record)
                progress.advance(preview=preview)
                del preview
                trim_heap()
        finally:
            report = FolderReport(
                spec.source, spec.output, restorer.name, tuple(records), len(photos), time.monotonic() - started
            )
            report = replace(report, problems=write_reports(report, journal))
    return report


@dataclass(frozen=True, eq=False)
class _Models:
    detector: FaceDetector
    restorer: Restorer
    parser: FaceParser | None
    upscaler: Upscaler | PlainUpscaler | None
    mesh: FaceMesh


@dataclass(frozen=True, eq=False)
class _Run:
    """One pass over a folder; `taken`, the names given out so far, is the one thing in it that changes."""

    spec: FolderSpec
    models: _Models
    settings: PortraitSettings
    gate: Gate | None
    key: str
    journal: Journal
    progress: "_WithinPhoto"
    taken: set[str]

    def one(self, source: Path) -> tuple[PhotoRecord, torch.Tensor | None]:
        """Do one photo, or find that it is done; give its record and, as a preview, the result's pixels."""
        started = time.monotonic()
        record = PhotoRecord(
            source.relative_to(self.spec.source).as_posix(),
            "failed",
            settings=self.key,
            naming=f"{self.spec.pattern} {self.spec.suffix}",
            root=str(self.spec.source.resolve()),
        )
        outcome = _Outcome(record)
        try:
            record = replace(record, content=hash_file(source, lambda _: self.progress.check_cancelled()))
            done = self._done_before(record)
            if done is not None:
                return done, None
            record = self._named(source, record)
            self.journal.append(replace(record, verdict="begun"))
            outcome = self._attempt(source, record)
        except PHOTO_TROUBLE as error:
            if self.progress.cancelled or isinstance(error, CancelledError):
                raise
            logger.debug("%s failed", source, exc_info=True)
            outcome = _Outcome(self._kept(replace(record, reason=in_words(error, source))))
        record = replace(outcome.record, seconds=round(time.monotonic() - started, 3))
        self.journal.append(record, outcome.thumbnails)
        return record, outcome.preview

    def _kept(self, failed: PhotoRecord) -> PhotoRecord:
        """Give the record of a failure the name of the result that is there: the next run writes none beside it."""
        before = self.journal.find(failed)
        if failed.name or before is None:
            return failed
        return replace(failed, name=before.name, made=before.made, naming=before.naming)

    def _attempt(self, source: Path, record: PhotoRecord) -> "_Outcome":
        try:
            photo = read_photo(source)
        except PhotoError as error:
            return _Outcome(replace(record, reason=in_words(error, source), ask_client=True))
        record = replace(record, size=photo.size)
        self.progress.check_cancelled()
        reason = self.gate(photo) if self.gate is not None else ""
        if not reason:
            try:
                result = self._restore(photo)
            except NoFaceError:
                reason = "no face was found"
        if reason:
            rejected = replace(record, verdict="rejected", reason=reason, ask_client=True)
            return _Outcome(rejected, picture_thumbnails(photo.pixels, None, None))
        self.progress.check_cancelled()
        self._write(photo, result, record.name)
        made = hash_file(self.spec.output / record.name)
        record = replace(_judged(record, photo, result), written=True, made=made)
        face = result.faces[0].box if result.faces else None
        return _Outcome(record, picture_thumbnails(photo.pixels, result.pixels, face), result.pixels)

    def _restore(self, photo: Photo) -> PortraitResult:
        models = self.models
        return restore_portrait(
            photo.pixels,
            models.detector,
            models.restorer,
            self.settings,
            parser=models.parser,
            mesh=models.mesh,
            upscaler=models.upscaler,
            progress=self.progress,
        )

    def _write(self, photo: Photo, result: PortraitResult, name: str) -> None:
        target, spec = self.spec.output / name, self.spec
        write_version(target, photo, result.pixels, quality=spec.quality, keep_gps=spec.keep_gps)

    def _done_before(self, record: PhotoRecord) -> PhotoRecord | None:
        """Give the record of an earlier run that still holds; None if the photo is to be done."""
        before = self.journal.find(record)
        if before is None or before.verdict not in ("restored", "skipped", "rejected"):
            return None
        if (before.content, before.settings) != (record.content, record.settings):
            return None
        if before.written and not (self.spec.output / before.name).is_file():
            return None
        if before.verdict == "restored":
            reason = "; ".join(filter(None, ("done before: restored", before.reason)))
            return replace(before, verdict="skipped", reason=reason, seconds=0.0)
        return replace(before, seconds=0.0)

    def _named(self, source: Path, record: PhotoRecord) -> PhotoRecord:
        """Choose the result's path below the output folder: the one it had before, else one that nobody has."""
        before = self.journal.find(record)
        if (
            before is not None
            and before.name
            and before.naming == record.naming
            and (before.root == record.root or before.content == record.content)
        ):
            if not self._changed_since(before):
                return replace(record, name=before.name, made=before.made)
            logger.warning('"%s" was changed since it was written: it stays, beside a new result.', before.name)
        return replace(record, name=self._free_name(source))

    def _changed_since(self, before: PhotoRecord) -> bool:
        """Tell whether a result is there, but is not what was written."""
        path = self.spec.output / before.name
        return bool(before.made) and path.is_file() and hash_file(path) != before.made

    def _free_name(self, source: Path) -> str:
        folder = source.relative_to(self.spec.source).parent
        for name in self._candidates(source):
            path = (folder / name).as_posix()
            if _folded(path) not in self.taken and not (self.spec.output / path).exists():
                self.taken.add(_folded(path))
                return path
        raise SettingsError(f'no free name for "{source.name}" in {self.spec.output}.')

    def _candidates(self, source: Path) -> Iterator[str]:
        spec = self.spec
        suffix: str = spec.suffix
        if suffix == "same":
            suffix = source.suffix if source.suffix.lower() in WRITABLE_SUFFIXES else ".png"
        extension = source.suffix[1:]
        stem = spec.pattern.format(name=source.stem, ext=extension, model=self.models.restorer.source.stem)
        yield f"{stem}{suffix}"
        yield f"{stem}_{extension}{suffix}"
        for number in range(2, 10_000):
            yield f"{stem}_{extension}_{number}{suffix}"


@dataclass(frozen=True, eq=False)
class _Outcome:
    record: PhotoRecord
    thumbnails: Thumbnails | None = None
    preview: torch.Tensor | None = None


class _WithinPhoto:
    """The progress of the steps inside one photo: only its cancelling is passed on."""

    def __init__(self, outer: Progress) -> None:
        self._outer = outer
        self.cancelled = False

    def start(self, total: int, label: str) -> None:
        """Do nothing."""

    def advance(self, units: int = 1, preview: torch.Tensor | None = None) -> None:
        """Do nothing."""

    def check_cancelled(self) -> None:
        """Raise what the caller raises on cancelling, and remember that it did."""
        self.cancelled = True
        self._outer.check_cancelled()
        self.cancelled = False


def _judged(record: PhotoRecord, photo: Photo, result: PortraitResult) -> PhotoRecord:
    """Add what became of a photo that was restored or passed on."""
    record = replace(record, faces=len(result.faces), restored=result.restored)
    reasons = list(dict.fromkeys(face.reason for face in result.faces if face.reason))
    if not result.restored:
        reason = reasons[0] if reasons else "no face was found"
        became = "unchanged" if result.pixels.shape == photo.pixels.shape else "only enlarged"
        reason = "; ".join((reason, f"passed on {became}", *photo.notes))
        ask_client = any(face.reason != NOT_CHOSEN for face in result.faces) or not result.faces
        return replace(record, verdict="skipped", reason=reason, ask_client=ask_client)
    notes = [result.note, *photo.notes]
    left = len(result.faces) - result.restored
    if left:
        notes.insert(0, f"{left} of {len(result.faces)} faces left as they are: {reasons[0]}")
    return replace(record, verdict="restored", reason="; ".join(note for note in notes if note))


def _sources(spec: FolderSpec) -> list[Path]:
    require_folder(spec.source)
    refuse_output_about(spec.source, spec.output)
    results = [journal.parent for journal in spec.source.rglob(JOURNAL_NAME) if journal.parent != spec.source]
    photos = list_photos(spec.source, exclude=(spec.output, *results))
    return photos if spec.recursive else [photo for photo in photos if photo.parent == spec.source]


def _settings_key(spec: FolderSpec, models: _Models, settings: PortraitSettings, gate: Gate | None) -> str:
    """Hash everything that the result of a photo depends on beside its content."""
    chosen = asdict(settings)
    del chosen["batch_size"], chosen["upscale"]  # matters of memory and speed
    parts = {
        "settings": chosen,
        "networks": [
            (_content_of(network.source), str(network.dtype))
            for network in (models.detector, models.restorer, models.parser, models.upscaler)
            if network is not None
        ],
        "folder": [spec.pattern, spec.suffix, spec.quality, spec.keep_gps],
        "gate": gate.key if gate is not None else "",
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def _content_of(weights: Path) -> str:
    return hash_file(weights) if weights.is_file() else str(weights)


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Hold the output folder against other runs, free of reports that are not ours and of what a killed run left."""

    def refuse() -> None:
        raise SettingsError(f'another run is writing to "{folder}": wait for it to end, or choose another folder.')

    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / "restore_folder", refuse):
        refuse_foreign_reports(folder)
        for path in folder.rglob(".*.part"):
            if _LEFTOVER.match(path.name):
                path.unlink(missing_ok=True)
        yield


def _folded(path: str) -> str:
    """Give a path as file systems compare it that ignore case or normalise Unicode."""
    return unicodedata.normalize("NFC", path).casefold()
