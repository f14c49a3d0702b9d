"""The server that misbehaves, for the tests of fetching."""

import pytest

from .fault_server import FaultServer


@pytest.fixture
def server(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    server = FaultServer()
    yield server
    server.close()
