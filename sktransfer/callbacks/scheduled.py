"""What happens during training: skorch callbacks.

What they ask of a net, whichever it is: ``net.step_``, the optimiser steps done in this phase;
``net.n_steps_``, those of the whole phase; ``net.epoch_``, the epochs done in it; and
``net.max_epochs``.  :class:`Steps` gives a plain skorch net the first three.  What a callback does
is a pure function of them, so a resumed fit goes on as if it had never stopped.

Clipping of gradients is not here: skorch has ``skorch.callbacks.GradientNormClipping``.
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


class Steps(Callback):
    """Count epochs and steps for the other callbacks, in a net that does not do so itself.

    Goes first in the list of a plain skorch net's callbacks.  Sets ``net.step_``,
    ``net.n_steps_`` and ``net.epoch_``, from 0 in every fit.

    Examples
    --------
    >>> from skorch import NeuralNetClassifier
    >>> from torch import nn
    >>> from sktransfer.callbacks import ModelEMA, Steps
    >>> net = NeuralNetClassifier(nn.Linear(4, 2), callbacks=[Steps(), ModelEMA()])
    """

    def on_train_begin(self, net: Any, **_: Any) -> None:
        """Begin to count."""
        net.step_, net.n_steps_, net.epoch_ = 0, 0, 0

    def on_epoch_begin(self, net: Any, dataset_train: Any = None, **_: Any) -> None:
        """Work out the steps of the whole phase."""
        net.n_steps_ = net.max_epochs * len(net.get_iterator(dataset_train, training=True))

    def on_batch_end(self, net: Any, training: bool = False, **_: Any) -> None:
        """Count a step."""
        net.step_ += bool(training)

    def on_epoch_end(self, net: Any, **_: Any) -> None:
        """Count an epoch."""
        net.epoch_ += 1


class Scheduled(Callback):
    """Multiply a setting by a schedule, step by step: ``value = base * schedule(progress)``.

    Progress is 0 at the first step of a phase and 1 at the last.  Each parameter group keeps a
    base value of its own, under ``"initial_<setting>"`` in the group, which is saved with the
    optimiser: a schedule composes with stage-wise learning rates, and a resumed fit never scales
    twice.  The base of a dropout layer is its ``p`` when training begins, and its ``p`` when
    training has ended.

    Parameters
    ----------
    setting : {"lr", "momentum", "weight_decay", "dropout"}
        What to drive: a setting of the optimiser, momentum being the first of ``betas`` where it
        has those; or the drop probability of all dropout layers.  An optimiser that knows no
        momentum, as Adagrad, has none to drive.
    schedule : str, Schedule or callable
        Maps progress in [0, 1] to a factor; see :class:`sktransfer.schedules.Schedule`.

    Attributes
    ----------
    schedule_ : Schedule
        The schedule, bound to the epochs of the phase.

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
        """Bind the schedule to the phase; note base values."""
        self.schedule_ = resolve_schedule(self.schedule, "schedule").over(net.max_epochs)
        if self.setting == "dropout":
            self.bases_ = {name: layer.p for name, layer in _dropouts(net.module_)}
            if not self.bases_:
                raise ValueError("setting 'dropout' must find a dropout layer; the net has none.")
            return
        for group in net.optimizer_.param_groups:
            if _key(self.setting, group) in group:
                group.setdefault(f"initial_{self.setting}", _read(self.setting, group))
            elif self.setting != "momentum":
                kind = type(net.optimizer_).__name__
                raise ValueError(f"setting must be one that {kind} has; got {self.setting!r}.")

    def on_batch_begin(self, net: Any, training: bool = False, **_: Any) -> None:
        """Set the values for the step to come."""
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
        """Give dropout layers their own probability back."""
        if self.setting == "dropout":
            self._set_dropout(net, 1)

    def _set_dropout(self, net: Any, factor: float) -> None:
        for name, layer in _dropouts(net.module_):
            layer.p = self.bases_[name] * factor


def _dropouts(module: nn.Module) -> Iterator[tuple[str, Any]]:
    return (item for item in module.named_modules() if isinstance(item[1], DROPOUTS))


def _key(setting: str, group: Mapping[str, Any]) -> str:
    return "betas" if setting == "momentum" and "betas" in group else setting


def _read(setting: str, group: Mapping[str, Any]) -> Any:
    key = _key(setting, group)
    return group[key][0] if key == "betas" else group[key]


def _write(setting: str, group: dict[str, Any], value: Any) -> None:
    key = _key(setting, group)
    group[key] = (value, *group[key][1:]) if key == "betas" else value


class GradualUnfreeze(Callback):
    """Thaw one more stage, from the last towards the first, every few epochs.

    In the first epoch the last stage trains.  Stages whose output was computed before training
    began stay frozen.  The cut is a pure function of the epoch.  The module has to have a
    ``backbone``, and may have a ``start``, the number of stages that were computed.

    Parameters
    ----------
    every : int, default=1
        Epochs from one thaw to the next, at least 1.
    stop : int, default=0
        How many stages stay frozen for good, counted from the first, at least 0.

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

    def __init__(self, every: int = 1, stop: int = 0):
        self.every = every
        self.stop = stop

    def initialize(self) -> GradualUnfreeze:
        """Check the parameters."""
        check_int("every", self.every, 1)
        check_int("stop", self.stop, 0)
        return self

    def on_epoch_begin(self, net: Any, **_: Any) -> None:
        """Move the cut."""
        tail = net.module_
        n_stages = len(tail.backbone.names)
        cut = n_stages - (1 + net.epoch_ // self.every)
        least = max(getattr(tail, "start", 0), self.stop)
        tail.backbone.freeze_to(min(n_stages, max(least, cut)))
