"""Items to rows: the only place where frozen stages run."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from itertools import islice
from typing import Any

import numpy as np

from .._support.threads import map_ahead
from .._support.validation import check_choice, first_ten
from ..cache import ActivationCache
from ..exceptions import DecodeError
from .prefix import Prefix, Tap
from .sinks import Cached, Frozen, InMemory

DECODE_ERRORS = ("raise", "warn", "ignore")

# What a message says last, where an item that cannot be decoded raises, and where it warns.
ROWS_NAN = ("decode_error='warn' makes their rows NaN.", "Their rows are NaN.")
LEFT_OUT = ("decode_error='warn' leaves them out.", "They are left out.")


def run_frozen(
    prefix: Prefix,
    items: Sequence[Any],
    *,
    cache: ActivationCache | None = None,
    spare: Sequence[Tap] = (),
    n_jobs: int | None = None,
    decode_error: str = "raise",
    progress: Callable[[int], object] = int,
    name: Callable[[int], str] = "X[{}]".format,
    advice: tuple[str, str] = ROWS_NAN,
) -> Frozen:
    """The rows of ``items`` at each tap of ``prefix``; only those not cached are computed.

    An item whose rows at an earlier cut are cached is not decoded: what is missing is computed from
    the nearest of them.

    Parameters
    ----------
    prefix : Prefix
    items : sequence
        As the preset's ``check`` returns them.
    cache : ActivationCache or None, default=None
        Where rows are looked up and kept.
    spare : sequence of Tap, default=()
        Where rows are kept too, for others: as they come by, and where the cache has room.
    n_jobs : int or None, default=None
        Threads that decode while the stages compute; None is as many as torch computes with, and
        -1 is one for each processor.
    decode_error : {"raise", "warn", "ignore"}, default="raise"
        What an item that cannot be decoded does.
    progress : callable, default=int
        Called with the number of items just done.
    name : callable, default="X[{}]".format
        What messages call the item at a position.
    advice : (str, str), default=ROWS_NAN
        What messages say last: of an error, and of a warning.

    Raises
    ------
    DecodeError
        With ``decode_error="raise"``: names the first ten items that could not be decoded.
    """
    check_choice("decode_error", decode_error, DECODE_ERRORS)
    store = InMemory(prefix, items) if cache is None else Cached(prefix, items, cache, spare)
    progress(len(items) - len(store.todo))
    failed: dict[int, DecodeError] = {}
    preset, size = prefix.preset, prefix.batch_size
    store.resume(progress)
    with closing(_decoded(store.attempt, store.todo, n_jobs, 2 * size)) as decoded, store:
        lacking = _lacking(store, decoded, progress)
        while block := list(islice(lacking, size)):
            good = [(index, row) for index, row in block if not isinstance(row, DecodeError)]
            failed |= {index: row for index, row in block if isinstance(row, DecodeError)}
            if failed and decode_error == "raise":
                decoded.close()
                failed = store.spread(_first_failed(store, failed, n_jobs))
                raise DecodeError(_sentence(failed, advice[0], name)) from failed[min(failed)]
            if good:
                indices, rows = zip(*good, strict=True)
                store.add(indices, prefix(preset.collate(rows, size), store.taps))
            progress(len(block))
    failed = store.spread(failed)
    if failed and decode_error == "warn":
        warnings.warn(_sentence(failed, advice[1], name), UserWarning, stacklevel=2)
    return store.frozen(failed)


def run_rows(prefix: Prefix, rows: Any) -> list[np.ndarray]:
    """The rows at each tap of rows that enter at the prefix's start, in batches of its size."""
    found = []
    for start in range(0, len(rows), prefix.batch_size):
        part = np.asarray(rows[start : start + prefix.batch_size])
        found.append([output[: len(part)] for output in prefix(prefix.batch(part))])
    return [np.concatenate(blocks) for blocks in zip(*found, strict=True)]


def _lacking(
    store: InMemory | Cached,
    decoded: Iterator[tuple[int, Any]],
    progress: Callable[[int], object],
) -> Iterator[tuple[int, Any]]:
    """What is still to be computed of ``decoded``; the rest is done."""
    for index, row in decoded:
        if store.lacks(index):
            yield index, row
        else:
            progress(1)


def _decoded(
    attempt: Callable[[int], Any], todo: Sequence[int], n_jobs: int | None, ahead: int
) -> Generator[tuple[int, Any], None, None]:
    """Each position of ``todo`` with its decoded item or DecodeError, at most ``ahead`` early."""
    return map_ahead(lambda index: (index, attempt(index)), todo, n_jobs, ahead)


def _first_failed(
    store: InMemory | Cached, failed: dict[int, DecodeError], n_jobs: int | None
) -> dict[int, DecodeError]:
    """Of ``failed`` and all else that cannot be decoded, the first ten by position."""
    with closing(_decoded(store.attempt, sorted(store.todo), n_jobs, 20)) as decoded:
        failures = ((index, row) for index, row in decoded if isinstance(row, DecodeError))
        found = failed | dict(islice(failures, 10))
    return dict(sorted(found.items())[:10])


def _sentence(failed: dict[int, DecodeError], advice: str, name: Callable[[int], str]) -> str:
    listed = first_ten([f"{name(index)}: {error}" for index, error in failed.items()])
    return f"X must hold images that can be decoded; these could not:\n{listed}\n{advice}"
