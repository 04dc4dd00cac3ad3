"""What happens during training: skorch callbacks.

What they ask of a net, whichever it is: ``net.step_``, the optimiser steps done in this phase;
``net.n_steps_``, those of the whole phase; ``net.epoch_``, the epochs done in it; and
``net.max_epochs``.  :class:`Steps` gives a plain skorch net the first three.  What a callback does
is a pure function of them, so a resumed fit goes on as if it had never stopped.

Clipping of gradients is not here: skorch has ``skorch.callbacks.GradientNormClipping``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from math import sqrt
from typing import Any

import torch
from skorch.callbacks import Callback
from torch import Tensor, nn

from ._check import check_choice, check_int, check_span
from .schedules import Schedule, resolve_schedule

__all__ = [
    "CutMix",
    "GradualUnfreeze",
    "MixUp",
    "ModelEMA",
    "Scheduled",
    "Snapshots",
    "Steps",
]

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


class ModelEMA(Callback):
    """Validate and end with an exponential moving average of the weights.

    From the first validation batch of an epoch (or its end, where nothing is held out) until the
    next epoch begins, the module holds the averages: other callbacks score and keep those.  Then
    the weights that train come back.  When training ends, the averages stay.  What is frozen is
    left alone, and buffers, such as batch statistics, are those of the last step.

    Parameters
    ----------
    decay : float, default=0.99
        How much of the average is kept at a step, in [0, 1).  At the first steps less is kept:
        ``(1 + step) / (10 + step)``, where that is smaller.

    Attributes
    ----------
    average_ : dict of str to Tensor
        The averages, by the names of the parameters.
    aside_ : dict of str to Tensor
        The weights that train, while the module holds the averages; otherwise empty.

    References
    ----------
    .. [1] B. Polyak and A. Juditsky, "Acceleration of Stochastic Approximation by Averaging",
       SIAM Journal on Control and Optimization 30(4), 1992, https://doi.org/10.1137/0330046

    Examples
    --------
    >>> from sktransfer.callbacks import ModelEMA
    >>> ModelEMA(decay=0.999).initialize().decay
    0.999
    """

    average_: dict[str, Tensor]
    aside_: dict[str, Tensor]

    def __init__(self, decay: float = 0.99):
        self.decay = decay

    def initialize(self) -> ModelEMA:
        """Check the parameters."""
        check_span("decay", self.decay, "[0, 1)")
        return self

    def on_train_begin(self, net: Any, **_: Any) -> None:
        """Start anew with a phase; a resumed one goes on with the state that was loaded."""
        if net.step_ == 0 or not hasattr(self, "average_"):
            self.load_state_dict({"average": {}, "aside": {}})

    def on_epoch_begin(self, net: Any, **_: Any) -> None:
        """Go on with the weights that train."""
        _copy_into(net.module_, self.aside_)
        self.aside_ = {}

    def on_batch_begin(self, net: Any, training: bool = False, **_: Any) -> None:
        """Validate the averages."""
        if not training:
            self._swap_in(net)

    @torch.no_grad()
    def on_batch_end(self, net: Any, training: bool = False, **_: Any) -> None:
        """Move the averages towards the weights of the step just done."""
        if not training:
            return
        decay = min(self.decay, (1 + net.step_) / (10 + net.step_))
        for name, weight in net.module_.named_parameters():
            if name in self.average_:
                average = self.average_[name].to(weight.device)
                self.average_[name] = average.lerp_(weight.detach(), 1 - decay)
            elif weight.requires_grad:
                self.average_[name] = weight.detach().clone()

    def on_epoch_end(self, net: Any, **_: Any) -> None:
        """Hold the averages, without validation too."""
        self._swap_in(net)

    def on_train_end(self, net: Any, **_: Any) -> None:
        """Leave the averages in the module."""
        self._swap_in(net)
        self.aside_ = {}

    def state_dict(self) -> dict[str, dict[str, Tensor]]:
        """Copies of the averages and of what is put aside, on the CPU.

        To be saved together with the module's own state, which is either.
        """
        return {"average": _copies(self.average_), "aside": _copies(self.aside_)}

    def load_state_dict(self, state: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Take back what ``state_dict`` gave."""
        self.average_, self.aside_ = _copies(state["average"]), _copies(state["aside"])

    def _swap_in(self, net: Any) -> None:
        if not self.aside_:
            weights = dict(net.module_.named_parameters())
            self.aside_ = {name: weights[name].detach().clone() for name in self.average_}
            _copy_into(net.module_, self.average_)


@torch.no_grad()
def _copy_into(module: nn.Module, weights: Mapping[str, Tensor]) -> None:
    parameters = dict(module.named_parameters())
    for name, weight in weights.items():
        parameters[name].copy_(weight)


def _copies(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().clone() for name, tensor in tensors.items()}


