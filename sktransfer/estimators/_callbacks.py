"""Support scikit-learn's callbacks, if the installed version has them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

try:  # experimental in scikit-learn 1.9, absent before
    from sklearn import callback

    CallbackSupportMixin = callback.CallbackSupportMixin
    with_callbacks = callback.with_callbacks
except ImportError:  # pragma: no cover

    class CallbackSupportMixin:  # type: ignore[no-redef]  # only one of the two is defined
        """A mixin without effect, for versions of scikit-learn without callbacks."""

    def with_callbacks(method: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``method`` unchanged."""
        return method


@contextmanager
def report_fit(
    estimator: Any, n_steps: int, X: Any, y: Any, name: str = "batch"
) -> Iterator[Callable[..., bool]]:
    """Report a fit to scikit-learn's callbacks; a context manager.

    It yields a function that has to be called after each step.  The function accepts the values
    that a callback may request, such as ``reconstruction_attributes``, and returns True if a
    callback requests to stop the fit.  Callbacks of the estimator, or of a search that contains it,
    see the fit as a task and each step as a subtask.  The method that uses this context manager
    must be decorated with :func:`with_callbacks`.

    Parameters
    ----------
    estimator : estimator
    n_steps : int
        Maximum number of steps.
    X, y : as ``fit`` received them
    name : str, default="batch"
        The name of a step.
    """
    if not hasattr(estimator, "_init_callback_context"):
        yield lambda **_: False
        return
    task = estimator._init_callback_context(max_subtasks=n_steps)
    task.call_on_fit_task_begin(estimator=estimator, X=X, y=y)

    def step(**details: Any) -> bool:
        subtask = task.subcontext(task_name=name).call_on_fit_task_begin(estimator=estimator)
        return bool(subtask.call_on_fit_task_end(estimator=estimator, **details))

    yield step
    task.call_on_fit_task_end(estimator=estimator, X=X, y=y)
