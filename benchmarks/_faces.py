"""Photos of faces with 68 points, for benchmarks: their paths, points and people."""

import zipfile
from pathlib import Path

import numpy as np
import pandas as pd


def read_faces(archive, folder):
    """Paths of the photos, their points (n, 68, 2), and the number of the person of each."""
    zipfile.ZipFile(archive).extractall(folder)
    photos = Path(folder) / "facial_keypoints"
    table = pd.read_csv(photos / "training.csv")
    paths = [str(photos / "training" / name) for name in table.iloc[:, 0]]
    points = table.iloc[:, 1:].to_numpy().reshape(len(paths), -1, 2)
    people = [Path(path).stem.rpartition("_")[0] for path in paths]
    return paths, points, np.unique(people, return_inverse=True)[1]


def divide(people, n_train, n_test, seed=0):
    """Positions for training and for testing, with no person in both."""
    order = np.random.default_rng(seed).permutation(people.max() + 1)
    ranked = np.argsort(np.argsort(order)[people], kind="stable")
    train = ranked[:n_train]
    rest = ranked[~np.isin(people[ranked], people[train])]
    return train, rest[:n_test]
