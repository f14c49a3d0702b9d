"""GPEN Portrait's core: restore portraits with GPEN, from a photo file to the pasted and printed result.

The public names below are loaded when first used, so that `import gpen_core` stays quick.
"""

from importlib import import_module

__version__ = "0.1.0"

_HOME_OF: dict[str, str] = {
    "read_photo": "photo",
    "write_photo": "photo",
    "load_detector": "models.retinaface",
    "load_restorer": "models.load",
    "detect_faces": "detect",
    "align_face": "align",
    "restore_faces": "restore",
    "paste_faces": "paste",
    "restore_portrait": "pipeline",
    "PortraitSettings": "pipeline",
    "GpenError": "errors",
}

__all__ = ["__version__", *sorted(_HOME_OF)]


def __getattr__(name: str) -> object:
    """Load a public name from its module when it is first used."""
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME_OF[name]}", __name__), name)


def __dir__() -> list[str]:
    return list(__all__)
