"""Fetching weights from servers that truncate, stall, reset, lie, drip, redirect and refuse."""

import errno
import re
from types import SimpleNamespace

import pytest

from gpen_core.errors import CancelledError, DownloadError
from gpen_core.models.connection import TransferSettings
from gpen_core.models.download import fetch
from gpen_core.models.ledger import read_ledger

from .fault_server import CONTENT, LENGTH, QUICK, SHA256, Watch, assert_fetched, card, refusal


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
    "redirect-307": ["0", "0"],
    "redirect-308": ["0", "0"],
    "caps-ranges": ["0", "300000", "700000"],
    "chunked": ["0"],
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
    "drips-its-headers": "the server did not begin to answer within 1.2 s",
    "drips": "too slow: [0-9,]+ bytes per second",
    "wrong-bytes": "its SHA-256 is [0-9a-f]{64}, expected " + SHA256,
    "wrong-length": "expected a file of 1,024,000 bytes, the server has one of 777",
    "broken-chunks": "the connection broke: ",
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


def test_room_is_wanted_only_for_what_is_still_to_come(server, tmp_path, monkeypatch):
    (tmp_path / "face.pth.part").write_bytes(CONTENT[:700_000])
    free = 50 * 2**20 + LENGTH - 700_000
    monkeypatch.setattr("gpen_core.models.download.shutil.disk_usage", lambda folder: SimpleNamespace(free=free))
    assert_fetched(fetch(card(server, "good"), tmp_path, settings=QUICK), tmp_path)


def test_a_genuine_file_in_a_folder_that_cannot_be_written_is_given(server, tmp_path, monkeypatch):
    (tmp_path / "face.pth").write_bytes(CONTENT)

    def refuse(path, while_waiting):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("gpen_core.models.download.locked", refuse)
    assert fetch(card(server, "good"), tmp_path, settings=QUICK) == tmp_path / "face.pth"
    (tmp_path / "face.pth").write_bytes(b"other")
    with pytest.raises(DownloadError, match=r"face could not be stored in .*: Permission denied"):
        fetch(card(server, "good"), tmp_path, settings=QUICK)


def test_a_folder_that_is_a_file_is_a_clear_error(server, tmp_path):
    (tmp_path / "models").write_bytes(b"")
    with pytest.raises(DownloadError, match=r"face could not be stored in .*models: .* Make it writable"):
        fetch(card(server, "good"), tmp_path / "models", settings=QUICK)


def test_a_disk_that_fills_on_the_way_is_a_clear_error_and_the_part_is_kept(server, tmp_path):
    class FullDisk(Watch):
        def advance(self, units=1, preview=None):
            super().advance(units)
            if self.bytes > 400_000:
                raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(DownloadError, match=r"face could not be stored in .*: No space left on device"):
        fetch(card(server, "good"), tmp_path, settings=QUICK, progress=FullDisk())
    kept = (tmp_path / "face.pth.part").stat().st_size
    assert 0 < kept < LENGTH
    assert_fetched(fetch(card(server, "good"), tmp_path, settings=QUICK), tmp_path)
    assert server.requests[-1] == ("/good", f"bytes={kept}-")


def test_a_redirect_keeps_the_range_that_was_asked_for(server, tmp_path):
    (tmp_path / "face.pth.part").write_bytes(CONTENT[:700_000])
    assert_fetched(fetch(card(server, "redirect"), tmp_path, settings=QUICK), tmp_path)
    assert server.requests == [("/redirect", "bytes=700000-"), ("/good", "bytes=700000-")]


def test_errors_are_one_line(server, tmp_path):
    assert "\n" not in refusal(card(server, "redirect-loop", "missing", "busy"), tmp_path)


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
