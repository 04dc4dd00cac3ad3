"""A progress bar for long work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm

DELAY = 2.0  # seconds of work before a bar appears


@contextmanager
def progress_bar(
    total: int, label: str, verbose: int, unit: str = "item"
) -> Iterator[Callable[[int], object]]:
    """Show a progress bar on a terminal; yields the function that advances it.

    The function takes the number of items just done.  It has no effect if ``verbose`` is 0.
    """
    if not verbose:
        yield lambda _: None
        return
    with tqdm(total=total, desc=label, unit=unit, disable=None, delay=DELAY, leave=False) as bar:
        yield bar.update
