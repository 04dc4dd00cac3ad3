"""skorch callbacks that change settings during training: schedules and gradual unfreezing.

All callbacks of this package read these attributes of the net:

- ``step_``, the number of optimiser steps done in this phase,
- ``n_steps_``, the number of steps of the whole phase,
- ``epoch_``, the number of epochs done in this phase,
- ``max_epochs``, the number of epochs of the phase.

:class:`StepCounter` adds the first three to a plain skorch net.  The values that a callback sets
depend only on these attributes, so a resumed fit continues exactly as if it had not stopped.

To clip gradients, use ``skorch.callbacks.GradientNormClipping``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from skorch.callbacks import Callback
from torch import nn

from .._support.validation import check_choice, check_int
from ..schedules import Schedule, resolve_schedule

SETTINGS = ("lr", "momentum", "weight_decay", "dropout")
DROPOUTS = (
    nn.Dropout,
    nn.Dropout1d,
    nn.Dropout2d,
    nn.Dropout3d,
    nn.AlphaDropout,
    nn.FeatureAlphaDropout,
)


class StepCounter(Callback):
    """Count the epochs and steps of a plain skorch net, for the other callbacks.

    It has to be the first callback of the net.  It sets ``net.step_``, ``net.n_steps_`` and
    ``net.epoch_``, and restarts from 0 in every fit.  ``FineTuneClassifier`` does not need it.

    Examples
    --------
    >>> from skorch import NeuralNetClassifier
    >>> from torch import nn
    >>> from sktransfer.callbacks import ModelEMA, StepCounter
    >>> net = NeuralNetClassifier(nn.Linear(4, 2), callbacks=[StepCounter(), ModelEMA()])
    """

    def on_train_begin(self, net: Any, **_: Any) -> None:
        """Set all counters to 0."""
        net.step_, net.n_steps_, net.epoch_ = 0, 0, 0

    def on_epoch_begin(self, net: Any, dataset_train: Any = None, **_: Any) -> None:
        """Compute the number of steps of the whole phase."""
        net.n_steps_ = net.max_epochs * len(net.get_iterator(dataset_train, training=True))

    def on_batch_end(self, net: Any, training: bool = False, **_: Any) -> None:
        """Count a training step."""
        net.step_ += bool(training)

    def on_epoch_end(self, net: Any, **_: Any) -> None:
        """Count an epoch."""
        net.epoch_ += 1


class Scheduled(Callback):
    """Multiply a setting by a schedule, step by step: ``value = base * schedule(progress)``.

    Progress is 0 at the first step of a phase and 1 at the last one.  Each parameter group has
    its own base value, so a schedule combines with a learning rate for each stage.  The base is
    stored in the group under ``"initial_<setting>"`` and saved with the optimiser, so a resumed
    fit does not apply the factor twice.  For dropout layers the base is ``p`` at the start of
    training; it is restored at the end.

    Parameters
    ----------
    setting : {"lr", "momentum", "weight_decay", "dropout"}
        The setting to multiply.  "dropout" is the drop probability of all dropout layers; the
        others are settings of the optimiser.  "momentum" is the first of ``betas`` in Adam and
        similar optimisers, and is ignored by optimisers without momentum, such as Adagrad.
    schedule : str, Schedule or callable
        Function from progress in [0, 1] to a factor; see :class:`sktransfer.schedules.Schedule`.

    Attributes
    ----------
    schedule_ : Schedule
        The schedule, bound to the number of epochs of the phase.

    Examples
    --------
    >>> from sktransfer.callbacks import Scheduled
    >>> from sktransfer.schedules import OneCycle
    >>> schedule = OneCycle(warmup=0.3)
    >>> callbacks = [Scheduled("lr", schedule)]
    >>> callbacks += [Scheduled(*companion) for companion in schedule.companions.items()]
    >>> [callback.setting for callback in callbacks]
    ['lr', 'momentum']
    """

    def __init__(self, setting: str, schedule: str | Schedule | Callable[[float], float]):
        self.setting = setting
        self.schedule = schedule

    def initialize(self) -> Scheduled:
        """Check the parameters."""
        check_choice("setting", self.setting, SETTINGS)
        resolve_schedule(self.schedule, "schedule")
        return self

    def on_train_begin(self, net: Any, **_: Any) -> None:
        """Bind the schedule to the phase, and store the base values."""
        self.schedule_ = resolve_schedule(self.schedule, "schedule").over(net.max_epochs)
        if self.setting == "dropout":
            self.bases_ = {name: layer.p for name, layer in _dropouts(net.module_)}
            if not self.bases_:
                raise ValueError(
                    "setting 'dropout' must be used with a net that has dropout layers; "
                    "got a net without any."
                )
            return
        for group in net.optimizer_.param_groups:
            if _key(self.setting, group) in group:
                group.setdefault(f"initial_{self.setting}", _read(self.setting, group))
            elif self.setting != "momentum":
                kind = type(net.optimizer_).__name__
                raise ValueError(f"setting must be a setting of {kind}; got {self.setting!r}.")

    def on_batch_begin(self, net: Any, training: bool = False, **_: Any) -> None:
        """Set the values for the next training step."""
        if not training:
            return
        factor = self.schedule_(min(1.0, net.step_ / max(1, net.n_steps_ - 1)))
        if self.setting == "dropout":
            self._set_dropout(net, factor)
            return
        base = f"initial_{self.setting}"
        for group in net.optimizer_.param_groups:
            if base in group:
                _write(self.setting, group, group[base] * factor)

    def on_train_end(self, net: Any, **_: Any) -> None:
        """Restore the drop probabilities."""
        if self.setting == "dropout":
            self._set_dropout(net, 1)

    def _set_dropout(self, net: Any, factor: float) -> None:
        """Multiply the base probability of every dropout layer by ``factor``."""
        for name, layer in _dropouts(net.module_):
            layer.p = self.bases_[name] * factor


def _dropouts(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """Iterate over the names and layers of all dropout layers."""
    return (item for item in module.named_modules() if isinstance(item[1], DROPOUTS))


def _key(setting: str, group: Mapping[str, Any]) -> str:
    """Return the key under which a parameter group stores ``setting``."""
    return "betas" if setting == "momentum" and "betas" in group else setting


def _read(setting: str, group: Mapping[str, Any]) -> Any:
    """Return the value of ``setting`` in a parameter group."""
    key = _key(setting, group)
    return group[key][0] if key == "betas" else group[key]


def _write(setting: str, group: dict[str, Any], value: Any) -> None:
    """Set ``setting`` in a parameter group; of two betas, only the first changes."""
    key = _key(setting, group)
    group[key] = (value, *group[key][1:]) if key == "betas" else value


class GradualUnfreeze(Callback):
    """Unfreeze one more stage every few epochs, from the last stage towards the first.

    Only the last stage trains in the first epoch.  The cut depends on the number of epochs alone.
    The module needs an attribute ``backbone``.  If it has an attribute ``cut``, that many
    stages stay frozen, because their activations were computed before training.

    Parameters
    ----------
    every : int, default=1
        Number of epochs from one unfrozen stage to the next, at least 1.
    cut : int, default=0
        Number of stages that are never unfrozen, counted from the first; at least 0.

    References
    ----------
    .. [1] J. Howard and S. Ruder, "Universal Language Model Fine-tuning for Text Classification",
       ACL 2018, https://arxiv.org/abs/1801.06146

    Examples
    --------
    >>> from sktransfer.callbacks import GradualUnfreeze
    >>> GradualUnfreeze(every=2).every
    2
    """

    def __init__(self, every: int = 1, cut: int = 0):
        self.every = every
        self.cut = cut

    def initialize(self) -> GradualUnfreeze:
        """Check the parameters."""
        check_int("every", self.every, 1)
        check_int("cut", self.cut, 0)
        return self

    def on_epoch_begin(self, net: Any, **_: Any) -> None:
        """Move the cut of the backbone to the place of this epoch."""
        tail = net.module_
        n_stages = len(tail.backbone.names)
        cut = n_stages - (1 + net.epoch_ // self.every)
        minimum = max(getattr(tail, "cut", 0), self.cut)
        tail.backbone.freeze_to(min(n_stages, max(minimum, cut)))
