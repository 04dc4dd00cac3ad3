"""What a fit did: to each stage, and epoch by epoch."""

from __future__ import annotations

from typing import Any

import torch
from skorch.callbacks import Callback
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from .._support.validation import require
from ..backbones import Backbone
from ..exceptions import FreezeError
from .checkpoint import plain
from .optim import HEAD

Weights = dict[str, Tensor]


class Report(list[dict[str, Any]]):
    """One dict a stage, in order, and one for the head.

    Keys: ``"stage"``, ``"frozen"`` (whether it never trained), ``"batch_norm"`` ("eval", "train",
    or "" without any), ``"lr_min"`` and ``"lr_max"`` (0 where frozen), ``"moved"`` (the norm of the
    change of its weights over their norm) and ``"note"``.
    """

    def to_frame(self) -> Any:
        """A pandas DataFrame, one row a stage."""
        return require("pandas", "cli").DataFrame(list(self))


class Audit(Callback):
    """Watch which stages get gradients, and between which rates.

    Attributes
    ----------
    rates_ : dict of str to list of float
        For each stage that was trainable, its least and its greatest rate.

    Raises
    ------
    FreezeError
        At the end of the first epoch in which a stage is trainable and has a rate, if none of its
        parameters got a gradient.
    """

    def __init__(self) -> None:
        self.rates_: dict[str, list[float]] = {}
        self.trained_: set[str] = set()

    def on_grad_computed(self, net: Any, **kwargs: Any) -> None:  # noqa: ARG002 - skorch passes it
        """Note the rates of what is trainable, and who got a gradient for the first time."""
        for group in net.optimizer_.param_groups:
            name = group["name"].partition("/")[0]
            if not any(p.requires_grad for p in group["params"]):
                continue
            low, high = self.rates_.get(name, (group["lr"], group["lr"]))
            self.rates_[name] = [min(low, group["lr"]), max(high, group["lr"])]
            if name not in self.trained_ and any(p.grad is not None for p in group["params"]):
                self.trained_.add(name)

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:  # noqa: ARG002 - skorch passes it
        """Raise for a stage that trains and got no gradient."""
        idle = [n for n, (_, high) in self.rates_.items() if high > 0 and n not in self.trained_]
        if idle:
            raise FreezeError(
                f"Stage {idle[0]!r} is trainable and got no gradient in its first epoch: something "
                "behind it detaches what it computes, or no parameter of it is used."
            )

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"rates": self.rates_, "trained": sorted(self.trained_)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.rates_, self.trained_ = dict(state["rates"]), set(state["trained"])


def make_report(
    before: Weights, backbone: Backbone, head: nn.Module, audit: Audit, freeze_bn: bool
) -> Report:
    """The report of a fit.

    Parameters
    ----------
    before : dict of str to Tensor
        The state of the backbone before the fit.
    backbone : Backbone
        After it.
    head : Module
    audit : Audit
        That watched all phases.
    freeze_bn : bool
        Whether batch norm stayed in evaluation mode after the cut, too.

    Raises
    ------
    FreezeError
        If a stage that was never trainable has other weights than before.
    """
    rates = audit.rates_
    report = Report()
    for name, stage in backbone.stages.items():
        old = {key: before[f"stages.{name}.{key}"] for key in stage.state_dict()}
        frozen = name not in rates
        changed = [key for key, new in stage.state_dict().items() if not torch.equal(old[key], new)]
        if frozen and changed:
            raise FreezeError(f"Stage {name!r} is frozen, and its {changed[0]!r} moved.")
        moved = _moved(old, stage)
        low, high = rates.get(name, (0.0, 0.0))
        stepped_back = not frozen and high > 0 and moved == 0
        report.append(
            {
                "stage": name,
                "frozen": frozen,
                "batch_norm": _mode(stage, frozen or freeze_bn),
                "lr_min": low,
                "lr_max": high,
                "moved": moved,
                "note": "trained, then set back to the best epoch" if stepped_back else "",
            }
        )
    low, high = rates.get(HEAD, (0.0, 0.0))
    head_row = {"stage": HEAD, "frozen": False, "batch_norm": _mode(head, False)}
    report.append(head_row | {"lr_min": low, "lr_max": high, "moved": float("nan"), "note": ""})
    return report


def _moved(before: Weights, stage: nn.Module) -> float:
    """The norm of the change of a stage's weights over their norm before."""
    change, norm = torch.zeros(()), torch.zeros(())
    for name, value in stage.named_parameters():
        old, new = before[name].cpu().double(), value.detach().cpu().double()
        change, norm = change + (new - old).square().sum(), norm + old.square().sum()
    return float((change / norm.clamp_min(1e-300)).sqrt())


def _mode(module: nn.Module, frozen: bool) -> str:
    if not any(isinstance(part, _BatchNorm) for part in module.modules()):
        return ""
    return "eval" if frozen else "train"


def epochs_of(net: Any) -> list[dict[str, Any]]:
    """Return the epochs of a phase, as :class:`History` lists them."""
    names = ("phase", "epoch", "cut", "train_loss", "valid_loss", "valid_score", "lr")
    return [
        {name: plain(row[name]) for name in names if name in row} | {"seconds": row["dur"]}
        for row in net.history.to_list()
        if "lr" in row  # an interrupted epoch has none
    ]


class History(list[dict[str, Any]]):
    """One dict an epoch, in order.

    Keys: ``"phase"`` ("head" or "fine-tune"), ``"epoch"`` (from 1, over both phases), ``"cut"``
    (how many stages were frozen), ``"train_loss"``, ``"lr"`` (a dict: the rate of each group at the
    end of the epoch), ``"seconds"``, and with validation data ``"valid_loss"`` and
    ``"valid_score"``.

    Examples
    --------
    >>> from sktransfer.training import History
    >>> history = History([{"epoch": 1, "train_loss": 0.7, "lr": {"head": 0.001}}])
    >>> history.to_frame()
       epoch  train_loss  lr/head
    0      1         0.7    0.001
    """

    def to_frame(self) -> Any:
        """A pandas DataFrame, one row an epoch; the rates get a column for each group."""
        pandas = require("pandas", "cli")
        return pandas.json_normalize(list(self), sep="/")
