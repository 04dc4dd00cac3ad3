"""Forms in which images may be passed as X, and input that is refused."""

from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import torch
from PIL import Image


def objects(items, shape=(-1,)):
    """An array of dtype object of ``items``."""
    array = np.empty(len(items), dtype=object)
    array[:] = items
    return array.reshape(shape)


# name -> function that brings images (n, h, w, 3), uint8, into a form
ARRAYS = {
    "channels last": lambda images: images,
    "channels first": lambda images: np.moveaxis(images, -1, 1),
    "int64": lambda images: images.astype(np.int64),
    "tensor": torch.from_numpy,
    "tensor, channels first": lambda images: torch.from_numpy(images).permute(0, 3, 1, 2),
    "list of arrays": list,
    "tuple of arrays": tuple,
    "list of arrays, channels first": lambda images: list(np.moveaxis(images, -1, 1)),
    "list of tensors": lambda images: list(torch.from_numpy(images).permute(0, 3, 1, 2)),
    "list of int64": lambda images: list(images.astype(np.int64)),
    "nested lists": lambda images: images.tolist(),
    "objects": lambda images: objects(list(images)),
    "PIL images": lambda images: list(map(Image.fromarray, images)),
    "objects of PIL images": lambda images: objects(list(map(Image.fromarray, images))),
    "column of arrays": lambda images: pd.Series(list(images)),
    "frame of arrays": lambda images: pd.DataFrame({"image": list(images)}),
    "flattened rows": lambda images: images.reshape(5, -1),
    "frame of rows": lambda images: pd.DataFrame(images.reshape(5, -1)),
}

# name -> function that brings paths of image files into a form
PATHS = {
    "list": list,
    "tuple": tuple,
    "list of str": lambda paths: list(map(str, paths)),
    "list of both": lambda paths: [*paths[:2], *map(str, paths[2:])],
    "array of str": lambda paths: np.array(list(map(str, paths))),
    "objects": objects,
    "column of objects": lambda paths: objects(paths, (-1, 1)),
    "column of str": lambda paths: np.array([[str(path)] for path in paths]),
    "nested lists": lambda paths: [[str(path)] for path in paths],
    "pandas column": lambda paths: pd.Series(list(map(str, paths))),
    "pandas column of Path": pd.Series,
    "pandas strings": lambda paths: pd.Series(list(map(str, paths)), dtype="string"),
    "pandas categories": lambda paths: pd.Series(list(map(str, paths)), dtype="category"),
    "pandas column with an index": lambda paths: pd.Series(paths, index=[7, 7, 3, 1, 0]),
    "pandas frame": lambda paths: pd.DataFrame({"path": list(map(str, paths))}),
    "pandas frame of categories": lambda paths: pd.DataFrame({"path": pd.Categorical(paths)}),
    "polars column": lambda paths: pl.Series(list(map(str, paths))),
    "polars column of Path": lambda paths: pl.Series(paths, dtype=pl.Object),
    "polars frame": lambda paths: pl.DataFrame({"path": list(map(str, paths))}),
    "bytes": lambda paths: [path.read_bytes() for path in paths],
    "bytearrays": lambda paths: [bytearray(path.read_bytes()) for path in paths],
    "objects of bytes": lambda paths: objects([path.read_bytes() for path in paths]),
    "polars column of bytes": lambda paths: pl.Series([path.read_bytes() for path in paths]),
    "opened images": lambda paths: list(map(Image.open, paths)),
}

