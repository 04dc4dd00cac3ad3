"""Rank backbones by how well their features of a few items predict the targets."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import type_of_target

from .._support.validation import check_choice, check_int, check_present, first_ten, require
from ..backbones import is_pretrained
from ..data import input_info
from ..display import RankingDisplay
from ..exceptions import DecodeError
from ..extraction import DECODE_ERRORS
from ._transferability import SCORERS
from .feature_extractor import PretrainedFeatureExtractor

# For numbers, as many items are drawn as for this number of classes.
CLASSES = 10

# The weights of a network that is not pretrained.
RANDOM = "random"

Scorer = Callable[[np.ndarray, np.ndarray], float]


class Ranking(list[dict[str, Any]]):
    """A list with one dict for each candidate, the best first; those with an error are last.

    The keys of a dict are:

    - ``"backbone"`` and ``"weights"``, the address of the network, and its weights; "random" if
      they are not pretrained,
    - ``"image_size"``, in pixels, or None for texts; ``"layer"``,
    - ``"n_features"``,
    - ``"score"``, of which a higher value is better,
    - ``"seconds_per_item"``, the time of a forward pass with decoding, in a full batch,
    - ``"licence"`` of the weights,
    - ``"is_baseline"``, True for the random weights that were added to the candidates,
    - ``"error"``, why the candidate has no score; "" if it has one.

    Examples
    --------
    >>> from sktransfer.estimators import Ranking
    >>> Ranking([{"backbone": "builtin/mini", "score": 0.4}]).to_frame()
           backbone  score
    0  builtin/mini    0.4
    """

    def to_frame(self) -> Any:
        """Return the ranking as a pandas DataFrame with one row for each candidate."""
        pandas = require("pandas", "cli")
        return pandas.DataFrame(list(self))

    def plot(self, ax: Any = None) -> RankingDisplay:
        """Plot the scores over the seconds for an item.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Axes to draw into.  None makes a new figure.

        Returns
        -------
        RankingDisplay
        """
        return RankingDisplay.from_ranking(self, ax=ax)


def rank_backbones(
    X: Any,
    y: Any,
    candidates: Iterable[Any],
    *,
    scorer: str | Scorer = "logme",
    n_per_class: int | None = 20,
    baseline: bool = True,
    cache: Any = None,
    n_jobs: int | None = None,
    decode_error: str = "raise",
    random_state: Any = None,
    verbose: int = 1,
) -> Ranking:
    """Rank backbones for a task by the features of a few of its items, without training them.

    The cost is one forward pass of these items through each network; with a cache, they pass it
    only once.  The score is that of frozen features.  In measurements, it also agreed with the
    accuracy after fine-tuning the last stage.

    Parameters
    ----------
    X : sequence of n_items paths, images, arrays, bytes or texts, or a table of images
    y : array-like of shape (n_items,), or (n_items, n_columns) of numbers
        Labels, or numbers with fractions.
    candidates : iterable of at least two candidates
        Each is an address, ``"provider/model"``; a pair of an address and its weights; a callable
        that returns a ``Backbone``; or an unfitted :class:`PretrainedFeatureExtractor`, with its
        own image size and layer.
    scorer : {"logme", "knn", "probe"} or callable, default="logme"
        How features are scored.

        - "logme" is the evidence of a Bayesian linear model, per item [1]_.  It needs no folds.
        - "knn" is the accuracy of the five nearest neighbours by cosine in 5 folds.
        - "probe" is the accuracy of a logistic regression in 3 folds.
        - A callable takes the features and y, and returns a number; higher is better.

        For numbers, "knn" and "probe" are R2.
    n_per_class : int or None, default=20
        Number of items of each class that are drawn at random, at least 2.  For numbers, ten times
        as many are drawn.  None uses all items.
    baseline : bool, default=True
        If True, each address with pretrained weights is also ranked with random ones.  A network
        that is not better than that has learned nothing that is useful here.
    cache : str, path-like, ActivationCache or None, default=None
        Folder for the features, for candidates without a cache of their own.
    n_jobs : int or None, default=None
        Number of threads that decode, for candidates that are not extractors.
    decode_error : {"raise", "warn", "ignore"}, default="raise"
        What happens if an item cannot be decoded, for candidates that are not extractors.  "warn"
        and "ignore" leave it out.
    random_state : int, RandomState or None, default=None
        Seed of the draw of items.
    verbose : int, default=1
        0 shows no progress bars, for candidates that are not extractors.

    Returns
    -------
    Ranking
        A list with a dict for each candidate.  A candidate that cannot be loaded, or whose features
        cannot be computed, has an ``"error"`` in place of a score.

    Raises
    ------
    ValueError
        If there are fewer than two candidates, a class has fewer than two items, or numbers are
        all equal.
    TypeError
        If a candidate is something else, such as a network.
    DecodeError
        If an item cannot be decoded, unless ``decode_error`` says otherwise.  The message counts
        the items that were drawn.

    See Also
    --------
    list_backbones : The addresses of all networks.

    References
    ----------
    .. [1] K. You, Y. Liu, J. Wang and M. Long, "LogME: Practical Assessment of Pre-trained Models
       for Transfer Learning", ICML 2021, https://arxiv.org/abs/2102.11005

    Examples
    --------
    >>> from sktransfer import PretrainedFeatureExtractor, load_textures, rank_backbones
    >>> photos = load_textures("train")
    >>> candidates = ["builtin/mini", PretrainedFeatureExtractor(layer="layer2")]
    >>> ranking = rank_backbones(photos.data, photos.labels, candidates, n_per_class=5)
    >>> len(ranking), ranking[0]["is_baseline"]
    (3, False)
    """
    if not callable(scorer):
        check_choice("scorer", scorer, SCORERS, "or a callable")
    check_int("n_per_class", n_per_class, 2, also=(None,))
    settings = {
        "cache": cache,
        "n_jobs": n_jobs,
        "decode_error": decode_error,
        "verbose": verbose,
    }
    if isinstance(candidates, (str, PretrainedFeatureExtractor)) or not hasattr(
        candidates, "__iter__"
    ):
        raise TypeError(f"candidates must be a list of at least two backbones; got {candidates!r}.")
    check_choice("decode_error", decode_error, DECODE_ERRORS)
    extractors = [_as_extractor(candidate, settings) for candidate in candidates]
    if len(extractors) < 2:
        raise ValueError(f"candidates must hold at least two backbones; got {len(extractors)}.")
    if y is None:
        raise ValueError("y must have a label or a number for each item; got None.")
    check_present(y, "y")
    X = X if hasattr(X, "__getitem__") else list(X)
    targets = np.asarray(y)
    if len(X) != len(targets):
        raise ValueError(f"X and y must have the same length; got {len(X)} and {len(targets)}.")
    is_class = not type_of_target(targets).startswith("continuous")
    chosen = _draw(targets, n_per_class, is_class, check_random_state(random_state))
    items, targets = _take(X, chosen), targets[chosen]
    score = scorer if callable(scorer) else _with_kind(scorer, is_class)
    rows = [_rank_one(extractor, items, targets, score) for extractor in extractors]
    if baseline:
        random = _with_random_weights(extractors, [row["weights"] == RANDOM for row in rows])
        rows += [_rank_one(each, items, targets, score, is_baseline=True) for each in random]
    # Without a score, the minimum takes its place.
    return Ranking(
        sorted(
            rows, key=lambda row: (bool(row["error"]), -np.nan_to_num(row["score"], nan=-np.inf))
        )
    )


def _with_kind(name: str, is_class: bool) -> Scorer:
    return lambda F, y: SCORERS[name](F, y, is_class)


def _as_extractor(candidate: Any, settings: dict[str, Any]) -> PretrainedFeatureExtractor:
    """Return the extractor that a candidate stands for."""
    if isinstance(candidate, PretrainedFeatureExtractor):
        made: Any = clone(candidate)
        return made.set_params(cache=settings["cache"]) if made.cache is None else made  # type: ignore[no-any-return]  # an extractor
    backbone, weights = candidate if _is_pair(candidate) else (candidate, "default")
    if not (isinstance(backbone, str) or callable(backbone)) or hasattr(backbone, "parameters"):
        raise TypeError(
            "candidates must hold addresses, pairs of an address and weights, factories, or "
            f"unfitted PretrainedFeatureExtractors; got {type(candidate).__name__}."
        )
    return PretrainedFeatureExtractor(backbone, weights=weights, **settings)


def _is_pair(candidate: Any) -> bool:
    return isinstance(candidate, tuple) and len(candidate) == 2


def _with_random_weights(
    extractors: Sequence[PretrainedFeatureExtractor], is_random: Sequence[bool]
) -> list[PretrainedFeatureExtractor]:
    """Return an extractor with random weights for each address without one.

    Parameters
    ----------
    extractors : sequence of PretrainedFeatureExtractor
    is_random : sequence of bool
        True for each extractor with random weights.
    """
    pairs: Any = zip(extractors, is_random, strict=True)
    named = [(each, random) for each, random in pairs if isinstance(each.backbone, str)]
    known = {each.backbone for each, random in named if random}
    first = {each.backbone: each for each, _ in reversed(named) if each.backbone not in known}
    return [clone(each).set_params(weights=None) for each in reversed(first.values())]


def _draw(
    y: np.ndarray, n_per_class: int | None, is_class: bool, rng: np.random.RandomState
) -> np.ndarray:
    """Return the positions of the items to use, in ascending order."""
    if not is_class:
        if (np.ptp(np.reshape(y, (len(y), -1)), axis=0) == 0).any():
            raise ValueError("y must have numbers that differ; got a column of equal ones.")
        n = len(y) if n_per_class is None else min(len(y), CLASSES * n_per_class)
        return np.sort(rng.permutation(len(y))[:n])
    classes, counts = np.unique(y, return_counts=True)
    if y.ndim > 1:
        raise ValueError(
            f"y must have one label for each item, or columns of numbers with fractions; got "
            f"{y.dtype} of shape {y.shape}. Rank each column of labels alone."
        )
    if len(classes) < 2 or counts.min() < 2:
        rare = [f"{label!r}: {n}" for label, n in zip(classes.tolist(), counts, strict=True)]
        raise ValueError(
            "y must have at least two classes with at least two items each; got the numbers of "
            f"items\n{first_ten(rare)}\nIf y are numbers, pass floats with fractions."
        )
    parts = [rng.permutation(np.flatnonzero(y == label))[:n_per_class] for label in classes]
    return np.sort(np.concatenate(parts))


def _take(X: Any, positions: np.ndarray) -> Any:
    """Return some items of X as an object of the same kind."""
    if hasattr(X, "iloc"):
        return X.iloc[positions]
    return X[positions] if hasattr(X, "dtype") else [X[at] for at in positions]


def _rank_one(
    extractor: Any, X: Any, y: np.ndarray, score: Scorer, is_baseline: bool = False
) -> dict[str, Any]:
    """Return the row of one candidate; an error becomes a part of the row."""
    row = {
        "backbone": _name(extractor.backbone),
        "weights": RANDOM if extractor.weights is None else str(extractor.weights),
        "image_size": extractor.image_size,
        "layer": extractor.layer,
        "n_features": 0,
        "score": float("nan"),
        "seconds_per_item": float("nan"),
        "licence": "",
        "is_baseline": is_baseline,
        "error": "",
    }
    try:
        features = extractor.fit_transform(X)
        kept = ~np.isnan(features).any(axis=1)
        row["score"] = float(score(features[kept], y[kept]))
    except DecodeError:  # of an item, so other networks fail, too
        raise
    except Exception as error:  # noqa: BLE001 - one network that fails must not end the others
        return row | {"error": f"{type(error).__name__}: {error}"}
    if not is_pretrained(extractor.backbone_):
        row["weights"] = RANDOM
    info = extractor.weights_info_
    return row | {
        "image_size": input_info(extractor.backbone_.preset)["input_size"],
        "n_features": features.shape[1],
        "seconds_per_item": _measure_seconds(extractor, _take(X, np.flatnonzero(kept))),
        "licence": str(info.get("licence") or ""),
    }


def _name(backbone: Any) -> str:
    return backbone if isinstance(backbone, str) else getattr(backbone, "__name__", repr(backbone))


def _measure_seconds(extractor: Any, X: Any) -> float:
    """Return the seconds for one item in a full batch, without the cache."""
    size = extractor._fitted.prefix.sized(extractor.batch_size).batch_size
    batch = _take(X, np.arange(min(size, len(X))))
    timed = clone(extractor).set_params(cache=None, verbose=0, decode_error="ignore")
    timed._fitted = extractor._fitted
    seconds = []
    for _ in range(2):  # the first call prepares the network
        start = time.perf_counter()
        timed.transform(batch)
        seconds.append(time.perf_counter() - start)
    return min(seconds) / len(batch)
