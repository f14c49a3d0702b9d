"""A server on this machine that truncates, stalls, lies, drips, redirects and refuses, for the tests of fetching."""

import hashlib
import http.server
import socket
import struct
import threading
import time

import pytest

from gpen_core.errors import CancelledError, DownloadError
from gpen_core.models.catalog import Licence, WeightsCard
from gpen_core.models.connection import TransferSettings
from gpen_core.models.download import fetch
from gpen_core.progress import NoProgress

CONTENT = bytes(range(256)) * 4000  # 1,024,000 bytes
LENGTH = len(CONTENT)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
QUICK = TransferSettings(
    timeout_s=0.5, answer_s=1.2, window_s=0.4, slowest_bytes_per_s=100_000, pause_s=0.01, loopback_http=True
)


class FaultServer:
    """Serves `content` at every path, misbehaving as the path says; remembers requests as (path, Range)."""

    def __init__(self):
        self.content = CONTENT
        self.etag = '"v1"'
        self.requests = []
        self.counts = {}
        self.half, self.may_end = threading.Event(), threading.Event()
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

    def drips_its_headers(self, to):
        """Never silent for long, and never done: each byte comes well before the timeout of the socket."""
        to.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
        for _ in range(100):
            to.wfile.write(b"x")
            to.wfile.flush()
            time.sleep(0.1)

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

    def caps_ranges(self, to):
        """Sends at most 400,000 bytes of a range, as some caches do, and says so."""
        start = self.start_of(to)
        if not start:
            return self.cuts_each_time(to)
        stop = min(start + 400_000, len(self.content))
        to.send_response(206)
        to.send_header("Content-Length", str(stop - start))
        to.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(self.content)}")
        to.send_header("ETag", self.etag)
        to.end_headers()
        to.wfile.write(self.content[start:stop])

    def chunked(self, to):
        to.protocol_version = "HTTP/1.1"
        to.send_response(200)
        to.send_header("Transfer-Encoding", "chunked")
        to.end_headers()
        for start in range(0, len(self.content), 100_000):
            piece = self.content[start : start + 100_000]
            to.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        to.wfile.write(b"0\r\n\r\n")

    def broken_chunks(self, to):
        to.protocol_version = "HTTP/1.1"
        to.send_response(200)
        to.send_header("Transfer-Encoding", "chunked")
        to.end_headers()
        to.wfile.write(b"zz\r\n" + self.content[:5000])

    def trickle(self, to):
        """Sends half, and waits until it may end."""
        self.head(to)
        to.wfile.write(self.content[: LENGTH // 2])
        to.wfile.flush()
        time.sleep(0.5)  # for the other side to write down what came
        self.half.set()
        self.may_end.wait(30)

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

    def redirect_307(self, to):
        self._send_to(to, self.url("good"), code=307)

    def redirect_308(self, to):
        self._send_to(to, self.url("good"), code=308)

    def redirect_loop(self, to):
        self._send_to(to, self.url("redirect-loop"))

    def redirect_to_http(self, to):
        self._send_to(to, "http://example.org/weights.pth")

    def redirect_to_file(self, to):
        self._send_to(to, "file:///etc/passwd")

    @staticmethod
    def _send_to(to, url, code=302):
        to.send_response(code)
        to.send_header("Location", url)
        to.send_header("Content-Length", "0")
        to.end_headers()


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
