"""What happened in a fit, epoch by epoch."""

from __future__ import annotations

from typing import Any

from ._check import require


class History(list[dict[str, Any]]):
    """One dict an epoch, in order.

    Keys: ``"phase"`` ("head" or "fine-tune"), ``"epoch"`` (from 1, over both phases), ``"cut"``
    (how many stages were frozen), ``"train_loss"``, ``"lr"`` (a dict: the rate of each group at the
    end of the epoch), ``"seconds"``, and with validation data ``"valid_loss"`` and
    ``"valid_score"``.

    Examples
    --------
    >>> from sktransfer.history import History
    >>> history = History([{"epoch": 1, "train_loss": 0.7, "lr": {"head": 0.001}}])
    >>> history.to_frame()
       epoch  train_loss  lr/head
    0      1         0.7    0.001
    """

    def to_frame(self) -> Any:
        """A pandas DataFrame, one row an epoch; the rates get a column for each group."""
        pandas = require("pandas", "cli")
        return pandas.json_normalize(list(self), sep="/")
