"""Traces of a network's forward pass with torch.fx, and modules that run parts of a trace."""

from __future__ import annotations

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
from .meta import copy_to_meta
from .network_lock import tracing_alone

# Number of images in a run on the meta device.  It is a large prime, so that no side of a feature
# map has the same value.
BATCH = 1009

# Takes a node whose value is a size or a device.  Returns the function that computes the value from
# the input of a stage, or None if there is no such function.
Known = Callable[[fx.Node], Callable[[Tensor], Any] | None]


@dataclass(frozen=True)
class Value:
    """A reference to the result of an earlier step, by its name."""

    name: str


@dataclass(frozen=True)
class Step:
    """One call of a forward pass.

    Parameters
    ----------
    name : str
        The name of the result.
    call : {"call_module", "call_function", "call_method", "get_attr"}
    target : str or callable
        The path of a module or tensor, the name of a method, or a function.
    args, kwargs : sequence and mapping
        The arguments; a :class:`Value` stands for the result of an earlier step.
    """

    name: str
    call: str
    target: Any
    args: Any = ()
    kwargs: Any = None


class TracedSteps(nn.Module):
    """A module that runs some steps of a traced forward pass.

    Parameters
    ----------
    net : Module
        The traced network; its submodules and tensors are shared.
    start : str
        The name of the input.
    steps : sequence of Step
        The steps in the order they run; the last one computes the output.
    """

    def __init__(self, net: nn.Module, start: str, steps: Sequence[Step]):
        super().__init__()
        self.start = start
        self.steps = tuple(steps)
        for step in steps:
            if step.call in {"call_module", "get_attr"}:
                self._share(net, step.target)

    def _share(self, net: nn.Module, path: str) -> None:
        """Register the submodule or tensor ``path`` of the network with this module."""
        shared = _get(net, path)
        if any(shared is buffer for buffer in net.buffers()):
            self.register_buffer(_key(path), shared)
        else:  # a constant computed while tracing is no buffer, so that it keeps its precision
            setattr(self, _key(path), shared)

    def forward(self, x: Any) -> Any:
        """Run the steps and return the result of the last one."""
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
        shared = getattr(self, _key(step.target))
        if step.call == "get_attr":
            return shared.to(values[self.start].device)
        return shared(*args, **kwargs)

    def extra_repr(self) -> str:
        """List the steps, which are part of the fingerprint."""
        return "\n".join(
            f"{step.name} = {getattr(step.target, '__name__', step.target)}{step.args}{step.kwargs}"
            for step in self.steps
        )


class _Tracer(fx.Tracer):
    """Trace one method of a network; of its submodules, only plain Sequentials are traced into."""

    def __init__(self, method: str, whole: Collection[Callable[..., Any]]):
        super().__init__(autowrap_functions=tuple(whole))
        self.traced_func_name = method

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:  # noqa: ARG002 - torch defines the signature
        return type(m).forward is not nn.Sequential.forward


class Trace:
    """The calls that one method of a network makes, as a torch.fx graph.

    Parameters
    ----------
    net : Module
    method : str
        The name of a method that takes one tensor and returns one.  Its other parameters keep
        their defaults.
    whole : collection of callable
        Functions that are recorded as one step and not traced into.

    Raises
    ------
    NotAChainError
        If torch.fx cannot trace the method because its calls depend on the values of tensors, or if
        the method returns several tensors.
    """

    def __init__(self, net: nn.Module, method: str, whole: Collection[Callable[..., Any]] = ()):
        _, *others = inspect.signature(getattr(net, method)).parameters.values()
        fixed = {p.name: p.default for p in others if p.default is not p.empty}
        try:
            with tracing_alone():
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
    def meta_net(self) -> nn.Module:
        """A copy of the network on the meta device."""
        return copy_to_meta(self.net)

    def run(self, size: int) -> Run:
        """Run the graph on the meta device with square images of ``size`` pixels.

        The network's own errors are not caught.
        """
        run = Run(self)
        with torch.no_grad():
            run.run(torch.empty(BATCH, 3, size, size, device="meta"))
        return run

    def between(self, start: fx.Node, stop: fx.Node, known: Known) -> list[Step] | None:
        """List the steps that compute the value of ``stop`` from that of ``start``.

        The result is None if they need another value that depends on the image.  Values that
        depend on parameters and sizes alone, such as a rotary embedding, are computed again.
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
        """Build a module of the steps between two nodes; a plain Sequential if that is enough."""
        steps = self.between(start, stop, known) or []
        before = [start.name, *(step.name for step in steps)]
        modules = OrderedDict(
            (_key(step.target), _get(self.net, step.target))
            for step, name in zip(steps, before, strict=False)
            if step.call == "call_module" and step.args == (Value(name),) and not step.kwargs
        )
        if len(modules) < len(steps):
            return TracedSteps(self.net, start.name, steps)
        return nn.Sequential(modules) if len(modules) > 1 else next(iter(modules.values()))


class Run(fx.Interpreter):
    """A run of a trace on the meta device, which records the result of every step.

    Parameters
    ----------
    trace : Trace

    Attributes
    ----------
    values : dict of Node to Tensor or other
        The results; tensors are on the meta device.
    """

    def __init__(self, trace: Trace):
        super().__init__(trace.meta_net, garbage_collect_values=False, graph=trace.graph)
        self.values: dict[fx.Node, Any] = {}
        self._versions: dict[fx.Node, int] = {}

    def run_node(self, n: fx.Node) -> Any:
        """Run one step and record its result."""
        value = self.values[n] = super().run_node(n)
        if isinstance(value, Tensor):
            self._versions[n] = value._version
        return value

    def shape(self, node: fx.Node) -> tuple[int, ...]:
        """Return the shape of a result for one image; empty if the result is not a tensor."""
        value = self.values.get(node)
        return tuple(value.shape[1:]) if isinstance(value, Tensor) else ()

    def is_overwritten(self, node: fx.Node) -> bool:
        """Return True if a later step changed the result of ``node`` in place."""
        return bool(self.values[node]._version != self._versions[node])


def _free_devices(graph: fx.Graph, image: fx.Node) -> None:
    """Replace devices that were recorded while tracing by the device of the image."""

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


def _get(net: nn.Module, path: str) -> Any:
    """Return a submodule or tensor of ``net`` by its dotted path."""
    parent, _, name = path.rpartition(".")
    return getattr(net.get_submodule(parent), name)


def _key(path: str) -> str:
    return path.replace(".", "_")
