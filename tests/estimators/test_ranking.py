"""Backbones are ranked by their features of a few items."""

from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.provider import TinyProvider
from helpers.text_nets import text_backbone
from helpers.tiny import coloured_files, coloured_photos, tiny_backbone
from sklearn.base import clone

from sktransfer import ImagePreset, PretrainedFeatureExtractor, rank_backbones
from sktransfer.backbones import registry
from sktransfer.display import RankingDisplay
from sktransfer.exceptions import DecodeError

CANDIDATES = [tiny_backbone, PretrainedFeatureExtractor(tiny_backbone, layer="stem")]


@pytest.fixture(autouse=True)
def tiny_provider(monkeypatch):
    monkeypatch.setitem(registry._registered, "tiny", TinyProvider())


@pytest.fixture(scope="module")
def data():
    return coloured_photos()


def test_each_candidate_has_a_row_and_the_best_is_first(data):
    ranking = rank_backbones(*data, CANDIDATES, n_per_class=None)
    assert {row["layer"] for row in ranking} == {"last", "stem"}
    assert ranking[0]["score"] > ranking[1]["score"]
    assert {row["n_features"] for row in ranking} == {16, 8}
    assert all(row["backbone"] == "tiny_backbone" for row in ranking)
    assert all(row["image_size"] == 16 and row["seconds_per_item"] > 0 for row in ranking)
    assert all(row["error"] == "" and not row["is_baseline"] for row in ranking)


def test_the_score_is_that_of_the_features(data):
    X, y = data
    seen = []

    def scorer(F, y):
        seen.append((F, y))
        return 0.5

    ranking = rank_backbones(X, y, CANDIDATES, scorer=scorer, n_per_class=None)
    assert [row["score"] for row in ranking] == [0.5, 0.5]
    assert np.array_equal(seen[0][0], PretrainedFeatureExtractor(tiny_backbone).fit_transform(X))
    assert np.array_equal(seen[0][1], y)


@pytest.mark.parametrize("scorer", ["logme", "knn", "probe"])
def test_random_weights_are_ranked_as_a_baseline(data, scorer):
    candidates = ["tiny/net", ("tiny/net", "wide")]
    ranking = rank_backbones(*data, candidates, scorer=scorer, random_state=0)
    random = [row for row in ranking if row["is_baseline"]]
    assert [row["weights"] for row in random] == ["random"]
    assert sorted(row["weights"] for row in ranking) == ["default", "random", "wide"]
    assert len(rank_backbones(*data, candidates, baseline=False)) == 2
    assert len(rank_backbones(*data, ["tiny/net", ("tiny/net", None)])) == 2


class Untrained(TinyProvider):
    """A provider whose network has no pretrained weights."""

    def load(self, name, weights):
        backbone = super().load(name, None)
        backbone.weights_info = {"tag": None}
        return backbone


def test_a_network_that_is_not_pretrained_is_ranked_once(data, monkeypatch):
    monkeypatch.setitem(registry._registered, "untrained", Untrained())
    ranking = rank_backbones(*data, ["tiny/net", "untrained/net"], n_per_class=4)
    weights = sorted((row["backbone"], row["weights"], row["is_baseline"]) for row in ranking)
    assert weights == [
        ("tiny/net", "default", False),
        ("tiny/net", "random", True),
        ("untrained/net", "random", False),
    ]
    pretrained, random = ranking.plot().ax_.lines
    assert (pretrained.get_label(), len(pretrained.get_xdata())) == ("pretrained", 1)
    assert (random.get_label(), len(random.get_xdata())) == ("random weights", 2)


def test_items_are_drawn_by_class(data):
    X, y = data
    seen = []

    def scorer(F, y):
        seen.append(Counter(y.tolist()))
        return len(F)

    for n in (2, 5, 100):
        rank_backbones(X, y, CANDIDATES, scorer=scorer, n_per_class=n, random_state=0)
    assert [set(each.values()) for each in seen] == [{2}, {2}, {5}, {5}, {12}, {12}]


