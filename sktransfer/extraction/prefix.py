"""The frozen stages before a cut, made to run fast."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from copy import copy, deepcopy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .._support.hashing import hash_parts
from .._support.random import example_rows
from .._support.threads import computing_threads
from ..backbones import Backbone, fuse_conv_bn, pool, positions, running
from ..data import by_length, has_lengths, input_info, lengths_of

# Outputs of the network's own classifier, which can be requested in place of a pooling.
LOGITS = ("logits", "probabilities")

# Batch norm is fused only if each row of a stage's output changes by less than this share of its
# norm.
TOLERANCE = 1e-5

# Number of the last cuts whose activations are cached if ActivationCache(cuts=None).
CUTS = 3

# Stages that multiply fewer pairs of numbers for a batch compute with one thread, in about 20 ms or
# less.  Several threads would save some milliseconds if the processors are idle, and lose seconds
# if they are busy.  The limit depends on the stage and the batch alone, because the number of
# threads can affect the last bits.
SMALL = 6e8

# Rows of a batch by kind of device.  They do not depend on free memory or on the number of items,
# because the number of rows affects the last bits of a float32 convolution.
BATCH_SIZE = {"cpu": 16, "mps": 32, "cuda": 64}


# Positions of a batch of rows that have several lengths, by kind of device.  On a CPU, a network
# with 384 channels was measured to take the same time for each token with 256 to 2048 positions,
# and a call with few texts computes a batch for each of their lengths.
POSITIONS = {"cpu": 256, "mps": 1024, "cuda": 16384}


def resolve_batch_size(
    batch_size: int | str, device: torch.device, length: int | None = None
) -> int:
    """Return the number of rows in every batch.

    "auto" depends on the kind of device and on the length of the rows alone; ``length`` is None if
    all rows have the same shape.
    """
    if not isinstance(batch_size, str):
        return batch_size
    if length is None:
        return BATCH_SIZE[device.type]
    return max(1, POSITIONS[device.type] // length)


@dataclass(frozen=True)
class Tap:
    """A place in the chain at which activations are taken.

    Parameters
    ----------
    cut : int
        Number of stages before it.
    reduce : str or None
        How the output of the last of these stages becomes a row: a pooling, or "logits" or
        "probabilities" of the network's own classifier.  None keeps the whole output.
    """

    cut: int
    reduce: str | None = None


@dataclass(frozen=True)
class Fast:
    """The copied stages of a prefix.

    Parameters
    ----------
    stages : list of Module
    classifier : Module or None
    work : dict of int or None to list of float
        About how many pairs of numbers each stage multiplies for one row, by length of the row.
    """

    stages: list[nn.Module]
    classifier: nn.Module | None
    work: dict[int | None, list[float]] = field(default_factory=dict)


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
    ):
        self.backbone = backbone
        self.preset = backbone.preset
        self.taps = list(taps)
        self.cut = cut
        self.device = device
        self.dtype = dtype
        self.length = length
        self._batch_size = batch_size
        self._weights: dict[int | None, str] = {}
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
        how = (self.device, self.dtype, self._batch_size, self.cut, self.length)
        return Prefix(backbone, self.taps, *how)

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
        how = (self.device, self.dtype, self._batch_size, cut, self.length)
        return Prefix(self.backbone, taps, *how)

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
            self._weights[stop] = self.backbone.weights_fingerprint(stop)
        # Switches of Pillow may change the preset's fingerprint while the prefix lives.
        function = hash_parts("prefix", self.preset.fingerprint(), self._weights[stop]).hex()
        length = f"length {self.length}" if self.length and tap.reduce is None else ""
        place = " ".join(filter(None, (str(tap.cut), str(tap.reduce), length)))
        return "/".join((function, place, *self._numerics()))

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
        """Return the network, weights, layer and image size of the rows at ``tap``, as text."""
        info = self.backbone.weights_info
        layer = tap.reduce if tap.reduce in LOGITS else self.backbone.names[tap.cut - 1]
        pooling = "" if tap.reduce in LOGITS else f", {tap.reduce or 'not pooled'}"
        size = input_info(self.preset)["input_size"]
        return {
            "network": self.backbone.address or "of a factory",
            "weights": str(info.get("tag") or info.get("source") or "not stated"),
            "layer": f"{layer}{pooling}",
            "image size": "" if size is None else str(size),
        }

    def __call__(self, batch: Any, taps: Sequence[Tap] | None = None) -> list[np.ndarray]:
        """Return the rows of ``batch`` at each tap, or at ``taps``, none of them after the last."""
        if not self._fast:
            self._fast.append(self._prepare(batch))
        fast = self._fast[0]
        if self.length not in fast.work:
            fast.work[self.length] = self._estimate_works(batch)
        with running(self.device):
            rows = self._run(
                fast,
                _move(batch, self.device, self.dtype),
                self.taps if taps is None else taps,
            )
        return [_at_least_float32(tensor).cpu().numpy() for tensor in rows]

    def unfused(self, batch: Any) -> Prefix:
        """Run the stages of the backbone themselves, without copies, and return the prefix."""
        works = {self.length: self._estimate_works(batch)}
        self._fast = [Fast(self._plain(), self.backbone.classifier, works)]
        return self

    def measure(self, batch: Any) -> list[tuple[int, ...]]:
        """Return the shape of a row at each tap, by running ``batch`` through the plain stages."""
        stages = list(self.backbone.stages.values())[self.cut :]
        plain = Fast(stages, self.backbone.classifier, {self.length: [0.0] * len(stages)})
        with running():
            rows = self._run(plain, batch, self.taps)
        return [tuple(r.shape[1:]) for r in rows]

    @property
    def is_small(self) -> bool:
        """True if each stage computes with one thread of a CPU; False before the first batch."""
        works = [fast.work.get(self.length, [math.inf]) for fast in self._fast]
        on_cpu = bool(works) and self.device.type == "cpu"
        return on_cpu and all(work * self.batch_size < SMALL for work in works[0])

    @torch.inference_mode()
    def _run(self, fast: Fast, x: Any, taps: Sequence[Tap]) -> list[Tensor]:
        leaving: dict[Tap, Tensor] = {}
        last = max(tap.cut for tap in taps)
        chain = zip(fast.stages, fast.work[self.length], strict=True)
        for done, (stage, work) in enumerate(chain, start=self.cut + 1):
            if done > last:
                break
            with computing_threads(1 if work * self.batch_size < SMALL else None):
                x = stage(x)
                for tap in taps:
                    if tap.cut == done:
                        leaving[tap] = reduce_output(x, tap.reduce, self.backbone, fast.classifier)
        return [leaving[tap] for tap in taps]

    def _plain(self) -> list[nn.Module]:
        """Return the stages that run, as they are in the backbone."""
        plain = list(self.backbone.stages.values())
        return plain[self.cut : max(tap.cut for tap in self.taps)]

    def _prepare(self, batch: Any) -> Fast:
        """Return copies of stages and classifier, fused, in channels-last memory, on the device."""
        plain = self._plain()
        with running(self.device, n_threads=1):
            stages = _fused(plain, batch) if isinstance(batch, Tensor) else deepcopy(plain)
            classifier = deepcopy(self.backbone.classifier)
            for module in (*stages, classifier):
                if module is not None:
                    module.to(self.device, self.dtype).to(memory_format=torch.channels_last)
        return Fast(stages, classifier)

    @torch.no_grad()
    def _estimate_works(self, batch: Any) -> list[float]:
        """Return about how many pairs of numbers each stage multiplies for one row."""
        plain = self._plain()
        if not isinstance(batch, Tensor):
            return [math.inf] * len(plain)
        x, works = _blank_rows(1, batch, plain), []
        with running(n_threads=1):
            for stage in plain:
                x = stage(x)
                works.append(_estimate_work(stage, x, self.backbone.layout))
        return works


def reduce_output(x: Any, reduce: str | None, backbone: Backbone, classifier: Any) -> Any:
    """Return the row that the output of a stage becomes at a tap; see :class:`Tap`."""
    if reduce is None:
        return x
    if reduce in LOGITS and classifier is not None:
        logits = classifier(x).float()
        return logits.softmax(1) if reduce == "probabilities" else logits
    return pool(_at_least_float32(x), reduce, backbone.layout, backbone.n_prefix_tokens)


@torch.no_grad()
def _fused(plain: list[nn.Module], batch: Tensor) -> list[nn.Module]:
    """Copy the stages, with fused batch norm if two random inputs show that nothing changes.

    A copy depends on the stage and on the shape of its input alone: a row has the same bits
    whatever other taps there are, and wherever the prefix begins.
    """
    x, stages = _blank_rows(2, batch, plain), []
    for stage in plain:
        if any(isinstance(part, nn.BatchNorm2d) for part in stage.modules()):
            x = example_rows(x.shape[1:], x.dtype)
            stages.append(fuse_conv_bn(stage, x, TOLERANCE))
        else:
            stages.append(deepcopy(stage).eval())
        x = stage(x)
    return stages


def _blank_rows(n: int, batch: Tensor, stages: list[nn.Module]) -> Tensor:
    """Return rows of zeros of the form of a batch, in the type of the weights if it has floats."""
    floats = next((p.dtype for stage in stages for p in stage.parameters()), torch.float32)
    dtype = floats if batch.is_floating_point() else batch.dtype
    return torch.zeros(n, *batch.shape[1:], dtype=dtype)


def _estimate_work(stage: nn.Module, output: Any, layout: str) -> float:
    """Return about how many pairs of numbers a stage multiplies for one row."""
    if not isinstance(output, Tensor):
        return math.inf
    tables = (nn.Embedding, nn.EmbeddingBag)  # rows of these weights are looked up
    weights = (
        parameter
        for part in stage.modules()
        if not isinstance(part, tables)
        for parameter in part.parameters(recurse=False)
    )
    n_weights = sum(p.numel() for p in weights if p.ndim > 1)
    return float(n_weights * positions(output, layout).shape[2])


def spare_taps(n_stages: int, taps: Sequence[Tap], cache: Any) -> list[Tap]:
    """Return the opportunistic taps: the last cuts of a chain before the last of ``taps``.

    Activations there are not needed now, but a fit of another depth may need them.

    Parameters
    ----------
    n_stages : int
        Number of stages in the chain.
    taps : sequence of Tap
        The taps at which activations are needed.
    cache : ActivationCache or None
        Its ``cuts`` are counted from the end of the chain, which is one of them.
    """
    n_cuts = 1 if cache is None else CUTS if cache.cuts is None else cache.cuts
    cuts = range(max(1, n_stages - n_cuts + 1), max(tap.cut for tap in taps))
    return [Tap(cut) for cut in cuts]


def _at_least_float32(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _move(x: Any, device: torch.device, dtype: torch.dtype) -> Any:
    if not isinstance(x, Tensor):
        return type(x)(_move(part, device, dtype) for part in x)
    return x.to(device, dtype if x.is_floating_point() else None, non_blocking=True)
