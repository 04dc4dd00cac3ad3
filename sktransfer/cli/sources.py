"""Items and targets of folders and CSV files, as arguments and options name them."""

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .._support.paths import check_source
from .._support.validation import did_you_mean, first_ten

# The column of labels in the table of class folders, and the default one in a CSV file
LABEL = "label"

# The usual targets, in the message about a source that lacks them
WANTED = "the label of each item, by class folders or a column"

# For each column of targets its classes, or None for numbers
Known = Sequence[Any]


@dataclass(frozen=True)
class Columns:
    """The columns of a table that options name, and the folder of masks.

    Parameters
    ----------
    path : str, default="path"
        The column of paths.
    text : str or None, default=None
        The column of texts.  With None, items are images.
    labels : tuple of str, default=()
        The columns of targets.  Without any, it is the column "label".
    numbers : tuple of str, default=()
        The columns of targets that hold numbers, also if all of them are whole numbers.
    masks : Path or None, default=None
        A folder with a mask for each image.
    fitted : tuple of str, default=()
        The columns of targets of a model, if options name none.  A single one that a table lacks
        may be the column "label".
    """

    path: str = "path"
    text: str | None = None
    labels: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()
    masks: Path | None = None
    fitted: tuple[str, ...] = ()

    @property
    def things(self) -> str:
        """The word for the items."""
        return "images" if self.text is None else "texts"

    def naming(self, names: Sequence[str]) -> "Columns":
        """Return the same with the columns of a model, unless options name others."""
        named = (*self.labels, *self.numbers)
        if named and sorted(named) != sorted(names):
            return self
        return replace(self, labels=(), numbers=(), fitted=tuple(names))

    def check(self, source: Path) -> None:
        """Raise an error unless a source, and the folder of masks, can be read.

        It takes no time, because no large package is imported.
        """
        check_source(source)
        _check_masks(self.masks)

    def check_files(self, files: Sequence[Path]) -> None:
        """Raise an error unless all arguments are images, or sources of items."""
        for each in files:
            if self._is_table(each):
                check_source(each)
        missing = [repr(str(each)) for each in files if not each.exists()]
        if missing:
            raise FileNotFoundError(
                f"files must exist; {len(missing)} do not:\n{first_ten(missing)}"
            )

    def read(self, source: Path, classes: Sequence[str] | None = None) -> Any:
        """Return a table of items, which are in its first column.

        ``classes`` are the names of class folders, which may then be empty.
        """
        from ..data import image_table, text_table

        if self.text is not None:
            return text_table(source, self.text, classes)
        return image_table(source, self.path, classes)

    def items(self, source: Path) -> list[str]:
        """Return the items of an argument: a single image, or those of a folder or CSV file."""
        if not self._is_table(source):
            return [str(source)]
        table = self.read(source)
        return list(table[table.columns[0]])

    def _is_table(self, source: Path) -> bool:
        """Return False if an argument is a single image."""
        return source.is_dir() or source.suffix.lower() == ".csv" or self.text is not None

    def targets(
        self, source: Path, classes: Sequence[str] | None = None, wanted: str = WANTED
    ) -> tuple[list[str], Any]:
        """Return the items, and a table of their targets, in which some may be missing.

        ``classes`` are the names of class folders, which may then be empty.  ``wanted`` describes
        the targets in messages.
        """
        table = self.read(source, classes)
        items = table[table.columns[0]].tolist()
        if self.masks is not None:
            return items, _find_masks(source, items, self.masks)
        names = (LABEL,) if source.is_dir() else self._find_names(table)
        for name in names:
            _check_column(source, table, name, wanted)
        found = {name: self._convert(source, table[name]) for name in names}
        return items, type(table)(found, index=table.index)

    def _find_names(self, table: Any) -> tuple[str, ...]:
        """Return the columns of targets of a table."""
        named = (*self.labels, *self.numbers) or self.fitted or (LABEL,)
        is_other = named == self.fitted and len(named) == 1 and named[0] not in table
        return (LABEL,) if is_other and LABEL in table else named

    def _convert(self, source: Path, column: Any) -> Any:
        """Return numbers as floats, and whole numbers that are labels as integers."""
        if column.name in self.numbers:
            return _as_numbers("source", source, column).astype(float)
        is_whole = column.dtype.kind == "f" and (column.dropna() % 1 == 0).all()
        return column.astype("Int64" if column.isna().any() else int) if is_whole else column


def _check_column(source: Path, table: Any, column: str, wanted: str) -> None:
    """Raise an error if a table lacks a column of targets."""
    if column in table:
        return
    items, *others = table.columns
    has = f"the columns {', '.join(map(repr, others))}" if others else f"only {items}s"
    raise ValueError(
        f"source must give {wanted} {column!r}; {str(source)!r} has {has}."
        f"{did_you_mean(column, others)}"
    )


def check_complete(source: Path, items: Sequence[str], table: Any) -> None:
    """Raise an error if targets of some items are missing."""
    for column in table:
        missing = [item for item, lost in zip(items, table[column].isna(), strict=True) if lost]
        if missing:
            raise ValueError(
                f"{str(source)!r} must have a label in each row; the column {column!r} lacks "
                f"{len(missing)} labels, those of\n{first_ten([item[:200] for item in missing])}"
            )


def as_labels(column: Any) -> Any:
    """Return a column of a table as an array that estimators accept."""
    values = column.to_numpy()
    return values.astype(object) if values.dtype.kind == "T" else values


