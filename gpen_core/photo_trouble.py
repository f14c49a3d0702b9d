"""What one photo of many may raise without ending a run, and how it is said in one line."""

from pathlib import Path

import cv2

from .errors import GpenError

PHOTO_TROUBLE = (
    *(GpenError, OSError, MemoryError, RuntimeError, ValueError, TypeError, LookupError, ArithmeticError),
    cv2.error,
)
"""What one photo may raise without ending the run. Not listed and so passed on: the interrupts of shell and host."""


def in_words(error: BaseException, source: Path) -> str:
    """Give an error as one line, the photo under its short name."""
    words = " ".join(str(error).split()).replace(str(source), source.name)
    return words if isinstance(error, GpenError) and words else f"{type(error).__name__}: {words}"
