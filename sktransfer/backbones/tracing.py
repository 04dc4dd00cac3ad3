"""A network's own forward pass, followed by torch.fx call by call, and its parts as modules."""

from __future__ import annotations

import copy
import inspect
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.node import map_aggregate

from ..exceptions import NotAChainError
from .fx_lock import tracing

# Images of a run without numbers: so many that their number is not taken for a side of a map.
BATCH = 1009

# Takes a node whose value is a size or the like, and gives the function that makes it of a stage's
# input; None where there is none.
Known = Callable[[fx.Node], Callable[[Tensor], Any] | None]


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


def hollow(module: nn.Module) -> nn.Module:
    """A copy of ``module`` without numbers, on the meta device."""
    others = (t for m in module.modules() for t in vars(m).values() if isinstance(t, Tensor))
    tensors = [*module.parameters(), *module.buffers(), *others]
    memo = {id(tensor): torch.empty_like(tensor, device="meta") for tensor in tensors}
    for parameter in module.parameters():
        memo[id(parameter)] = nn.Parameter(memo[id(parameter)], requires_grad=False)
    return copy.deepcopy(module, memo)


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
