"""Names from outside become paths inside a chosen folder, or are refused."""

import os
import re
from pathlib import Path

from .errors import SettingsError

_DRIVE = re.compile(r"^[A-Za-z]:")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
# Microsoft, "Naming Files, Paths, and Namespaces": device names, with or without an extension; the superscript digits
# count as digits there.
_RESERVED = re.compile(r"^(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])\s*(\..*)?$", re.IGNORECASE)
_MAX_NAME_BYTES = 255


def safe_output_path(folder: Path, name: str) -> Path:
    r"""Join a name that came from outside to a folder, never leaving that folder.

    The name may hold sub-folders, split by "/" or "\" on every system. Nothing is created.

    Args:
        folder: the folder that was chosen for writing; it need not exist yet.
        name: what a user, a node input or a file list calls the file.

    Returns:
        An absolute path inside `folder`, links resolved.

    Raises:
        SettingsError: if the name is empty, absolute, holds "..", a drive letter, a control character or a device name
            of Windows, ends in a dot or a space, or leads out of the folder through a link.
    """
    parts = re.split(r"[/\\]", name)
    problem = _problem(name, parts)
    if problem:
        raise SettingsError(f"{name!r} cannot be used as a file name: {problem}. Choose a plain name inside {folder}.")
    root = folder.resolve()
    path = root.joinpath(*parts).resolve()
    if root not in path.parents:
        raise SettingsError(f"{name!r} cannot be used as a file name: it leads out of {root}. Choose a plain name.")
    return path


def _problem(name: str, parts: list[str]) -> str:
    if not name.strip():
        return "it is empty"
    if _CONTROL.search(name):
        return "it holds a NUL or another control character"
    if not parts[0]:
        return "it is an absolute path"
    for part in parts:
        problem = _problem_of_part(part)
        if problem:
            return problem
    return ""


def _problem_of_part(part: str) -> str:
    if part in {"", ".", ".."}:
        return f"{part!r} is not a name"
    if _DRIVE.match(part) or (os.name == "nt" and ":" in part):
        return f"{part!r} names a drive or a stream"
    if _RESERVED.match(part):
        return f"{part!r} is a device name on Windows"
    if part[-1] in ". ":
        return f"{part!r} ends in a dot or a space, which Windows drops"
    if len(part.encode("utf-8", "surrogatepass")) > _MAX_NAME_BYTES:
        return f"it is longer than {_MAX_NAME_BYTES} bytes"
    return ""
