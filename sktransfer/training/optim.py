"""One learning rate for each stage, and the optimiser over them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from inspect import signature
from typing import Any

from torch import nn
from torch.optim import SGD, AdamW, Optimizer, RMSprop

from .._support.validation import check_choice, check_range
from ..backbones import Backbone

HEAD = "head"
NO_DECAY = "/no_decay"

# name -> class, and what it is given beside the groups
OPTIMIZERS: dict[str, tuple[type[Optimizer], dict[str, Any]]] = {
    "adamw": (AdamW, {}),
    "sgd": (SGD, {"momentum": 0.9, "nesterov": True}),
    "rmsprop": (RMSprop, {}),
}


def stage_groups(
    backbone: Backbone,
    head: nn.Module,
    lr: float,
    layer_decay: float = 1.0,
    *,
    weight_decay: float = 0.0,
    head_lr: float | None = None,
) -> list[dict[str, Any]]:
    """Parameter groups for an optimiser: one learning rate for each stage, and the head's.

    Every stage has its groups, frozen or not, so that the optimiser stays as it is when a stage
    thaws.  Norms and biases, parameters of at most one axis, take no weight decay: they stand in a
    second group, ``"<stage>/no_decay"``, of the same rate.

    Parameters
    ----------
    backbone : Backbone
        The stages, in order.
    head : Module
        What follows the last stage.
    lr : float
        The base learning rate, above 0.
    layer_decay : float, default=1.0
        The rate of a stage over that of what follows it, in (0, 1]: the last stage has
        ``lr * layer_decay``, the one before it ``lr * layer_decay**2``, and so on.
    weight_decay : float, default=0.0
        The decay of parameters with two axes or more, at least 0.
    head_lr : float or None, default=None
        The head's learning rate, above 0; None stands for ``lr``.

    Returns
    -------
    list of dict
        Groups with the keys ``name``, ``params``, ``lr``, ``initial_lr`` (the same rate, which no
        schedule changes) and ``weight_decay``; first those of the stages, in order, then the
        head's, named ``"head"``.  What has no parameters has no group.

    References
    ----------
    .. [1] J. Howard and S. Ruder, "Universal Language Model Fine-tuning for Text Classification",
       ACL 2018, https://arxiv.org/abs/1801.06146 (discriminative fine-tuning)

    Examples
    --------
    >>> from torch import nn
    >>> from sktransfer import Backbone, ImagePreset
    >>> from sktransfer.training.optim import stage_groups
    >>> stages = {"stem": nn.Conv2d(3, 8, 3), "layer1": nn.Conv2d(8, 16, 3, bias=False)}
    >>> backbone = Backbone(stages, ImagePreset(size=32))
    >>> groups = stage_groups(backbone, nn.Linear(16, 2), lr=0.1, layer_decay=0.5)
    >>> {group["name"]: group["lr"] for group in groups}
    {'stem': 0.025, 'stem/no_decay': 0.025, 'layer1': 0.05, 'head': 0.1, 'head/no_decay': 0.1}
    """
    head_lr = lr if head_lr is None else head_lr
    check_range("lr", lr, "(0, inf)")
    check_range("layer_decay", layer_decay, "(0, 1]")
    check_range("weight_decay", weight_decay, "[0, inf)")
    check_range("head_lr", head_lr, "(0, inf)")
    n_stages = len(backbone.stages)
    groups = []
    for index, (name, stage) in enumerate(backbone.stages.items()):
        rate = lr * layer_decay ** (n_stages - index)
        groups += _groups(name, stage, rate, weight_decay)
    return groups + _groups(HEAD, head, head_lr, weight_decay)


def _groups(name: str, module: nn.Module, lr: float, weight_decay: float) -> list[dict[str, Any]]:
    """The group of ``module``'s weights and that of its norms and biases, if it has any."""
    weights = [parameter for parameter in module.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in module.parameters() if parameter.ndim <= 1]
    rates = {"lr": lr, "initial_lr": lr}
    groups = [
        {"name": name, "params": weights, **rates, "weight_decay": weight_decay},
        {"name": name + NO_DECAY, "params": others, **rates, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def make_optimizer(
    optimizer: str | type[Optimizer] | Callable[[list[dict[str, Any]]], Optimizer],
    groups: Iterable[dict[str, Any]],
    *,
    fused: bool | None = None,
) -> Optimizer:
    """The optimiser over ``groups``.

    Parameters
    ----------
    optimizer : {"adamw", "sgd", "rmsprop"}, class or callable
        A name, ``"sgd"`` with Nesterov momentum 0.9; a subclass of ``torch.optim.Optimizer``; or a
        function of the groups, such as ``partial(SGD, momentum=0.5)``.
    groups : list of dict
        From :func:`stage_groups`.
    fused : bool or None, default=None
        Passed to a named optimiser or a class that knows it; None is torch's choice.

    Returns
    -------
    Optimizer

    Raises
    ------
    ValueError
        If no optimiser has that name.
    TypeError
        If ``optimizer`` is none, or returns none.

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
    if isinstance(optimizer, str):
        kind, options = OPTIMIZERS[optimizer]
        return kind(groups, **options, **_fused(kind, fused))
    if isinstance(optimizer, type):
        # each group has its own rate; a class may insist on one all the same
        options = {"lr": groups[0]["lr"], **_fused(optimizer, fused)}
        made: Optimizer = optimizer(groups, **options)
        return made
    made = optimizer(groups)
    if not isinstance(made, Optimizer):
        raise TypeError(f"optimizer must return a torch.optim.Optimizer; got {made!r}.")
    return made


def check_optimizer(optimizer: Any) -> None:
    """Raise where ``optimizer`` is not what :func:`make_optimizer` takes."""
    if isinstance(optimizer, str):
        check_choice("optimizer", optimizer, list(OPTIMIZERS))
        return
    is_class = isinstance(optimizer, type)
    if not (issubclass(optimizer, Optimizer) if is_class else callable(optimizer)):
        raise TypeError(
            "optimizer must be a name, a subclass of torch.optim.Optimizer or a function of "
            f"parameter groups; got {optimizer!r}."
        )


def _fused(kind: type[Optimizer], fused: bool | None) -> dict[str, Any]:
    return {"fused": fused} if "fused" in signature(kind).parameters else {}


def group_rates(optimizer: Optimizer) -> dict[str, float]:
    """The learning rate of each stage and of the head now, by name.

    Parameters
    ----------
    optimizer : Optimizer
        Over the groups of :func:`stage_groups`.

    Returns
    -------
    dict of str to float

    Examples
    --------
    >>> from torch import nn
    >>> from sktransfer.training.optim import group_rates, make_optimizer
    >>> groups = [{"name": "head", "params": [nn.Parameter()], "lr": 0.1}]
    >>> group_rates(make_optimizer("sgd", groups))
    {'head': 0.1}
    """
    groups = optimizer.param_groups
    return {group["name"].removesuffix(NO_DECAY): float(group["lr"]) for group in groups}