# name -> X, and a pattern of the error message
BAD = {
    "no image": ([], r"0 sample\(s\) \(shape=\(0,\)\) while a minimum of 1"),
    "no image in an array": (
        np.zeros((0, 4, 4, 3)),
        r"0 sample\(s\) \(shape=\(0, 4, 4, 3\)\) while a minimum of 1",
    ),
    "no row": (np.zeros((0, 4)), r"0 sample\(s\) \(shape=\(0, 4\)\) while a minimum of 1"),
    "no path in a frame": (pd.DataFrame({"path": []}), r"0 sample\(s\)"),
    "None": ([b"x", None], r"in each row; 1 does not:\n  X\[1\]: None"),
    "only None": ([None, None], r"2 do not:\n  X\[0\]: None\n  X\[1\]: None"),
    "NaN in a column": (pd.Series(["a.jpg", float("nan")]), r"X\[1\]: nan"),
    "NA in a column": (pd.Series(["a.jpg", pd.NA], dtype="string"), r"X\[1\]: <NA>"),
    "null in a column": (pl.Series(["a.jpg", None]), r"X\[1\]: None"),
    "null in a frame": (pl.DataFrame({"path": ["a.jpg", None]}), r"X\[1\]: None"),
    "empty path": (["", "a.jpg"], r"X\[0\]: ''"),
    "empty bytes": ([b"x", b""], r"X\[1\]: b''"),
    "number among paths": (["a.jpg", 3], r"X\[1\]: 3"),
    "row among images": ([np.zeros((2, 2)), np.zeros(2)], r"X\[1\]: array\(\[0\., 0\.\]\)"),
    "mixed kinds": (
        ["a.jpg", "b.jpg", b"c"],
        r"one kind; X\[0\] is of kind path, X\[2\] of kind bytes\. Convert",
    ),
    "missing files": (["no/a.jpg", "no/b.jpg"], r"2 do not:\n  X\[0\]: 'no/a\.jpg'\n  X\[1\]"),
    "address": (["http://a.b/c.jpg"], r"Web addresses are not downloaded: pass the bytes"),
    "relative path": (["no/a.jpg"], rf"Relative paths start from '{Path.cwd()}'"),
    "folder": (["."], r"X\[0\]: '\.' is a folder"),
    "path that cannot be": (["a\0.jpg"], r"X\[0\]: 'a\\x00\.jpg'"),
    "one image": (
        np.zeros((6, 8, 3), np.uint8),
        r"sequence of images; got one image of shape \(6, 8, 3\): pass X\[None\]",
    ),
    "five channels": (
        np.zeros((2, 6, 8, 5), np.uint8),
        r"1 to 4 channels; got shape \(2, 6, 8, 5\)",
    ),
    "five axes": (
        np.zeros((2, 2, 6, 8, 3), np.uint8),
        r"1 to 4 channels; got shape \(2, 2, 6, 8, 3\)",
    ),
    "no pixel": (
        np.zeros((2, 0, 8, 3), np.uint8),
        r"at least one pixel .* got shape \(2, 0, 8, 3\)",
    ),
    "no pixel in a list": (
        [np.zeros((6, 8, 3)), np.zeros((6, 0, 3))],
        r"at least one pixel .*\n  X\[1\]: shape \(6, 0, 3\)",
    ),
    "PIL image without pixels": (
        [Image.new("L", (0, 3))],
        r"at least one pixel.*\n  X\[0\]: 0 x 3",
    ),
    "channels in a list": (
        [np.zeros((6, 8, 3)), np.zeros((6, 8, 7))],
        r"1 to 4 channels; 1 does not:\n  X\[1\]: shape \(6, 8, 7\)",
    ),
    "floats of 0 to 255": (
        [np.zeros((2, 2)), np.full((2, 2), 255.0)],
        r"X\[1\]: float64 from 255 to 255; divide floats of 0 to 255 by 255",
    ),
    "negative floats": (
        np.full((2, 4, 6), -0.5),
        r"X\[0\]: float64 from -0\.5 to -0\.5; pass pixels without normalising",
    ),
    "NaN": (np.full((2, 4, 6), np.nan), r"X\[0\]: NaN or infinity\n  X\[1\]: NaN or infinity"),
    "infinity": ([np.full((4, 6), np.inf)], r"X\[0\]: NaN or infinity"),
    "large integers": (np.full((2, 4, 6), 256), r"X\[0\]: int64 from 256 to 256"),
    "negative integers": (np.full((1, 4, 6), -1), r"X\[0\]: int64 from -1 to -1"),
    "complex images": (np.zeros((2, 4, 6), complex), r"X\[0\]: dtype complex128"),
    "images of text": (np.full((2, 4, 6), "a"), r"X\[0\]: dtype <U1"),
    "complex table": (np.zeros((2, 4), complex), "Complex data not supported"),
    "NaN in a table": (np.full((2, 4), np.nan), "Input X contains NaN"),
    "infinity in a table": (np.full((2, 4), np.inf), "Input X contains infinity"),
    "one row": (np.zeros(4), "Expected 2D array, got 1D array instead"),
    "bytes of fixed width": (
        np.array([b"ab", b"c"]),
        r"bytes in an array of dtype object; got \|S2",
    ),
    "two columns": (
        pd.DataFrame({"path": ["a.jpg"], "label": ["ant"]}),
        r"one column of images, or a table of numbers; got 2 columns.*X\[\['path'\]\]",
    ),
    "two columns of text": (np.array([["a.jpg", "ant"]]), r"got 2 columns\. Select one"),
    "ragged lists": ([[1, 2], [3]], "got lists of unequal lengths"),
}
