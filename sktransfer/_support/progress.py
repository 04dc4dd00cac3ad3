"""scikit-learn 1.9's callback protocol, and its absence before; a progress bar beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

try:  # experimental in scikit-learn 1.9, absent before
    from sklearn import callback

    CallbackSupportMixin = callback.CallbackSupportMixin
    with_callbacks = callback.with_callbacks
except ImportError:  # pragma: no cover

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Nothing to support."""

    def with_callbacks(method: Callable[..., Any]) -> Callable[..., Any]:
        """``method`` itself."""
        return method


DELAY = 2.0  # seconds of work before a bar shows


@contextmanager
def progress_bar(
    total: int, label: str, verbose: int, unit: str = "item"
) -> Iterator[Callable[[int], object]]:
    """A function that takes the number of items just done; on a terminal, it moves a bar."""
    if not verbose:
        yield int
        return
    with tqdm(total=total, desc=label, unit=unit, disable=None, delay=DELAY, leave=False) as bar:
        yield bar.update


@contextmanager
def fit_task(
    estimator: Any, n_steps: int, X: Any, y: Any, name: str = "batch"
) -> Iterator[Callable[..., bool]]:
    """A function to call after each of at most ``n_steps`` steps of a fit.

    scikit-learn's callbacks, where it has them and the estimator or a search around it holds some,
    see the fit as a task and each step as a task below it.  The function takes what else such a
    callback may ask for, such as ``reconstruction_attributes``, and returns whether one of them
    wants the fit to stop.  The method that calls this must be wrapped in :func:`with_callbacks`.
    """
    if not hasattr(estimator, "_init_callback_context"):
        yield lambda **_: False
        return
    task = estimator._init_callback_context(max_subtasks=n_steps)
    task.call_on_fit_task_begin(estimator=estimator, X=X, y=y)

    def step(**details: Any) -> bool:
        below = task.subcontext(task_name=name).call_on_fit_task_begin(estimator=estimator)
        return bool(below.call_on_fit_task_end(estimator=estimator, **details))

    yield step
    task.call_on_fit_task_end(estimator=estimator, X=X, y=y)
