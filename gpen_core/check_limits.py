"""What a good portrait is: the limits of the photo check, each with its reason, and the words of advice."""

from dataclasses import dataclass, fields, replace
from typing import Literal

from .errors import SettingsError

Verdict = Literal["ok", "warn", "reject", "unknown"]


@dataclass(frozen=True)
class Limit:
    """From which value on something is worth a warning or a rejection.

    Attributes:
        warn: values beyond it are warned about.
        reject: values beyond it are rejected; None if this alone never is.
        least: whether small values are bad (the limits are the least allowed) or large ones.
        unit: of the value.
        reason: why the limits are what they are.
        advice: what to do about it.
        digits: of the value in reports.
    """

    warn: float
    reject: float | None
    least: bool
    unit: str
    reason: str
    advice: str
    digits: int = 0

    def __post_init__(self) -> None:
        if self.reject is not None and (self.reject > self.warn if self.least else self.reject < self.warn):
            side = "at most" if self.least else "at least"
            raise SettingsError(
                f"the limit to reject must be {side} the one to warn ({self.warn:g}), got {self.reject:g}"
            )

    def judge(self, value: float | None) -> Verdict:
        """Give the verdict on `value`; None is unknown."""
        if value is None:
            return "unknown"
        if self.reject is not None and self._beyond(value, self.reject):
            return "reject"
        return "warn" if self._beyond(value, self.warn) else "ok"

    def words(self) -> str:
        """Give the limits in words, e.g. "at least 150, never below 128 px"."""
        unit = f" {self.unit}" if self.unit and self.unit not in "°%" else self.unit
        first, second = ("at least", "never below") if self.least else ("at most", "never above")
        end = "" if self.reject is None or self.reject == self.warn else f", {second} {self.reject:g}"
        return f"{first} {self.warn:g}{end}{unit}"

    def _beyond(self, value: float, limit: float) -> bool:
        return value < limit if self.least else value > limit


_LARGER = "send a larger picture: the original file, not a screenshot or a copy from a chat"
_LOOK_AHEAD = "take the photo from the front, with the head upright and the eyes on the camera"

# "Measured" below means: on 204 labelled portraits of all kinds of people, about 470 px wide, and on copies of them
# blurred, made noisy and compressed. Figures that no rule of the trade gives come from there.


