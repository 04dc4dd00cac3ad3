"""Plan the fit of a language model, and measure its loss.

The phases, callbacks, records and checkpoints are those of every fit.  Only the tail ends in scores
of tokens, and the rows of a phase are pieces of texts.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state
from torch import Tensor, nn

from .._support.device import at_least_float32, resolve_or_replace
from .._support.random import seed_of
from ..backbones import Backbone, LanguageHead, check_language_head, running
from ..data import Items, TextPreset
from ..extraction import Prefix, Tap
from ..tasks import LanguageModel, make_targets
from .batches import count_batches
from .checkpoint import open_checkpoint
from .data import Data, collect_data
from .phase import Phase, Run
from .phases import check_schedule, make_callbacks
from .plan import FeatureFit, Plan, Request, load_backbone, resume
from .settings import FitSettings, Numerics, resolve
from .tail import Entry, Tail
from .token_rows import make_samples
from .user_callbacks import SCORING, refuse
from .validation_split import hold_out_validation

# The network of a tuner without one, unless it is the weights of another estimator.
DEFAULT = "builtin/lm"

# Why no callback scores the validation data, after "skorch_callbacks must not contain ..."
NO_SCORING = (
    ", because a language model makes no predictions to score. Monitor 'train_loss', or "
    "'valid_loss' with early_stopping=True."
)

# The values of the parameters of other fits that a language model does not have.
FIXED = {
    "augment": None,
    "decode_error": "raise",
    "dropout": 0.0,
    "fine_tune_lr": 1.0,
    "freeze_bn": "frozen",
    "freeze_epochs": 0,
    "head": "linear",
    "head_init": "prior",
    "image_shape": None,
    "image_size": None,
    "weight_interpolation": 1.0,
}


class LanguageTail(Tail):
    """The stages and the language head.

    Parameters
    ----------
    backbone : Backbone
        All stages, without heads.
    head : LanguageHead
        It may use the table of tokens of the first stage.
    pooling : str
        How the tokens of a text become features; training does not use it.
    n_features : int
        The number of these features.
    cut : int
        The number of stages that are never unfrozen.
    """

    def __init__(
        self, backbone: Backbone, head: nn.Module, *, pooling: str, n_features: int, cut: int
    ):
        moments = {
            "mean": np.zeros(n_features, np.float32),
            "scale": np.ones(n_features, np.float32),
        }
        how: Any = {"pooling": pooling, "dropout": 0.0, "freeze_bn": False, "cut": cut, **moments}
        super().__init__(backbone, head, **how)

    def features(self, x: Tensor, entry: Entry = 0) -> Tensor:
        """Return the scores of tokens for ids (b, l): (b, l, n_tokens).

        They compute in the type of the stages, because their product with the table of tokens takes
        most of the time.
        """
        return self.backbone.token_scores(self.backbone(x, start=entry), self.head)

    def outputs(self, features: Tensor) -> Tensor:
        """Return the scores in a type of at least 32 bits."""
        return at_least_float32(features)


class LanguageFit(FeatureFit):
    """The steps of a plan that depend on the language head."""

    fixed = FIXED
    head: LanguageHead

    def __init__(self, request: Request):
        super().__init__(request)
        if self.given["backbone"] is None:
            self.given["backbone"] = DEFAULT

    def load(self, seed: int) -> Backbone:
        """Load the network without its heads, and keep its language head."""
        backbone = load_backbone(self.given, seed)
        self.head = check_language_head(backbone, self.given["backbone"])
        return backbone.truncate(len(backbone.names))


@contextmanager
def plan_language_fit(request: Request) -> Iterator[Plan]:
    """Load the network, check the texts, and divide them into rows; yields the plan.

    Parameters
    ----------
    request : Request
        Its ``task`` and ``y`` are not used.
    """
    fit = LanguageFit(request)
    given = fit.given
    refuse(given["skorch_callbacks"], SCORING, NO_SCORING)
    seed = int(check_random_state(given["random_state"]).randint(2**31))
    backbone = fit.load(seed)
    items = request.check_items(backbone.preset, request.X, reset=True)
    task: Any = LanguageModel(fit.head.objective, fit.head.n_tokens, fit.head.mask_token)
    settings = resolve(given, backbone, items)
    data = _collect(request, backbone.preset, items, task)
    with open_checkpoint(given, request.groups, backbone, data) as checkpoint:
        backbone, seed, state = resume(fit, backbone, seed, checkpoint)
        _check_trainable(backbone, fit.head, settings)
        if settings.early_stopping and not len(data.valid):
            data = hold_out_validation(data, settings, request.groups, seed)
        yield Plan(
            tail=_make_tail(backbone, fit.head, settings),
            phases=_make_phases(_part(backbone.preset, given["window"]), settings, data, seed),
            run=Run(settings, task, seed),
            data=data,
            origin=(given["backbone"], given["weights"]),
            checkpoint=checkpoint,
            state=state,
            shared=None,
        )


def _check_trainable(backbone: Backbone, head: LanguageHead, settings: FitSettings) -> None:
    """Raise an error if no stage trains and the head consists of the table of the first stage."""
    if settings.max_epochs and not settings.tunes and not list(head.parameters()):
        raise ValueError(
            f"unfreeze must be from 1 to {len(backbone.names)} or 'all' for a language head "
            "without weights of its own; got 0, so nothing would train."
        )


def _collect(request: Request, preset: Any, items: Items, task: Any) -> Data:
    validation = None
    if request.X_val is not None:
        validation = (request.check_items(preset, request.X_val), None)
    return collect_data(items, task, make_targets(task.encode(None, len(items)), None), validation)


def _part(preset: TextPreset, window: int) -> TextPreset:
    """Return the preset of the pieces that a row holds."""
    return replace(preset, max_length=min(window, preset.max_length))


def _make_tail(backbone: Backbone, head: LanguageHead, settings: FitSettings) -> LanguageTail:
    tap = Tap(len(backbone.names), settings.pooling)
    blank = Prefix(backbone, [tap], torch.device("cpu"), torch.float32, 1)
    ((n_features,),) = blank.measure(backbone.preset.collate([], 1))
    return LanguageTail(
        backbone, head, pooling=settings.pooling, n_features=n_features, cut=settings.cut
    )


def _make_phases(preset: TextPreset, settings: FitSettings, data: Data, seed: int) -> list[Phase]:
    """Make the only phase of a fit; none if there are no epochs."""
    if not settings.max_epochs:
        return []
    task: Any = data.task
    parts = (data.items.take(data.train), data.items.take(data.valid))
    train = make_samples(preset, parts[0], task, seed, is_fixed=False)
    n_steps = count_batches(len(train), settings.batch_size)
    valid = None
    if len(parts[1]):
        valid = make_samples(preset, parts[1], task, seed_of(seed, "valid"), is_fixed=True)
    schedule = settings.lr_schedule.over(settings.max_epochs)
    return [
        Phase(
            name="fine-tune",
            cut=settings.cut,
            n_epochs=settings.max_epochs,
            train=train,
            valid=valid,
            lr=settings.lr,
            layer_decay=settings.layer_decay,
            callbacks=make_callbacks(settings, settings.cut),
            n_steps=n_steps,
            note=check_schedule(schedule, settings.max_epochs * n_steps),
        )
    ]


@torch.inference_mode()
def measure_loss(
    tail: Tail, task: LanguageModel, numerics: Numerics, items: Items, window: int, batch_size: int
) -> float:
    """Return the mean loss over all targets of texts, of a tail in evaluation mode.

    Parameters
    ----------
    tail : LanguageTail
    task : LanguageModel
        A masked model predicts the same tokens in each call.
    numerics : Numerics
    items : Items
        Texts.
    window, batch_size : int
        The maximum number of tokens of a row, and the number of rows of a batch.
    """
    device = resolve_or_replace(numerics.device)
    tail = tail if device.type == "cpu" else deepcopy(tail).to(device)
    samples = make_samples(_part(tail.backbone.preset, window), items, task, 0, is_fixed=True)
    order = np.argsort(samples.source.lengths, kind="stable")
    low = numerics.precision not in (torch.float32, torch.float64)
    total = 0.0
    for start in range(0, len(order), batch_size):
        batch = samples.batch(order[start : start + batch_size], 0)[0]
        x, target, weight = (batch[name].to(device) for name in ("x", "target", "weight"))
        with running(), torch.autocast(device.type, numerics.precision) if low else nullcontext():
            scores = tail.outputs(tail.features(x))
            total += float((task.loss(scores, target) * weight).double().sum())
    return total / len(order)
