"""The workflows in ComfyUI's real page: loaded, run by its Run button, and looked at."""

import functools
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.comfy.server import PACK
from tests.comfy.test_workflows import COMPLETE

HERE = Path(__file__).parent
WORKFLOWS = PACK / "workflows"


@pytest.fixture(scope="session")
def chromium() -> str:
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if shutil.which("node") is None or found is None:
        pytest.skip("these tests need node and chromium: install both to run them")
    return found


@pytest.fixture(scope="session")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the script beside its one package, which node finds there."""
    modules = [
        HERE / "node_modules",
        *(Path(path) for path in os.environ.get("NODE_PATH", "").split(os.pathsep) if path),
    ]
    home = next((path for path in modules if (path / "playwright-core").is_dir()), None)
    if home is None:
        pytest.skip("playwright-core is missing: npm install --prefix tests/browser")
    folder = tmp_path_factory.mktemp("browser")
    (folder / "node_modules").symlink_to(home.resolve(), target_is_directory=True)
    shutil.copy(HERE / "run_workflow.mjs", folder)
    return folder


@pytest.fixture(scope="session")
def run_in_page(comfy, chromium, scripts):
    @functools.cache
    def run(name: str, design: str) -> dict:
        comfy.post("/free", {"unload_models": True, "free_memory": True})  # nothing shall come from the cache
        command = ["node", "run_workflow.mjs", comfy.url, chromium, WORKFLOWS / f"{name}.json"]
        command += [scripts / f"{name}_{design}.png", design]
        done = subprocess.run(
            [str(part) for part in command], cwd=scripts, capture_output=True, text=True, timeout=150, check=False
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return json.loads(done.stdout)

    return run


@pytest.mark.parametrize("name", [path.stem for path in COMPLETE])
def test_workflow_runs_in_the_page(run_in_page, name):
    seen = run_in_page(name, "classic")

    assert all(node["known"] for node in seen["loaded"]), [node for node in seen["loaded"] if not node["known"]]
    assert seen["ran"]["failed"] == ""
    assert seen["ran"]["outputs"]
    assert seen["pageErrors"] == []


def test_a_second_run_with_nothing_changed_makes_nothing_anew(run_in_page):
    workflow = json.loads((WORKFLOWS / "03_studio.json").read_text(encoding="utf-8"))
    slider = next(node["id"] for node in workflow["nodes"] if node["type"] == "GPEN_BeforeAfter")

    assert str(slider) in run_in_page("03_studio", "classic")["cached"]


def test_the_page_keeps_every_value_and_link_of_the_file(run_in_page):
    workflow = json.loads((WORKFLOWS / "02_step_by_step.json").read_text(encoding="utf-8"))

    seen = run_in_page("02_step_by_step", "classic")

    for node, loaded in zip(workflow["nodes"], seen["loaded"], strict=True):
        assert loaded["type"] == node["type"]
        assert loaded["links"] == sum(slot["link"] is not None for slot in node["inputs"])
        if node["type"].startswith("GPEN_") and node["widgets_values"]:
            assert loaded["values"] == node["widgets_values"]


def test_the_slider_gets_its_pictures_in_the_new_node_design(run_in_page):
    seen = run_in_page("01_restore_portrait", "vue")

    slider = next(node["slider"] for node in seen["shown"] if node["type"] == "GPEN_BeforeAfter")
    assert len(slider["beforeImages"]) == len(slider["afterImages"]) == 1
    assert seen["ran"]["progress"] > 0
    assert seen["help"].startswith("# Paste Faces")
