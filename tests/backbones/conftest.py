"""Fixtures of the tests of backbones."""

import pytest
from helpers.server import serving


@pytest.fixture
def server(monkeypatch):
    """A server on this machine; it records requests, and can be made to wait."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("SKTRANSFER_OFFLINE", raising=False)
    with serving() as server:
        yield server
