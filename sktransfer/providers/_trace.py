"""A network's own forward pass, followed by torch.fx and cut into stages.

The pass may be cut wherever one feature map alone goes on, and is cut where the resolution halves.
Sizes that a later stage needs, it reads off its own input; what is made of parameters and sizes,
such as a rotary embedding, it makes again.
"""

from __future__ import annotations

import copy
import inspect
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import isqrt, log2
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.node import map_aggregate

from .._tracing import tracing

# How many stages a chain has at least, is to have, and has at most.
FEWEST, WANTED, MOST = 4, 5, 6

# Of the parameters, a first stage holds no more: a chain whose stages come after the network's
# work is none.
LARGEST_STEM = 0.5

# Images of a run without numbers: so many that their number is not taken for a side of a map.
BATCH = 1009

# Takes a node whose value is a size or the like, and gives the function that makes it of a stage's
# input; None where there is none.
Known = Callable[[fx.Node], Callable[[Tensor], Any] | None]


class NotAChainError(ValueError):
    """Why a network is no chain of stages."""


@dataclass(frozen=True)
class Value:
    """The name of what an earlier step gave."""

    name: str


@dataclass(frozen=True)
class Step:
    """One call of a forward pass.

    Parameters
    ----------
    name : str
        Of what it gives.
    call : {"call_module", "call_function", "call_method", "get_attr"}
    target : str or callable
        The path of a module or tensor, the name of a method, or a function.
    args, kwargs : sequence and mapping
        Where a :class:`Value` stands for what an earlier step gave.
    """

    name: str
    call: str
    target: Any
    args: Any = ()
    kwargs: Any = None


class Steps(nn.Module):
    """A part of a forward pass that does more than call one module after the other.

    Parameters
    ----------
    net : Module
        Its submodules and tensors are shared.
    start : str
        The name of the input.
    steps : sequence of Step
        In the order they run; the last one gives the output.
    """

    def __init__(self, net: nn.Module, start: str, steps: Sequence[Step]):
        super().__init__()
        self.start = start
        self.steps = tuple(steps)
        for step in steps:
            if step.call in {"call_module", "get_attr"}:
                self._hold(net, step.target)

    def _hold(self, net: nn.Module, path: str) -> None:
        held = _held(net, path)
        if any(held is buffer for buffer in net.buffers()):
            self.register_buffer(_key(path), held)
        else:  # what was made of buffers while tracing keeps its precision: it is no buffer
            setattr(self, _key(path), held)

    def forward(self, x: Any) -> Any:
        """What the last step gives."""
        values = {self.start: x}
        for step in self.steps:
            values[step.name] = x = self._run(step, values)
        return x

    def _run(self, step: Step, values: dict[str, Any]) -> Any:
        def look(part: Any) -> Any:
            return values[part.name] if isinstance(part, Value) else part

        args, kwargs = map_aggregate(step.args, look), map_aggregate(step.kwargs or {}, look)
        if step.call == "call_function":
            return step.target(*args, **kwargs)
        if step.call == "call_method":
            return getattr(args[0], step.target)(*args[1:], **kwargs)
        held = getattr(self, _key(step.target))
        if step.call == "get_attr":
            return held.to(values[self.start].device)
        return held(*args, **kwargs)

    def extra_repr(self) -> str:
        """The steps, which belong to the fingerprint."""
        return "\n".join(
            f"{step.name} = {getattr(step.target, '__name__', step.target)}{step.args}{step.kwargs}"
            for step in self.steps
        )


class _Tracer(fx.Tracer):
    """Follows one method of a network; all its modules but plain sequences stay whole."""

    def __init__(self, method: str, whole: Collection[Callable[..., Any]]):
        super().__init__(autowrap_functions=tuple(whole))
        self.traced_func_name = method

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:  # noqa: ARG002 - torch dictates it
        return type(m).forward is not nn.Sequential.forward


