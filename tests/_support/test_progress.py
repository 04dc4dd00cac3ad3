"""Progress bars are shown where somebody sees them."""

import io
import sys
from time import sleep
from types import SimpleNamespace

import pytest
from tqdm.auto import tqdm

from sktransfer._support import progress
from sktransfer._support.progress import open_bar, print_line, progress_bar


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(("stream", "shown"), [(Terminal, True), (io.StringIO, False)])
def test_a_terminal_shows_a_bar_and_a_file_does_not(stream, shown, monkeypatch):
    monkeypatch.setattr(sys, "stderr", stream())
    with open_bar(total=2, desc="photos") as bar:
        bar.update(1)
    assert ("photos" in sys.stderr.getvalue()) == shown


def test_a_notebook_shows_a_bar(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    kernel = SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: kernel))
    with open_bar(total=2, desc="photos") as bar:
        bar.update(1)
    assert "photos" in sys.stderr.getvalue()


@pytest.mark.parametrize("shell", [None, SimpleNamespace()], ids=["no shell", "the shell"])
def test_ipython_in_a_terminal_is_no_notebook(shell, monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    with open_bar(total=2) as bar:
        bar.update(1)
    assert not sys.stderr.getvalue()


def test_a_bar_shows_values_at_its_end(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setattr(progress, "DELAY", 0)
    with progress_bar(2, "photos", 1) as advance:
        sleep(0.2)  # a bar is drawn ten times a second
        advance(1, loss="0.5", lr="0.01")
    *_, shown, removed, _ = sys.stderr.getvalue().split("\r")
    assert "1/2" in shown
    assert "loss=0.5, lr=0.01" in shown
    assert not removed.strip()


def test_verbose_0_shows_no_bar(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setattr(progress, "DELAY", 0)
    with progress_bar(2, "photos", 0) as advance:
        advance(1, loss="0.5")
    assert not sys.stderr.getvalue()


def test_a_line_is_printed_above_the_bar(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stderr", Terminal())
    with tqdm(total=2, desc="photos", file=sys.stderr) as bar:
        print_line("epoch 1")
        bar.update(2)
    assert capsys.readouterr().out == "epoch 1\n"
