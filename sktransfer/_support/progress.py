"""Progress bars, which are shown in terminals and notebooks, and lines between them."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

# A code that colours the text after it on a terminal
COLOUR = re.compile(r"\x1b\[[0-9;]*m")

DELAY = 2.0  # seconds of work before a bar appears


def open_bar(**options: Any) -> Any:
    """Return a bar of tqdm: a widget in a notebook, text in a terminal, hidden anywhere else."""
    from tqdm.auto import tqdm

    # tqdm takes the output of a notebook for a file, in which a bar would be noise.
    return tqdm(disable=False if _in_notebook() else None, **options)


@contextmanager
def progress_bar(
    total: int, label: str, verbose: int, unit: str = "item"
) -> Iterator[Callable[..., object]]:
    """Show a progress bar; yields the function that advances it.

    The function takes the number of items just done, and values to show at the end of the bar, by
    name.  It has no effect if ``verbose`` is 0.
    """
    if not verbose:
        yield lambda *_, **__: None
        return
    with open_bar(total=total, desc=label, unit=unit, delay=DELAY, leave=False) as bar:

        def advance(n: int, **values: Any) -> None:
            if values:
                bar.set_postfix(values, refresh=False)
            bar.update(n)

        yield advance


def print_line(text: str) -> None:
    """Print a line above the progress bars that are shown; it has colours on a terminal only."""
    from tqdm.auto import tqdm

    is_shown = sys.stdout.isatty() or _in_notebook()
    tqdm.write(text if is_shown else COLOUR.sub("", text))


def _in_notebook() -> bool:
    """Return True if the code runs in the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")
