"""Warnings show the line of the user's code, whatever runs between it and the package."""

from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Thread

import pytest
from helpers.tiny import coloured_photos
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sktransfer import FineTuneClassifier
from sktransfer._support.warn import warn_user


def calling(inner, name, source="inner()"):
    """Return a function of the module ``name`` that calls ``inner``."""
    names = {"__name__": name, "inner": inner}
    exec(compile(f"def call():\n    {source}", f"{name}.py", "exec"), names)
    return names["call"]


@pytest.fixture
def warn():
    """A function of the package that issues a warning."""
    return calling(partial(warn_user, "few steps"), "sktransfer.training.net")


def files_of(run):
    """Return the files whose lines the warnings of a call show."""
    with pytest.warns(UserWarning, match=r"few steps|phase has only") as shown:
        run()
    return {warning.filename for warning in shown}


def test_a_warning_shows_the_line_of_the_call():
    with pytest.warns(UserWarning, match="few steps") as shown:
        warn_user("few steps")
    line = Path(__file__).read_text().splitlines()[shown[0].lineno - 1]
    assert (shown[0].filename, line.strip()) == (__file__, 'warn_user("few steps")')


def test_the_category_of_a_warning_may_be_chosen():
    with pytest.warns(ConvergenceWarning, match="few steps"):
        warn_user("few steps", ConvergenceWarning)


@pytest.mark.parametrize(
    "name", ["sktransfer", "skorch.net", "sklearn.pipeline", "torch.optim.sgd"]
)
def test_a_warning_passes_over_libraries_that_call_the_package(warn, name):
    assert files_of(calling(calling(warn, name), "sktransfer.training.fit")) == {__file__}


def test_a_warning_passes_over_context_managers(warn):
    entered = contextmanager(calling(warn, "sktransfer.training.data", "yield inner()"))
    assert files_of(calling(entered, "sktransfer.fit", "inner().__enter__()")) == {__file__}


def test_a_module_with_a_similar_name_is_not_passed_over(warn):
    assert files_of(calling(warn, "sktransfer_extras")) == {"sktransfer_extras.py"}


def test_a_warning_in_a_thread_shows_the_line_of_the_package(warn):
    def run():
        thread = Thread(target=warn)
        thread.start()
        thread.join()

    assert files_of(run) == {"sktransfer.training.net.py"}


@pytest.mark.parametrize(
    "run",
    [
        lambda model, X, y: model.fit(X, y),
        lambda model, X, y: make_pipeline(FunctionTransformer(), model).fit(X, y),
        lambda model, X, y: cross_val_score(model, X, y, cv=2),
        lambda model, X, y: GridSearchCV(model, {"lr": [0.1]}, cv=2).fit(X, y),
    ],
    ids=["fit", "pipeline", "cross_val_score", "search"],
)
def test_a_warning_of_a_fit_shows_the_line_of_the_user(run):
    X, y = coloured_photos(n_each=4)
    model = FineTuneClassifier(image_size=32, unfreeze=1, max_epochs=1, random_state=0)
    assert files_of(lambda: run(model, X, y)) == {__file__}
