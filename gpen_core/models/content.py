"""Tell what a weights file holds by its tensors' names and shapes, never by its own name."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from torch import Tensor

from ..errors import GpenError
from .catalog import CATALOG, WeightsCard, card_by_hash
from .registry import RESTORERS, UPSCALERS, find_architecture
from .state_dict import read_layout, read_metadata

# Keys by which networks are told that are not in the registry, or not whole. First match wins: CodeFormer before
# RestoreFormer, which has the same code book.
_MARKS: tuple[tuple[str, str], ...] = (
    ("ClassHead.0.conv1x1.weight", "RetinaFace"),
    ("encoder.0.conv2d.weight", "ParseNet"),
    ("cp.resnet.conv1.weight", "BiSeNet"),
    ("stylegan_decoder.style_mlp.1.weight", "GFPGAN"),
    ("position_emb", "CodeFormer"),
    ("quantize.embedding.weight", "RestoreFormer"),
    ("vqvae.quantize.embedding.weight", "RestoreFormer"),
    ("body.0.rdb1.conv1.weight", "ESRGAN"),
    ("model.1.sub.0.RDB1.conv1.0.weight", "ESRGAN"),
)

ABOUT = 0.05
"""How far a file's length may be from its card's `about_bytes`, as a share of it."""

_HASH_CHUNK = 2**20


@dataclass(frozen=True)
class FileIdentity:
    """What makes a file the same file as before: a change of any part means that it must be read anew.

    Attributes:
        path: absolute, links resolved.
        size_bytes: its length.
        mtime_ns: when it was last changed.
    """

    path: Path
    size_bytes: int
    mtime_ns: int

    @classmethod
    def of(cls, path: Path) -> "FileIdentity":
        """Read the identity of an existing file."""
        path = path.resolve()
        status = path.stat()
        return cls(path, status.st_size, status.st_mtime_ns)


@dataclass(frozen=True)
class WeightsContent:
    """What a weights file holds.

    Attributes:
        architecture: the family of networks, as in `WeightsCard.architecture`; "" if it is none this pack knows.
        picture_size: side of the network's square picture; None where the weights do not fix it.
        scale: how many times an upscaler enlarges; None for other networks.
        task: what the file's own record says it was trained for; "" if it has no record.
        card: the name of the card it was made from, by its own record; "" if it has no record.
        source_sha256: the hash of the file it was converted from, by its own record; "" if it has no record.
        key_count: number of tensors.
    """

    architecture: str
    picture_size: int | None
    scale: int | None
    task: str
    card: str
    source_sha256: str
    key_count: int

    def __str__(self) -> str:
        words = [self.architecture or "an unknown network"]
        words += [str(self.picture_size)] if self.picture_size else []
        words += [f"x{self.scale}"] if self.scale else []
        words += [f"for {self.task}"] if self.task else []
        return f"{' '.join(words)} ({self.key_count} tensors)"


def read_content(path: Path) -> WeightsContent:
    """Tell what a weights file holds, without reading its numbers; quick the second time.

    Raises:
        WeightsNotFoundError: if there is no such file.
        UnsupportedWeightsError: if it is no weights file, damaged or hostile.
    """
    if not path.is_file():
        read_layout(path)  # raises
    return _content(FileIdentity.of(path))


@lru_cache(maxsize=1024)
def _content(identity: FileIdentity) -> WeightsContent:
    layout = read_layout(identity.path)
    record = read_metadata(identity.path)
    restorer, upscaler = find_architecture(layout, RESTORERS), find_architecture(layout, UPSCALERS)
    family = restorer or upscaler
    return WeightsContent(
        architecture=_marked(layout) if family is None else family.name,
        picture_size=None if restorer is None else restorer.read_spec(layout).size,
        scale=None if upscaler is None else upscaler.read_spec(layout).scale,
        task=record.get("task", ""),
        card=record.get("card", ""),
        source_sha256=record.get("source_sha256", ""),
        key_count=len(layout),
    )


def _marked(layout: Mapping[str, Tensor]) -> str:
    return next((name for key, name in _MARKS if key in layout), "")


def mismatch(card: WeightsCard, content: WeightsContent) -> str:
    """Say in words how a file's content differs from what its card says; "" if it does not."""
    if content.architecture != card.architecture:
        return f"it holds {content}, expected {card.architecture}"
    if None not in (content.picture_size, card.picture_size) and content.picture_size != card.picture_size:
        return f"it holds {content}, expected size {card.picture_size}"
    if content.scale != card.scale:
        return f"it holds {content}, expected one that enlarges {card.scale} times"
    if content.task and content.task != card.task:
        return f"it holds {content}, expected one for {card.task}"
    return ""


def cards_for(path: Path, sha256: str | None = None) -> list[WeightsCard]:
    """Name the cards a file can be, by its content; more than one where the networks are alike.

    A GPEN network without a record of its own is taken for one that restores: that is what a loader does with it.

    Args:
        path: an existing weights file.
        sha256: its hash, if it is known; settles the matter where the catalogue knows it.
    """
    known = card_by_hash(sha256) if sha256 else None
    if known is not None:
        return [known]
    content, length = read_content(path), path.stat().st_size
    fitting = [card for card in CATALOG if not mismatch(card, content)]
    if content.card:
        return [card for card in fitting if card.name == content.card]
    return [card for card in fitting if card.size_bytes == length] or [
        card for card in fitting if card.size_bytes is None and _plausible(card, length)
    ]


def is_converted(path: Path, card: WeightsCard) -> bool:
    """Tell whether a file is, by its own record, what `convert` made of a card's genuine file.

    The record is believed, which anybody could have written, if it fits the content and the published hash.
    """
    try:
        content = read_content(path)
    except GpenError:
        return False
    source = content.source_sha256
    return source != "" and card.sha256 in (None, source) and content.card == card.name and not mismatch(card, content)


def _plausible(card: WeightsCard, length: int) -> bool:
    if card.about_bytes is None:
        return card.task not in ("colorize", "inpaint", "draw")
    return abs(length - card.about_bytes) <= ABOUT * card.about_bytes


def hash_file(path: Path, on_bytes: Callable[[int], None] = lambda count: None) -> str:
    """Compute a file's SHA-256 as lower-case hex.

    Args:
        path: an existing file.
        on_bytes: called with the length of each piece read; may raise to stop.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_HASH_CHUNK):
            digest.update(piece)
            on_bytes(len(piece))
    return digest.hexdigest()
