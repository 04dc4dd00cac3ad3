"""Temporary files of all tests, those of docstrings included."""

import tempfile
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def temporary_files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Have temporary files in the folder of the session, which pytest deletes if all tests pass."""
    with pytest.MonkeyPatch.context() as patch:
        # the shortest name, since paths of sockets may have about a hundred characters
        patch.setenv("TMPDIR", str(tmp_path_factory.mktemp("t", numbered=False)))
        patch.setattr(tempfile, "tempdir", None)  # Python reads the variable again
        yield
