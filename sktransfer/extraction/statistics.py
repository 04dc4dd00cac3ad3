"""Estimate the statistics of batch norm from items, in one pass.

In each batch, batch norm uses the mean and the variance of this batch; the result is their average
over the batches ("precise batch norm", Wu and Johnson, 2021).  It is a function of the set of items
alone: different items are sorted by their digests, and all batches have about the same size.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load, save
from torch import Tensor, nn

from .._support.hashing import hash_parts
from .._support.random import example_rows
from .._support.threads import computing_threads, map_ahead
from ..backbones import average_batches, batch_norms, get_statistics, running
from ..cache import ActivationCache, compute_digests
from ..data import has_lengths
from ..exceptions import DecodeError
from .prefix import Prefix
from .run import LEFT_OUT, Progress, first_failed, report_failed, run_frozen
from .sinks import decoder
from .taps import LOGITS, Tap

# Number of items in a batch; the last one has from half of it to one and a half times as many.
BATCH = 16

# The kind of blob of the cache.
KIND = "batch-norm statistics"


def estimate_statistics(
    prefix: Prefix,
    items: Sequence[Any],
    *,
    cut: int = 0,
    cache: ActivationCache | None = None,
    n_jobs: int | None = None,
    decode_error: str = "raise",
    progress: Progress = int,
    name: Callable[[int], str] = "X[{}]".format,
) -> dict[str, np.ndarray]:
    """Return the mean and the variance of each batch-norm layer over some items.

    They depend neither on the order of the items nor on how often an item occurs.  They are
    computed in float32.  Items that cannot be decoded are left out.

    Parameters
    ----------
    prefix : Prefix
        Batch norm is in its stages up to the last tap.
    items : sequence
        Items as the preset's ``check`` returns them.
    cut : int, default=0
        The number of stages that keep the statistics that they have.  Their output is cached.
    cache, n_jobs, decode_error, progress, name
        As for :func:`run_frozen`.  The cache keeps the result, too.

    Returns
    -------
    dict of str to ndarray
        By the names of the state dict of the backbone.

    Raises
    ------
    ValueError
        If the stages have no batch norm, if the rows have several lengths, or if there are too few
        different items.
    DecodeError
        With ``decode_error="raise"``, if items cannot be decoded; lists the first ten of them.
    """
    check_batch_norm(prefix, cut)
    digests = compute_digests(items, cache)
    first = {digest: index for index, digest in reversed(list(enumerate(digests)))}
    order = [first[digest] for digest in sorted(first)]
    own = Prefix(deepcopy(prefix.backbone), prefix.taps, prefix.device, torch.float32, BATCH, cut)
    frozen = prefix.after(0, [Tap(cut)]) if cut else None
    key = _key(own, frozen, cache, sorted(first))
    blobs = None if cache is None else cache.blobs(KIND)
    kept = None if blobs is None else blobs.get(key)
    progress(len(items) - (0 if kept else len(order)))
    if kept is not None:
        return load(kept)
    good = _Good(decode_error == "raise", progress)
    with closing(_rows(prefix, frozen, items, order, cache, n_jobs)) as rows:
        statistics = _average(own, _blocks(good.of(rows)), partial(_collate, own))
    failed = good.failed
    if failed and good.raising:
        decode = decoder(prefix.preset, items)
        failed = first_failed(decode, range(len(items)), failed, n_jobs)
    report_failed(dict(sorted(failed.items())), decode_error, name, LEFT_OUT)
    if statistics is None:
        raise ValueError("X must have at least two different items that can be decoded.")
    if blobs is not None and not failed:
        blobs.put(key, save(statistics))
    return statistics


def check_batch_norm(prefix: Prefix, cut: int = 0) -> None:
    """Raise an error if no statistics can be estimated in the stages of a prefix after ``cut``."""
    if not _norms(prefix, cut):
        where = "after the frozen stages" if cut else "with stored statistics"
        remedy = "Standardise the features of each domain instead."
        if _norms(prefix):
            remedy = "Unfreeze the last stages that have some, with unfreeze=1 or more."
        raise ValueError(
            f"The backbone must have batch norm {where} for statistics of the data; got one "
            f"without. {remedy}"
        )
    if has_lengths(prefix.preset):
        raise ValueError(
            "The items must have one length for batch-norm statistics of the data, because a "
            "batch holds rows of one length. Standardise the features of each domain instead."
        )


def _norms(prefix: Prefix, cut: int = 0) -> list[nn.Module]:
    """Return the batch-norm layers between ``cut`` and the last tap."""
    stages = list(prefix.backbone.stages.values())[cut : max(tap.cut for tap in prefix.taps)]
    uses_classifier = any(tap.reduce in LOGITS for tap in prefix.taps)
    modules = [*stages, prefix.backbone.classifier] if uses_classifier else stages
    return [norm for module in modules if module for norm in batch_norms(module).values()]


def _key(
    own: Prefix, frozen: Prefix | None, cache: ActivationCache | None, digests: Iterable[bytes]
) -> bytes:
    """Return a key of the network, the numerics and the set of items."""
    logits = [tap for tap in own.taps if tap.reduce in LOGITS]
    last = logits[0] if logits else Tap(max(tap.cut for tap in own.taps))
    texts = [own.fingerprint(last)]
    if frozen is not None and cache is not None:
        texts += [frozen.fingerprint(frozen.taps[0]), str(cache.dtype)]
    return hash_parts("statistics", *texts, *digests)


def _rows(
    prefix: Prefix,
    frozen: Prefix | None,
    items: Sequence[Any],
    order: Sequence[int],
    cache: ActivationCache | None,
    n_jobs: int | None,
) -> Generator[tuple[int, Any], None, None]:
    """Yield positions with decoded items, or with their activations at the cut.

    Items that cannot be decoded are yielded with their errors.
    """
    if frozen is None:
        yield from map_ahead(decoder(prefix.preset, items), order, n_jobs, 2 * BATCH)
        return
    for start in range(0, len(order), BATCH):
        part = order[start : start + BATCH]
        found = run_frozen(
            frozen, [items[at] for at in part], cache=cache, n_jobs=n_jobs, decode_error="ignore"
        )
        yield from ((part[at], error) for at, error in found.failed.items())
        if len(found.kept):
            rows = found.rows[0][np.arange(len(found.kept))]
            yield from zip(
                (part[at] for at in found.kept), map(torch.from_numpy, rows), strict=True
            )


@dataclass
class _Good:
    """Filter of the items that can be decoded, which collects the errors of the others.

    Parameters
    ----------
    raising : bool
        If True, nothing is yielded after the first error.
    progress : callable
        Called with the number of items that are done since the last call.
    """

    raising: bool
    progress: Progress
    failed: dict[int, DecodeError] = field(default_factory=dict)

    def of(self, rows: Iterable[tuple[int, Any]]) -> Iterator[Any]:
        """Yield the rows of the items that can be decoded."""
        for index, row in rows:
            self.progress(1)
            if isinstance(row, DecodeError):
                self.failed[index] = row
                if self.raising:
                    return
            else:
                yield row


def _blocks(rows: Iterable[Any]) -> Iterator[list[Any]]:
    """Yield blocks of rows, none of which is much smaller than the others."""
    block: list[Any] = []
    for row in rows:
        block.append(row)
        if len(block) == BATCH + BATCH // 2:
            yield block[:BATCH]
            del block[:BATCH]
    if block:
        yield block


def _collate(own: Prefix, rows: list[Any]) -> Any:
    """Return rows as a batch without padding, which would change its mean."""
    if own.cut:
        return own.sized(len(rows)).batch(torch.stack(rows).numpy())
    return own.preset.collate(rows, len(rows))


def _average(
    own: Prefix, blocks: Iterable[list[Any]], collate: Callable[[list[Any]], Any]
) -> dict[str, np.ndarray] | None:
    """Run the blocks, and return the average statistics; None if they cannot be computed."""
    is_ready = False
    for rows in blocks:
        batch = collate(rows)
        if not is_ready:
            _prepare(own, batch)
            is_ready = True
        try:
            # Convolutions of some sizes have other last bits with another number of threads.
            with computing_threads(1):
                own(batch)
        except ValueError:  # torch needs more than one value of each channel
            return None
    if not is_ready:
        return None
    changed = set(map(id, _norms(own, own.cut)))
    named = batch_norms(own.backbone).items()
    names = tuple(f"{name}." for name, norm in named if id(norm) in changed)
    found = get_statistics(own.backbone).items()
    return {name: value for name, value in found if name.startswith(names)}


@torch.no_grad()
def _prepare(own: Prefix, batch: Any) -> None:
    """Let the batch norm of the network itself average the statistics of batches."""
    own.backbone.eval()
    own.unfused(batch)
    network = own.backbone.to(own.device, torch.float32).to(memory_format=torch.channels_last)
    x = example_rows(batch.shape[1:], torch.float32) if isinstance(batch, Tensor) else None
    with running(own.device, n_threads=1):
        for stage in list(network.stages.values())[own.cut : max(tap.cut for tap in own.taps)]:
            output = None if x is None else stage(x.to(own.device))
            average_batches(stage, x)
            x = None if output is None else example_rows(output.shape[1:], torch.float32)
    if network.classifier is not None:
        average_batches(network.classifier, None)
