"""The modules of sentence-transformers: a network, and what happens to its output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

# The pooling of this package for each of sentence-transformers.
POOLINGS = {
    "cls": "cls",
    "cls_token": "cls",
    "lasttoken": "last",
    "max": "max",
    "max_tokens": "max",
    "mean": "avg",
    "mean_tokens": "avg",
}


def paths(modules: Any, label: str) -> dict[str, str]:
    """Return the folders of the modules that a ``modules.json`` lists, by their kinds.

    Parameters
    ----------
    modules : list of mapping
        The content of ``modules.json``.
    label : str
        The address of the network, for messages.

    Returns
    -------
    dict of str to str
        The first is that of the Transformer.

    Raises
    ------
    ValueError
        If the list has another form, or names code that is no part of sentence-transformers.
    """
    try:
        listed = [(str(module["type"]), str(module["path"])) for module in modules]
    except (TypeError, KeyError) as error:
        raise ValueError(
            f"modules.json of {label} must be a list of modules with 'type' and 'path'; it is not. "
            "Use another copy of the file."
        ) from error
    foreign = [kind for kind, _ in listed if not kind.startswith("sentence_transformers.")]
    if foreign:
        raise ValueError(
            f"{label} must not need code of its own, which is never run; its modules.json names "
            f"{foreign[0]!r}. Take a folder of transformers or sentence-transformers without such "
            "a module."
        )
    found = {kind.rpartition(".")[2]: path for kind, path in reversed(listed)}
    if not listed or not listed[0][0].endswith(".Transformer"):
        kind = listed[0][0] if listed else "nothing"
        raise ValueError(
            f"the first module of {label} must be a Transformer; its modules.json begins with "
            f"{kind}. Take a folder of a transformer."
        )
    return found


def pooling(config: Mapping[str, Any]) -> str | None:
    """Return the pooling that the configuration of a module asks for; None if it is another one."""
    mode = config.get("pooling_mode")
    modes = [mode] if isinstance(mode, str) else list(mode or ())
    if not modes:
        start = "pooling_mode_"
        modes = [name.removeprefix(start) for name, on in config.items() if on is True]
        modes = [mode for mode in modes if f"{start}{mode}" in config]
    return POOLINGS.get(str(modes[0])) if len(modes) == 1 else None


def remarks(modules: Sequence[str], wanted: str | None) -> list[str]:
    """Return a sentence for each step after the network that this package does not compute."""
    said = []
    if "Pooling" in modules and wanted is None:
        said.append("its pooling is not one of this package, so pooling='auto' takes the mean")
    others = [kind for kind in modules if kind not in ("Transformer", "Pooling", "Normalize")]
    if others:
        said.append(f"its modules {', '.join(others)} are not applied to the pooled vector")
    return said
