"""Downloads of single files of a repository of the hub."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from ..._support.validation import require
from ..download import is_offline

# How to get the files without this machine's connection.
REMEDY = "Run this command on a connected machine, and copy the folder to this one."


class Hub:
    """A repository of the hub, at the commit at which its first file was downloaded.

    Parameters
    ----------
    repository : str
        The name of the repository, such as ``"sentence-transformers/all-MiniLM-L6-v2"``.
    label : str
        The address of the network, for messages.

    Raises
    ------
    ValueError
        If the name is not that of a repository.
    ConnectionError
        If downloads are forbidden.
    """

    def __init__(self, repository: str, label: str):
        parts = PurePosixPath(repository).parts
        if "/".join(parts) != repository or not 1 <= len(parts) <= 2 or {".", "..", "~"} & {*parts}:
            raise ValueError(
                f"the address of a folder to download must be 'transformers/OWNER/NAME', with the "
                f"name of a repository of the hub; got {label!r}."
            )
        if is_offline():
            raise ConnectionError(
                f"{label} could not be downloaded: downloads are forbidden (SKTRANSFER_OFFLINE). "
                f"{REMEDY}"
            )
        self._package = require("huggingface_hub", "text")
        self._errors = require("huggingface_hub.errors", "text")
        self._repository, self._label = repository, label
        self._revision: str | None = None

    def download(self, name: str, folder: Path) -> bool:
        """Download a file to its place in ``folder``; return False if there is no such file.

        Raises
        ------
        ValueError
            If there is no such repository, or it may not be read.
        ConnectionError
            If the hub cannot be reached.
        """
        errors = self._errors
        try:
            if self._revision is None:
                url = self._package.hf_hub_url(self._repository, name)
                self._revision = self._package.get_hf_file_metadata(url).commit_hash
            self._package.hf_hub_download(
                self._repository, name, revision=self._revision, local_dir=folder
            )
        except errors.LocalEntryNotFoundError as error:
            raise ConnectionError(self._failed(error.__cause__ or error)) from error
        except errors.EntryNotFoundError:
            return False
        except (errors.RepositoryNotFoundError, errors.HFValidationError) as error:
            raise ValueError(
                f"{self._label} must have the name of a repository of the hub that may be read; "
                f"{_line(error)}"
            ) from error
        except Exception as error:  # the package for http differs from version to version
            raise ConnectionError(self._failed(error)) from error
        return True

    def _failed(self, cause: object) -> str:
        return f"{self._label} could not be downloaded: {_line(cause)} {REMEDY}"


def _line(cause: object) -> str:
    """Return the first line of an error, as a sentence."""
    line = str(cause).strip().partition("\n")[0] or type(cause).__name__
    return f"{line.rstrip('.')}."