class MixUp(Callback):
    """Train on mixtures: each item of a batch, and its target, with a bit of another one.

    All items of a batch are mixed in one ratio, drawn from Beta(alpha, alpha).  ``X["x"]`` may be
    images, feature maps or rows.  A mixture weighs what its parts weigh, and its target is
    theirs, each as much as it weighs.  The batch is a dict with soft targets, as
    ``FineTuneClassifier`` has it, and the net has ``rng``.

    Parameters
    ----------
    alpha : float, default=0.2
        Above 0: near 0, mixtures are mostly one item; at 1, all ratios are equally likely.

    References
    ----------
    .. [1] H. Zhang, M. Cisse, Y. N. Dauphin and D. Lopez-Paz, "mixup: Beyond Empirical Risk
       Minimization", ICLR 2018, https://arxiv.org/abs/1710.09412

    Examples
    --------
    >>> from sktransfer.callbacks import MixUp
    >>> MixUp(alpha=0.4).initialize().alpha
    0.4
    """

    def __init__(self, alpha: float = 0.2):
        self.alpha = alpha

    def initialize(self) -> MixUp:
        """Check the parameters."""
        check_span("alpha", self.alpha, "(0, inf)")
        return self

    def on_batch_begin(self, net: Any, batch: Any = None, training: bool = False, **_: Any) -> None:
        """Mix the batch."""
        if not training:
            return
        X, x = batch[0], batch[0]["x"]
        if not isinstance(x, Tensor) or not x.is_floating_point():
            kind = getattr(x, "dtype", type(x).__name__)
            raise TypeError(f"MixUp needs X['x'] to be a tensor of floats; got {kind}.")
        rng = net.rng("mixup", net.step_)
        share = float(rng.beta(self.alpha, self.alpha))
        order = torch.from_numpy(rng.permutation(len(x)))
        X["x"] = share * x + (1 - share) * x[order.to(x.device)]
        _mix_targets(X, order, share)


class CutMix(Callback):
    """Train on collages: each item of a batch with a box of another one, and both targets.

    The area of the box is drawn from Beta(alpha, alpha), its middle uniformly; the targets are
    mixed as the areas are.  All items of a batch have the same box.  ``X["x"]`` is images or
    feature maps; the head phase of ``FineTuneClassifier``, which trains on pooled features, goes
    without.  A collage weighs what its parts weigh, and its target is theirs, each as much as it
    weighs.  The batch is a dict with soft targets, as ``FineTuneClassifier`` has it, and the net
    has ``rng``.

    Parameters
    ----------
    alpha : float, default=1.0
        Above 0: near 0, collages are mostly one item; at 1, all areas are equally likely.

    References
    ----------
    .. [1] S. Yun, D. Han, S. J. Oh, S. Chun, J. Choe and Y. Yoo, "CutMix: Regularization Strategy
       to Train Strong Classifiers with Localizable Features", ICCV 2019,
       https://arxiv.org/abs/1905.04899

    Examples
    --------
    >>> from sktransfer.callbacks import CutMix
    >>> CutMix(alpha=0.5).initialize().alpha
    0.5
    """

    def __init__(self, alpha: float = 1.0):
        self.alpha = alpha

    def initialize(self) -> CutMix:
        """Check the parameters."""
        check_span("alpha", self.alpha, "(0, inf)")
        return self

    def on_batch_begin(self, net: Any, batch: Any = None, training: bool = False, **_: Any) -> None:
        """Paste the box."""
        if not training or getattr(net, "phase", None) == "head":
            return
        X, x = batch[0], batch[0]["x"]
        if not isinstance(x, Tensor):
            raise TypeError(f"CutMix needs X['x'] to be a tensor; got {type(x).__name__}.")
        if x.ndim != 4:
            raise ValueError(
                "CutMix needs images or feature maps, X['x'] of four axes; "
                f"got the shape {tuple(x.shape)}. MixUp takes any."
            )
        rng = net.rng("cutmix", net.step_)
        side = sqrt(1 - rng.beta(self.alpha, self.alpha))
        box, area = [slice(None)] * 4, 1.0
        for axis in _spatial_axes(net):
            size = x.shape[axis]
            middle, half = int(rng.integers(size)), int(size * side) // 2
            box[axis] = slice(max(0, middle - half), min(size, middle + half))
            area *= (box[axis].stop - box[axis].start) / size
        order = torch.from_numpy(rng.permutation(len(x)))
        mixed = x.clone()
        mixed[tuple(box)] = x[order.to(x.device)][tuple(box)]
        X["x"] = mixed
        _mix_targets(X, order, 1 - area)


def _spatial_axes(net: Any) -> tuple[int, int]:
    """The axes of height and width in what enters the module: images have their channels first."""
    layout = getattr(getattr(net.module_, "backbone", None), "layout", "NCHW")
    start = getattr(net, "starts_", (getattr(net.module_, "start", 0),))[0]
    return (1, 2) if layout == "NHWC" and start else (2, 3)


