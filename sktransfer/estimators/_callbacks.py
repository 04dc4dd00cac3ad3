"""scikit-learn's callback protocol, if the installed version has it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

try:  # experimental in scikit-learn 1.9, absent before
    from sklearn import callback

    CallbackSupportMixin = callback.CallbackSupportMixin
    with_callbacks = callback.with_callbacks
except ImportError:  # pragma: no cover

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """A mixin without effect, for versions of scikit-learn without callbacks."""

    def with_callbacks(method: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``method`` unchanged."""
        return method


@contextmanager
def fit_task(
    estimator: Any, n_steps: int, X: Any, y: Any, name: str = "batch"
) -> Iterator[Callable[..., bool]]:
    """Report a fit to scikit-learn's callbacks; yields the function to call after each step.

    Callbacks of the estimator, or of a search that contains it, see the fit as a task and each of
    at most ``n_steps`` steps as a subtask.  The function accepts whatever a callback may request,
    such as ``reconstruction_attributes``, and returns True if a callback asks the fit to stop.
    The method that uses this context manager must be decorated with :func:`with_callbacks`.
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
