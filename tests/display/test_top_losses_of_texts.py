"""TopLossesDisplay shows texts as a table."""

import numpy as np
import pytest
from helpers.text_nets import text_backbone
from matplotlib import pyplot as plt
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from sktransfer import FineTuneClassifier, PretrainedFeatureExtractor
from sktransfer.display import TopLossesDisplay

X = ["a good film", "a $bad$ film", "", "word " * 25 + "end", "long " * 200]
Y = ["good", "bad", "good", "bad", "good"]
PROBA = [[0.1, 0.9], [0.3, 0.7], [0.6, 0.4], [0.8, 0.2], [0.9, 0.1]]


def words(ax):
    return [text.get_text() for text in ax.texts]


def display(**parameters):
    preset = text_backbone().preset
    return TopLossesDisplay.from_predictions(Y, PROBA, X, preset=preset, **parameters)


def test_texts_are_shown_in_the_order_of_their_losses():
    shown = display(k=3)
    assert shown.photos == [X[4], X[1], X[2]]
    assert shown.indices.tolist() == [4, 1, 2]
    found = words(shown.ax_)
    assert found[:4] == ["loss", "true", "pred", "text"]
    assert found[4:7] == ["2.30", "good 0.10", "bad 0.90"]
    assert found.index("2.30") < found.index("1.20") < found.index("0.92")


def test_a_long_text_takes_three_lines_and_formulas_are_shown_as_text():
    found = words(display().ax_)
    long = [line for line in found if line.startswith("long long")]
    assert len(long) == 3
    assert long[-1].endswith("…")
    assert max(map(len, long)) <= 76
    assert r"a \$bad\$ film" in found
    assert "(empty)" in found
    assert any(line.endswith("end") for line in found)


def test_a_table_of_texts_is_drawn_into_axes_of_the_user():
    _, ax = plt.subplots()
    shown = display(ax=ax)
    assert shown.ax_ is ax
    assert shown.figure_ is ax.figure
    ax.figure.canvas.draw()


@pytest.mark.parametrize("piped", [False, True])
@pytest.mark.filterwarnings("ignore:.* texts are longer")
def test_texts_of_a_fitted_classifier_are_shown(piped):
    if piped:
        features = PretrainedFeatureExtractor(text_backbone, verbose=0)
        model = make_pipeline(features, LogisticRegression())
    else:
        model = FineTuneClassifier(text_backbone, max_epochs=1, random_state=0, verbose=0)
    shown = TopLossesDisplay.from_estimator(model.fit(X, Y), X, Y, k=2)
    assert all(isinstance(text, str) for text in shown.photos)
    proba = model.predict_proba(X)
    share = proba[np.arange(5), [list(model.classes_).index(label) for label in Y]]
    assert shown.indices.tolist() == np.argsort(share)[:2].tolist()
