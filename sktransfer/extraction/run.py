"""Compute the activations of items, or read them from the cache."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from itertools import islice
from typing import Any

import numpy as np

from .._support.threads import map_ahead, n_threads
from .._support.validation import check_choice, first_ten
from .._support.warn import warn_user
from ..cache import ActivationCache
from ..exceptions import DecodeError
from .batch_sizes import AT_ONCE
from .prefix import Prefix
from .ragged import parts_of
from .sinks import Cached, Frozen, InMemory
from .taps import Tap

DECODE_ERRORS = ("raise", "warn", "ignore")

# The last sentence about items that cannot be decoded: of an error, and of a warning.
ROWS_NAN = ("decode_error='warn' makes their rows NaN.", "Their rows are NaN.")
LEFT_OUT = ("decode_error='warn' leaves them out.", "They are left out.")

Progress = Callable[[int], object]

# The positions of the items of a batch, and the batch.
Batch = tuple[Sequence[int], Any]


def run_frozen(
    prefix: Prefix,
    items: Sequence[Any],
    *,
    cache: ActivationCache | None = None,
    spare: Sequence[Tap] = (),
    n_jobs: int | None = None,
    decode_error: str = "raise",
    progress: Progress = int,
    name: Callable[[int], str] = "X[{}]".format,
    advice: tuple[str, str] = ROWS_NAN,
) -> Frozen:
    """Return the activations of ``items`` at each tap of ``prefix``.

    First, the activations are looked up in the cache.  Second, missing ones are computed from
    activations that are cached at an earlier cut; their items need not be decoded.  Third, the
    others are computed from the items: those whose rows have one length together.

    Parameters
    ----------
    prefix : Prefix
    items : sequence
        Items as the preset's ``check`` returns them.
    cache : ActivationCache or None, default=None
        The cache in which activations are looked up and kept; None keeps none.
    spare : sequence of Tap, default=()
        Opportunistic taps: their activations are cached too, for other runs, when they are
        computed on the way and the cache has space.
    n_jobs : int or None, default=None
        Number of threads that decode while the stages compute.  None stands for as many threads as
        torch computes with, -1 for one on each processor.
    decode_error : {"raise", "warn", "ignore"}, default="raise"
        Items that cannot be decoded raise an error, or are left out with or without a warning.
    progress : callable, default=int
        Called with the number of items that are done since the last call.
    name : callable, default="X[{}]".format
        Returns the name of the item at a position, for messages.
    advice : (str, str), default=ROWS_NAN
        Last sentence of the error and of the warning.

    Raises
    ------
    DecodeError
        With ``decode_error="raise"``, if items cannot be decoded; lists the first ten of them.
    """
    check_choice("decode_error", decode_error, DECODE_ERRORS)
    sink = InMemory(prefix, items) if cache is None else Cached(prefix, items, cache, spare)
    missing = sink.missing()
    progress(len(items) - len(missing))
    raising = decode_error == "raise"
    failed: dict[int, DecodeError] = {}
    for part, indices in sink.divide(missing):
        if not (failed and raising):
            failed |= _compute_part(part, sink, indices, progress, n_jobs, raising)
    if failed and raising:
        failed = first_failed(_decoder(sink), missing, failed, n_jobs)
    failed = sink.all_failed(failed)
    report_failed(failed, decode_error, name, advice)
    return sink.result(failed)


def run_batches(
    prefix: Prefix,
    decode: Callable[[int], tuple[int, Any]],
    n_items: int,
    failed: dict[int, DecodeError],
    *,
    n_jobs: int | None = None,
    raising: bool = True,
    progress: Progress = int,
) -> Iterator[tuple[Sequence[int], list[np.ndarray]]]:
    """Yield the positions of the items of each batch, and their activations at each tap.

    Threads decode the next items meanwhile.  The rows have one length, and nothing is kept.

    Parameters
    ----------
    prefix : Prefix
    decode : callable
        Returns a position and the decoded item there, or its DecodeError; see :func:`decoder`.
    n_items : int
    failed : dict of int to DecodeError
        The errors of items that cannot be decoded are added, by position.
    n_jobs, progress
        As for :func:`run_frozen`.
    raising : bool, default=True
        If True, no further batch is computed after the first error.
    """
    ahead = 2 * prefix.batch_size
    with closing(map_ahead(decode, range(n_items), n_jobs, ahead)) as decoded:
        batches = _collate(prefix, decoded, failed, progress, raising)
        for indices, outputs in _compute(prefix, batches, prefix.taps):
            yield indices, [output[: len(indices)] for output in outputs]
            progress(len(indices))


def report_failed(
    failed: dict[int, DecodeError],
    decode_error: str,
    name: Callable[[int], str],
    advice: tuple[str, str],
) -> None:
    """Raise an error or a warning that lists items that could not be decoded, if there are any.

    The parameters are those of :func:`run_frozen`, and the errors of the items by position.
    """
    if failed and decode_error == "raise":
        raise DecodeError(_sentence(failed, advice[0], name))
    if failed and decode_error == "warn":
        warn_user(_sentence(failed, advice[1], name))


def run_rows(prefix: Prefix, rows: Any) -> list[np.ndarray]:
    """Return the activations at each tap, computed from rows at the cut of ``prefix``.

    The stages run in batches of the prefix's size.
    """
    found, order = [], []
    for length, positions, whole in parts_of(rows):
        sized = prefix.of_length(length)
        for start in range(0, len(positions), sized.batch_size):
            part = np.asarray(whole[start : start + sized.batch_size])
            found.append([output[: len(part)] for output in sized(sized.batch(part))])
        order.append(positions)
    back = np.argsort(np.concatenate(order))
    return [np.concatenate(blocks)[back] for blocks in zip(*found, strict=True)]


def _compute_part(
    prefix: Prefix,
    sink: InMemory | Cached,
    missing: Sequence[int],
    progress: Progress,
    n_jobs: int | None,
    raising: bool,
) -> dict[int, DecodeError]:
    """Compute the activations of items whose rows have one length.

    Returns the errors of items that cannot be decoded, by position.
    """
    if isinstance(sink, Cached) and sink.keeps_every_bit():
        missing = _compute_from_cuts(prefix, sink, missing, progress)
    if isinstance(sink, Cached):
        missing = _shuffled(missing, prefix.batch_size)
    return _compute_from_items(prefix, sink, missing, progress, n_jobs, raising)


def _compute_from_cuts(
    prefix: Prefix, sink: Cached, missing: Sequence[int], progress: Progress
) -> Sequence[int]:
    """Compute activations from cached ones at earlier cuts, the nearest cut first.

    Returns the positions of the items that have no activations at an earlier cut.
    """
    size = prefix.batch_size
    first_cut = min((tap.cut for tap in sink.taps), default=0)
    for cut in range(first_cut - 1, 0, -1):
        if not missing:
            break
        if not prefix.divides_at(cut):
            continue
        indices, rows = sink.cached_at(prefix, cut, missing)
        if not indices:
            continue
        with sink.writer(prefix, cut) as writer:
            later = prefix.after(cut, writer.taps)
            for start in range(0, len(indices), size):
                part = indices[start : start + size]
                if any(map(sink.is_missing, part)):
                    writer.write(part, later(later.batch(rows[start : start + size])))
                progress(len(part))
        done = set(indices)
        missing = [index for index in missing if index not in done]
    return missing


def _compute_from_items(
    prefix: Prefix,
    sink: InMemory | Cached,
    missing: Sequence[int],
    progress: Progress,
    n_jobs: int | None,
    raising: bool,
) -> dict[int, DecodeError]:
    """Decode items and compute their activations.

    Returns the errors of items that cannot be decoded, by position.  With ``raising``, no further
    batch is computed after the first error.
    """
    failed: dict[int, DecodeError] = {}
    if not missing:
        return failed
    ahead = 2 * prefix.batch_size
    with (
        closing(map_ahead(_decoder(sink), missing, n_jobs, ahead)) as decoded,
        sink.writer(prefix, cut=0) as writer,
    ):
        remaining = _still_missing(sink, decoded, progress)
        batches = _collate(prefix, remaining, failed, progress, raising)
        for indices, outputs in _compute(prefix, batches, writer.taps):
            writer.write(indices, outputs)
            progress(len(indices))
    return failed


def _collate(
    prefix: Prefix,
    decoded: Iterator[tuple[int, Any]],
    failed: dict[int, DecodeError],
    progress: Progress,
    raising: bool,
) -> Iterator[Batch]:
    """Yield batches of decoded items, and add the errors of the others to ``failed``."""
    size = prefix.batch_size
    while block := list(islice(decoded, size)):
        good = [(index, row) for index, row in block if not isinstance(row, DecodeError)]
        failed |= {index: row for index, row in block if isinstance(row, DecodeError)}
        if failed and raising:
            return
        if good:
            indices, rows = zip(*good, strict=True)
            yield indices, prefix.preset.collate(rows, size)
        if len(good) < len(block):
            progress(len(block) - len(good))


def _compute(
    prefix: Prefix, batches: Iterator[Batch], taps: Sequence[Tap]
) -> Iterator[tuple[Sequence[int], list[np.ndarray]]]:
    """Yield the positions and the activations of each batch.

    Several batches are computed at the same time on a GPU, and if each stage computes with one
    thread.
    """

    def run(batch: Batch) -> tuple[Sequence[int], list[np.ndarray]]:
        return batch[0], prefix(batch[1], taps)

    yield from map(run, islice(batches, 1))
    n = n_threads(None) if prefix.is_small else AT_ONCE[prefix.device.type]
    if n == 1:
        yield from map(run, batches)
    else:
        with closing(map_ahead(run, batches, n, ahead=n)) as results:
            yield from results


def _decoder(sink: InMemory | Cached) -> Callable[[int], tuple[int, Any]]:
    """Return a function that returns a position and the decoded item there, or its DecodeError."""
    return lambda index: (index, sink.decode(index))


def _still_missing(
    sink: InMemory | Cached, decoded: Iterator[tuple[int, Any]], progress: Progress
) -> Iterator[tuple[int, Any]]:
    """Skip the items whose rows another process has computed meanwhile."""
    for index, row in decoded:
        if sink.is_missing(index):
            yield index, row
        else:
            progress(1)


def first_failed(
    decode: Callable[[int], tuple[int, Any]],
    missing: Sequence[int],
    failed: dict[int, DecodeError],
    n_jobs: int | None,
) -> dict[int, DecodeError]:
    """Decode further items, and return the first ten errors by position."""
    with closing(map_ahead(decode, sorted(missing), n_jobs, ahead=20)) as decoded:
        failures = ((index, row) for index, row in decoded if isinstance(row, DecodeError))
        found = failed | dict(islice(failures, 10))
    return dict(sorted(found.items())[:10])


def _sentence(failed: dict[int, DecodeError], advice: str, name: Callable[[int], str]) -> str:
    listed = first_ten([f"{name(index)}: {error}" for index, error in failed.items()])
    return f"X must hold images that can be decoded; these could not:\n{listed}\n{advice}"


def _shuffled(positions: Sequence[int], size: int) -> list[int]:
    """Shuffle blocks of ``size`` neighbours, in an order that no other process has."""
    starts = np.random.default_rng().permutation(range(0, len(positions), size))
    return [index for start in starts for index in positions[start : start + size]]
