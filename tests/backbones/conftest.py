"""Fixtures of the tests of backbones."""

import threading
from http.server import ThreadingHTTPServer

import pytest
from helpers.server import Handler


@pytest.fixture
def server(monkeypatch):
    """A server on this machine; it records requests, and can be made to wait."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("SKTRANSFER_OFFLINE", raising=False)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.url = f"http://127.0.0.1:{server.server_port}"
        server.asked, server.files, server.moved_to = [], {}, "/net.pth"
        server.handle_error = lambda *args: None  # the tests close connections on purpose
        server.may_answer = threading.Event()
        server.may_answer.set()
        server.may_send = threading.Semaphore(0)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()
