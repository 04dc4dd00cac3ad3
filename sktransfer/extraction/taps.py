"""Taps: the places in a chain at which activations are taken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .._support.device import at_least_float32
from ..backbones import Backbone, pool

# Outputs of the network's own classifier, which can be requested in place of a pooling.
LOGITS = ("logits", "probabilities")

# Number of the last cuts whose activations are cached if ActivationCache(cuts=None).
CUTS = 3


@dataclass(frozen=True)
class Tap:
    """A place in the chain at which activations are taken.

    Parameters
    ----------
    cut : int
        Number of stages before it.
    reduce : str or None
        How the output of the last of these stages becomes a row: a pooling, or "logits" or
        "probabilities" of the network's own classifier.  None keeps the whole output.
    """

    cut: int
    reduce: str | None = None


def reduce_output(x: Any, reduce: str | None, backbone: Backbone, classifier: Any) -> Any:
    """Return the row that the output of a stage becomes at a tap; see :class:`Tap`."""
    if reduce is None:
        return x
    if reduce in LOGITS and classifier is not None:
        logits = classifier(x).float()
        return logits.softmax(1) if reduce == "probabilities" else logits
    return pool(at_least_float32(x), reduce, backbone.layout, backbone.n_prefix_tokens)


def spare_taps(n_stages: int, taps: Sequence[Tap], cache: Any) -> list[Tap]:
    """Return the spare taps: the last cuts of a chain before the last of ``taps``.

    Activations there are not needed now, but a fit of another depth may need them.

    Parameters
    ----------
    n_stages : int
        Number of stages in the chain.
    taps : sequence of Tap
        The taps at which activations are needed.
    cache : ActivationCache or None
        Its ``cuts`` are counted from the end of the chain, which is one of them.
    """
    n_cuts = 1 if cache is None else CUTS if cache.cuts is None else cache.cuts
    cuts = range(max(1, n_stages - n_cuts + 1), max(tap.cut for tap in taps))
    return [Tap(cut) for cut in cuts]
