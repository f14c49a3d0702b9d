"""A real ComfyUI for the tests that ask for one: started once, stopped at the end."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.comfy.server import PACK, Comfy, comfy_folder, comfy_python, free_port, wait_until_up

PROBES = PACK / "tests" / "comfy" / "probe_nodes"


@pytest.fixture(scope="session")
def comfy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Comfy]:
    """A ComfyUI server that holds this pack and no other, with empty folders of its own."""
    with running_comfy(tmp_path_factory.mktemp("comfy")) as server:
        yield server


@pytest.fixture
def comfy_with_lru_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Comfy]:
    """A server that keeps the results of a workflow while others run."""
    with running_comfy(tmp_path_factory.mktemp("comfy"), "--cache-lru", "40") as server:
        yield server


@contextmanager
def running_comfy(base: Path, *options: str) -> Iterator[Comfy]:
    folder = comfy_folder()
    python = comfy_python(folder)
    if not (folder / "main.py").is_file():
        pytest.skip(f"no ComfyUI in {folder}: set COMFYUI_PATH to its folder to run these tests")
    if python is None:
        pytest.skip(f"no Python of {folder} found: set COMFYUI_PYTHON to the one that runs ComfyUI")
    for name in ("input", "output", "temp", "user", "models", "custom_nodes"):
        (base / name).mkdir()
    link_or_copy(PACK, base / "custom_nodes" / "gpen-portrait")
    link_or_copy(PROBES, base / "custom_nodes" / "probe_nodes")
    log, port = base / "log.txt", free_port()
    command = [python, "main.py", "--cpu", "--listen", "127.0.0.1", "--port", port, "--disable-api-nodes"]
    command += ["--base-directory", base, "--database-url", "sqlite:///:memory:", *options]
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [str(part) for part in command],
            cwd=folder,
            stdout=stream,
            stderr=stream,
            # Threads that spin starve a busy machine.
            env={**os.environ, "OMP_WAIT_POLICY": "passive", "GPEN_TEST_PACK": str(PACK)},
        )
    try:
        server = Comfy(f"http://127.0.0.1:{port}", base, log)
        wait_until_up(server, process)
        yield server
    finally:
        process.terminate()
        process.wait(timeout=20)


def link_or_copy(source: Path, target: Path) -> None:
    try:
        target.symlink_to(source, target_is_directory=True)
    except OSError:  # Windows allows links to developers only
        shutil.copytree(source, target, ignore=shutil.ignore_patterns(".*", "node_modules", "__pycache__"))