def test_the_seed_decides_which_items_are_drawn(data):
    def scores(seed):
        ranking = rank_backbones(*data, CANDIDATES, n_per_class=4, random_state=seed)
        return [row["score"] for row in ranking]

    assert scores(0) == scores(0) != scores(1)


@pytest.mark.parametrize("scorer", ["logme", "knn", "probe"])
def test_numbers_are_ranked(data, scorer):
    X, _ = data
    y = X.mean((1, 2)) @ [0.1, 0.2, 0.3]
    ranking = rank_backbones(X, y, CANDIDATES, scorer=scorer, n_per_class=3)
    assert all(np.isfinite(row["score"]) for row in ranking)
    both = rank_backbones(X, np.column_stack([y, -y]), CANDIDATES)
    assert len(both) == 2


def test_a_candidate_that_cannot_be_loaded_is_a_row_with_its_error(data):
    ranking = rank_backbones(*data, ["tiny/net", "tiny/nothing", "nowhere/net"], baseline=False)
    assert [bool(row["error"]) for row in ranking] == [False, True, True]
    assert all(row["error"].startswith("ValueError: ") for row in ranking[1:])
    assert all(np.isnan(row["score"]) for row in ranking[1:])


def test_the_features_pass_the_network_once_with_a_cache(data, tmp_path, monkeypatch):
    seen = Counter()
    plain = ImagePreset.__call__
    X = [bytes(path.read_bytes()) for path in _paths(tmp_path / "photos")]
    y = np.arange(len(X)) % 2
    monkeypatch.setattr(
        "sktransfer.estimators.ranking._measure_seconds", lambda *_: 0.1
    )  # it computes again on purpose

    def counted(self, item):
        seen[item] += 1
        return plain(self, item)

    monkeypatch.setattr(ImagePreset, "__call__", counted)
    first = rank_backbones(X, y, CANDIDATES, cache=tmp_path / "cache", random_state=0)
    assert set(seen.values()) == {2}  # two candidates
    again = rank_backbones(X, y, CANDIDATES, cache=tmp_path / "cache", random_state=0)
    assert set(seen.values()) == {2}
    assert [row["score"] for row in first] == [row["score"] for row in again]


def _paths(folder):

    folder.mkdir()
    return list(map(Path, coloured_files(folder)[0]))


def test_items_that_cannot_be_decoded_are_left_out(data, tmp_path):
    paths = [*map(str, _paths(tmp_path / "photos")), str(tmp_path / "broken.png")]
    (tmp_path / "broken.png").write_bytes(b"no image")
    y = np.arange(len(paths)) % 2
    with pytest.warns(UserWarning, match="could not"):
        ranking = rank_backbones(
            paths, y, [tiny_backbone] * 2, decode_error="warn", n_per_class=None
        )
    assert all(row["error"] == "" for row in ranking)
    with pytest.raises(DecodeError, match=r"broken\.png"):
        rank_backbones(paths, y, [tiny_backbone] * 2, n_per_class=None)


def test_texts_are_ranked():
    texts = [f"a {word} film" for word in ("good", "fine", "bad", "poor")] * 4
    ranking = rank_backbones(
        np.array(texts), [1, 1, 0, 0] * 4, [text_backbone, text_backbone], n_per_class=6
    )
    assert ranking[0]["image_size"] is None
    assert ranking[0]["score"] == ranking[1]["score"]


def test_a_series_of_paths_is_accepted(tmp_path):
    paths = pd.Series(list(map(str, _paths(tmp_path / "photos"))), index=range(100, 130))
    assert len(rank_backbones(paths, np.arange(30) % 2, CANDIDATES, n_per_class=4)) == 2


