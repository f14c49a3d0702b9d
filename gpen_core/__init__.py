"""GPEN Portrait's core: restore portraits with GPEN, from a photo file to the pasted and printed result.

The public names below are loaded when first used, so that `import gpen_core` stays quick.
"""

from importlib import import_module

__version__ = "0.1.0"

_HOME_OF: dict[str, str] = {
    "Box": "types",
    "CheckThresholds": "check_limits",
    "CompareSpec": "compare",
    "Face": "types",
    "FaceCrop": "types",
    "FaceReport": "types",
    "FolderSpec": "folder_spec",
    "GpenError": "errors",
    "PasteSettings": "paste",
    "PortraitResult": "types",
    "PortraitSettings": "pipeline",
    "PrintSpec": "printing",
    "ToneSpec": "tone",
    "UpscaleSettings": "upscale",
    "align_face": "align",
    "apply_tone": "tone",
    "before_after": "compare",
    "check_photo": "check",
    "detect_faces": "detect",
    "face_mask": "masks",
    "lay_out": "printing",
    "load_detector": "models.retinaface",
    "load_restorer": "models.load",
    "load_upscaler": "models.load",
    "paste_faces": "paste",
    "read_photo": "photo",
    "restore_faces": "restore",
    "restore_folder": "batch",
    "restore_portrait": "pipeline",
    "shared_manager": "models.manager",
    "skin_mask": "skin",
    "upscale_photo": "upscale",
    "write_photo": "photo",
}

__all__ = ["__version__", *sorted(_HOME_OF)]


def __getattr__(name: str) -> object:
    """Load a public name from its module when it is first used."""
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME_OF[name]}", __name__), name)


def __dir__() -> list[str]:
    return list(__all__)
