"""Hundreds of restorations through a real ComfyUI over HTTP, with all that goes wrong in a day, and what it leaves.

    python -m tests.benchmarks.soak --runs 200

Workflows of the pack are interleaved with cancels, broken photos, photos without a face, queued jobs that are deleted,
`/free` and the Free Memory node. Printed at the start, after 20 restorations and at the end: failures, resident memory,
live torch modules, threads and open files of the server.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image, ImageEnhance

from tests.comfy.graphs import node
from tests.comfy.server import PACK, Comfy, Run, comfy_folder, comfy_python, free_port, wait_until_up
from tests.comfy.ui_format import to_prompt

PHOTOS = 12
UPSCALER = "small_x2.safetensors"
PRECISIONS = ("fp32 (best)", "bf16 (half the memory)")


@dataclass
class Soak:
    """One soak: the server, what was asked of it, and how it went."""

    comfy: Comfy
    pid: int
    dice: random.Random
    info: dict
    done: Counter = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    marks: list[tuple[int, dict]] = field(default_factory=list)

    @property
    def restorations(self) -> int:
        kinds = ("one node", "step by step", "upscaled", "studio")
        return sum(self.done[kind] for kind in kinds) + 3 * self.done["folder"]

    def node(self, class_type: str, **inputs) -> dict:
        """Make a node; inputs that are not given have the defaults the page would show."""
        given = self.info[class_type]["input"]
        defaults = {}
        for name, (kind, *rest) in {**given.get("required", {}), **given.get("optional", {})}.items():
            options = rest[0] if rest else {}
            choices = kind if isinstance(kind, list) else options.get("options")
            if "default" in options or choices:
                defaults[name] = options.get("default", choices[0] if choices else None)
        return node(class_type, **{**defaults, **inputs})

    def photo(self) -> dict:
        return node("LoadImage", image=f"photo{self.dice.randrange(PHOTOS)}.jpg")

    def strength(self) -> float:
        return round(self.dice.uniform(0.3, 1.0), 4)  # another value each time: nothing comes from ComfyUI's cache

    def expect_success(self, kind: str, prompt: dict) -> Run:
        run = self.comfy.run(prompt)
        self.done[kind] += 1
        if not run.ok:
            self.failures.append(f"{kind}: {run.error or 'interrupted'}")
        return run

    def expect_error(self, kind: str, prompt: dict, words: str) -> None:
        run = self.comfy.run(prompt)
        self.done[kind] += 1
        if run.ok or words not in run.error:
            self.failures.append(f"{kind}: expected an error with {words!r}, got {run.error or 'success'!r}")

    def one_node(self) -> None:
        prompt = {
            "1": self.photo(),
            "2": self.node("GPEN_RestorePortrait", image=["1", 0], strength=self.strength()),
            "3": node("PreviewImage", images=["2", 0]),
        }
        self.expect_success("one node", prompt)

    def step_by_step(self) -> None:
        prompt = {
            "1": self.photo(),
            "2": self.node(
                "GPEN_LoadRestorer",
                precision=self.dice.choice(PRECISIONS),
                after_run=self.dice.choice(["free the GPU", "stay on the GPU"]),
            ),
            "3": self.node("GPEN_DetectAlignFaces", image=["1", 0], restorer=["2", 0]),
            "4": self.node(
                "GPEN_RestoreFaces", faces=["3", 0], restorer=["2", 0], faces_at_once=self.dice.randint(1, 4)
            ),
            "5": self.node("GPEN_PasteFaces", image=["1", 0], faces=["4", 0], strength=self.strength()),
            "6": node("PreviewImage", images=["5", 0]),
        }
        if self.dice.random() < 0.2:
            prompt["7"] = self.node("GPEN_FreeMemory", value=["5", 0], free="this pack's networks")
            prompt["6"] = node("PreviewImage", images=["7", 0])
        self.expect_success("step by step", prompt)

    def upscaled(self) -> None:
        prompt = {
            "1": self.photo(),
            "2": self.node("GPEN_RestorePortrait", image=["1", 0], strength=self.strength(), upscaler=UPSCALER),
            "3": node("PreviewImage", images=["2", 0]),
        }
        self.expect_success("upscaled", prompt)

    def shipped(self, name: str, kind: str, settings: dict) -> None:
        workflow = json.loads((PACK / "workflows" / f"{name}.json").read_text("utf-8"))
        prompt = to_prompt(workflow, self.info)
        for one in prompt.values():
            if one["class_type"] in settings:
                one["inputs"] |= settings[one["class_type"]]
        self.expect_success(kind, prompt)

    def studio(self) -> None:
        self.shipped("03_studio", "studio", {"GPEN_RestorePortrait": {"strength": self.strength()}})

    def folder(self) -> None:
        settings = {"folder": "three", "output_folder": f"folder{self.done['folder']}", "strength": self.strength()}
        self.shipped("04_folder", "folder", {"GPEN_RestoreFolder": settings})

    def broken_photo(self) -> None:
        prompt = {
            "1": node("LoadImage", image="broken.jpg"),
            "2": self.node("GPEN_RestorePortrait", image=["1", 0]),
            "3": node("PreviewImage", images=["2", 0]),
        }
        answer = self.comfy.post("/prompt", {"prompt": prompt, "client_id": "tests"})
        self.done["broken photo"] += 1
        if "prompt_id" in answer and Run(self.comfy, self.comfy.wait(answer["prompt_id"])).ok:
            self.failures.append("broken photo: was taken for a good one")

    def no_face(self) -> None:
        settings = {"no_face": "stop with an error", "strength": self.strength()}
        prompt = {
            "1": node("LoadImage", image="no_face.jpg"),
            "2": self.node("GPEN_RestorePortrait", image=["1", 0], **settings),
            "3": node("PreviewImage", images=["2", 0]),
        }
        self.expect_error("no face", prompt, "NoFaceError")

    def cancel(self) -> None:
        prompt = {
            "1": node("TestMakePicture", kind="batch of 60"),
            "2": self.node("GPEN_RestorePortrait", image=["1", 0], strength=self.strength()),
            "3": node("PreviewImage", images=["2", 0]),
        }
        running, queued = self.comfy.queue(prompt), self.comfy.queue(prompt)
        self.comfy.post("/queue", {"delete": [queued]})
        time.sleep(self.dice.uniform(0.1, 2.0))
        self.comfy.post("/interrupt", {})
        run = Run(self.comfy, self.comfy.wait(running, seconds=120))
        self.done["cancel"] += 1
        if not run.interrupted:
            self.failures.append(f"cancel: ended with {run.history['status']['status_str']} {run.error}")

    def free(self) -> None:
        self.comfy.post("/free", {"unload_models": True, "free_memory": True})
        self.done["/free"] += 1

    def mark(self) -> dict:
        """Measure the server, idle."""
        self.free()
        time.sleep(1.5)  # the server frees between prompts
        told = self.comfy.run({"1": node("SoakStatus")}).told("1")
        status = Path(f"/proc/{self.pid}/status").read_text()
        rows = dict(line.split(":", 1) for line in status.splitlines())
        told |= {
            "rss_mb": round(int(rows["VmRSS"].split()[0]) / 1024),
            "threads": int(rows["Threads"]),
            "open_files": sum(1 for _ in Path(f"/proc/{self.pid}/fd").iterdir()),
        }
        self.marks.append((self.restorations, told))
        print(f"after {self.restorations:4} restorations: {told}", flush=True)
        return told


def make_photos(folder: Path) -> None:
    """Write the photos: the sample mirrored, dimmed and scaled, one faceless, one broken, a folder of three."""
    sample = Image.open(PACK / "gpen_core" / "samples" / "astronaut_poor.jpg").convert("RGB")
    dice = random.Random(1)
    for index in range(PHOTOS):
        side = dice.choice([320, 400, 512, 640])
        photo = ImageEnhance.Brightness(sample).enhance(dice.uniform(0.7, 1.2)).resize((side, side))
        photo = photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if index % 2 else photo
        photo.save(folder / f"photo{index}.jpg", quality=dice.randint(60, 95))
    Image.linear_gradient("L").convert("RGB").save(folder / "no_face.jpg")
    content = (folder / "photo0.jpg").read_bytes()
    (folder / "broken.jpg").write_bytes(content[:300] + bytes(500))
    (folder / "three").mkdir()
    for index in range(3):
        (folder / "three" / f"{index}.jpg").write_bytes((folder / f"photo{index}.jpg").read_bytes())


def make_upscaler(folder: Path) -> None:
    """Write a small random network that doubles, in a process of its own, as it needs torch."""
    script = (
        "import sys; from safetensors.torch import save_file; "
        "from gpen_core.models.rrdbnet import RrdbNetSpec, build_rrdbnet; "
        "save_file(build_rrdbnet(RrdbNetSpec(2, 8, 2, 4)).state_dict(), sys.argv[1])"
    )
    folder.mkdir(exist_ok=True)
    subprocess.run([sys.executable, "-c", script, str(folder / UPSCALER)], cwd=PACK, check=True)


def start_server(base: Path) -> tuple[subprocess.Popen, Comfy]:
    """Start a ComfyUI with this pack and the probes, in folders of its own."""
    folder = comfy_folder()
    for name in ("input", "output", "temp", "user", "models", "custom_nodes"):
        (base / name).mkdir()
    nodes = {"gpen-portrait": PACK, "soak_nodes": Path(__file__).parent / "soak_nodes"}
    nodes["probe_nodes"] = PACK / "tests" / "comfy" / "probe_nodes"
    for name, source in nodes.items():
        (base / "custom_nodes" / name).symlink_to(source, target_is_directory=True)
    port, log = free_port(), base / "log.txt"
    command = [comfy_python(folder), "main.py", "--cpu", "--listen", "127.0.0.1", "--port", port]
    command += ["--disable-api-nodes", "--base-directory", base, "--database-url", "sqlite:///:memory:"]
    with log.open("wb") as stream:
        words, environment = [str(part) for part in command], {**os.environ, "GPEN_TEST_PACK": str(PACK)}
        process = subprocess.Popen(words, cwd=folder, stdout=stream, stderr=stream, env=environment)
    server = Comfy(f"http://127.0.0.1:{port}", base, log)
    try:
        wait_until_up(server, process, seconds=300)
    except AssertionError:
        process.kill()
        raise
    failed = [
        line
        for line in log.read_text(errors="replace").splitlines()
        if "IMPORT FAILED" in line and "custom_nodes" in line
    ]
    if failed:
        process.terminate()
        raise SystemExit("\n".join(failed))
    return process, server


def soak(comfy: Comfy, pid: int, runs: int) -> Soak:
    """Run until `runs` restorations are done."""
    one = Soak(comfy, pid, random.Random(0), comfy.get("/object_info"))
    one.mark()
    work = {
        one.one_node: 32, one.step_by_step: 32, one.upscaled: 16, one.studio: 8, one.folder: 3,
        one.broken_photo: 5, one.no_face: 5, one.cancel: 5, one.free: 6,
    }  # fmt: skip
    marks = list(range(20, runs, 20))
    while one.restorations < runs:
        one.dice.choices(list(work), list(work.values()))[0]()
        if marks and one.restorations >= marks[0]:
            marks.pop(0)
            one.mark()
    one.mark()
    return one


def load_times(one: Soak, folder: Path) -> None:
    """Print how long a published-size restorer takes to load at first, and when the pack holds it already."""
    script = (
        "import sys, torch; from safetensors.torch import save_file; "
        "from gpen_core.models.gpen import GpenGenerator, GpenSpec; torch.manual_seed(0); "
        "save_file(GpenGenerator(GpenSpec.published(512)).state_dict(), sys.argv[1])"
    )
    folder.mkdir(exist_ok=True)
    subprocess.run([sys.executable, "-c", script, str(folder / "large.safetensors")], cwd=PACK, check=True)
    load = {
        "1": one.node("GPEN_LoadRestorer", model="large.safetensors"),
        "2": node("PreviewAny", source=["1", 0]),
    }
    for label in ("first prompt", "second prompt", "third prompt"):
        one.comfy.post("/free", {"free_memory": True})  # ComfyUI forgets its results, so that the node runs again
        time.sleep(1.5)
        messages = dict(one.comfy.run(load).history["status"]["messages"])
        took = messages["execution_success"]["timestamp"] - messages["execution_start"]["timestamp"]
        print(f"loading 284 MB, {label}: {took} ms")


def main() -> int:
    """Run the soak and print its figures; 1 if anything failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--keep-log", type=Path, help="copy the server's log to this file")
    arguments = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        process, comfy = start_server(base)
        try:
            make_photos(base / "input")
            make_upscaler(base / "models" / "upscale_models")
            one = soak(comfy, process.pid, arguments.runs)
            load_times(one, base / "models" / "gpen")
            log = comfy.log.read_text(errors="replace")
        finally:
            process.terminate()
            process.wait(timeout=20)
    if arguments.keep_log:
        arguments.keep_log.write_text(log)
    report(one, log, time.monotonic() - began)
    return 1 if one.failures else 0


def report(one: Soak, log: str, seconds: float) -> None:
    """Print what was done, what failed and what grew."""
    print(f"\n{one.restorations} restorations in {seconds / 60:.1f} min; asked for: {dict(one.done)}")
    print(f"failures: {len(one.failures)}")
    for failure in one.failures[:20]:
        print(f"  {failure}")
    (_, early), (_, late) = one.marks[1], one.marks[-1]
    for figure in late:
        print(f"{figure:12} {early[figure]:>10} -> {late[figure]:>10}")
    print(f"lines with 'leak' in the server's log: {sum('leak' in line.lower() for line in log.splitlines())}")


if __name__ == "__main__":
    sys.exit(main())
