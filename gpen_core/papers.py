"""Papers that studios print on, by name."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from .errors import SettingsError

MM_PER_INCH = 25.4


@dataclass(frozen=True)
class Paper:
    """A trimmed paper and the resolution it is usually printed at.

    Attributes:
        width_mm: width after trimming.
        height_mm: height after trimming.
        dpi: dots per inch; 300 for what is held in the hand, less for what is seen from afar.
        may_turn: whether it may be laid sideways for a photo that is wider than high; identity photos and roll-ups
            may not.
    """

    width_mm: float
    height_mm: float
    dpi: float = 300.0
    may_turn: bool = True

    def __post_init__(self) -> None:
        if not (1 <= self.width_mm <= 10_000 and 1 <= self.height_mm <= 10_000):
            raise SettingsError(f"paper: expected 1 to 10000 mm, got {self.width_mm} × {self.height_mm} mm.")
        if not 1 <= self.dpi <= 4800:
            raise SettingsError(f"dpi: expected 1 to 4800, got {self.dpi}.")

    def turned(self) -> "Paper":
        """Give the same paper laid sideways."""
        return Paper(self.height_mm, self.width_mm, self.dpi, self.may_turn)


PAPERS: Mapping[str, Paper] = MappingProxyType(
    {
        "business-card": Paper(90, 54),
        "business-card-eu": Paper(85, 55),
        "business-card-us": Paper(88.9, 50.8),
        "id-35x45": Paper(35, 45, may_turn=False),
        "id-33x48": Paper(33, 48, may_turn=False),
        "id-1in": Paper(25, 35, may_turn=False),
        "id-2in": Paper(35, 49, may_turn=False),
        "id-us-2x2in": Paper(50.8, 50.8, may_turn=False),
        "9x13cm": Paper(90, 130),
        "10x15cm": Paper(100, 150),
        "13x18cm": Paper(130, 180),
        "20x30cm": Paper(200, 300),
        "4x6in": Paper(101.6, 152.4),
        "5x7in": Paper(127, 177.8),
        "8x10in": Paper(203.2, 254),
        "A6": Paper(105, 148),
        "A5": Paper(148, 210),
        "A4": Paper(210, 297),
        "A3": Paper(297, 420),
        "A2": Paper(420, 594, dpi=200),
        "roll-up-800x2000": Paper(800, 2000, dpi=100, may_turn=False),
    }
)
"""Papers by name. 33 × 48 mm is the photo of Chinese passports, 35 × 45 mm that of ICAO documents, 25 × 35 and
35 × 49 mm the Chinese one-inch and two-inch photos; A sizes after ISO 216."""


def paper_named(name: str) -> Paper:
    """Look a paper up, capital letters or not.

    Raises:
        SettingsError: if there is none of that name; lists them.
    """
    for known, paper in PAPERS.items():
        if known.lower() == name.lower():
            return paper
    raise SettingsError(f'There is no paper named "{name}". Known are {", ".join(PAPERS)}.')
