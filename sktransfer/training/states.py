"""States of a phase in files, which leave out the tensors with which the network began."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor

from ..backbones import Original

# The beginning of the names of the tensors of the network in the state of a tail
PREFIX = "backbone."


def shorten(state: dict[str, Any], original: Original) -> dict[str, Any]:
    """Return a state that ``collect_state`` made, without tensors that have the original bits."""
    return _convert(state, original.leave_out)


def complete(state: dict[str, Any], original: Original, names: Iterable[str]) -> dict[str, Any]:
    """Return the state that :func:`shorten` took; ``names`` are those of the state of the tail."""
    names = list(names)
    return _convert(state, lambda rest: original.complete(rest, names))


def _convert(
    state: dict[str, Any], change: Callable[[dict[str, Tensor]], dict[str, Tensor]]
) -> dict[str, Any]:
    """Change the weights of the tail, and the best ones of earlier epochs."""
    callbacks = dict(state["callbacks"])
    if "best" in callbacks:
        best = callbacks["best"]
        callbacks["best"] = best | {"weights_": change(best["weights_"])}
    return state | {"tail": change(state["tail"]), "callbacks": callbacks}
