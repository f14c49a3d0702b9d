"""Fetching weights from servers that truncate, stall, reset, lie, drip, redirect and refuse."""

import hashlib
import http.server
import json
import logging
import re
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from safetensors.torch import save

from gpen_core.errors import CancelledError, DownloadError
from gpen_core.models.catalog import Licence, WeightsCard
from gpen_core.models.download import fetch, problem_with
from gpen_core.models.ledger import read_ledger
from gpen_core.models.transfer import TransferSettings
from gpen_core.progress import NoProgress

CONTENT = bytes(range(256)) * 4000  # 1,024,000 bytes
LENGTH = len(CONTENT)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
QUICK = TransferSettings(timeout_s=0.5, window_s=0.4, slowest_bytes_per_s=100_000, pause_s=0.01, loopback_http=True)


class FaultServer:
    """Serves `content` at every path, misbehaving as the path says; remembers requests as (path, Range)."""

    def __init__(self):
        self.content = CONTENT
        self.etag = '"v1"'
        self.requests = []
        self.counts = {}
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                outer.requests.append((self.path, self.headers.get("Range")))
                outer.counts[self.path] = outer.counts.get(self.path, 0) + 1
                getattr(outer, self.path.strip("/").replace("-", "_"))(self)

            def log_message(self, *args):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    def url(self, path):
        return f"http://127.0.0.1:{self.http.server_address[1]}/{path}"

    def close(self):
        self.http.shutdown()
        self.http.server_close()

    def head(self, to, length=None, start=0, ranged=False):
        to.send_response(206 if ranged else 200)
        to.send_header("Content-Length", str(len(self.content) - start if length is None else length))
        if ranged:
            to.send_header("Content-Range", f"bytes {start}-{len(self.content) - 1}/{len(self.content)}")
        if self.etag:
            to.send_header("ETag", self.etag)
        to.end_headers()

    def start_of(self, to):
        asked = to.headers.get("Range")
        condition = to.headers.get("If-Range")
        return int(asked[6:-1]) if asked and condition in (None, self.etag) else 0

    def good(self, to):
        start = self.start_of(to)
        if start >= len(self.content):
            to.send_response(416)
            to.send_header("Content-Range", f"bytes */{len(self.content)}")
            to.end_headers()
            return
        self.head(to, start=start, ranged=bool(start))
        to.wfile.write(self.content[start:])

    def good_without_ranges(self, to):
        self.head(to)
        to.wfile.write(self.content)

    def cuts_each_time(self, to):
        """Sends 300,000 bytes more each time it is asked, then breaks off."""
        start = self.start_of(to)
        self.head(to, start=start, ranged=bool(start))
        to.wfile.write(self.content[start : start + 300_000])

    def cuts_always(self, to):
        self.head(to)
        to.wfile.write(self.content[:5000])

    def resets(self, to):
        self.head(to)
        to.wfile.write(self.content[:5000])
        to.wfile.flush()
        to.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        to.connection.close()

    def resets_once(self, to):
        (self.resets if self.counts[to.path] == 1 else self.good)(to)

    def hangs_up(self, to):
        to.connection.shutdown(socket.SHUT_RDWR)

    def stalls(self, to):
        self.head(to)
        to.wfile.write(self.content[:5000])
        to.wfile.flush()
        time.sleep(1.5)

    def silent(self, to):
        time.sleep(1.5)

    def drips(self, to):
        self.head(to)
        for at in range(0, 20_000, 1000):
            to.wfile.write(self.content[at : at + 1000])
            to.wfile.flush()
            time.sleep(0.1)

    def wrong_bytes(self, to):
        self.head(to)
        to.wfile.write(bytes(len(self.content)))

    def wrong_length(self, to):
        self.head(to, length=777)
        to.wfile.write(bytes(777))

    def too_much(self, to):
        """Announces no length and never stops."""
        to.send_response(200)
        to.end_headers()
        for _ in range(40):
            to.wfile.write(self.content)

    def no_length(self, to):
        to.send_response(200)
        to.end_headers()
        to.wfile.write(self.content)

    def wrong_range(self, to):
        if self.start_of(to):
            to.send_response(206)
            to.send_header("Content-Length", "10")
            to.send_header("Content-Range", f"bytes 0-9/{len(self.content)}")
            to.end_headers()
            to.wfile.write(self.content[:10])
        else:
            self.good(to)

    def page(self, to):
        body = b"<!DOCTYPE html><html>Please sign in</html>"
        self.head(to, length=len(body))
        to.wfile.write(body)

    def missing(self, to):
        to.send_error(404)

    def refuses_ranges(self, to):
        if to.headers.get("Range"):
            to.send_error(416)
        else:
            self.good(to)

    def busy_once(self, to):
        if self.counts[to.path] == 1:
            to.send_error(503)
        else:
            self.good(to)

    def busy(self, to):
        to.send_error(503)

    def redirect(self, to):
        self._send_to(to, self.url("good"))

    def redirect_loop(self, to):
        self._send_to(to, self.url("redirect-loop"))

    def redirect_to_http(self, to):
        self._send_to(to, "http://example.org/weights.pth")

    def redirect_to_file(self, to):
        self._send_to(to, "file:///etc/passwd")

    @staticmethod
    def _send_to(to, url):
        to.send_response(302)
        to.send_header("Location", url)
        to.send_header("Content-Length", "0")
        to.end_headers()


