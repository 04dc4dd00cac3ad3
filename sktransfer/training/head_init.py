"""Build the tail with the first weights of its head: a linear model, or the class priors."""

from __future__ import annotations

import numpy as np

from .._support.random import seeded_globals
from .._support.threads import count_processors, solving_threads
from ..backbones import Backbone
from ..tasks import Targets, Task, build_head, set_linear
from .head_cache import SharedHeads
from .settings import FitSettings
from .standardisation import compute_moments
from .tail import Tail

# A linear model with fewer products of a feature and a coefficient is solved with one thread: each
# of its steps takes about a millisecond, and would wait for threads of a busy processor.
SMALL = 3e7


def build_tail(
    settings: FitSettings,
    backbone: Backbone,
    task: Task,
    features: np.ndarray,
    targets: Targets,
    seed: int,
    shared: SharedHeads,
) -> Tail:
    """Build the tail; its head has the coefficients of a linear model, or predicts the priors.

    Parameters
    ----------
    settings : FitSettings
    backbone : Backbone
    task : Task
    features : ndarray of shape (n, n_features)
        The features of the training items.
    targets : Targets
        The targets of the training items.
    seed : int
        The seed of the random weights of the head, and of the solver.
    shared : SharedHeads
        The coefficients of the linear model, if another fit computed them.
    """
    mean, scale = compute_moments(features, targets.sample_weight, settings.standardise)
    with seeded_globals(seed):
        head = build_head(settings.head, features.shape[1], task.n_outputs)
    tail = Tail(
        backbone,
        head,
        pooling=settings.pooling,
        mean=mean,
        scale=scale,
        dropout=settings.dropout,
        freeze_bn=settings.freeze_bn,
        cut=settings.cut,
    ).to(settings.numerics.dtype)
    model = settings.head_init
    if model is None:
        set_linear(head, None, task.initial_bias(targets))
        return tail

    def solve() -> tuple[np.ndarray, np.ndarray]:
        return task.exact_head(model, (features - mean) / scale, targets)

    is_small = features.size * task.n_outputs < SMALL
    # A solver may draw random numbers; while it has the global generators, no other fit solves.
    with seeded_globals(seed), solving_threads(1 if is_small else count_processors()):
        set_linear(head, *shared.load_or_solve(solve))
    return tail