def _mix_targets(X: dict[str, Tensor], order: Tensor, share: float) -> None:
    """Mix targets and weights such that the loss is that of the parts, each with its weight."""
    target, weight = X["target"], X["weight"]
    order = order.to(target.device)
    own, other = share * weight, (1 - share) * weight[order]
    # where neither part counts, neither does the target
    part = torch.where(own + other > 0, own / (own + other), share)
    part = part.to(target.dtype).reshape(-1, *[1] * (target.ndim - 1))  # (b, 1)
    X["target"] = part * target + (1 - part) * target[order]
    X["weight"] = own + other


class Snapshots(Callback):
    """Keep the weights at the end of each cycle, so that predictions can be averaged over them.

    A snapshot holds what the module holds at the end of the epoch, without what never trained.
    Loaded with ``module.load_state_dict(snapshot, strict=False)``, each makes a network of its
    own.

    Parameters
    ----------
    schedule : str, Schedule or None, default=None
        The schedule whose cycles count, such as ``SGDR``; each ends where its ``ends`` says.
    every : int or None, default=None
        In place of a schedule: epochs from one snapshot to the next, at least 1.
    most : int, default=5
        How many snapshots are kept, the last ones; at least 1.

    Attributes
    ----------
    snapshots_ : list of dict of str to Tensor
        The oldest first, on the CPU.  Empty where training stopped before a cycle ended.

    References
    ----------
    .. [1] G. Huang, Y. Li, G. Pleiss, Z. Liu, J. E. Hopcroft and K. Q. Weinberger, "Snapshot
       Ensembles: Train 1, Get M for Free", ICLR 2017, https://arxiv.org/abs/1704.00109

    Examples
    --------
    >>> from sktransfer.callbacks import Scheduled, Snapshots
    >>> from sktransfer.schedules import SGDR
    >>> schedule = SGDR(cycle_length=5, multiplier=1)
    >>> callbacks = [Scheduled("lr", schedule), Snapshots(schedule)]
    """

    snapshots_: list[dict[str, Tensor]]

    def __init__(
        self,
        schedule: str | Schedule | None = None,
        every: int | None = None,
        most: int = 5,
    ):
        self.schedule = schedule
        self.every = every
        self.most = most

    def initialize(self) -> Snapshots:
        """Check the parameters."""
        if (self.schedule is None) == (self.every is None):
            raise ValueError(
                "Snapshots needs either schedule or every; "
                f"got schedule={self.schedule!r}, every={self.every!r}."
            )
        if self.schedule is not None:
            resolve_schedule(self.schedule, "schedule")
        check_int("every", self.every, 1, also=[None])
        check_int("most", self.most, 1)
        return self

    def on_train_begin(self, net: Any, **_: Any) -> None:
        """Start anew with a phase; a resumed one goes on with the state that was loaded."""
        if self.schedule is None:
            self.ends_ = list(range(self.every or 1, net.max_epochs + 1, self.every or 1))
        else:
            self.ends_ = resolve_schedule(self.schedule, "schedule").ends(net.max_epochs)
        self.filled_: int | None = None
        if net.step_ == 0 or not hasattr(self, "snapshots_"):
            self.load_state_dict({"snapshots": []})

    def on_batch_begin(self, net: Any, training: bool = False, **_: Any) -> None:
        """Before what has just been thawed trains, add it to earlier snapshots as it was then."""
        if training and self.filled_ != net.epoch_:
            self.filled_ = net.epoch_
            if self.snapshots_:
                state = _trained(net.module_)
                for snapshot in self.snapshots_:
                    new = {name: state[name] for name in state if name not in snapshot}
                    snapshot.update(_copies(new))

    def on_epoch_end(self, net: Any, **_: Any) -> None:
        """Take a snapshot where a cycle ends."""
        if net.epoch_ in self.ends_:
            self.snapshots_ = [*self.snapshots_, _copies(_trained(net.module_))][-self.most :]

    def state_dict(self) -> dict[str, list[dict[str, Tensor]]]:
        """Copies of the snapshots, on the CPU."""
        return {"snapshots": [_copies(snapshot) for snapshot in self.snapshots_]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what ``state_dict`` gave."""
        self.snapshots_ = [_copies(snapshot) for snapshot in state["snapshots"]]


def _trained(module: nn.Module) -> dict[str, Tensor]:
    """The state of ``module`` without that of its frozen parts."""
    state = module.state_dict()
    for path, part in module.named_modules():
        own = list(part.parameters(recurse=False))
        if own and not any(parameter.requires_grad for parameter in own):
            held = [*part.named_parameters(recurse=False), *part.named_buffers(recurse=False)]
            for name, _ in held:
                state.pop(f"{path}.{name}" if path else name, None)
    return state