@pytest.fixture
def server(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    server = FaultServer()
    yield server
    server.close()


def card(server, *paths, sha256=SHA256, size_bytes=LENGTH, **more):
    return WeightsCard(
        file_name="face.pth",
        role="restorer",
        task="restore",
        architecture="GPEN",
        urls=tuple(path if ":" in path else server.url(path) for path in paths),
        licence=Licence("test", non_commercial=False),
        paper="",
        sha256=sha256,
        size_bytes=size_bytes,
        **more,
    )


class Watch(NoProgress):
    """Counts bytes, and cancels after `limit` of them."""

    def __init__(self, limit=None):
        self.totals, self.bytes, self.limit = [], 0, limit

    def start(self, total, label):
        self.totals.append((total, label))
        self.bytes = 0

    def advance(self, units=1, preview=None):
        self.bytes += units

    def check_cancelled(self):
        if self.limit is not None and self.bytes >= self.limit:
            raise CancelledError("cancelled")


def visible(folder):
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


def assert_fetched(path, folder):
    assert path == folder / "face.pth"
    assert path.read_bytes() == CONTENT
    assert visible(folder) == ["face.pth", "gpen_weights.json"]


def refusal(card, folder, settings=QUICK):
    with pytest.raises(DownloadError) as caught:
        fetch(card, folder, settings=settings)
    assert not (folder / card.file_name).exists()
    return str(caught.value)


def test_a_good_server(server, tmp_path):
    watch = Watch()
    assert_fetched(fetch(card(server, "good"), tmp_path, settings=QUICK, progress=watch), tmp_path)
    assert watch.totals == [(1_024_000, "face.pth")]
    assert watch.bytes == 1_024_000
    assert read_ledger(tmp_path)["face"].sha256 == SHA256


def test_the_second_fetch_asks_nobody(server, tmp_path):
    for _ in range(2):
        fetch(card(server, "good"), tmp_path, settings=QUICK)
    assert len(server.requests) == 1


RECOVERS = {
    "cuts-each-time": ["0", "300000", "600000", "900000"],
    "resets-once": ["0", "5000"],
    "busy-once": ["0", "0"],
    "redirect": ["0", "0"],
    "no-length": ["0"],
    "good-without-ranges": ["0"],
}


@pytest.mark.parametrize(("path", "starts"), RECOVERS.items(), ids=RECOVERS)
def test_a_fault_that_passes_is_overcome_at_the_same_mirror(server, tmp_path, path, starts):
    assert_fetched(fetch(card(server, path), tmp_path, settings=QUICK), tmp_path)
    assert [(asked or "bytes=0-")[6:-1] for _, asked in server.requests] == starts


FAILS = {
    "cuts-always": "the connection broke after 5,000 of 1,024,000 bytes",
    "resets": "the connection broke: ",
    "hangs-up": "the connection broke: |no connection: ",
    "stalls": "the server was silent for 0.5 s",
    "silent": "the server was silent for 0.5 s",
    "drips": "too slow: [0-9,]+ bytes per second",
    "wrong-bytes": "its SHA-256 is [0-9a-f]{64}, expected " + SHA256,
    "wrong-length": "expected a file of 1,024,000 bytes, the server has one of 777",
    "too-much": "the server sent more than the 1,024,000 bytes",
    "missing": "the server says 404 Not Found",
    "busy": "the server says 503 Service Unavailable",
    "redirect-loop": "the server says 302",
    "redirect-to-http": "http://example.org/weights.pth is not https",
    "redirect-to-file": "file:///etc/passwd is not https|the server says 302",
    "https://127.0.0.1:1/face.pth": "no connection: ",
    "http://example.org/face.pth": "is not https",
}


@pytest.mark.parametrize(("path", "words"), FAILS.items(), ids=FAILS)
def test_a_lasting_fault_leads_to_the_next_mirror_and_is_named_if_there_is_none(server, tmp_path, path, words):
    settings = TransferSettings(**{**vars(QUICK), "attempts": 2})
    alone = tmp_path / "alone"
    text = refusal(card(server, path), alone, settings)
    assert re.search(words, text), text
    assert "face could not be fetched" in text
    assert "models import FILE" in text
    both = tmp_path / "both"
    assert_fetched(fetch(card(server, path, "good"), both, settings=settings), both)


def test_every_mirror_is_named_in_the_error(server, tmp_path):
    text = refusal(card(server, "missing", "wrong-length"), tmp_path)
    assert server.url("missing") in text
    assert server.url("wrong-length") in text


def test_cancel_keeps_the_part_and_the_next_fetch_goes_on(server, tmp_path):
    with pytest.raises(CancelledError):
        fetch(card(server, "good"), tmp_path, settings=QUICK, progress=Watch(limit=400_000))
    kept = (tmp_path / "face.pth.part").stat().st_size
    assert 400_000 <= kept < 1_024_000
    assert_fetched(fetch(card(server, "good"), tmp_path, settings=QUICK), tmp_path)
    assert server.requests[-1][1] == f"bytes={kept}-"


def test_a_part_is_completed_from_another_mirror_when_a_hash_will_tell(server, tmp_path):
    (tmp_path / "face.pth.part").write_bytes(CONTENT[:700_000])
    assert_fetched(fetch(card(server, "missing", "good"), tmp_path, settings=QUICK), tmp_path)
    assert server.requests[-1] == ("/good", "bytes=700000-")


def test_a_part_with_wrong_bytes_is_thrown_away_and_fetched_anew(server, tmp_path):
    (tmp_path / "face.pth.part").write_bytes(bytes(700_000))
    assert_fetched(fetch(card(server, "good"), tmp_path, settings=QUICK), tmp_path)
    assert [asked for _, asked in server.requests] == ["bytes=700000-", None]


def test_a_part_longer_than_the_file_is_thrown_away(server, tmp_path):
    (tmp_path / "face.pth.part").write_bytes(bytes(2_000_000))
    assert_fetched(fetch(card(server, "good"), tmp_path, settings=QUICK), tmp_path)


def test_a_server_that_refuses_ranges_is_asked_for_all(server, tmp_path):
    (tmp_path / "face.pth.part").write_bytes(CONTENT[:700_000])
    assert_fetched(fetch(card(server, "refuses-ranges"), tmp_path, settings=QUICK), tmp_path)
    assert [asked for _, asked in server.requests] == ["bytes=700000-", None]


def test_a_server_that_sends_another_range_is_not_believed(server, tmp_path):
    (tmp_path / "face.pth.part").write_bytes(CONTENT[:700_000])
    assert_fetched(fetch(card(server, "wrong-range"), tmp_path, settings=QUICK), tmp_path)


def test_a_whole_part_is_checked_without_asking_again(server, tmp_path):
    (tmp_path / "face.pth.part").write_bytes(CONTENT)
    assert_fetched(fetch(card(server, "good"), tmp_path, settings=QUICK), tmp_path)
    assert server.requests == []


def test_a_whole_part_of_unknown_length_is_recognised_by_the_416(server, tmp_path):
    (tmp_path / "face.pth.part").write_bytes(CONTENT)
    assert_fetched(fetch(card(server, "good", size_bytes=None), tmp_path, settings=QUICK), tmp_path)
    assert len(server.requests) == 1


def test_a_wrong_file_in_its_place_is_not_overwritten(server, tmp_path):
    (tmp_path / "face.pth").write_bytes(b"mine")
    with pytest.raises(DownloadError, match=r"is not face: it has 4 bytes, expected 1,024,000. Move it away"):
        fetch(card(server, "good"), tmp_path, settings=QUICK)
    assert (tmp_path / "face.pth").read_bytes() == b"mine"


def test_a_full_disk_is_said_before_anything_is_fetched(server, tmp_path):
    with pytest.raises(DownloadError, match=r"face needs 1,000,000,\d{3} MB in .* Make room"):
        fetch(card(server, "good", size_bytes=10**15), tmp_path, settings=QUICK)
    assert server.requests == []


def test_a_folder_that_is_a_file_is_a_clear_error(server, tmp_path):
    (tmp_path / "models").write_bytes(b"")
    with pytest.raises(DownloadError, match=r"face could not be stored in .*models: .* Make it writable"):
        fetch(card(server, "good"), tmp_path / "models", settings=QUICK)


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


def test_a_proxy_of_the_environment_is_used(server, tmp_path, monkeypatch):
    monkeypatch.setenv("http_proxy", server.url("").rstrip("/"))
    monkeypatch.setenv("no_proxy", "")
    seen = []
    monkeypatch.setattr(
        server.http.RequestHandlerClass, "do_GET", lambda self: (seen.append(self.path), server.good(self))
    )
    path = fetch(card(server, "http://localhost:1/face.pth"), tmp_path, settings=QUICK)
    assert path.read_bytes() == CONTENT
    assert seen == ["http://localhost:1/face.pth"]


FETCHER = """
import sys
from pathlib import Path
from gpen_core.models.catalog import Licence, WeightsCard
from gpen_core.models.download import fetch
from gpen_core.models.transfer import TransferSettings
url, sha256, size, folder = sys.argv[1:]
card = WeightsCard("face.pth", "restorer", "restore", "GPEN", (url,), Licence("t", False), "", sha256, int(size))
print("ready", flush=True)
sys.stdin.readline()
fetch(card, Path(folder), settings=TransferSettings(loopback_http=True, pause_s=0.01))
"""


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