def test_extractors_are_not_changed(data):
    extractor = PretrainedFeatureExtractor(tiny_backbone, image_size=24)
    before = clone(extractor).get_params()
    ranking = rank_backbones(*data, [extractor, tiny_backbone], n_per_class=3)
    assert extractor.get_params() == before
    assert not extractor.__sklearn_is_fitted__()
    assert sorted(row["image_size"] for row in ranking) == [16, 24]


def test_a_ranking_is_a_table_and_a_plot(data):
    ranking = rank_backbones(*data, ["tiny/net", "tiny/nothing"], n_per_class=4)
    frame = ranking.to_frame()
    assert frame.shape == (4, 10)
    assert list(frame)[:6] == ["backbone", "weights", "image_size", "layer", "n_features", "score"]
    display = ranking.plot()
    assert isinstance(display, RankingDisplay)
    assert len(display.ax_.texts) == 2


@pytest.mark.parametrize(
    ("candidates", "how", "error", "message"),
    [
        (["tiny/net"], {}, ValueError, "candidates must hold at least two backbones; got 1"),
        ("tiny/net", {}, TypeError, "candidates must be a list of at least two .*; got 'tiny/net'"),
        (CANDIDATES, {"decode_error": "skip"}, ValueError, "decode_error must be one of 'raise'"),
        ([tiny_backbone(), 3], {}, TypeError, "candidates must hold addresses, .*; got Backbone"),
        (["tiny/net", 3], {}, TypeError, "candidates must hold addresses, .*; got int"),
        (CANDIDATES, {"scorer": "leep"}, ValueError, "scorer must be one of 'logme', 'knn'"),
        (
            CANDIDATES,
            {"n_per_class": 1},
            ValueError,
            "n_per_class must be an integer of at",
        ),
    ],
)
def test_invalid_arguments_are_an_error(data, candidates, how, error, message):
    with pytest.raises(error, match=message):
        rank_backbones(*data, candidates, **how)


def test_a_score_that_is_no_number_is_last(data):
    scores = iter([np.nan, 0.5])
    ranking = rank_backbones(*data, CANDIDATES, scorer=lambda F, y: next(scores), baseline=False)
    assert np.isnan(ranking[1]["score"])
    assert ranking[0]["score"] == 0.5


# Versions of scikit-learn before 1.8 warn of so many classes, too.
@pytest.mark.filterwarnings("ignore:The number of unique classes is greater than")
@pytest.mark.parametrize(
    ("y", "message"),
    [
        (None, "y must have a label or a number for each item; got None"),
        (np.eye(36, dtype=int), r"y must have one label for each item, or .* shape \(36, 36\)"),
        (np.arange(36), "If y are numbers, pass floats"),
    ],
)
def test_targets_of_another_form_are_an_error(data, y, message):
    with pytest.raises(ValueError, match=message):
        rank_backbones(data[0], y, CANDIDATES)


def test_items_of_a_generator_are_ranked(data):
    X, y = data
    how = {"n_per_class": 3, "random_state": 0, "baseline": False}
    found = rank_backbones(iter(X), y, CANDIDATES, **how)
    expected = rank_backbones(X, y, CANDIDATES, **how)
    assert [row["score"] for row in found] == [row["score"] for row in expected]


@pytest.mark.parametrize("n", [35, 37])
def test_items_without_a_target_are_an_error(data, n):
    with pytest.raises(ValueError, match=f"X and y must have the same length; got 36 and {n}"):
        rank_backbones(data[0], np.arange(n) % 2, CANDIDATES)


def test_equal_numbers_are_an_error(data):
    with pytest.raises(ValueError, match="y must have numbers that differ; got a column of equal"):
        rank_backbones(data[0], np.full(36, 0.5), CANDIDATES)


@pytest.mark.parametrize("y", [["a"] * 36, ["a"] * 35 + ["b"]])
def test_a_class_with_one_item_is_an_error(data, y):
    with pytest.raises(ValueError, match="at least two classes with at least two items each"):
        rank_backbones(data[0], y, CANDIDATES)
