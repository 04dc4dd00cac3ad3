"""A network's own forward pass, cut into stages.

The pass may be cut wherever one feature map alone goes on, and is cut where the resolution halves.
Sizes that a later stage needs, it reads off its own input; what is made of parameters and sizes,
such as a rotary embedding, it makes again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from math import isqrt, log2
from typing import Any

import torch
from torch import Tensor, fx, nn

from ...exceptions import NotAChainError
from ..tracing import BATCH, Known, Run, Trace, hollow

# How many stages a chain has at least, is to have, and has at most.
FEWEST, WANTED, MOST = 4, 5, 6

# Of the parameters, a first stage holds no more: a chain whose stages come after the network's
# work is none.
LARGEST_STEM = 0.5


@dataclass(frozen=True)
class Grid:
    """How feature maps, squares of positions, are laid out.

    Parameters
    ----------
    layout : {"NCHW", "NHWC", "NLC"}
    n_prefix_tokens : int, default=0
        Of "NLC", how many leading tokens stand for no position.
    """

    layout: str
    n_prefix_tokens: int = 0

    def side(self, shape: Sequence[int]) -> int:
        """Positions along a side of a map whose shape is that of one item; 0 if it is no map."""
        if self.layout == "NLC":
            n_positions = shape[0] - self.n_prefix_tokens if len(shape) == 2 else 0
            along = isqrt(max(n_positions, 0))
            return along if along**2 == n_positions else 0
        if len(shape) != 3:
            return 0
        rows, columns = shape[1:] if self.layout == "NCHW" else shape[:2]
        return rows if rows == columns else 0

    def along(self, x: Tensor) -> int:
        """Positions along a side of ``x``."""
        return self.side(x.shape[1:])

    def rows_and_columns(self, x: Tensor) -> list[int]:
        """The same, twice."""
        return [self.along(x)] * 2

    def known(self, start: fx.Node, runs: Sequence[Run]) -> Known:
        """What of sizes the input of a stage tells that begins after ``start``.

        A value is known only where it fits each of ``runs``, which are of different image sizes.
        """

        def make(node: fx.Node) -> Callable[[Tensor], Any] | None:
            functions = [self._origin(run.values[node], run.values[start]) for run in runs]
            return functions[0] if functions and len(set(functions)) == 1 else None

        return make

    def _origin(self, value: Any, x: Tensor) -> Callable[[Tensor], Any] | None:
        if isinstance(value, torch.device):
            return device_of
        along = self.along(x)
        if type(value) is int and value in {BATCH, along}:
            return n_items if value == BATCH else self.along
        is_pair = isinstance(value, tuple | list) and list(map(str, value)) == [str(along)] * 2
        return self.rows_and_columns if is_pair else None


def n_items(x: Tensor) -> int:
    """How many items a batch holds."""
    return x.shape[0]


def device_of(x: Tensor) -> torch.device:
    """Where a tensor is."""
    return x.device


def stages(trace: Trace, runs: Sequence[Run], grid: Grid, image_size: int) -> dict[str, nn.Module]:
    """The stages of a network, by name: a stem, then layers.

    Parameters
    ----------
    trace : Trace
        Of the network's way from an image to its last feature map.
    runs : sequence of Run
        The first of images of ``image_size`` pixels a side, the others, if any, of other sizes.
    grid : Grid
        How the last feature map is laid out.
    image_size : int

    Returns
    -------
    dict of str to Module
        They share the network's submodules, which may work in place no more.

    Raises
    ------
    NotAChainError
        Saying why the network is no chain of stages.
    """
    cuts = _cuts(trace, runs, grid)
    levels = [_halvings(image_size, grid.side(runs[0].shape(cut))) for cut in cuts]
    spans = grouped(levels, _n_stem(trace, cuts))
    if len(spans) < FEWEST:
        places = f"{len(cuts)} place{'s' * (len(cuts) > 1)}"
        raise NotAChainError(
            f"one {grid.layout} feature map alone goes on at {places} of its forward pass, which "
            f"makes less than {FEWEST} stages"
        )
    ends = [trace.image, *cuts]
    made = {}
    for index, span in enumerate(spans):
        start, stop = ends[span.start], ends[span.stop]
        stage = trace.part(start, stop, grid.known(start, runs) if index else nothing)
        if runs[0].is_overwritten(start) and not _keep_input(stage, runs[0].shape(start)):
            raise NotAChainError(f"its {stop.name}, or what is before it, overwrites its input")
        made[f"layer{index}" if index else "stem"] = stage
    _check_parameters(made)
    return made


def nothing(_: fx.Node) -> None:
    """What a first stage's input tells of sizes: it needs no telling."""


