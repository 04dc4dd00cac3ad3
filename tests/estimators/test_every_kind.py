"""Everything that a fit offers works for every kind of y."""

import io

import joblib
import numpy as np
import pytest
from helpers.killed import assert_same_fit, killed_after
from helpers.kinds import IMAGES, KINDS, assert_same
from helpers.provider import TinyProvider
from sklearn.model_selection import GridSearchCV

from sktransfer import find_lr, load, save
from sktransfer.backbones import registry

GRADUAL = {"unfreeze": "all", "unfreeze_every": 1, "freeze_epochs": 1, "max_epochs": 3}


@pytest.fixture(params=KINDS)
def kind(request):
    return KINDS[request.param]


def same(one, other):
    assert_same_fit(one, other)
    assert_same(one.predict(IMAGES), other.predict(IMAGES))


def test_early_stopping_keeps_the_best_epoch_of_held_out_items(kind):
    model = kind.model(early_stopping=True, validation_fraction=0.25, lr=0.1, max_epochs=4)
    model.fit(IMAGES, kind.y)
    losses = [row["valid_loss"] for row in model.history_]
    assert np.isfinite(losses).all()
    assert model.best_epoch_ in (0, int(np.argmin(losses)) + 1)
    given = kind.model(max_epochs=1).fit(
        IMAGES, kind.y, X_val=IMAGES[:6], y_val=kind.those([*range(6)])
    )
    assert np.isfinite(given.history_[0]["valid_loss"])


def test_items_of_weight_0_have_no_say(kind):
    weight = np.repeat([1.0, 0.0], [16, 8])
    exchanged = kind.those([*range(16), *range(23, 15, -1)])
    model = kind.model().fit(IMAGES, kind.y, sample_weight=weight)
    assert_same_fit(kind.model().fit(IMAGES, exchanged, sample_weight=weight), model)
    with pytest.raises(AssertionError):
        assert_same_fit(kind.model().fit(IMAGES, kind.y), model)


def test_stages_unfreeze_one_by_one_and_a_killed_fit_ends_with_the_same_bits(kind, tmp_path):
    whole = kind.model(**GRADUAL).fit(IMAGES, kind.y)
    resumed = kind.model(**GRADUAL, checkpoint=tmp_path)
    with killed_after(2):
        resumed.fit(IMAGES, kind.y)
    same(resumed.fit(IMAGES, kind.y), whole)
    assert [row["stage"] for row in whole.report_[:-1]] == ["stem", "layer1", "layer2"]
    assert [row["cut"] for row in whole.history_] == [3, 2, 1, 0]


def test_a_cache_changes_no_bit(kind, tmp_path):
    cached = kind.model(cache=tmp_path).fit(IMAGES, kind.y)
    assert list(tmp_path.rglob("*.safetensors"))
    same(cached, kind.model().fit(IMAGES, kind.y))


def test_files_and_pickles_predict_the_same_bits(kind, tmp_path, monkeypatch):
    monkeypatch.setitem(registry._registered, "tiny", TinyProvider())
    model = kind.model(backbone="tiny/net", max_epochs=1).fit(IMAGES, kind.y)
    save(model, tmp_path / "model")
    buffer = io.BytesIO()
    joblib.dump(model, buffer)
    buffer.seek(0)
    for other in (load(tmp_path / "model"), joblib.load(buffer)):
        assert_same(other.predict(IMAGES), model.predict(IMAGES))
        assert other.score(IMAGES, kind.y) == model.score(IMAGES, kind.y)
        assert repr(other.history_) == repr(model.history_)


def test_a_search_of_two_folds_and_the_range_test_run(kind):
    rows = [*range(24)]
    search = GridSearchCV(kind.model(), {"max_epochs": [0, 1]}, cv=2, error_score="raise")
    search.fit(IMAGES, kind.those(rows))
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert find_lr(kind.model(), IMAGES, kind.y, n_steps=8).suggestion > 0
