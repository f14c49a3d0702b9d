"""The errors of the pack: each says what was expected, what came and what to do."""


class GpenError(Exception):
    """Base of every error that this package raises on purpose; its text is fit to be shown to a user."""


class ShapeError(GpenError, ValueError):
    """A tensor does not have the shape, type or range that a function states."""


class SettingsError(GpenError, ValueError):
    """A setting is outside its range or two settings contradict each other."""


class PhotoError(GpenError):
    """A picture file cannot be read or written; the text names the file and the cause."""


class NoFaceError(GpenError):
    """A photo holds no face, and the caller asked to stop in that case."""


class WeightsNotFoundError(GpenError, FileNotFoundError):
    """A weights file or catalogue name does not exist here; the text says where it was looked for."""


class UnsupportedWeightsError(GpenError):
    """A file is not the kind of weights that was asked for; the text says what it holds."""


class MissingPackageError(GpenError, ImportError):
    """An optional package is needed for this step and is not installed; the text says how to install it."""


class DownloadError(GpenError):
    """A weights file could not be fetched whole and genuine from any of its mirrors."""


class ModelMemoryError(GpenError, MemoryError):
    """Even the smallest piece of work does not fit into memory; the text says what was tried."""


class CancelledError(GpenError):
    """The user cancelled the run."""