def _cuts(trace: Trace, runs: Sequence[Run], grid: Grid) -> list[fx.Node]:
    """In order, the nodes whose value, a feature map like the last one, alone goes on."""
    calls = (node for node in trace.order if node.op == "call_module" and node.all_input_nodes)
    into = {node.all_input_nodes[0] for node in calls}
    found = [
        node
        for node in trace.order
        if node in into
        and node is not trace.image
        and all(grid.side(run.shape(node)) for run in runs)
        and trace.between(node, trace.output, grid.known(node, runs)) is not None
    ]
    return [*found, trace.output]


def _n_stem(trace: Trace, cuts: Sequence[fx.Node]) -> int:
    """How many cuts there are before the child of the network that holds most parameters."""
    children = trace.net.named_children()
    sizes = {name: sum(p.numel() for p in child.parameters()) for name, child in children}
    body = max(sizes, key=lambda name: sizes[name], default="")
    inside = (
        node
        for node in trace.order
        if node.op == "call_module" and str(node.target).split(".")[0] == body
    )
    first = next(inside, trace.image)
    return sum(trace.order[cut] < trace.order[first] for cut in cuts)


def _halvings(image_size: int, side: int) -> int:
    """How often the resolution was halved when ``side`` positions are left of ``image_size``."""
    return round(log2(image_size / side))


def grouped(levels: Sequence[int], n_stem: int) -> list[range]:
    """Ranges of units that make the stages.

    Stages begin where the level changes.  Where that gives too few, the first ``n_stem`` units
    become a stage, and the longest of the others are halved.

    Parameters
    ----------
    levels : sequence of int
        How often the resolution was halved, for each unit.
    n_stem : int
        How many units come before the network's repeated blocks.

    Examples
    --------
    >>> from sktransfer.backbones.providers._fx_stages import grouped
    >>> grouped([1, 2, 2, 3, 4, 5, 5], 1)
    [range(0, 1), range(1, 3), range(3, 4), range(4, 5), range(5, 7)]
    >>> grouped([4] * 14, 1)
    [range(0, 1), range(1, 4), range(4, 7), range(7, 10), range(10, 14)]
    """
    n_units = len(levels)
    starts = {0} | {i for i in range(1, n_units) if levels[i] != levels[i - 1]}
    body = 0
    if len(starts) < WANTED and 0 < n_stem < n_units:
        starts.add(n_stem)
        body = n_stem
    while len(starts) < WANTED:
        longest = max((span for span in _spans(starts, n_units) if span.start >= body), key=len)
        if len(longest) < 2:
            break
        starts.add(longest.start + len(longest) // 2)
    while len(starts) > MOST:
        starts.remove(min(starts - {0}))
    return _spans(starts, n_units)


def _spans(starts: Collection[int], stop: int) -> list[range]:
    first = sorted(starts)
    return [range(*ends) for ends in zip(first, [*first[1:], stop], strict=True)]


def _keep_input(stage: nn.Module, shape: Sequence[int]) -> bool:
    """Whether ``stage`` leaves its input, items of ``shape``, as it was.

    Operations in place are turned off for that, one by one from the first.
    """
    inside = [module for module in stage.modules() if getattr(module, "inplace", False) is True]
    for module in [None, *inside]:
        if module is not None:
            module.inplace = False  # type: ignore[assignment]
        x = torch.empty(BATCH, *shape, device="meta")
        with torch.no_grad():
            hollow(stage)(x)
        if x._version == 0:
            return True
    return False


def _check_parameters(stages: Mapping[str, nn.Module]) -> None:
    owner: dict[int, str] = {}
    count = dict.fromkeys(stages, 0)
    for name, stage in stages.items():
        for parameter in stage.parameters():
            other = owner.setdefault(id(parameter), name)
            if other != name:
                raise NotAChainError(f"its stages {other!r} and {name!r} share a parameter")
            count[name] += parameter.numel()
    share = count["stem"] / max(sum(count.values()), 1)
    if share > LARGEST_STEM:
        raise NotAChainError(f"its first stage would hold {share:.0%} of the parameters")