class Trace:
    """What one method of a network does with its input, call by call.

    Parameters
    ----------
    net : Module
    method : str
        Takes one tensor and returns one; its other parameters keep their defaults.
    whole : collection of callable
        Functions that are one step, whatever they do inside.

    Raises
    ------
    NotAChainError
        If torch.fx cannot follow it: the calls depend on numbers, or it returns several tensors.
    """

    def __init__(self, net: nn.Module, method: str, whole: Collection[Callable[..., Any]] = ()):
        _, *others = inspect.signature(getattr(net, method)).parameters.values()
        fixed = {p.name: p.default for p in others if p.default is not p.empty}
        try:
            with tracing():
                graph = _Tracer(method, whole).trace(net, fixed)
        except Exception as error:
            cause = str(error).partition("\n")[0].partition(". ")[0].rstrip(".,")
            raise NotAChainError(f"torch.fx cannot follow its {method}: {cause}") from error
        (output,) = (node.args[0] for node in graph.nodes if node.op == "output")
        if not isinstance(output, fx.Node):
            raise NotAChainError(f"its {method} returns more than one tensor")
        self.net = net
        self.graph = graph
        self.image = next(node for node in graph.nodes if node.op == "placeholder")
        self.output = output
        _free_devices(graph, self.image)
        self.order = {node: index for index, node in enumerate(graph.nodes)}

    @cached_property
    def hollow(self) -> nn.Module:
        """The network without numbers."""
        return hollow(self.net)

    def run(self, size: int) -> Run:
        """A run without numbers, of images of ``size`` pixels a side; errors are the network's."""
        run = Run(self)
        with torch.no_grad():
            run.run(torch.empty(BATCH, 3, size, size, device="meta"))
        return run

    def between(self, start: fx.Node, stop: fx.Node, known: Known) -> list[Step] | None:
        """The steps from the value of ``start`` to that of ``stop``; None if there is no such way.

        What depends on parameters and sizes alone is made again.
        """
        nodes: dict[fx.Node, Step] = {stop: _step(stop)}
        waiting = [stop]
        while waiting:
            for node in waiting.pop().all_input_nodes:
                if node is start or node in nodes:
                    continue
                make = known(node)
                if make is not None:
                    nodes[node] = Step(node.name, "call_function", make, (Value(start.name),))
                elif node.op == "placeholder":
                    return None
                else:
                    nodes[node] = _step(node)
                    waiting.append(node)
        return [nodes[node] for node in sorted(nodes, key=self.order.__getitem__)]

    def part(self, start: fx.Node, stop: fx.Node, known: Known) -> nn.Module:
        """The module of those steps: a plain sequence of modules where they are no more."""
        steps = self.between(start, stop, known) or []
        before = [start.name, *(step.name for step in steps)]
        modules = OrderedDict(
            (_key(step.target), _held(self.net, step.target))
            for step, name in zip(steps, before, strict=False)
            if step.call == "call_module" and step.args == (Value(name),) and not step.kwargs
        )
        if len(modules) < len(steps):
            return Steps(self.net, start.name, steps)
        return nn.Sequential(modules) if len(modules) > 1 else next(iter(modules.values()))


class Run(fx.Interpreter):
    """What every step of a forward pass gives, numbers aside.

    Parameters
    ----------
    trace : Trace

    Attributes
    ----------
    values : dict of Node to Tensor or other
        Tensors are on the meta device.
    """

    def __init__(self, trace: Trace):
        super().__init__(trace.hollow, garbage_collect_values=False, graph=trace.graph)
        self.values: dict[fx.Node, Any] = {}
        self._versions: dict[fx.Node, int] = {}

    def run_node(self, n: fx.Node) -> Any:
        """Run, and note what came."""
        value = self.values[n] = super().run_node(n)
        if isinstance(value, Tensor):
            self._versions[n] = value._version
        return value

    def shape(self, node: fx.Node) -> tuple[int, ...]:
        """Of what ``node`` gave for one image; empty where that is no tensor."""
        value = self.values.get(node)
        return tuple(value.shape[1:]) if isinstance(value, Tensor) else ()

    def is_overwritten(self, node: fx.Node) -> bool:
        """Whether what ``node`` gave was changed in place afterwards."""
        return bool(self.values[node]._version != self._versions[node])


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


def hollow(module: nn.Module) -> nn.Module:
    """A copy of ``module`` without numbers, on the meta device."""
    others = (t for m in module.modules() for t in vars(m).values() if isinstance(t, Tensor))
    tensors = [*module.parameters(), *module.buffers(), *others]
    memo = {id(tensor): torch.empty_like(tensor, device="meta") for tensor in tensors}
    for parameter in module.parameters():
        memo[id(parameter)] = nn.Parameter(memo[id(parameter)], requires_grad=False)
    return copy.deepcopy(module, memo)


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
    >>> from sktransfer.providers._trace import grouped
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


def _free_devices(graph: fx.Graph, image: fx.Node) -> None:
    """Put the image's device for every device that the network had when it was traced."""

    def is_device(part: Any) -> bool:
        return isinstance(part, torch.device)

    bound = [n for n in graph.nodes if any(map(is_device, (*n.args, *n.kwargs.values())))]
    if not bound:
        return
    with graph.inserting_after(image):
        device = graph.call_function(getattr, (image, "device"))
    for node in bound:
        node.args = tuple(device if is_device(a) else a for a in node.args)
        node.kwargs = {key: device if is_device(a) else a for key, a in node.kwargs.items()}


def _step(node: fx.Node) -> Step:
    def name(part: Any) -> Any:
        return Value(part.name) if isinstance(part, fx.Node) else part

    args, kwargs = map_aggregate(node.args, name), map_aggregate(node.kwargs, name)
    return Step(node.name, node.op, node.target, args, kwargs)


def _held(net: nn.Module, path: str) -> Any:
    parent, _, name = path.rpartition(".")
    return getattr(net.get_submodule(parent), name)


def _key(path: str) -> str:
    return path.replace(".", "_")
