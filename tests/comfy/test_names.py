"""Names that come over HTTP: whatever they are, nothing is written outside ComfyUI's output folder."""

import itertools
import random
from pathlib import Path

import pytest

from tests.comfy.graphs import FOLDER, PORTRAIT, PRINT, SAVE, node, picture
from tests.comfy.server import PACK, Run

PIECES = ["..", ".", "", "a", "CON", "nul.png", "com1", "C:", "c:evil", "\\\\host\\share", "\\", "~", "$HOME", "%2e%2e"]
PIECES += ["a\0b", "a\nb", "\u202eevil", "..\u2215..", "é" * 200, "x" * 300, "{name.__class__}", "{0}", "%date:yyyy%"]
PIECES += ["...", "a.", "a ", " ", "-rf", "|id", "`id`", "a:stream", "\ud7ff", "LPT¹"]


def names(count: int) -> list[str]:
    """Single pieces, then random paths of them."""
    dice = random.Random(0)
    paths = ["../" * depth + "tmp/evil" for depth in (1, 5, 12)] + ["/tmp/evil", "/etc/evil", "\\tmp\\evil"]
    mixed = (dice.choice("/\\").join(dice.choices(PIECES, k=dice.randint(2, 4))) for _ in itertools.count())
    return [*paths, *PIECES, *itertools.islice(mixed, count)]


def tree(folder: Path) -> set[Path]:
    """Everything below the folder, but for where ComfyUI itself writes and where our output belongs."""
    own = {folder / name for name in ("output", "temp", "user", "log.txt")}
    return {path for path in folder.rglob("*") if not own & {path, *path.parents} and "__pycache__" not in path.parts}


@pytest.fixture
def nothing_outside(comfy):
    """Watch the folders around the output folder, and those that the names aim at."""
    (comfy.base / "input" / "one").mkdir(exist_ok=True)
    (comfy.base / "input" / "one" / "a.jpg").write_bytes((PACK / "gpen_core/samples/astronaut_poor.jpg").read_bytes())
    around, aimed = tree(comfy.base), [Path("/tmp/evil"), Path("/etc/evil"), comfy.base.parent / "tmp"]
    yield
    assert tree(comfy.base) == around
    assert not [path for path in aimed if path.exists()]
    assert not list(comfy.base.parent.glob("*evil*"))


def ends_in_words(comfy, prompt: dict) -> None:
    """Run a prompt that may be refused by ComfyUI, be refused by the node in its own words, or succeed."""
    answer = comfy.post("/prompt", {"prompt": prompt, "client_id": "tests"})
    if answer.get("node_errors") or "prompt_id" not in answer:
        return
    run = Run(comfy, comfy.wait(answer["prompt_id"]))
    ours = ("SettingsError", "PhotoError", "WeightsNotFoundError", "saving image outside the output folder")
    assert run.ok or any(word in run.error for word in ours), (prompt, run.error)


def folder_run(**settings) -> dict:
    # The smallest limit above every face: nothing is restored, and names are all that is tried.
    settings = {**FOLDER, "folder": "one", "smallest_face_px": 4096, **settings}
    return {"1": node("GPEN_RestoreFolder", **settings), "2": node("TestProbe", value=["1", 0])}


@pytest.mark.parametrize("field", ["output_folder", "pattern"])
def test_restore_folder(comfy, nothing_outside, field):
    for name in names(30):
        ends_in_words(comfy, folder_run(**{field: name}))


@pytest.mark.parametrize(
    "name", ["a\0b", "a\nb", "x" * 300, "C:\\photos", "\\\\host\\share", "nul", "~nobody/x", "one/../two"]
)
def test_a_folder_of_photos_that_is_none(comfy, nothing_outside, name):
    """Photos are read from wherever the user says; a name that is no folder is refused in words."""
    ends_in_words(comfy, folder_run(folder=name))


def test_save_print(comfy, nothing_outside):
    for name in names(30):
        prompt = {
            "1": picture("no face"),
            "2": node("GPEN_PrintUpscale", image=["1", 0], **PRINT),
            "3": node("GPEN_SavePrint", sheets=["2", 1], **{**SAVE, "filename_prefix": name}),
        }
        ends_in_words(comfy, prompt)


@pytest.mark.parametrize("field", ["model", "detector", "parser", "upscaler"])
def test_menus_of_weights(comfy, nothing_outside, field):
    for name in names(10):
        prompt = {
            "1": picture("no face"),
            "2": node("GPEN_RestorePortrait", image=["1", 0], **{**PORTRAIT, field: name}),
            "3": node("TestProbe", value=["2", 0]),
        }
        ends_in_words(comfy, prompt)
