"""Files whose hash nobody published, and several fetchers at once."""

import hashlib
import json
import logging
import subprocess
import sys
import threading
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from safetensors.torch import save

from gpen_core.errors import CancelledError
from gpen_core.models.download import fetch, problem_with

from .fault_server import LENGTH, QUICK, SHA256, Watch, assert_fetched, card, refusal


class TestUnknownHash:
    """Files whose hash nobody published are taken on trust once."""

    LAYOUT: ClassVar = {
        "generator.input.input": (1, 4, 4, 4),
        "ecd0.0.0.weight": (4, 3, 1, 1),
        "final_linear.0.weight": (8, 64),
    }

    def content(self, fill):
        return save({key: torch.full(shape, fill) for key, shape in self.LAYOUT.items()})

    @pytest.fixture
    def trusting(self, server):
        server.content = self.content(1.0)
        return card(server, "good", sha256=None, size_bytes=None, about_bytes=len(server.content))

    def test_the_first_hash_is_recorded_and_said(self, server, trusting, tmp_path, caplog):
        with caplog.at_level(logging.WARNING):
            fetch(trusting, tmp_path, settings=QUICK)
        sha256 = hashlib.sha256(server.content).hexdigest()
        ledger = json.loads((tmp_path / "gpen_weights.json").read_text())
        assert ledger["face"]["sha256"] == sha256
        assert f"nobody published its hash; {sha256} is recorded" in caplog.text

    def test_another_file_later_is_refused_until_it_is_accepted(self, server, trusting, tmp_path):
        fetch(trusting, tmp_path, settings=QUICK).unlink()
        server.content, server.etag = self.content(2.0), '"v2"'
        text = refusal(trusting, tmp_path)
        assert "was recorded when it first came from" in text
        assert "--accept-change" in text
        path = fetch(trusting, tmp_path, settings=QUICK, accept_change=True)
        assert path.read_bytes() == server.content
        assert problem_with(path, trusting) == ""

    def test_a_file_changed_on_disk_is_seen(self, trusting, tmp_path):
        path = fetch(trusting, tmp_path, settings=QUICK)
        path.write_bytes(self.content(3.0))
        assert "was recorded when it first came" in problem_with(path, trusting)

    def test_a_part_of_another_version_is_not_built_upon(self, server, trusting, tmp_path):
        with pytest.raises(CancelledError):
            fetch(trusting, tmp_path, settings=QUICK, progress=Watch(limit=1))
        server.content, server.etag = self.content(2.0), '"v2"'
        assert fetch(trusting, tmp_path, settings=QUICK).read_bytes() == server.content

    def test_a_part_without_a_version_is_not_built_upon(self, server, trusting, tmp_path):
        (tmp_path / "face.pth.part").write_bytes(bytes(100))
        fetch(trusting, tmp_path, settings=QUICK)
        assert server.requests == [("/good", None)]

    def test_a_sign_in_page_is_refused(self, server, tmp_path):
        trusting = card(server, "page", sha256=None, size_bytes=None)
        assert "it is a web page" in refusal(trusting, tmp_path)

    def test_another_network_is_refused(self, server, trusting, tmp_path):
        server.content = save({"body.0.rdb1.conv1.weight": torch.ones(len(server.content) // 4 - 24)})
        assert "it holds ESRGAN (1 tensors), expected GPEN" in refusal(trusting, tmp_path)

    def test_a_far_too_short_file_is_refused(self, server, tmp_path):
        server.content = self.content(1.0)
        trusting = card(server, "good", sha256=None, size_bytes=None, about_bytes=75_500_000)
        assert "expected about 75,500,000" in refusal(trusting, tmp_path)


FETCHER = """
import sys
from pathlib import Path
from gpen_core.models.catalog import Licence, WeightsCard
from gpen_core.models.download import fetch
from gpen_core.models.connection import TransferSettings
url, sha256, size, folder = sys.argv[1:]
card = WeightsCard("face.pth", "restorer", "restore", "GPEN", (url,), Licence("t", False), "", sha256, int(size))
print("ready", flush=True)
sys.stdin.readline()
fetch(card, Path(folder), settings=TransferSettings(loopback_http=True, pause_s=0.01))
"""


def test_a_fetch_that_was_killed_goes_on_where_it_was(server, tmp_path):
    words = [sys.executable, "-c", FETCHER, server.url("trickle"), SHA256, str(LENGTH), str(tmp_path)]
    with subprocess.Popen(
        words, cwd=Path(__file__).parents[2], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "ready\n"
        other.stdin.write("go\n")
        other.stdin.flush()
        server.half.wait(30)
        other.kill()
    assert not (tmp_path / "face.pth").exists()
    kept = (tmp_path / "face.pth.part").stat().st_size
    server.may_end.set()
    assert_fetched(fetch(card(server, "good"), tmp_path, settings=QUICK), tmp_path)
    assert kept > 0 and server.requests[-1] == ("/good", f"bytes={kept}-")


def test_two_processes_at_once_fetch_it_once(server, tmp_path):
    words = [sys.executable, "-c", FETCHER, server.url("cuts-each-time"), SHA256, str(LENGTH), str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(words, cwd=Path(__file__).parents[2], **pipes) as other:
        assert other.stdout.readline() == "ready\n"
        other.stdin.write("go\n")
        other.stdin.flush()
        fetch(card(server, "cuts-each-time"), tmp_path, settings=QUICK)
        assert other.communicate(timeout=60)[1] == ""
        assert other.returncode == 0
    assert_fetched(tmp_path / "face.pth", tmp_path)
    assert [asked for _, asked in server.requests] == [None, "bytes=300000-", "bytes=600000-", "bytes=900000-"]


def test_four_threads_at_once_fetch_it_once(server, tmp_path):
    paths = []
    fetch_it = lambda: paths.append(fetch(card(server, "cuts-each-time"), tmp_path, settings=QUICK))  # noqa: E731
    threads = [threading.Thread(target=fetch_it) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert paths == [tmp_path / "face.pth"] * 4
    assert len(server.requests) == 4


def test_a_fetch_that_waits_for_another_can_be_cancelled(server, tmp_path):
    from gpen_core.models.locking import locked

    with locked(tmp_path / "face.pth"), pytest.raises(CancelledError):
        fetch(card(server, "good"), tmp_path, settings=QUICK, progress=Watch(limit=0))