@dataclass(frozen=True)
class CheckThresholds:
    """The limits of the photo check; see each one's `reason`, and `with_limit` to change some."""

    width: Limit = Limit(
        warn=150,
        reject=128,
        least=True,
        unit="px",
        reason="below 128 px there is too little of a face for any restorer",
        advice=_LARGER,
    )
    height: Limit = Limit(
        warn=150,
        reject=128,
        least=True,
        unit="px",
        reason="below 128 px there is too little of a face for any restorer",
        advice=_LARGER,
    )
    faces: Limit = Limit(
        warn=1,
        reject=None,
        least=False,
        unit="",
        reason="a portrait shows one person; the largest face is judged",
        advice="crop to one person",
    )
    noise: Limit = Limit(
        warn=4,
        reject=12,
        least=False,
        unit="levels of 255",
        reason="measured: clean photos have 1.1 at most; from 12 on noise hides the skin",
        advice="take the photo again in more light, without digital zoom",
        digits=1,
    )
    blockiness: Limit = Limit(
        warn=0.6,
        reject=1.6,
        least=False,
        unit="",
        reason="measured: 0.2 in good files, 0.6 at JPEG quality 50, 1.4 at 15, where faces fall into squares",
        advice="send the original file: this one was compressed too much",
        digits=2,
    )
    background: Limit = Limit(
        warn=25,
        reject=None,
        least=False,
        unit="%",
        reason="measured: plain backgrounds have up to 10 % of their area on edges, crowded rooms 30 %",
        advice="stand before a plain wall, or cut the background out",
    )
    niqe: Limit = Limit(
        warn=8,
        reject=None,
        least=False,
        unit="",
        reason="measured: 3 to 7 for good portraits; soft backgrounds raise it too, so it never rejects",
        advice="the picture looks unnatural as a whole: over-processed, blurred or noisy",
        digits=1,
    )
    face_size: Limit = Limit(
        warn=64,
        reject=32,
        least=True,
        unit="px",
        reason="below 64 px the detector's points are off by 5 % of the face, below 32 a likeness is guesswork",
        advice=_LARGER,
    )
    visible: Limit = Limit(
        warn=50,
        reject=10,
        least=True,
        unit="%",
        reason="how sure the face mesh is; half is its makers' own limit, hidden faces fall below a tenth",
        advice="show the whole face, not covered and not turned away",
    )
    off_center: Limit = Limit(
        warn=25,
        reject=None,
        least=False,
        unit="%",
        reason="of the picture's side; farther out, a centred crop no longer fits the shoulders",
        advice="crop the picture so that the face is in the middle",
    )
    cut_off: Limit = Limit(
        warn=10,
        reject=30,
        least=False,
        unit="%",
        reason="of the face's outline outside the picture; from a third on an eye or the mouth is lost",
        advice="send a picture with the whole head in it",
    )
    yaw: Limit = Limit(
        warn=20,
        reject=30,
        least=False,
        unit="°",
        reason="beyond 30° the far eye is foreshortened by half: no longer frontal",
        advice=_LOOK_AHEAD,
    )
    pitch: Limit = Limit(
        warn=20,
        reject=30,
        least=False,
        unit="°",
        reason="beyond 30° forehead or chin hide the eyes",
        advice=_LOOK_AHEAD,
    )
    roll: Limit = Limit(
        warn=20,
        reject=30,
        least=False,
        unit="°",
        reason="beyond 30° the landmarks begin to slip",
        advice="turn the picture upright",
    )
    eyes_open: Limit = Limit(
        warn=0.22,
        reject=0.15,
        least=True,
        unit="",
        reason="height over width; measured: closed 0.16 to 0.21, open from 0.21, laughing 0.17: hence a warning",
        advice="take the photo again with the eyes open and on the camera",
        digits=2,
    )
    brightness: Limit = Limit(
        warn=14,
        reject=10.5,
        least=True,
        unit="%",
        reason="middle luma; the darkest skin, rightly exposed, reflects 4 % of the light: luma 22 %",
        advice="put the light before the person, or brighten the picture",
        digits=1,
    )
    near_black: Limit = Limit(
        warn=15,
        reject=35,
        least=False,
        unit="%",
        reason="of the face; measured: 12 % at most in evenly lit photos, also of dark skin; 35 % hides an eye",
        advice="light the dark side of the face as well",
    )
    clipped: Limit = Limit(
        warn=5,
        reject=20,
        least=False,
        unit="%",
        reason="of the face; what is clipped has lost its colour and cannot be brought back",
        advice="expose less, or send the raw picture",
    )
    backlight: Limit = Limit(
        warn=3.5,
        reject=5.5,
        least=False,
        unit="stops",
        reason="by which the surroundings outshine a face in the dark; measured: 4.6 to 6.1 for backlit faces",
        advice="turn the person towards the light, or use a flash",
        digits=1,
    )
    glare: Limit = Limit(
        warn=4,
        reject=20,
        least=False,
        unit="%",
        reason="of forehead and nose, white and brighter than the skin; measured: nothing in nine photos of ten",
        advice="soften the light or powder forehead and nose",
        digits=1,
    )
    sharpness: Limit = Limit(
        warn=0.40,
        reject=0.15,
        least=True,
        unit="",
        reason="measured on faces scaled to 160 px: sharp from 0.43; a blur of 1 px leaves 0.31, of 3 px 0.15",
        advice="take the photo again with the focus on the eyes and a steady hand",
        digits=2,
    )

    def with_limit(self, name: str, warn: float, reject: float | None) -> "CheckThresholds":
        """Give the same thresholds with one limit changed.

        Raises:
            SettingsError: if there is no such limit, or its two values are in the wrong order.
        """
        if name not in names_of_limits():
            raise SettingsError(f'there is no limit "{name}"; known are {", ".join(names_of_limits())}')
        return replace(self, **{name: replace(self.limit(name), warn=warn, reject=reject)})

    def limit(self, name: str) -> Limit:
        """Give one limit by its name.

        Raises:
            SettingsError: if there is no such limit.
        """
        found = getattr(self, name, None)
        if not isinstance(found, Limit):
            raise SettingsError(f'there is no limit "{name}"; known are {", ".join(names_of_limits())}')
        return found


def names_of_limits() -> tuple[str, ...]:
    """Give the names of all limits, in the order of reports."""
    return tuple(field.name for field in fields(CheckThresholds))


LABELS: dict[str, str] = {
    "width": "picture width",
    "height": "picture height",
    "faces": "faces",
    "noise": "noise",
    "blockiness": "JPEG blocks",
    "background": "busy background",
    "niqe": "NIQE",
    "face_size": "face size",
    "visible": "face recognisable",
    "off_center": "off centre",
    "cut_off": "cut off",
    "yaw": "turned sideways (yaw)",
    "pitch": "up or down (pitch)",
    "roll": "tilted (roll)",
    "eyes_open": "eyes open",
    "brightness": "face brightness",
    "near_black": "in the dark",
    "clipped": "over-exposed",
    "backlight": "light from behind",
    "glare": "glare",
    "sharpness": "sharpness",
}
"""What each limit is called in reports."""
