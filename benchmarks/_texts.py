"""Labelled texts of the zips in a folder."""

import json
import zipfile
from pathlib import Path

import numpy as np


def has_texts(data, name):
    """True if the zip of a file is in the folder."""
    return _archive(data, name)[0].exists()


def read_texts(data, name):
    """Texts and labels of a file such as "imdb/train"; labels are None if it has none."""
    path, member = _archive(data, name)
    with zipfile.ZipFile(path) as opened:
        rows = [json.loads(line) for line in opened.read(member).decode().strip().split("\n")]
    labels = [row.get("label") for row in rows]
    return [row["text"] for row in rows], None if None in labels else np.array(labels)


def _archive(data, name):
    archive, member = name.split("/")
    return Path(data) / f"text_{archive}.zip", f"{member}.jsonl"
