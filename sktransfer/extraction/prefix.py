"""The frozen stages before a cut, made to run fast."""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from copy import copy, deepcopy
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .._support.device import at_least_float32
from .._support.hashing import hash_parts
from .._support.threads import computing_threads
from ..backbones import Backbone, running, tracing_alone
from ..cache import ActivationCache, Blobs
from ..data import by_length, example_batch, has_lengths, input_info, lengths_of
from ..engines import Engine, EngineError, described, find_engine
from .batch_sizes import POSITIONS, resolve_batch_size
from .graphs import KIND, NONE, Compiled, Compiler, Fast
from .stages import LITTLE, SMALL, estimate_works, fused
from .taps import LOGITS, Tap, reduce_output

# Number of rows of the texts on which a graph for any length is compiled; it bounds their length.
EXAMPLE = 8


class Prefix:
    """The frozen stages before the last of some taps, made to run fast on one device.

    Batch norm is fused, memory is channels-last, and every batch of rows of one length has the same
    number of rows, so that the bits of a row do not depend on the other rows.  The stages are
    copied when the first batch arrives; if every row is cached, they are never copied.

    Parameters
    ----------
    backbone : Backbone
        It is not modified.
    taps : sequence of Tap
        Where activations are taken.
    device : torch.device
    dtype : torch.dtype
        Type in which the stages compute; activations in a smaller type are returned in float32.
    batch_size : int or "auto"
        Number of rows in every batch; see :func:`resolve_batch_size`.
    cut : int, default=0
        Number of stages that have already run: a batch holds their output.
    length : int or None, default=None
        Length of the rows of each batch.  None if the rows of the preset have one shape, or if the
        prefix is not yet divided by length; see :meth:`divide`.
    breaks : collection of int, default=()
        Cuts, besides those of the taps, at which the graphs of an engine end.  A graph of several
        stages is faster than one for each of them.
    weights : dict or None, default=None
        Hashes of the weights that other prefixes of the backbone have computed; new ones are added.
    """

    def __init__(
        self,
        backbone: Backbone,
        taps: Sequence[Tap],
        device: torch.device,
        dtype: torch.dtype,
        batch_size: int | str,
        cut: int = 0,
        length: int | None = None,
        breaks: Collection[int] = (),
        weights: dict[int | None, str] | None = None,
    ):
        self.backbone = backbone
        self.preset = backbone.preset
        self.taps = list(taps)
        self.cut = cut
        self.device = device
        self.dtype = dtype
        self.length = length
        self.breaks = _joined(breaks, taps)
        self._batch_size = batch_size
        self._engine: str = "torch"
        self._blobs: Blobs | None = None
        # The hashes of the weights before each cut, which prefixes of the same weights share.
        self._weights: dict[int | None, str] = {} if weights is None else weights
        # The work of the stages after a cut, which copies share: for a row or, if there are rows of
        # several lengths, for a position.
        self._works: dict[int, list[float]] = {}
        # The copied stages and classifier, in one list that copies of the prefix share.
        self._fast: list[Fast] = []

    @property
    def batch_size(self) -> int:
        """The number of rows in every batch."""
        return resolve_batch_size(self._batch_size, self.device, self.length)

    def over(self, preset: Any) -> Prefix:
        """Return a prefix of the same stages for items that another preset reads."""
        other = copy(self)
        other.preset = preset
        return other

    def of_backbone(self, backbone: Backbone) -> Prefix:
        """Return a prefix of the stages of another backbone that runs in the same way."""
        other = copy(self)
        other.backbone, other.preset = backbone, backbone.preset
        other._weights, other._works, other._fast = {}, {}, []
        return other

    def run_by(self, engine: str, cache: ActivationCache | None) -> Prefix:
        """Return a prefix of the same stages that an engine runs.

        Parameters
        ----------
        engine : str
            The parameter ``engine`` of an estimator.
        cache : ActivationCache or None
            Keeps what the engine compiles.
        """
        other = copy(self)
        other._engine = engine
        other._blobs = None if cache is None else cache.blobs(KIND)
        return other

    def sized(self, batch_size: int | str) -> Prefix:
        """Return a prefix of the same stages that runs in batches of another size."""
        other = copy(self)
        other._batch_size = batch_size
        return other

    def of_length(self, length: int | None) -> Prefix:
        """Return a prefix of the same stages for rows of one length."""
        if length == self.length:
            return self
        other = copy(self)
        other.length = length
        return other

    def divide(
        self, items: Sequence[Any], indices: Iterable[int]
    ) -> list[tuple[Prefix, list[int]]]:
        """Divide items by the length of their rows: a prefix for each length, and their indices."""
        indices = list(indices)
        lengths = lengths_of(self.preset, (items[index] for index in indices))
        return [
            (
                self.of_length(length),
                [indices[at] for at in part] if lengths is not None else indices,
            )
            for length, part in by_length(lengths, len(indices))
        ]

    def after(self, cut: int, taps: Sequence[Tap]) -> Prefix:
        """Return a prefix of the stages after ``cut``, which takes rows computed before it."""
        other = copy(self)
        other.preset, other.taps, other.cut = self.backbone.preset, list(taps), cut
        other.breaks = _joined(self.breaks, taps)
        other._works, other._fast = {}, []
        return other

    @property
    def engine(self) -> Engine | None:
        """The engine that runs the stages; None stands for torch.

        "auto" is torch if no graph has enough work, so that tables of the cache stay the same.
        """
        engine = find_engine(self._engine, self.device, self.dtype)
        is_sure = engine is None or self._engine != "auto"
        if is_sure or any(self._is_worth(*each) for each in pairwise((0, *self.breaks))):
            return engine
        return None

    def divides_at(self, cut: int) -> bool:
        """Return True if activations can enter and leave the stages at a cut."""
        return cut in self.breaks or self.engine is None

    def batch(self, rows: np.ndarray) -> Tensor:
        """Return rows as a batch of full size, in the memory layout of a stage's output."""
        batch = torch.zeros(self.batch_size, *rows.shape[1:])
        batch[: len(rows)] = torch.from_numpy(rows)
        if self.backbone.layout == "NCHW" and batch.ndim == 4:
            batch = batch.contiguous(memory_format=torch.channels_last)
        return batch

    def fingerprint(self, tap: Tap) -> str:
        """Return a text that stands for weights, preset and numerics of the rows at ``tap``.

        Rows that are not pooled have their length in it, because a table has rows of one shape.
        """
        stop = None if tap.reduce in LOGITS else tap.cut
        if stop not in self._weights:  # computed once, as it reads every weight
            self._weights |= self.backbone.weights_fingerprints(stop)
        # Switches of Pillow may change the preset's fingerprint while the prefix lives.
        function = hash_parts("prefix", self.preset.fingerprint(), self._weights[stop]).hex()
        length = f"length {self.length}" if self.length and tap.reduce is None else ""
        place = " ".join(filter(None, (str(tap.cut), str(tap.reduce), length)))
        return "/".join((function, place, *self._numerics(), *self._graphs(tap)))

    def _graphs(self, tap: Tap) -> Iterable[str]:
        """Yield how an engine computes the rows at ``tap``; nothing if torch computes them."""
        if (engine := self.engine) is not None:
            chosen = " by auto" if self._engine == "auto" else ""
            cuts = " ".join(str(cut) for cut in self.breaks if cut <= tap.cut)
            yield f"{described(engine)}{chosen} graphs to {cuts}"

    def _numerics(self) -> Iterable[str]:
        """Yield what decides the last bits, besides the function and the length."""
        kind = self.device.type
        is_by_length = isinstance(self._batch_size, str) and has_lengths(self.preset)
        yield kind
        yield torch.backends.cpu.get_cpu_capability() if kind == "cpu" else ""
        yield str(self.dtype)
        yield f"{POSITIONS[kind]} positions" if is_by_length else f"{self.batch_size} rows"
        yield f"matmul {torch.get_float32_matmul_precision()}"
        yield f"torch {torch.__version__}"

    def describe(self, tap: Tap) -> dict[str, Any]:
        """Return the network, weights, layer and size of the input of the rows at ``tap``, as text.

        The size is that of images, or the maximum number of tokens of a text.
        """
        info = self.backbone.weights_info
        layer = tap.reduce if tap.reduce in LOGITS else self.backbone.names[tap.cut - 1]
        pooling = "" if tap.reduce in LOGITS else f", {tap.reduce or 'not pooled'}"
        size = input_info(self.preset)["input_size"]
        return {
            "network": self.backbone.address or "of a factory",
            "weights": str(info.get("tag") or info.get("source") or "not stated"),
            "layer": f"{layer}{pooling}",
            "image size": "" if size is None else str(size),
            "max length": str(getattr(self.preset, "max_length", "")),
        }

    def __call__(self, batch: Any, taps: Sequence[Tap] | None = None) -> list[np.ndarray]:
        """Return the rows of ``batch`` at each tap, or at ``taps``, none of them after the last."""
        if not self._fast:
            with tracing_alone():  # of several threads, one prepares
                if not self._fast:
                    self._fast.append(self._prepare(batch))
        fast = self._fast[0]
        works, compiled = self._work(self.cut, batch), self._find(fast, batch)
        # An engine takes a batch as it is, and rounds it itself.
        dtype = torch.float32 if self.cut in compiled else self.dtype
        with running(self.device):
            x, taps = _move(batch, self.device, dtype), self.taps if taps is None else taps
            rows = self._run(fast, x, taps, works, compiled)
        return [at_least_float32(tensor).cpu().numpy() for tensor in rows]

    def unfused(self, batch: Any) -> Prefix:
        """Run the stages of the backbone themselves, without copies, and return the prefix."""
        self._work(self.cut, batch)  # it runs the stages, which will be watched
        self._fast = [Fast(self._plain(), self.backbone.classifier)]
        return self

    def measure(self, batch: Any) -> list[tuple[int, ...]]:
        """Return the shape of a row at each tap, by running ``batch`` through the plain stages."""
        plain = Fast(self._plain(), self.backbone.classifier)
        with running():
            rows = self._run(plain, batch, self.taps, [0.0] * len(plain.stages))
        return [tuple(r.shape[1:]) for r in rows]

    @property
    def is_small(self) -> bool:
        """True if each stage computes with one thread of a CPU; False before the first batch."""
        is_compiled = any(any(fast.compiled.values()) for fast in self._fast)
        if not self._fast or self.device.type != "cpu" or is_compiled:
            return False
        works = self._works.get(self.cut, [math.inf])
        return all(work * (self.length or 1) * self.batch_size < SMALL for work in works)

    @torch.inference_mode()
    def _run(
        self,
        fast: Fast,
        x: Any,
        taps: Sequence[Tap],
        works: Sequence[float],
        compiled: Mapping[int, Compiled] = NONE,
    ) -> list[Tensor]:
        leaving: dict[Tap, Tensor] = {}
        last, done = max(tap.cut for tap in taps), self.cut
        while done < last:
            if done in compiled:
                x, done = compiled[done].run(x), compiled[done].stop
            else:
                at = done - self.cut
                if compiled and x.ndim == 4 and self.backbone.layout == "NCHW":
                    x = x.contiguous(memory_format=torch.channels_last)  # as a batch is
                with computing_threads(1 if works[at] * self.batch_size < SMALL else None):
                    x, done = fast.stages[at](x), done + 1
            for tap in taps:
                if tap.cut == done:
                    leaving[tap] = reduce_output(x, tap.reduce, self.backbone, fast.classifier)
        return [leaving[tap] for tap in taps]

    def _find(self, fast: Fast, batch: Any) -> dict[int, Compiled]:
        """Return what ``_compile`` does, in less time from the second batch of a shape on."""
        key = os.getpid(), getattr(batch, "shape", None), self._engine
        if key not in fast.found:
            fast.found[key] = self._compile(fast, batch)
        return fast.found[key]

    def _compile(self, fast: Fast, batch: Any) -> dict[int, Compiled]:
        """Return the graphs of the engine for a batch, by the cut before them.

        They are compiled once; a forked process, in which the threads of the engine do not exist,
        compiles them again.
        """
        engine, named = self.engine, self._engine != "auto"
        if engine is None:
            return {}
        form, any_length = self._form(), has_lengths(self.preset)
        blank = form._blank() if self.cut or any_length else batch
        if not isinstance(blank, Tensor):
            if named:
                raise EngineError(
                    "engine must be 'auto' or 'torch' for a network whose batches are not tensors; "
                    f"got {self._engine!r}."
                )
            return {}
        key = os.getpid(), blank.shape[1:], form.batch_size, self._engine
        if key not in fast.compiled:
            how = form.dtype, form.batch_size, any_length, self._blobs
            with tracing_alone():  # of several threads, one compiles
                if key not in fast.compiled:
                    fast.compiled[key] = Compiler(engine, self.backbone, *how).compile_all(
                        blank, self.breaks, named, lambda *cuts: named or self._is_worth(*cuts)
                    )
        return fast.compiled[key]

    def _form(self) -> Prefix:
        """Return the prefix of one length on which graphs for rows of any length are compiled."""
        if not has_lengths(self.preset):
            return self
        return self.of_length(int(example_batch(self.preset, EXAMPLE).shape[1]))

    def _is_worth(self, start: int, stop: int) -> bool:
        """Return True if the stages between two cuts have enough work for an engine."""
        form = self._form()
        return sum(form._work(0, form._blank())[start:stop]) * form.batch_size >= LITTLE

    def _work(self, cut: int, batch: Any) -> list[float]:
        """Return about how many pairs of numbers each stage after a cut multiplies for a row.

        It is estimated for one length, and is in proportion to it.
        """
        if cut not in self._works:
            form = self._form()
            stages = list(self.backbone.stages.values())[cut : max(self.breaks)]
            if form.length is not None and isinstance(batch, Tensor):
                batch = batch.new_zeros(1, form.length, *batch.shape[2:])
            works = estimate_works(stages, batch, self.backbone.layout)
            self._works[cut] = [work / (form.length or 1) for work in works]
        return [work * (self.length or 1) for work in self._works[cut]]

    def _blank(self) -> Any:
        """Return a batch of one row that enters the first stage."""
        blank = self.preset.collate([], 1)
        return blank if self.length is None else blank.new_zeros(1, self.length)

    def _plain(self) -> list[nn.Module]:
        """Return the stages that run, as they are in the backbone."""
        plain = list(self.backbone.stages.values())
        return plain[self.cut : max(tap.cut for tap in self.taps)]

    def _prepare(self, batch: Any) -> Fast:
        """Return copies of stages and classifier, fused, in channels-last memory, on the device."""
        plain = self._plain()
        with running(self.device, n_threads=1):
            stages = fused(plain, batch) if isinstance(batch, Tensor) else deepcopy(plain)
            classifier = deepcopy(self.backbone.classifier)
            for module in (*stages, classifier):
                if module is not None:
                    module.to(self.device, self.dtype).to(memory_format=torch.channels_last)
        return Fast(stages, classifier)


def _joined(breaks: Collection[int], taps: Sequence[Tap]) -> tuple[int, ...]:
    """Return all cuts at which graphs end, in increasing order."""
    return tuple(sorted({*breaks, *(tap.cut for tap in taps)} - {0}))


def _move(x: Any, device: torch.device, dtype: torch.dtype) -> Any:
    if not isinstance(x, Tensor):
        return type(x)(_move(part, device, dtype) for part in x)
    return x.to(device, dtype if x.is_floating_point() else None, non_blocking=True)
