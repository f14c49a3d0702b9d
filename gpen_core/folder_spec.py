"""What a folder run is to do: which photos, where to, under which names, and what is not good enough."""

import re
import string
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

from .errors import SettingsError
from .photo import Photo

OutputSuffix: TypeAlias = Literal["same", ".png", ".jpg", ".tif", ".webp"]


@dataclass(frozen=True)
class FolderSpec:
    """Which photos, and where their results go.

    Attributes:
        source: the input folder. Folders inside it that hold the results of such runs are left out.
        output: the output folder; made if missing. It may lie inside `source`.
        pattern: file name of a result without its ending; {name}, {ext} and {model} stand for the photo's name, its
            ending without the dot, and the name of the restorer's file. Sub-folders are kept.
        suffix: format of the results; "same" keeps the photo's own where it can be written, else PNG.
        recursive: also take the photos of sub-folders.
        quality: of JPEG and WebP results, 1 to 100.
        keep_gps: carry over where a photo was taken.
    """

    source: Path
    output: Path
    pattern: str = "{name}"
    suffix: OutputSuffix = "same"
    recursive: bool = True
    quality: int = 95
    keep_gps: bool = False

    def __post_init__(self) -> None:
        """Refuse a pattern that names no file, and settings out of range."""
        try:
            parts = [part for part in string.Formatter().parse(self.pattern) if part[1] is not None]
        except ValueError as error:
            raise SettingsError(f"the naming pattern {self.pattern!r} is not valid: {error}.") from error
        fields = {field for _, field, _, _ in parts}
        if not fields <= {"name", "ext", "model"} or "name" not in fields or any(how or to for _, _, how, to in parts):
            raise SettingsError(
                f"the naming pattern must hold {{name}}, and may hold {{ext}} and {{model}}, got {self.pattern!r}."
            )
        if re.search(r'[/\\:*?"<>|\x00-\x1f]', self.pattern):
            raise SettingsError(f"the naming pattern {self.pattern!r} holds a character that file names cannot hold.")
        if self.suffix not in ("same", ".png", ".jpg", ".tif", ".webp"):
            raise SettingsError(f'expected suffix "same", ".png", ".jpg", ".tif" or ".webp", got "{self.suffix}".')
        if not 1 <= self.quality <= 100:
            raise SettingsError(f"quality: expected 1 to 100, got {self.quality}.")


class Gate(Protocol):
    """Decides, before a photo is restored, whether it is good enough."""

    @property
    def key(self) -> str:
        """What the decision depends on, as text: photos are judged again when it changes."""

    def __call__(self, photo: Photo) -> str:
        """Give the reason to reject `photo`; empty to let it pass."""
