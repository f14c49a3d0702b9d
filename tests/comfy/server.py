"""A real ComfyUI for the tests: found, asked over HTTP."""

import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path

PACK = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Comfy:
    """A running server.

    `base` holds its own input, output and models folders; `log` is what it printed.
    """

    url: str
    base: Path
    log: Path

    def get(self, path: str):
        with urllib.request.urlopen(self.url + path, timeout=30) as answer:
            return json.loads(answer.read())

    def get_bytes(self, path: str) -> bytes:
        with urllib.request.urlopen(self.url + path, timeout=30) as answer:
            return answer.read()

    def post(self, path: str, body: dict) -> dict:
        request = urllib.request.Request(
            self.url + path, data=json.dumps(body).encode(), headers={"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                text = answer.read()
        except urllib.error.HTTPError as error:
            text = error.read()
        return json.loads(text) if text else {}

    def queue(self, prompt: dict, workflow: dict | None = None) -> str:
        """Queue a prompt and give its id; a refused prompt fails the test with the server's words."""
        body: dict = {"prompt": prompt, "client_id": "tests"}  # with a client, cached results count as outputs too
        if workflow is not None:
            body["extra_data"] = {"extra_pnginfo": {"workflow": workflow}}
        answer = self.post("/prompt", body)
        assert "prompt_id" in answer, json.dumps(answer, indent=1)
        assert not answer["node_errors"], json.dumps(answer["node_errors"], indent=1)
        return answer["prompt_id"]

    def wait(self, prompt_id: str, seconds: float = 60) -> dict:
        """Wait for a prompt's history."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            history = self.get(f"/history/{prompt_id}")
            if prompt_id in history:
                return history[prompt_id]
            time.sleep(0.1)
        raise AssertionError(f"no answer within {seconds} s; the log ends:\n{self.log.read_text()[-3000:]}")

    def run(self, prompt: dict, workflow: dict | None = None) -> "Run":
        """Run a prompt to its end, whatever that is."""
        return Run(self, self.wait(self.queue(prompt, workflow)))


@dataclass(frozen=True)
class Run:
    """How a prompt ended."""

    comfy: Comfy
    history: dict

    @property
    def ok(self) -> bool:
        return self.history["status"]["status_str"] == "success"

    @property
    def error(self) -> str:
        """The words of the node that failed; empty if none did."""
        for kind, detail in self.history["status"]["messages"]:
            if kind == "execution_error":
                return f"{detail['exception_type']}: {detail['exception_message']}"
        return ""

    @property
    def interrupted(self) -> bool:
        return any(kind == "execution_interrupted" for kind, _ in self.history["status"]["messages"])

    @property
    def cached(self) -> set[str]:
        """The nodes whose results were still there."""
        return {
            node for kind, detail in self.history["status"]["messages"] if kind == "execution_cached"
            for node in detail["nodes"]
        }  # fmt: skip

    def outputs(self, node: str, kind: str) -> list:
        return self.history["outputs"].get(node, {}).get(kind, [])

    def told(self, node: str) -> dict:
        """What a probe node told; see probe_nodes."""
        assert self.ok, self.error
        return json.loads(self.outputs(node, "text")[0])

    def pictures(self, node: str) -> list[bytes]:
        """The picture files a node showed or saved."""
        return [
            self.comfy.get_bytes("/view?" + urllib.parse.urlencode(entry)) for entry in self.outputs(node, "images")
        ]


def comfy_folder() -> Path:
    """Where ComfyUI is, as COMFYUI_PATH says."""
    return Path(os.environ.get("COMFYUI_PATH", "~/comfy/ComfyUI")).expanduser()


def comfy_python(folder: Path) -> Path | None:
    """The interpreter that runs ComfyUI: COMFYUI_PYTHON, or a virtual environment in or beside its folder."""
    named = os.environ.get("COMFYUI_PYTHON")
    if named:
        return Path(named)
    places = [
        folder / "venv" / "bin" / "python",
        folder / ".venv" / "bin" / "python",
        folder.parent / "venv" / "bin" / "python",
        folder / "venv" / "Scripts" / "python.exe",
        folder / ".venv" / "Scripts" / "python.exe",
        folder.parent / "venv" / "Scripts" / "python.exe",
        folder.parent / "python_embeded" / "python.exe",
    ]
    return next((place for place in places if place.is_file()), None)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_until_up(server: Comfy, process: subprocess.Popen, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert process.poll() is None, f"ComfyUI ended at once:\n{server.log.read_text()[-3000:]}"
        try:
            server.get("/queue")
        except OSError:
            time.sleep(0.2)
        else:
            return
    raise AssertionError(f"ComfyUI did not answer within {seconds} s:\n{server.log.read_text()[-3000:]}")
