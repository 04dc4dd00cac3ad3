"""Load texts and labels from folders."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from sklearn.utils import Bunch

from .._support.paths import check_path, check_source
from .._support.validation import first_ten, require
from .csv_files import check_column, read_csv, with_first
from .folders import class_folders, endings_of, names_of
from .labelled import files_of, labelled

if TYPE_CHECKING:
    import pandas as pd

EXTENSIONS = frozenset({".txt"})


def load_text_folder(
    dir: str | os.PathLike[str],  # noqa: A002 - as in load_image_folder
    *,
    classes: Sequence[str] | None = None,
    extensions: Collection[str] | None = None,
    encoding: str = "utf-8",
) -> Bunch:
    """Load the texts and labels of a folder with one subfolder for each class.

    Parameters
    ----------
    dir : str or path-like
        The folder.  Each folder in it is a class, and may hold texts in folders of its own.
    classes : sequence of str or None, default=None
        Names of all classes, such as ``target_names`` of the training texts.  Their order is that
        of the integers in ``target``.  The folder of a class may be empty or missing.  None stands
        for the sorted names of the folders, each of which must hold a text.
    extensions : collection of str or None, default=None
        File name extensions of texts, in upper or lower case.  None stands for ``[".txt"]``.
    encoding : str, default="utf-8"
        Encoding of the files.  A byte order mark at the beginning is left out.

    Returns
    -------
    Bunch
        data : ndarray of str objects of shape (n_texts,)
            The texts, the input X of the estimators.  Sorted by class, then by the name of the
            file.
        labels : ndarray of str objects of shape (n_texts,)
            Label of each text, the name of its class.  It is the target y to use.
        target : ndarray of int of shape (n_texts,)
            Class of each text, an index of ``target_names``.
        target_names : ndarray of str objects of shape (n_classes,)
            ``classes``, or the sorted names of the class folders.
        paths : ndarray of str objects of shape (n_texts,)
            Path of the file of each text.
        frame : DataFrame of shape (n_texts, 2), or None if pandas is not installed
            Columns ``text`` and ``label``.
        skipped : list of str
            Paths of files with another extension, without hidden files.
        n_hidden : int
            Number of hidden files and folders.  They are not read.
        DESCR : str
            A sentence with these counts.

    Raises
    ------
    NotADirectoryError
        If ``dir`` is not a folder.
    ValueError
        If the folder is not laid out as for :func:`load_image_folder`, or if files cannot be
        decoded; the message lists the first ten of them.

    See Also
    --------
    check_texts : Find empty, long and repeated texts.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import mkdtemp
    >>> from sktransfer import load_text_folder
    >>> folder = Path(mkdtemp())
    >>> for name, text in [("bad", "A dull film."), ("good", "A fine film.")]:
    ...     (folder / name).mkdir()
    ...     _ = (folder / name / "1.txt").write_text(text)
    >>> reviews = load_text_folder(folder)
    >>> reviews.data.tolist(), reviews.labels.tolist()
    (['A dull film.', 'A fine film.'], ['bad', 'good'])
    """
    folder, endings = check_path(dir, "dir"), endings_of(extensions, EXTENSIONS)
    contents, outside = class_folders(folder, names_of(classes), endings, "texts")
    paths = files_of(contents)
    loaded = labelled(folder, contents, outside, _read(paths, encoding), ("text", "texts"))
    loaded.paths = np.array([str(path) for path in paths], dtype=object)
    return loaded


def text_table(
    source: str | os.PathLike[str],
    text_column: str = "text",
    classes: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Return a table of the texts of a folder or a CSV file, with their labels.

    Parameters
    ----------
    source : str or path-like
        A folder with one subfolder for each class, or a CSV file in UTF-8.
    text_column : str, default="text"
        Name of the column of texts in a CSV file.  An empty cell is an empty text.
    classes : sequence of str or None, default=None
        Names of the class folders, which may then be empty or missing.

    Returns
    -------
    DataFrame
        The first column is ``text``.  For class folders, the second one is ``label``.  For a CSV
        file, its other columns follow.

    Raises
    ------
    ValueError
        If ``source`` is neither a folder nor a CSV file that exists, or if the file has no such
        column, or a column ``text`` besides it.
    ModuleNotFoundError
        If pandas is not installed.
    """
    require("pandas", "cli")
    source = Path(source)
    check_source(source)
    if source.is_dir():
        return load_text_folder(source, classes=classes).frame
    table = read_csv(source)
    # in its column of texts, "NA" is a text
    strings = read_csv(source, dtype=str, na_filter=False)
    check_column(source, list(table.columns), text_column, "text")
    texts = strings[text_column].astype(object)
    return with_first("text", texts, table.drop(columns=text_column))


def _read(paths: Sequence[Path], encoding: str) -> list[str]:
    """Return the content of files; raise an error that lists those that cannot be decoded."""
    texts, faults = [], []
    for path in paths:
        content = path.read_bytes()
        try:
            texts.append(content.decode(encoding).removeprefix("\ufeff"))
        except UnicodeError as error:
            faults.append(f"{str(path)!r}: {error}")
    if faults:
        raise ValueError(
            f"dir must hold texts that are encoded in {encoding}; {len(faults)} are not:\n"
            f"{first_ten(faults)}\nPass their encoding, such as encoding='latin-1'."
        )
    return texts
