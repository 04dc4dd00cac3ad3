"""Records of a fit: a report on the stages, and the history of the epochs."""

from __future__ import annotations

from math import nan
from typing import Any

import torch
from skorch.callbacks import Callback
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from .._support.plain import NotPlainError, to_plain
from .._support.threads import computing_threads
from .._support.validation import require
from ..backbones import Backbone
from ..exceptions import FreezeError
from .optim import HEAD

Weights = dict[str, Tensor]


class Report(list[dict[str, Any]]):
    """A list with one dict for each stage, in order, and one for the head.

    The keys of a dict are:

    - ``"stage"``, the name of the stage, or "head",
    - ``"frozen"``, True if the stage was frozen in all phases,
    - ``"batch_norm"``, the mode of its batch norm in training: "eval", "train", or "" if it has no
      batch norm,
    - ``"lr_min"`` and ``"lr_max"``, the minimum and maximum of its learning rate, NaN if it never
      trained,
    - ``"moved"``, the norm of the change of its weights divided by the norm of the weights before,
    - ``"note"``, a remark or "", such as that a phase had too few steps for its schedule.
    """

    def to_frame(self) -> Any:
        """Return the report as a pandas DataFrame with one row for each stage."""
        return require("pandas", "cli").DataFrame(list(self))


class Audit(Callback):
    """Record which stages get gradients, and their minimum and maximum learning rates.

    Attributes
    ----------
    rates_ : dict of str to list of float
        The minimum and the maximum learning rate of each stage that was trainable.
    trained_ : set of str
        The stages that got a gradient.

    Raises
    ------
    FreezeError
        At the end of an epoch, if a stage is trainable and its learning rate is above 0, but none
        of its parameters has got a gradient so far.
    """

    def __init__(self) -> None:
        self.rates_: dict[str, list[float]] = {}
        self.trained_: set[str] = set()

    def on_grad_computed(self, net: Any, **kwargs: Any) -> None:  # noqa: ARG002 - skorch passes it
        """Record the learning rates of trainable stages, and the stages that got a gradient."""
        for group in net.optimizer_.param_groups:
            name = group["name"].partition("/")[0]
            if not any(p.requires_grad for p in group["params"]):
                continue
            low, high = self.rates_.get(name, (group["lr"], group["lr"]))
            self.rates_[name] = [min(low, group["lr"]), max(high, group["lr"])]
            if name not in self.trained_ and any(p.grad is not None for p in group["params"]):
                self.trained_.add(name)

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:  # noqa: ARG002 - skorch passes it
        """Raise an error if a trainable stage got no gradient."""
        idle = [n for n, (_, high) in self.rates_.items() if high > 0 and n not in self.trained_]
        if idle:
            raise FreezeError(
                f"Stage {idle[0]!r} is trainable and got no gradient in its first epoch. Either "
                "its parameters are not used, or a later part of the network detaches its output."
            )

    def state_dict(self) -> dict[str, Any]:
        """Return the state for a checkpoint."""
        return {"rates": self.rates_, "trained": sorted(self.trained_)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load a state that ``state_dict`` returned."""
        self.rates_, self.trained_ = dict(state["rates"]), set(state["trained"])


@computing_threads(1)
def make_report(
    before: Weights,
    backbone: Backbone,
    head: nn.Module,
    audit: Audit,
    freeze_bn: bool,
    note: str,
) -> Report:
    """Make the report of a fit.

    Parameters
    ----------
    before : dict of str to Tensor
        The state of the backbone before the fit.
    backbone : Backbone
        The backbone after the fit.
    head : Module
    audit : Audit
        The audit of all phases.
    freeze_bn : bool
        True if batch norm after the cut stayed in evaluation mode, too.
    note : str
        The remark on the head, which trains in every phase, or "".

    Raises
    ------
    FreezeError
        If a stage changed that was never trainable.
    """
    rates = audit.rates_
    report = Report()
    for name, stage in backbone.stages.items():
        old = {key: before[f"stages.{name}.{key}"] for key in stage.state_dict()}
        frozen = name not in rates
        changed = [key for key, new in stage.state_dict().items() if not torch.equal(old[key], new)]
        if frozen and changed:
            raise FreezeError(
                f"Stage {name!r} is frozen and must not change, but its {changed[0]!r} changed. A "
                "callback, or the network itself, modifies it in training."
            )
        moved = _measure_change(old, stage) if changed else 0.0
        low, high = rates.get(name, (nan, nan))
        was_reset = not frozen and high > 0 and moved == 0
        report.append(
            {
                "stage": name,
                "frozen": frozen,
                "batch_norm": _find_batch_norm_mode(stage, frozen or freeze_bn),
                "lr_min": low,
                "lr_max": high,
                "moved": moved,
                "note": "trained, then reset to its weights before training" if was_reset else "",
            }
        )
    low, high = rates.get(HEAD, (nan, nan))
    head_row = {"stage": HEAD, "frozen": False, "batch_norm": _find_batch_norm_mode(head, False)}
    report.append(head_row | {"lr_min": low, "lr_max": high, "moved": nan, "note": note})
    return report


def _measure_change(before: Weights, stage: nn.Module) -> float:
    """Return the norm of the change of a stage's weights, divided by the norm of the weights."""
    change, norm = torch.zeros(()), torch.zeros(())
    for name, value in stage.named_parameters():
        old, new = before[name].cpu().double(), value.detach().cpu().double()
        change, norm = change + (new - old).square().sum(), norm + old.square().sum()
    return float((change / norm.clamp_min(1e-300)).sqrt())


def _find_batch_norm_mode(module: nn.Module, frozen: bool) -> str:
    """Return "eval" or "train"; "" if the module has no batch norm."""
    if not any(isinstance(part, _BatchNorm) for part in module.modules()):
        return ""
    return "eval" if frozen else "train"


# Names that the default callbacks record, in the order in which the history lists them.
LISTED = ("epoch", "cut", "train_loss", "valid_loss", "valid_score")

# Further names that they record, which the history does not list.
UNLISTED = {
    *("batches", "dur", "lr", "train_batch_count", "valid_batch_count"),
    *("train_loss_best", "valid_loss_best"),
}


def list_epochs(net: Any) -> list[dict[str, Any]]:
    """Return the epochs of a phase, as :class:`History` lists them."""
    complete = [row for row in net.history.to_list() if "lr" in row]  # not an interrupted epoch
    rates = dict(net.callbacks_)["record"].rates_
    return [_list_epoch(net.phase, row, lr) for row, lr in zip(complete, rates, strict=False)]


def _list_epoch(phase: str, row: dict[str, Any], lr: dict[str, float]) -> dict[str, Any]:
    others = [name for name in row if name not in {*LISTED, *UNLISTED}]
    values = {name: _to_value(row[name]) for name in (*LISTED, *others) if name in row}
    return {"phase": phase} | values | {"lr": dict(lr), "seconds": row["dur"]}


def _to_value(value: Any) -> Any:
    """Return a recorded value as a plain value or an array, if it is a number or a tensor."""
    if isinstance(value, Tensor):
        value = value.detach().cpu()
        value = (value.float() if value.dtype == torch.bfloat16 else value).numpy()[()]
    try:
        return to_plain(value)
    except NotPlainError:
        return value


class History(list[dict[str, Any]]):
    """A list with one dict for each epoch, in order.

    The keys of a dict are:

    - ``"phase"``, "head" or "fine-tune",
    - ``"epoch"``, counted from 1 over both phases,
    - ``"cut"``, the number of frozen stages,
    - ``"train_loss"``,
    - ``"lr"``, a dict of the learning rates of the stages and the head at the end of the epoch, NaN
      for a stage that was frozen in it,
    - ``"seconds"``, the duration of the epoch,
    - with validation data, ``"valid_loss"`` and ``"valid_score"``,
    - the names of other values that callbacks recorded with ``net.history.record``.

    Examples
    --------
    >>> from sktransfer.training import History
    >>> history = History([{"epoch": 1, "train_loss": 0.7, "lr": {"head": 0.001}}])
    >>> history.to_frame()
       epoch  train_loss  lr/head
    0      1         0.7    0.001
    """

    def to_frame(self) -> Any:
        """Return the history as a pandas DataFrame with one row for each epoch.

        Each stage has a column for its learning rate, such as "lr/head".
        """
        pandas = require("pandas", "cli")
        return pandas.json_normalize(list(self), sep="/")
