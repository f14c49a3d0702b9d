"""Open a URL for a fetch: https only, with the proxies and certificates of the system, and within a given time."""

import contextlib
import http.client
import socket
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import IO, Any
from urllib.parse import urlsplit

from ..errors import GpenError

NO_CONNECTION = "no connection"
"""How the text of a `TransferError` begins where a server could not be reached at all."""

_CUT_AGAIN_S = 0.05
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_AGENT = "gpen-portrait (+weights fetch)"


class TransferError(GpenError):
    """An attempt failed; the text says why, in few words.

    Attributes:
        temporary: whether the same server may do better if asked again.
    """

    def __init__(self, words: str, temporary: bool) -> None:
        super().__init__(words)
        self.temporary = temporary


@dataclass(frozen=True)
class TransferSettings:
    """How patient a transfer is.

    Attributes:
        timeout_s: how long the server may stay silent.
        answer_s: how long it may take in all, with its redirects, until the content begins.
        slowest_bytes_per_s: what counts as stalled when the mean of `window_s` falls below it.
        window_s: over how long the speed is measured.
        attempts: how often one mirror is asked, as long as it fails in ways that may pass.
        pause_s: how long to wait before asking again; doubled each time.
        loopback_http: whether plain http is allowed to this very machine; for tests.
    """

    timeout_s: float = 20.0
    answer_s: float = 90.0
    slowest_bytes_per_s: float = 2048.0
    window_s: float = 30.0
    attempts: int = 4
    pause_s: float = 1.0
    loopback_http: bool = False


def check_scheme(url: str, settings: TransferSettings) -> None:
    """Refuse every URL that is not https, but http to this machine if the settings allow it.

    Raises:
        TransferError: if it is refused.
    """
    parts = urlsplit(url)
    if parts.scheme == "https" or (settings.loopback_http and parts.scheme == "http" and parts.hostname in _LOOPBACK):
        return
    raise TransferError(f"{url} is not https, and weights are not fetched over anything else", False)


def open_url(url: str, headers: Mapping[str, str], settings: TransferSettings) -> http.client.HTTPResponse:
    """Ask for a URL and wait until its content begins.

    Args:
        url: https, or http to this machine if the settings allow it; the caller has checked it.
        headers: to be sent beside the usual ones.
        settings: how patient to be.

    Raises:
        TransferError: if there is no answer.
        urllib.error.HTTPError: if the answer is a refusal.
    """
    watch = _Watch()
    # Proxies come from the environment, certificates from the system; file: and ftp: have no handler here.
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        _HttpHandler(watch),
        _HttpsHandler(watch),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _SafeRedirects(settings),
    ):
        opener.add_handler(handler)
    every = {"User-Agent": _AGENT, "Accept-Encoding": "identity", **headers}
    request = urllib.request.Request(url, headers=every)  # noqa: S310 (the scheme was checked)
    answered = threading.Event()
    threading.Thread(target=watch.cut_if_late, args=(answered, settings.answer_s), daemon=True).start()
    try:
        response: http.client.HTTPResponse = opener.open(request, timeout=settings.timeout_s)
    except urllib.error.HTTPError:
        raise
    except (OSError, http.client.HTTPException) as error:
        raise (_late(settings) if watch.is_cut else broken(error, settings)) from error
    finally:
        answered.set()
    if watch.is_cut:  # headers that were cut off can look like whole ones
        response.close()
        raise _late(settings)
    return response


def _late(settings: TransferSettings) -> TransferError:
    return TransferError(f"the server did not begin to answer within {settings.answer_s:g} s", True)


class _Watch:
    """The connections of one request, which may be cut from another thread.

    A timeout of a socket begins anew with every byte: a server that drips its headers would hold a fetch for hours.
    """

    def __init__(self) -> None:
        self.is_cut = False
        self._connections: list[http.client.HTTPConnection] = []

    def made_by(self, make: Callable[..., http.client.HTTPConnection]) -> Callable[..., http.client.HTTPConnection]:
        """Give `make`, watched."""

        def make_watched(host: str, **options: Any) -> http.client.HTTPConnection:  # noqa: ANN401 (urllib's own)
            connection = make(host, **options)
            self._connections.append(connection)
            return connection

        return make_watched

    def cut_if_late(self, answered: threading.Event, seconds: float) -> None:
        """Break the connections if no answer came in time, so that whoever waits for them is told."""
        if answered.wait(seconds):
            return
        self.is_cut = True
        while not answered.wait(_CUT_AGAIN_S):  # a connection may only now be made
            for connection in self._connections:
                if isinstance(connection.sock, socket.socket):
                    with contextlib.suppress(OSError):  # closed in this very moment
                        connection.sock.shutdown(socket.SHUT_RDWR)


class _HttpHandler(urllib.request.HTTPHandler):
    def __init__(self, watch: _Watch) -> None:
        super().__init__()
        self._watch = watch

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(self._watch.made_by(http.client.HTTPConnection), req)


class _HttpsHandler(urllib.request.HTTPSHandler):
    def __init__(self, watch: _Watch) -> None:
        self._trusted = ssl.create_default_context()
        super().__init__(context=self._trusted)
        self._watch = watch

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(self._watch.made_by(http.client.HTTPSConnection), req, context=self._trusted)


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows a redirect only to where a fetch could have gone itself."""

    def __init__(self, settings: TransferSettings) -> None:
        self._settings = settings

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        check_scheme(newurl, self._settings)
        # Python 3.10 does not know 308, which differs from 307 only in that it may be remembered.
        return super().redirect_request(req, fp, 307 if code == 308 else code, msg, headers, newurl)

    http_error_308 = urllib.request.HTTPRedirectHandler.http_error_302


def broken(error: Exception, settings: TransferSettings) -> TransferError:
    """Say in few words how a connection broke."""
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, TimeoutError):
        return TransferError(f"the server was silent for {settings.timeout_s:g} s", True)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return TransferError(f"the server's certificate is not valid: {cause.verify_message}", False)
    if isinstance(error, urllib.error.URLError):
        return TransferError(f"{NO_CONNECTION}: {cause}", True)
    return TransferError(f"the connection broke: {cause}", True)
