"""A disk that does not take a file: a simulated one, and real ones in memory."""

import os
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest

# The options of file systems in memory that become full: in the middle of a file, with the first
# byte, or with the next file.
FULL = {"16 kB": "size=16k", "no space": "size=4k", "no more files": "size=1m,nr_inodes=2"}


def refuse_files(monkeypatch, method, number):
    """Make ``method`` of Path fail with an error number; "open" fails for new files only."""

    def fail(path, *args, **options):
        raise OSError(number, os.strerror(number), str(path))

    original = Path.open

    def open_or_fail(path, mode="r", **options):
        return fail(path) if mode == "xb" else original(path, mode, **options)

    monkeypatch.setattr(Path, method, open_or_fail if method == "open" else fail)


@contextmanager
def mounted(folder, kind):
    """Mount a disk of one kind at a folder, with a file ``old``; skip the test if not permitted."""
    if shutil.which("mount") is None:
        pytest.skip("needs the command mount")
    _mount("-t", "tmpfs", "-o", FULL.get(kind, "size=1m"), "none", folder)
    try:
        (folder / "old").write_bytes(b"" if kind == "16 kB" else bytes(4096))
        if kind == "read-only":
            _mount("-o", "remount,ro", folder)
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def _mount(*arguments):
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"needs the permission to mount a file system: {done.stderr.strip()}")
