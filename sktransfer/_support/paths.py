"""Checks of the paths that users pass, without reading or writing a file.

The command line makes them before it imports torch, which takes seconds.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# The suffix of saved models, and those of exported graphs
MODEL_SUFFIX, GRAPH_SUFFIXES = ".safetensors", (".onnx", ".pt2")


def check_source(source: Path, suffixes: Sequence[str] = (".csv",)) -> None:
    """Raise a ValueError unless a path is a folder, or a file with one of the suffixes."""
    is_table = source.suffix.lower() in suffixes
    if source.is_dir() or (is_table and source.exists()):
        return
    kinds = f"{',' if len(suffixes) > 1 else ''} or a {' or '.join(suffixes)} file"
    missing = ", which does not exist" if is_table else ""
    raise ValueError(f"source must be a folder{kinds}; got {str(source)!r}{missing}.")


def check_existing_folder(folder: Path) -> None:
    """Raise a NotADirectoryError unless a path is that of a folder."""
    if not folder.is_dir():
        state = "is a file" if folder.exists() else "does not exist"
        raise NotADirectoryError(f"dir must be a folder; got {str(folder)!r}, which {state}.")


def check_path(path: Any, name: str = "path") -> Path:
    """Return a path with the folder of the user; raise a TypeError for other objects."""
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"{name} must be a str or path-like; got {type(path).__name__}.")
    return Path(path).expanduser()


def check_model(path: Path) -> None:
    """Raise a FileNotFoundError unless a path is that of a file."""
    if not path.is_file():
        raise FileNotFoundError(
            f"path must be a file written by save; {str(path)!r} does not exist or is no file."
        )


def check_new_model(path: str | os.PathLike[str], name: str = "path") -> Path:
    """Return the path of a file for a model after a check; ``name`` is that of the parameter.

    Raises
    ------
    ValueError
        If the suffix is that of another format.
    OSError
        If the path is a folder, or its folder does not exist.
    """
    found = check_path(path, name)
    if found.suffix.lower() not in (MODEL_SUFFIX, ""):
        raise ValueError(
            f"{name} must end in {MODEL_SUFFIX!r}, which is the format of the file; got "
            f"{str(path)!r}. Use {str(found.with_suffix(MODEL_SUFFIX))!r}, which load reads, or "
            "joblib.dump for a pickle."
        )
    check_folder_of(found, name)
    return found


def check_folder_of(path: Path, name: str = "path") -> None:
    """Raise an OSError if a path is that of a folder, or its folder does not exist."""
    if path.is_dir() or not path.parent.is_dir():
        raise OSError(f"{name} must be a file in an existing folder; got {str(path)!r}.")
