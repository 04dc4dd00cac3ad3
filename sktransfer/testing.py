"""A check that a backbone is valid, for the tests of providers."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor

from .backbones import Backbone
from .data import example_batch

NDIM = {"NCHW": 4, "NHWC": 4, "NLC": 3, "NLM": 3, "NC": 2}


def check_backbone(
    backbone: Backbone,
    batch: Any = None,
    reference: Callable[[Any], Tensor] | None = None,
) -> None:
    """Check that a backbone is a valid chain of stages.

    - Stages share no parameter.
    - No stage overwrites its input.
    - Every cut gives the same output, bit for bit.
    - Nothing frozen changes in training mode, including batch statistics.
    - ``classifier(stages(batch))`` equals ``reference(batch)``, bit for bit.
    - With the layout "NLM": the last channel is the mask, the tokens of a text do not depend on
      the positions after its end, by more than 1e-5, and a row without tokens is finite.

    The backbone itself is not changed.

    Parameters
    ----------
    backbone : Backbone
    batch : Tensor of shape (n, ...) or None, default=None
        An input of the first stage.  With None, two random images of the preset's size are used,
        two random texts, or, if the items are of another kind, two blank items.
    reference : callable or None, default=None
        The network's own forward pass in evaluation mode.  None skips this comparison.

    Raises
    ------
    AssertionError
        If a check fails; the message names the stage.

    Examples
    --------
    >>> from sktransfer import get_backbone
    >>> from sktransfer.testing import check_backbone
    >>> check_backbone(get_backbone("torchvision/squeezenet1_1", weights=None))
    """
    backbone = deepcopy(backbone).freeze_to(0).eval()
    if batch is None:
        batch = example_batch(backbone.preset, 2)
    _check_parameters(backbone)
    with torch.no_grad():
        maps = _check_stages(backbone, batch)
        _check_layout(backbone, maps[-1])
        _check_cuts(backbone, maps)
        if backbone.layout == "NLM":
            _check_padding(backbone, batch)
        if reference is not None:
            _check_reference(backbone, maps[-1], reference(batch))
    _check_frozen(backbone, batch)


def _require(is_true: bool, message: str) -> None:
    if not is_true:
        raise AssertionError(message)


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor):
        return torch.equal(a, b)
    return len(a) == len(b) and all(map(_same, a, b))


def _check_parameters(backbone: Backbone) -> None:
    _require(len(backbone.names) >= 1, "stages must hold at least one stage; it is empty.")
    owner: dict[int, str] = {}
    for name, stage in backbone.stages.items():
        for key, parameter in stage.named_parameters():
            other = owner.setdefault(id(parameter), name)
            _require(
                other == name,
                f"stage {name!r} must not share a parameter with stage {other!r}; "
                f"{key} belongs to both.",
            )


def _check_stages(backbone: Backbone, batch: Any) -> list[Any]:
    """Return the input of the first stage, and the output of each stage."""
    maps = [batch]
    for name, stage in backbone.stages.items():
        before = deepcopy(maps[-1])
        maps.append(stage(maps[-1]))
        _require(
            _same(before, maps[-2]),
            f"stage {name!r} must not overwrite its input; does it begin with an operation in "
            "place (inplace=True)?",
        )
    return maps


def _check_layout(backbone: Backbone, last: Any) -> None:
    layout = backbone.layout
    _require(layout in NDIM, f"layout must be one of {tuple(NDIM)}; got {layout!r}.")
    shape = tuple((last if isinstance(last, Tensor) else last[0]).shape)
    _require(
        len(shape) == NDIM[layout],
        f"the output of the last stage must have {NDIM[layout]} axes with layout {layout!r}; "
        f"got shape {shape}.",
    )


def _check_cuts(backbone: Backbone, maps: list[Any]) -> None:
    for cut, x in enumerate(maps):
        y = backbone.freeze_to(cut)(x, start=cut)
        _require(_same(y, maps[-1]), f"cut {cut} must give the output of the whole chain.")


def _check_padding(backbone: Backbone, batch: Tensor) -> None:
    """Compare the outputs of each stage for texts alone and for texts that are filled up."""
    for ids in batch:
        alone = ids[ids >= 0][None]  # (1, n)
        n = alone.shape[1]
        longer = torch.nn.functional.pad(alone, (0, max(8, n)), value=-1)
        blank = torch.full_like(longer, -1)
        x, y = alone, torch.cat([longer, blank])
        for name, stage in backbone.stages.items():
            x, y = stage(x), stage(y)
            mask = (torch.cat([longer, blank]) >= 0).to(y.dtype)
            _require(
                torch.equal(y[:, :, -1], mask),
                f"the last channel of stage {name!r} must be 1 for a token and 0 for a position "
                "without one.",
            )
            _require(
                bool(y.isfinite().all()),
                f"stage {name!r} must be finite for a row without tokens. Add -1e4 to the scores "
                "of attention, not infinity.",
            )
            _require(
                torch.allclose(x[0], y[0, :n], rtol=1e-5, atol=1e-5),
                f"stage {name!r} must not depend on positions without a token; the outputs for a "
                f"text of {n} tokens differ by {float((x[0] - y[0, :n]).abs().max()):.3g}.",
            )


def _check_reference(backbone: Backbone, last: Any, expected: Tensor) -> None:
    if backbone.classifier is None:
        raise AssertionError("classifier must be a module if there is a reference; got None.")
    logits = backbone.classifier(last)
    _require(
        logits.shape == expected.shape and torch.equal(logits, expected),
        "classifier(stages(x)) must equal the network's own forward pass, bit for bit; "
        f"got shape {tuple(logits.shape)} for {tuple(expected.shape)}"
        + (
            f", greatest difference {(logits - expected).abs().max():.3g}."
            if logits.shape == expected.shape
            else "."
        ),
    )


def _check_frozen(backbone: Backbone, batch: Any) -> None:
    n_stages = len(backbone.names)
    backbone.freeze_to(n_stages).train()
    before = deepcopy(backbone.stages.state_dict())
    with torch.no_grad():
        backbone(batch)
    for key, tensor in backbone.stages.state_dict().items():
        _require(
            torch.equal(tensor, before[key]),
            f"nothing frozen may change in training mode; {key} did.",
        )
    learning = [key for key, p in backbone.stages.named_parameters() if p.requires_grad]
    _require(not learning, f"no frozen parameter may require a gradient; {learning[:1]} does.")
