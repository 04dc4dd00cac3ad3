"""A disk that does not take a file."""

import os
from pathlib import Path


def refuse_files(monkeypatch, method, number):
    """Make ``method`` of Path fail with an error number; "open" fails for new files only."""

    def fail(path, *args, **options):
        raise OSError(number, os.strerror(number), str(path))

    original = Path.open

    def open_or_fail(path, mode="r", **options):
        return fail(path) if mode == "xb" else original(path, mode, **options)

    monkeypatch.setattr(Path, method, open_or_fail if method == "open" else fail)
