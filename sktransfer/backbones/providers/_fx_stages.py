"""Stages of a network, found by tracing its forward pass.

A forward pass can be cut after a step if everything later depends on one feature map alone.  It is
cut where the resolution halves.  A later stage reads the sizes it needs from its own input, and
computes again what depends on parameters and sizes alone, such as a rotary embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from math import isqrt, log2
from typing import Any

import torch
from torch import Tensor, fx, nn

from ...exceptions import NotAChainError
from ..meta import copy_to_meta
from ..tracing import BATCH, Known, Run, Trace

# The minimum, preferred and maximum number of stages of a chain.
FEWEST, WANTED, MOST = 4, 5, 6

# The maximum share of the parameters in the first stage.  If it held more, the later stages would
# leave little to fine-tune.
LARGEST_STEM = 0.5


@dataclass(frozen=True)
class Grid:
    """The layout of square feature maps.

    Parameters
    ----------
    layout : {"NCHW", "NHWC", "NLC"}
    n_prefix_tokens : int, default=0
        With "NLC", the number of leading tokens that are no positions.
    """

    layout: str
    n_prefix_tokens: int = 0

    def side(self, shape: Sequence[int]) -> int:
        """Return the side of a map from the shape of one item; 0 if that is not a square map."""
        if self.layout == "NLC":
            n_positions = shape[0] - self.n_prefix_tokens if len(shape) == 2 else 0
            along = isqrt(max(n_positions, 0))
            return along if along**2 == n_positions else 0
        if len(shape) != 3:
            return 0
        rows, columns = shape[1:] if self.layout == "NCHW" else shape[:2]
        return rows if rows == columns else 0

    def along(self, x: Tensor) -> int:
        """Return the side of the maps in a batch."""
        return self.side(x.shape[1:])

    def rows_and_columns(self, x: Tensor) -> list[int]:
        """Return the height and width of the maps in a batch."""
        return [self.along(x)] * 2

    def known(self, start: fx.Node, runs: Sequence[Run]) -> Known:
        """Find the values that can be computed from the input of a stage that follows ``start``.

        A function is used only if it gives the right value in each of ``runs``, which have images
        of different sizes.
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
    """Return the number of items in a batch."""
    return x.shape[0]


def device_of(x: Tensor) -> torch.device:
    """Return the device of a tensor."""
    return x.device


def stages(trace: Trace, runs: Sequence[Run], grid: Grid, image_size: int) -> dict[str, nn.Module]:
    """Divide a traced network into stages: a stem, then layers.

    Parameters
    ----------
    trace : Trace
        The steps from an image to the last feature map.
    runs : sequence of Run
        The first run has images of ``image_size`` pixels, further runs have other sizes.
    grid : Grid
        The layout of the last feature map.
    image_size : int

    Returns
    -------
    dict of str to Module
        The stages.  They share the network's submodules; an activation that would overwrite the
        input of a stage no longer works in place.

    Raises
    ------
    NotAChainError
        If the network is not a chain of stages; the message states the reason.
    """
    cuts = _cuts(trace, runs, grid)
    levels = [_halvings(image_size, grid.side(runs[0].shape(cut))) for cut in cuts]
    spans = grouped(levels, _n_stem(trace, cuts))
    if len(spans) < FEWEST:
        places = f"{len(cuts)} place{'s' * (len(cuts) > 1)}"
        raise NotAChainError(
            f"its forward pass can be cut at {places}, after a single {grid.layout} feature map; "
            f"this gives less than {FEWEST} stages"
        )
    ends = [trace.image, *cuts]
    made = {}
    for index, span in enumerate(spans):
        start, stop = ends[span.start], ends[span.stop]
        stage = trace.part(start, stop, grid.known(start, runs) if index else known_nothing)
        if runs[0].is_overwritten(start) and not _keep_input(stage, runs[0].shape(start)):
            raise NotAChainError(f"the stage that ends with {stop.name} overwrites its input")
        made[f"layer{index}" if index else "stem"] = stage
    _check_parameters(made)
    return made


def known_nothing(_: fx.Node) -> None:
    """Find no value for any node; a first stage computes all sizes from the image itself."""


def _cuts(trace: Trace, runs: Sequence[Run], grid: Grid) -> list[fx.Node]:
    """List the nodes after which the forward pass can be cut, in order."""
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
    """Count the cuts before the child of the network that has the most parameters."""
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
    """Count how often the resolution was halved, from ``image_size`` to ``side``."""
    return round(log2(image_size / side))


def grouped(levels: Sequence[int], n_stem: int) -> list[range]:
    """Group units into stages, as ranges of their indices.

    A stage begins where the level changes.  If this gives too few stages, the first ``n_stem``
    units become a stage, and the longest of the others are halved.

    Parameters
    ----------
    levels : sequence of int
        For each unit, how often the resolution was halved.
    n_stem : int
        Number of units before the network's repeated blocks.

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
    """Keep a stage from overwriting its input; return False if it still does.

    In-place activations are switched off one by one, from the first, until the input is kept.
    """
    inside = [module for module in stage.modules() if getattr(module, "inplace", False) is True]
    for module in [None, *inside]:
        if module is not None:
            module.inplace = False  # type: ignore[assignment]  # a flag, no tensor or module
        x = torch.empty(BATCH, *shape, device="meta")
        with torch.no_grad():
            copy_to_meta(stage)(x)
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
