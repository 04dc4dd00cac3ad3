"""A table of texts in axes: a few short columns, and the text of each row over several lines."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap
from typing import Any

from ._axes import GRID, INK, MUTED, as_text, get_axes

# Characters of a line of a text, lines of a text, and the height of a line in inches.
WIDTH, LINES, HEIGHT = 76, 3, 0.19

# A cell: its text and colour.
Cell = tuple[str, str]


def lines_of(text: str) -> list[str]:
    """Divide a text into at most three lines; the last one shows if there are more."""
    lines = wrap(text, WIDTH, max_lines=LINES, placeholder=" …")
    return [as_text(line) for line in lines] or ["(empty)"]


def draw_table(
    ax: Any,
    names: Sequence[str],
    places: Sequence[float],
    rows: Sequence[tuple[Sequence[Cell], str]],
) -> Any:
    """Draw a table of texts, and return its axes.

    Parameters
    ----------
    ax : matplotlib Axes or None
        None makes a new figure.
    names : sequence of str
        The names of the columns; the last one is that of the texts.
    places : sequence of float in [0, 1)
        The left end of each column.
    rows : sequence of (cells, text)
        The cells of the other columns, and the text.
    """
    divided = [(cells, lines_of(text)) for cells, text in rows]
    n_lines = 1.5 + sum(len(lines) + 0.6 for _, lines in divided)
    ax = get_axes(ax, (9.0, max(1.0, n_lines * HEIGHT)))
    ax.set_axis_off()
    ax.set_xlim(0, 1)
    ax.set_ylim(n_lines, 0)  # the y axis points downwards
    style = {"fontsize": 8.5, "va": "top"}
    for name, left in zip(names, places, strict=True):
        ax.text(left, 0.2, name, color=MUTED, **style)
    top = 1.5
    for cells, lines in divided:
        ax.axhline(top - 0.25, color=GRID, lw=0.8)
        for (text, color), left in zip(cells, places, strict=False):
            ax.text(left, top, as_text(text), color=color, **style)
        for number, line in enumerate(lines):
            ax.text(places[-1], top + number, line, color=INK, **style)
        top += len(lines) + 0.6
    return ax
