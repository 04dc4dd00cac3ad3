"""Linear probes: how well the averages of a network separate texts it never saw.

Only the training files of the sets are used, so that their test files stay unseen until the end.
"""

import json
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

N_DRAWS = 5


@dataclass(frozen=True)
class ProbeSet:
    """A file of labelled texts: how many are read, how many train a probe, the rest test it."""

    n_texts: int
    n_train: int
    labels: tuple[int, ...]


SETS = {
    "rt_polarity": ProbeSet(4_000, 2_480, (200, 1_000)),
    "imdb": ProbeSet(2_000, 1_200, (200, 1_000)),
    "ag_news": ProbeSet(4_000, 2_480, (200, 2_000)),
    "sst2": ProbeSet(5_000, 3_100, (200, 1_000)),
}


def read_set(data: Path, name: str, n_texts: int) -> tuple[list[str], np.ndarray]:
    """Some texts of the training file of a set, in random order, and their labels."""
    with zipfile.ZipFile(data / f"text_{name}.zip") as archive:
        lines = archive.read("train.jsonl").decode().strip().split("\n")
    chosen = np.random.default_rng(0).permutation(len(lines))[:n_texts]
    rows = [json.loads(lines[index]) for index in chosen]
    return [row["text"] for row in rows], np.array([row["label"] for row in rows])


def accuracy(features: np.ndarray, labels: np.ndarray, n_train: int, n_labels: int) -> float:
    """Mean accuracy of standardised logistic regression over draws of the labels."""
    scores = []
    for seed in range(N_DRAWS):
        drawn = np.random.default_rng(seed).permutation(n_train)[:n_labels]
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000))
        model.fit(features[drawn], labels[drawn])
        scores.append(model.score(features[n_train:], labels[n_train:]))
    return float(np.mean(scores))


def probe_texts(embed: Callable[[Sequence[str]], np.ndarray], data: Path) -> dict[str, float]:
    """Accuracy per set and number of labels, and their ``"mean"``."""
    scores = {}
    for name, chosen in SETS.items():
        texts, labels = read_set(data, name, chosen.n_texts)
        features = embed(texts)
        for n_labels in chosen.labels:
            score = accuracy(features, labels, chosen.n_train, n_labels)
            scores[f"{name}_{n_labels}"] = score
    return scores | {"mean": float(np.mean(list(scores.values())))}
