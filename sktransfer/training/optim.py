"""Parameter groups with one learning rate for each stage, and their optimiser."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from inspect import signature
from typing import Any

from torch import nn
from torch.optim import SGD, AdamW, Optimizer, RMSprop

from .._support.forks import importing
from .._support.validation import check_choice, check_range, no_choice
from ..backbones import Backbone

HEAD = "head"
NO_DECAY = "/no_decay"
# The default learning rates were chosen with the head of torchvision/mobilenet_v2, which has this
# number of inputs.  Wider heads learn more slowly.
N_INPUTS = 1280

# The keys are names, the values a class and its arguments apart from the groups.
OPTIMIZERS: dict[str, tuple[type[Optimizer], dict[str, Any]]] = {
    "adamw": (AdamW, {}),
    "sgd": (SGD, {"momentum": 0.9, "nesterov": True}),
    "rmsprop": (RMSprop, {}),
}


def stage_groups(
    backbone: Backbone,
    head: nn.Module,
    lr: float,
    layer_decay: float,
    weight_decay: float,
) -> list[dict[str, Any]]:
    """Make parameter groups for an optimiser, with one learning rate for each stage.

    The stages have layer-wise learning-rate decay [1]_.  Frozen stages have groups, too, so the
    optimiser need not change when a stage is unfrozen.  Norms and biases (parameters with at most
    one axis) have no weight decay.  They are in a second group, ``"<stage>/no_decay"``, with the
    same learning rate.

    A step of AdamW moves each weight by about the learning rate, so it moves the output of a head
    by this rate times the number of its inputs.  The rate of a head with n inputs, more than 1280,
    is therefore multiplied by ``1280 / n`` [2]_.

    Parameters
    ----------
    backbone : Backbone
        The stages.
    head : Module
        The layers after the last stage.
    lr : float
        The base learning rate, above 0: that of a head with at most 1280 inputs.
    layer_decay : float
        The learning rate of a stage divided by that of the next stage, in (0, 1].  The last stage
        has ``lr * layer_decay``, the one before it ``lr * layer_decay**2``, and so on.
    weight_decay : float
        The weight decay of parameters with at least two axes, at least 0.

    Returns
    -------
    list of dict
        The groups of the stages in order, then those of the head, named ``"head"``.  Their keys are
        ``name``, ``params``, ``lr``, ``initial_lr`` (the same value, which no schedule changes) and
        ``weight_decay``.  Groups without parameters are left out.

    References
    ----------
    .. [1] J. Howard and S. Ruder, "Universal Language Model Fine-tuning for Text Classification",
       ACL 2018, https://arxiv.org/abs/1801.06146 (discriminative fine-tuning)
    .. [2] G. Yang, E. J. Hu, I. Babuschkin et al., "Tensor Programs V: Tuning Large Neural Networks
       via Zero-Shot Hyperparameter Transfer", NeurIPS 2021, https://arxiv.org/abs/2203.03466

    Examples
    --------
    >>> from torch import nn
    >>> from sktransfer import Backbone, ImagePreset
    >>> from sktransfer.training.optim import stage_groups
    >>> stages = {"stem": nn.Conv2d(3, 8, 3), "layer1": nn.Conv2d(8, 16, 3, bias=False)}
    >>> backbone = Backbone(stages, ImagePreset(size=32))
    >>> groups = stage_groups(backbone, nn.Linear(16, 2), 0.1, layer_decay=0.5, weight_decay=0)
    >>> {group["name"]: group["lr"] for group in groups}
    {'stem': 0.025, 'stem/no_decay': 0.025, 'layer1': 0.05, 'head': 0.1, 'head/no_decay': 0.1}
    """
    check_range("lr", lr, "(0, inf)")
    check_range("layer_decay", layer_decay, "(0, 1]")
    check_range("weight_decay", weight_decay, "[0, inf)")
    n_stages = len(backbone.stages)
    groups = []
    for index, (name, stage) in enumerate(backbone.stages.items()):
        stage_lr = lr * layer_decay ** (n_stages - index)
        groups += _make_groups(name, stage, stage_lr, weight_decay)
    return groups + _make_groups(HEAD, head, lr * _head_factor(head), weight_decay)


def _head_factor(head: nn.Module) -> float:
    """Return the learning rate of ``head`` divided by the base learning rate."""
    widths = [parameter.shape[1] for parameter in head.parameters() if parameter.ndim > 1]
    return N_INPUTS / max([N_INPUTS, *widths])


def _make_groups(
    name: str, module: nn.Module, lr: float, weight_decay: float
) -> list[dict[str, Any]]:
    """Return the groups of ``module``: its weights, and its norms and biases.

    A group without parameters is left out.
    """
    weights = [parameter for parameter in module.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in module.parameters() if parameter.ndim <= 1]
    learning_rate = {"lr": lr, "initial_lr": lr}
    groups = [
        {"name": name, "params": weights, **learning_rate, "weight_decay": weight_decay},
        {"name": name + NO_DECAY, "params": others, **learning_rate, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def make_optimizer(
    optimizer: str | type[Optimizer] | Callable[[list[dict[str, Any]]], Optimizer],
    groups: Iterable[dict[str, Any]],
    *,
    fused: bool | None = None,
) -> Optimizer:
    """Build an optimiser from parameter groups.

    Parameters
    ----------
    optimizer : {"adamw", "sgd", "rmsprop"}, class or callable
        A name (``"sgd"`` has Nesterov momentum of 0.9), a subclass of ``torch.optim.Optimizer``,
        or a function that takes the groups and returns an optimiser, such as
        ``partial(SGD, momentum=0.5)``.
    groups : list of dict
        The groups of :func:`stage_groups`.
    fused : bool or None, default=None
        The argument ``fused`` of the optimiser, if ``optimizer`` is a name or a class with this
        argument.  None leaves the choice to torch.

    Returns
    -------
    Optimizer

    Raises
    ------
    ValueError
        If there is no optimiser of that name.
    TypeError
        If ``optimizer`` has another type, or does not return an optimiser.

    Examples
    --------
    >>> from torch import nn
    >>> from sktransfer.training.optim import make_optimizer
    >>> groups = [{"params": [nn.Parameter()], "lr": 0.1}]
    >>> type(make_optimizer("adamw", groups)).__name__
    'AdamW'
    """
    groups = list(groups)
    check_optimizer(optimizer)
    _import_compiler()
    if isinstance(optimizer, str):
        kind, options = OPTIMIZERS[optimizer]
        return kind(groups, **options, **_fused(kind, fused))
    if isinstance(optimizer, type):
        # Each group has its own learning rate, but some classes require the argument lr.
        options = {"lr": groups[0]["lr"], **_fused(optimizer, fused)}
        made: Optimizer = optimizer(groups, **options)
        return made
    made = optimizer(groups)
    if not isinstance(made, Optimizer):
        raise TypeError(f"optimizer must return a torch.optim.Optimizer; got {made!r}.")
    return made


@cache
def _import_compiler() -> None:
    """Make a first optimiser: torch then imports its compiler, 900 modules in a second or more.

    A thread does so.  The import leaves a cycle of objects that refer to the stack of its thread,
    and so would keep the memory of the first fit.
    """
    with importing(), ThreadPoolExecutor(1) as pool:
        pool.submit(SGD, [nn.Parameter()], lr=0.1).result()


def check_optimizer(optimizer: Any) -> None:
    """Raise an error if ``optimizer`` is not a valid argument of :func:`make_optimizer`."""
    also = "a subclass of torch.optim.Optimizer, or a function of parameter groups"
    if isinstance(optimizer, str):
        check_choice("optimizer", optimizer, list(OPTIMIZERS), also)
        return
    is_class = isinstance(optimizer, type)
    if not (issubclass(optimizer, Optimizer) if is_class else callable(optimizer)):
        raise TypeError(no_choice("optimizer", optimizer, list(OPTIMIZERS), also))


def _fused(kind: type[Optimizer], fused: bool | None) -> dict[str, Any]:
    return {"fused": fused} if "fused" in signature(kind).parameters else {}


def read_learning_rates(optimizer: Optimizer) -> dict[str, float]:
    """Return the current learning rates of the stages and of the head, by name.

    That of a frozen stage is NaN, because 0 is a rate that a schedule can set.

    Parameters
    ----------
    optimizer : Optimizer
        An optimiser with the groups of :func:`stage_groups`.

    Returns
    -------
    dict of str to float

    Examples
    --------
    >>> from torch import nn
    >>> from sktransfer.training.optim import read_learning_rates, make_optimizer
    >>> groups = [{"name": "head", "params": [nn.Parameter()], "lr": 0.1}]
    >>> read_learning_rates(make_optimizer("sgd", groups))
    {'head': 0.1}
    """
    rates = {}
    for group in optimizer.param_groups:
        trains = any(parameter.requires_grad for parameter in group["params"])
        rates[group["name"].removesuffix(NO_DECAY)] = float(group["lr"] if trains else "nan")
    return rates
