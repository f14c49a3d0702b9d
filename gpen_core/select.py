"""Choose which faces of a picture are worked on."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from .errors import SettingsError
from .types import Face, FaceCrop

FaceOrder: TypeAlias = Literal["largest", "left", "top", "surest"]

_PART = re.compile(r"(\d+)(?:\s*-\s*(\d+))?")
_RANKS: dict[FaceOrder, Callable[[Face], float]] = {
    "largest": lambda face: -face.box.size,
    "left": lambda face: face.box.center[0],
    "top": lambda face: face.box.center[1],
    "surest": lambda face: -face.score,
}


@dataclass(frozen=True)
class FaceChoice:
    """Which faces of each picture are taken.

    Attributes:
        take: "all", or numbers and ranges counted from 1, e.g. "1", "1, 3", "2-4"; numbers past the last face are no
            error, since the pictures of a batch hold different numbers of faces.
        order: what the numbers count: from the largest face, from the left, from the top, or from the surest.
        smallest_px: faces whose box is smaller than this are left out before counting.
    """

    take: str = "all"
    order: FaceOrder = "largest"
    smallest_px: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what cannot be read as numbers, and unknown orders."""
        if self.order not in _RANKS:
            raise SettingsError(f'expected order {", ".join(_RANKS)}, got "{self.order}"')
        _numbers(self.take)


def choose_faces(faces: Sequence[Face], choice: FaceChoice) -> list[Face]:
    """Give the chosen faces of one picture, in the order of the choice."""
    wanted = _numbers(choice.take)
    counted = sorted((face for face in faces if face.box.size >= choice.smallest_px), key=_RANKS[choice.order])
    return [face for number, face in enumerate(counted, 1) if wanted is None or number in wanted]


def select_faces(crops: Sequence[FaceCrop], choice: FaceChoice) -> list[FaceCrop]:
    """Give the chosen faces of each picture, pictures in order, faces in the order of the choice.

    Args:
        crops: faces of one or more pictures, told apart by `image_index`.
        choice: which to take.
    """
    chosen: list[FaceCrop] = []
    for index in sorted({crop.image_index for crop in crops}):
        here = {id(crop.face): crop for crop in crops if crop.image_index == index}
        chosen += [here[id(face)] for face in choose_faces([crop.face for crop in here.values()], choice)]
    return chosen


def _numbers(text: str) -> frozenset[int] | None:
    """Read "1, 3, 5-7"; None for all."""
    if text.strip().lower() in ("all", ""):
        return None
    numbers: set[int] = set()
    for part in text.split(","):
        match = _PART.fullmatch(part.strip())
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if not 1 <= first <= last <= 10_000:
            raise SettingsError(f'expected "all", or numbers from 1 such as "1", "1, 3" or "2-4", got "{text}"')
        numbers.update(range(first, last + 1))
    return frozenset(numbers)
