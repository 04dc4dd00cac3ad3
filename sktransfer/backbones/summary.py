"""A summary of a backbone, as text and as HTML for notebooks."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from html import escape
from typing import Any

import torch
from torch import Tensor

from .._support.text import printable
from ..data import input_info
from .meta import copy_to_meta

LONGEST = 60  # maximum length of a text in a summary

CELL = "padding: 2px 12px 2px 0; font-size: 13px"
TAG = {"th": "th", "td": "td", "number": "td"}
STYLE = {
    "th": f"text-align: left; {CELL}",
    "td": f"text-align: left; font-family: monospace; {CELL}",
    "number": f"text-align: right; font-family: monospace; {CELL}",
}


def as_text(backbone: Any) -> str:
    """Return the summary as lines: one for each stage, then the features and the weights.

    Parameters
    ----------
    backbone : Backbone
    """
    title, columns, rows, facts = _summarise(backbone)
    table = [columns, *rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = [
        f"  {name:<{widths[0]}}  {count:>{widths[1]}}  {shape:<{widths[2]}}  {state}".rstrip()
        for name, count, shape, state in table
    ]
    width = max(map(len, facts))
    lines += [f"  {name + ':':<{width + 1}}  {value}" for name, value in facts.items()]
    return "\n".join([title, *lines])


def as_html(backbone: Any) -> str:
    """Return the summary as an HTML table, in the colours of the notebook.

    Parameters
    ----------
    backbone : Backbone
    """
    title, columns, rows, facts = _summarise(backbone)
    kinds = ("td", "number", "td", "td")
    body = [_row("th", columns), *(_row(kinds, row) for row in rows)]
    body += [
        f'<tr><th style="{STYLE["th"]}">{escape(name)}</th>'
        f'<td colspan="3" style="{STYLE["td"]}">{escape(value)}</td></tr>'
        for name, value in facts.items()
    ]
    heading = f'<strong style="font-size: 13px">{escape(title)}</strong>'
    return "\n".join(["<div>", heading, "<table>", *body, "</table>", "</div>"])


def _row(kinds: str | tuple[str, ...], cells: tuple[str, ...]) -> str:
    kinds = (kinds,) * len(cells) if isinstance(kinds, str) else kinds
    shown = [
        f'<{TAG[kind]} style="{STYLE[kind]}">{escape(cell)}</{TAG[kind]}>'
        for kind, cell in zip(kinds, cells, strict=True)
    ]
    return f"<tr>{''.join(shown)}</tr>"


def _summarise(
    backbone: Any,
) -> tuple[str, tuple[str, ...], list[tuple[str, ...]], dict[str, str]]:
    """Return a title, the names of the columns, a row for each stage, and further facts."""
    shapes = _find_shapes(backbone)
    parts = dict(backbone.stages)
    for head in ("classifier", "language_head"):
        if getattr(backbone, head) is not None:
            parts[head] = getattr(backbone, head)
    rows: list[tuple[str, ...]] = [
        (
            name,
            f"{sum(parameter.numel() for parameter in part.parameters()):,}",
            str(shapes[name]) if name in shapes else "",
            "frozen" if index < backbone.cut else "",
        )
        for index, (name, part) in enumerate(parts.items())
    ]
    n_parameters = sum(parameter.numel() for parameter in backbone.parameters())
    name = f"Backbone {backbone.address!r}" if backbone.address else "Backbone"
    title = f"{name} of {len(backbone.stages)} stages, {n_parameters:,} parameters"
    size = input_info(backbone.preset)["input_size"]
    output = "output" if size is None else f"output for {size} x {size} pixels"
    info = backbone.weights_info
    origin = [str(info[key]) for key in ("tag", "source") if info.get(key)]
    facts = {
        "features": _describe_features(backbone, shapes),
        "weights": _short(", ".join(origin) or "not stated"),
        "licence": _short(info.get("licence") or "not stated"),
    }
    return title, ("stage", "parameters", output, "state"), rows, facts


def _describe_features(backbone: Any, shapes: Mapping[str, tuple[int, ...]]) -> str:
    shape = shapes.get(backbone.names[-1]) if len(backbone.stages) else None
    if shape is None:
        return "not known"
    n_features = shape[0] if backbone.layout == "NCHW" else shape[-1]
    positions = "" if len(shape) == 1 else ", averaged over the positions"
    if backbone.layout == "NLM":  # the last channel is the mask
        n_features, positions = n_features - 1, ", averaged over the tokens"
    return f"{n_features:,}{positions} (layout {backbone.layout})"


def _short(text: object) -> str:
    shown = printable(text)
    return shown if len(shown) <= LONGEST else f"{shown[: LONGEST - 3]}..."


def _find_shapes(backbone: Any) -> dict[str, tuple[int, ...]]:
    """Return the shape of one item after each stage, by name; a shape may not be known.

    The stages run on the meta device, so nothing is computed.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    with (
        suppress(Exception),
        torch.no_grad(),
    ):  # the network's own code runs, and may raise anything
        x = _on_meta(backbone.preset.collate([], 1))
        for name, stage in backbone.stages.items():
            x = copy_to_meta(stage)(x)
            shapes[name] = tuple(x.shape[1:])
    return shapes


def _on_meta(batch: Any) -> Any:
    if isinstance(batch, Mapping):
        return {name: _on_meta(value) for name, value in batch.items()}
    return batch.to("meta") if isinstance(batch, Tensor) else batch
