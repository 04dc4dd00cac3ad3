"""The table of measurements in README.md, and its picture, from what the benchmarks printed.

    python benchmarks/_report.py FOLDER

``FOLDER`` holds the JSON of each benchmark, ``NAME.json``.  Its "rows" become rows of the table.  A
bar that is a number of 1 or more, and what was measured against it, count how many times faster
something is, and are drawn; a bar that is a text is what it says.  It ends with an error that names
what is below its bar, or did not end.
"""

import json
import os
import platform
import re
import sys
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from matplotlib import pyplot as plt

from sktransfer._support.device import resolve_precision
from sktransfer.display._axes import BLUE, GRID, INK, MUTED, RED

HERE = Path(__file__).resolve().parent
README, PICTURE = HERE / "README.md", HERE.parent / "docs" / "benchmarks.png"
LIGHT = "#9ec9e2"  # of what claims nothing
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
PACKAGES = (
    *("torch", "torchvision", "scikit-learn", "skorch", "fastai", "keras", "timm", "embetter"),
    *("sentence-transformers", "transformers"),
)


def rows_of(folder):
    """Name of the benchmark -> its rows; none of one that did not end.  Skipped ones are absent."""
    rows = {}
    for path in sorted(folder.glob("*.json")):
        try:
            content = json.loads(path.read_text())
            if "skipped" not in content:
                rows[path.stem] = content["rows"]
        except (json.JSONDecodeError, KeyError):
            rows[path.stem] = []
    return rows


# The table


def processor():
    """The model of the processor, and its number of cores."""
    file = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*:\s*(.+)", file.read_text()) if file.exists() else None
    name = found[1].strip() if found else platform.processor() or platform.machine()
    units = resolve_precision("auto", torch.device("cpu")) == torch.bfloat16
    return f"{name}, {os.cpu_count()} cores, {'with' if units else 'without'} bfloat16 units"


def versions():
    """The versions of Python and of what takes part, as far as it is installed."""
    found = [f"Python {platform.python_version()}"]
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"{name} not installed")
    return ", ".join(found)


def is_times(row):
    """Return True if a row states how many times faster something is."""
    bar = row["bar"]
    return bar is None or (not isinstance(bar, str) and bar >= 1)


def number(value):
    """Three digits, or all before the point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def text(value, is_times):
    """A cell of the table."""
    if value is None or isinstance(value, str):
        return value or "none"
    return f"{number(value)} ×" if is_times else number(value)


def table(rows):
    """The table, in Markdown; what is below its bar is marked."""
    lines = ["| claim | bar | measured | details |", "|---|---|---|---|"]
    for name, own in rows.items():
        for row in own:
            bar, measured = (text(row[column], is_times(row)) for column in ("bar", "measured"))
            if row.get("holds") is False:
                measured = f"**{measured}**, below the bar"
            lines.append(f"| {row['claim']} | {bar} | {measured} | {row['details']} |")
        if not own:
            lines.append(f"| `{name}.py` | | **did not end** | |")
    return "\n".join(lines)


def write(rows):
    """Put the table between the two marks of the README."""
    today = datetime.now().astimezone().date()
    about = f"Measured on {today:%d %B %Y}: {processor()}; {versions()}."
    page = README.read_text()
    before, after = page.partition(BEGIN)[0], page.partition(END)[2]
    measured = f"{BEGIN}\n{about}\n\n{table(rows)}\n{END}"
    README.write_text(before + measured + after)


def failures(rows):
    """List the claims that are below their bars, and the benchmarks that did not end."""
    below = [row["claim"] for own in rows.values() for row in own if row.get("holds") is False]
    return below + [f"{name}.py did not end" for name, own in rows.items() if not own]


# The picture


def draw(rows):
    """A bar for each row that says how many times faster something is, and a tick at its claim."""
    drawn = [row for own in rows.values() for row in own if is_times(row)]
    drawn = [row for row in drawn if not isinstance(row["measured"], str)]
    drawn.sort(key=lambda row: row["measured"])
    if not drawn:
        return
    fig, ax = plt.subplots(figsize=(9.6, 0.34 * len(drawn) + 0.9), layout="constrained")
    dress(ax, drawn)
    for place, row in enumerate(drawn):
        measured, bar = row["measured"], row["bar"]
        color = RED if row["holds"] is False else LIGHT if bar is None else BLUE
        ax.barh(place, measured - 1, left=1, height=0.6, color=color)
        if bar is not None:
            for width, ink in ((4, "white"), (2, INK)):  # a tick that stands out from its bar
                ax.plot([bar] * 2, [place - 0.36, place + 0.36], color=ink, lw=width, zorder=3)
        end = max(measured, bar or 1), place
        beside = {"xytext": (8, 0), "textcoords": "offset points", "va": "center"}
        ax.annotate(f"{number(measured)} ×", end, **beside, color=INK, weight="bold")
    fig.savefig(PICTURE, dpi=100)


def dress(ax, drawn):
    """Claims on the left, a quiet logarithmic scale on top."""
    measured = [row["measured"] for row in drawn]
    ax.set_xscale("log")
    ax.set_xlim(0.96 * min(1, *measured), 2.4 * max(measured))
    ax.set_ylim(-0.6, len(drawn) - 0.4)
    ax.set_yticks(range(len(drawn)), [row["claim"].replace("`", "") for row in drawn], color=INK)
    ticks = [tick for tick in (1, 3, 10, 30, 100, 300, 1000, 3000) if tick <= 1.5 * max(measured)]
    ax.set_xticks(ticks, [f"{tick:,}" for tick in ticks], color=MUTED)
    ax.set_xticks([], minor=True)
    ax.xaxis.tick_top()
    ax.tick_params(length=0)
    ax.grid(axis="x", color=GRID, lw=0.8)
    ax.axvline(1, color=MUTED, lw=1)
    ax.set_axisbelow(True)
    ax.spines[:].set_visible(False)
    ax.set_title("times faster  ·  tick: what is claimed", loc="left", color=MUTED, size="medium")


if __name__ == "__main__":
    measured = rows_of(Path(sys.argv[1]))
    write(measured)
    draw(measured)
    failed = failures(measured)
    assert not failed, f"each claim must hold: {failed}"