def match_columns(name: str, source: Path, table: Any, known: Known) -> Any:
    """Return a table whose labels are those of a model.

    A label is compared as text: a CSV file may hold numbers that are names of folders.  Any number
    is accepted.  Missing labels stay.

    Parameters
    ----------
    name : str
        The name of ``source`` in messages.
    source : Path
        The folder or file that the table comes from.
    table : DataFrame
    known : sequence of array or None
        The classes of each column, or None for numbers.
    """
    if table.shape[1] != len(known):
        raise ValueError(
            f"label_column must name {len(known)} columns, as many as the model predicts; got "
            f"{', '.join(map(repr, table.columns))}."
        )
    found = {
        column: _as_numbers(name, source, table[column])
        if classes is None
        else _as_known(name, source, table[column], classes)
        for column, classes in zip(table.columns, known, strict=True)
    }
    return type(table)(found, index=table.index)


def _as_numbers(name: str, source: Path, column: Any) -> Any:
    values = as_labels(column.dropna())
    if values.dtype.kind not in "biuf":
        raise ValueError(
            f"{name} must have numbers in the column {column.name!r}; {str(source)!r} has\n"
            f"{first_ten(sorted(set(map(str, values))))}"
        )
    return column


def _as_known(name: str, source: Path, column: Any, classes: Any) -> Any:
    known = {str(label): label for label in classes}
    texts = [
        None if missing else str(label)
        for label, missing in zip(column, column.isna(), strict=True)
    ]
    unknown = sorted({text for text in texts if text is not None} - set(known))
    if unknown:
        raise ValueError(
            f"{name} must have only labels that the model knows in the column {column.name!r}; "
            f"{str(source)!r} also has\n{first_ten(unknown)}\nThe model knows {', '.join(known)}."
        )
    found = [None if text is None else known[text] for text in texts]
    labels = type(column)(found, index=column.index, dtype=object)
    return labels if labels.isna().any() else labels.astype(classes.dtype)


def names_below(source: Path, images: Sequence[str]) -> list[Path]:
    """Return the names of images without suffix, relative to their folder ``source``.

    Names of other images are relative to the folder that all of them share.
    """
    top = source if source.is_dir() else _shared_folder(images)
    return [Path(os.path.relpath(image, top)).with_suffix("") for image in images]


def _shared_folder(images: Sequence[str]) -> Path:
    """Return the folder that contains all of the images, of which there may be none."""
    if not images:
        return Path()
    return Path(os.path.commonpath([_absolute(image).parent for image in images]))


def _absolute(path: str | Path) -> Path:
    """Return an absolute path without "..", through links."""
    return Path(os.path.normpath(Path(path).absolute()))


def _check_masks(folder: Path | None) -> None:
    """Raise an error unless the folder of masks is a folder, or not given."""
    if folder is not None and not folder.is_dir():
        raise ValueError(f"masks must be a folder; got {str(folder)!r}.")


def _find_masks(source: Path, images: Sequence[str], folder: Path) -> Any:
    """Return a table of the masks in a folder, whose names are those of the images.

    Names are relative to the folder of the images.  For a CSV file, it is that of the file, or the
    one that all images share.
    """
    import pandas as pd

    from ..data import list_images

    _check_masks(folder)
    files: dict[Path, list[Path]] = defaultdict(list)
    for path in list_images(folder):
        files[path.relative_to(folder).with_suffix("")].append(_absolute(path))
    tops = [source] if source.is_dir() else [source.parent, _shared_folder(images)]
    # the first of the folders for which most images have a mask
    found = max(
        ([_other_files(files, image, top) for image in images] for top in tops),
        key=lambda each: sum(map(bool, each)),
    )
    _check_masks_found(folder, images, found)
    return pd.DataFrame({"mask": [str(path) for (path,) in found]}, dtype=object)


def _other_files(files: Mapping[Path, Sequence[Path]], image: str, top: Path) -> list[Path]:
    """Return the files that have the name of an image relative to ``top``, but not itself."""
    name = Path(os.path.relpath(image, top)).with_suffix("")
    own = _absolute(image)
    return [path for path in files.get(name, ()) if path != own]


def _check_masks_found(
    folder: Path, images: Sequence[str], found: Sequence[Sequence[Path]]
) -> None:
    """Raise an error unless each image has exactly one file, which is no image itself."""
    pairs = list(zip(images, found, strict=True))
    missing = [image for image, paths in pairs if not paths]
    if missing:
        raise ValueError(
            "masks must hold an image file with the name of each image, with any suffix, in the "
            f"same subfolders; {str(folder)!r} lacks {len(missing)} of them, for\n"
            f"{first_ten(missing)}"
        )
    several = [
        f"{image}: {', '.join(path.name for path in paths)}"
        for image, paths in pairs
        if len(paths) > 1
    ]
    if several:
        raise ValueError(
            f"masks must hold one image file with the name of each image; {str(folder)!r} holds "
            f"several for\n{first_ten(several)}\nMove the others to another folder."
        )
    own = set(map(_absolute, images))
    both = [str(path) for _, (path,) in pairs if path in own]
    if both:
        raise ValueError(
            f"masks must not be images of the data, too; {len(both)} are:\n{first_ten(both)}\n"
            "Move the masks to a folder of their own, or list the images alone in a CSV file."
        )
