"""Stages compiled by an engine: each graph runs the stages between two cuts."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from .._support.hashing import hash_parts
from .._support.random import example_rows
from ..backbones import Backbone, running
from ..cache import Blobs
from ..engines import Engine, EngineError, Graph, described

# The kind of blob of the cache.
KIND = "compiled stages"

# Each row of the output of a graph may differ from that of the stages by this share of its norm.
# In bfloat16, it is the difference from the stages in float32.
TOLERANCES = {torch.float32: 1e-5, torch.bfloat16: 5e-2}

# No stage is compiled.
NONE: Mapping[int, Compiled] = {}

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Compiled:
    """Stages that an engine runs.

    Parameters
    ----------
    stop : int
        The cut after the last of them.
    run : callable
        Returns the output of the last stage for a batch that enters the first one.
    """

    stop: int
    run: Graph


@dataclass(frozen=True)
class Fast:
    """The copied stages of a prefix.

    Parameters
    ----------
    stages : list of Module
    classifier : Module or None
    compiled : dict
        The stages that an engine runs, by what they depend on besides the prefix.
    found : dict
        The same, by the shape of the batches.
    """

    stages: list[nn.Module]
    classifier: nn.Module | None
    compiled: dict[Any, dict[int, Compiled]] = field(default_factory=dict)
    found: dict[Any, dict[int, Compiled]] = field(default_factory=dict)


@dataclass(frozen=True)
class Compiler:
    """Compiles the stages of a backbone for batches of one form.

    Parameters
    ----------
    engine : Engine
    backbone : Backbone
    dtype : torch.dtype
        The type in which the stages compute.
    n_rows : int
        Number of rows of a batch.
    any_length : bool
        If True, the graphs take rows of any length, and any number of rows.
    blobs : Blobs or None
        Keeps what is compiled, for other processes.
    """

    engine: Engine
    backbone: Backbone
    dtype: torch.dtype
    n_rows: int
    any_length: bool
    blobs: Blobs | None

    def compile_all(
        self, blank: Tensor, cuts: Sequence[int], must: bool, worth: Callable[[int, int], bool]
    ) -> dict[int, Compiled]:
        """Compile the stages between neighbouring cuts; each result by the cut before it.

        Graphs depend on the stages and on the shape alone, so the bits of a row are the same
        wherever a prefix begins.

        Parameters
        ----------
        blank : Tensor
            A batch that enters the first stage, with any number of rows.
        cuts : sequence of int
            In increasing order.
        must : bool
            If False, stages that the engine cannot run are left out.
        worth : callable
            Returns True if the stages between two cuts must be compiled.

        Raises
        ------
        EngineError
            With ``must``, if the engine cannot run some stages.
        """
        found = {}
        x = _example(blank)
        with running(), torch.no_grad():
            for start, stop in zip((0, *cuts), cuts, strict=False):
                y = self.backbone(x, start, stop)
                if worth(start, stop):
                    try:
                        found[start] = Compiled(stop, self._compile(start, stop, x, y))
                    except EngineError as error:
                        if must:
                            raise
                        logger.debug("torch runs these stages: %s", error)
                x = y
        return found

    def _compile(self, start: int, stop: int, x: Tensor, y: Tensor) -> Graph:
        """Compile stages, and compare the output for ``x`` with ``y``."""
        # a copy, because an engine may change the module that it compiles
        module = deepcopy(nn.Sequential(*list(self.backbone.stages.values())[start:stop])).eval()
        batch, kept = self._filled(x), Kept(self, start, stop, x)
        try:
            graph = self._checked(module.float(), batch, y, kept)
        except EngineError:
            if not kept.was_found:
                raise
            graph = self._checked(module.float(), batch, y, Kept(self, start, stop, x, again=True))
        free = 2 if self.any_length else 0  # these dimensions may have any size

        def run(given: Tensor) -> Tensor:
            if given.shape[free:] != batch.shape[free:]:  # some engines do not compare them
                shape = tuple(batch.shape)
                raise ValueError(f"A batch must have the shape {shape}; got {tuple(given.shape)}.")
            return graph(given)

        return run

    def _checked(self, module: nn.Module, batch: Tensor, y: Tensor, kept: Kept) -> Graph:
        """Compile a module, and compare its output for a batch with ``y``."""
        try:
            graph = self.engine.compile(module, batch, self.dtype, kept, self.any_length)
            found = graph(batch.to(self.dtype) if batch.is_floating_point() else batch)
        except Exception as error:  # each engine raises errors of its own
            raise EngineError(kept.sentence(f"cannot run them: {_reason(error)}")) from error
        # The batch may have fewer rows than y, or more.
        difference = _difference(y[: len(found)], found[: len(y)].float())
        if not difference <= TOLERANCES[self.dtype]:
            reason = f"gives features that differ by {difference:.1e} of their norm"
            raise EngineError(kept.sentence(reason))
        return graph

    def _filled(self, x: Tensor) -> Tensor:
        """Return a batch of full size that begins with some rows; the rows if any size is full."""
        if self.any_length:
            return x
        batch = torch.zeros(self.n_rows, *x.shape[1:], dtype=x.dtype)
        batch[: len(x)] = x[: self.n_rows]
        if self.backbone.layout == "NCHW" and batch.ndim == 4:
            batch = batch.contiguous(memory_format=torch.channels_last)
        return batch


class Kept:
    """The place of the result of a conversion in the cache; a ``Keep`` of an engine.

    Parameters
    ----------
    compiler : Compiler
    start, stop : int
        The stages.
    x : Tensor
        A batch that enters them.
    again : bool, default=False
        If True, what is kept is replaced.

    Attributes
    ----------
    was_found : bool
        True if a result was kept.
    """

    def __init__(self, compiler: Compiler, start: int, stop: int, x: Tensor, again: bool = False):
        self._compiler, self._again = compiler, again
        self._start, self._stop, self._x = start, stop, x
        self.was_found = False

    def __call__(self, make: Callable[[], bytes]) -> bytes:
        """Return the content that is kept, or else what ``make`` returns, and keep that."""
        blobs = self._compiler.blobs
        if blobs is None:
            return make()
        key = self._key()
        content = None if self._again else blobs.get(key)
        self.was_found = content is not None
        if content is None:
            content = make()
            blobs.put(key, content)
        return content

    def _key(self) -> bytes:
        how, x = self._compiler, self._x
        shape = tuple(x.shape[2:]) if how.any_length else (how.n_rows, *x.shape[1:])
        numerics = f"{how.dtype} {shape} {x.dtype}"
        capability = f"{torch.backends.cpu.get_cpu_capability()} torch {torch.__version__}"
        weights = how.backbone.weights_fingerprint(self._stop, self._start)
        return hash_parts(KIND, described(how.engine), numerics, capability, weights)

    def sentence(self, reason: str) -> str:
        """Return the message of an error."""
        names = ", ".join(self._compiler.backbone.names[self._start : self._stop])
        return (
            "engine must be one that can run the stages of the network; "
            f"{self._compiler.engine.name!r} {reason}. The stages are {names}. Pass engine='auto' "
            "or 'torch'."
        )


def _example(blank: Tensor) -> Tensor:
    """Return two rows of a shape to try stages on: noise, or ids with one text of half the length.

    Parameters
    ----------
    blank : Tensor
        A batch of this shape.
    """
    x = example_rows(blank.shape[1:], blank.dtype)
    if not x.is_floating_point():
        x[1, blank.shape[1] // 2 + 1 :] = -1  # after the end of a text
    return x


def _difference(expected: Tensor, found: Tensor) -> float:
    """Return by how much a row differs at most, as a share of its norm."""
    a, b = expected.float().flatten(1), found.flatten(1)
    least = torch.finfo(torch.float32).tiny  # a row of zeros
    return float(((a - b).norm(dim=1) / a.norm(dim=1).clamp(min=least)).max())


def _reason(error: BaseException) -> str:
    """Return the first line of the error that led to an error."""
    while error.__cause__ is not None:
        error = error.__cause__
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
