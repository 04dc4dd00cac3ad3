"""A small set of real texts for examples, from the docstrings of SciPy."""

from __future__ import annotations

import inspect
import re
from importlib import import_module
from typing import Any

import numpy as np
from sklearn.utils import Bunch, check_random_state

from .._support.validation import check_choice, check_int

# The modules of SciPy that are the classes.
MODULES = (
    *("fft", "integrate", "interpolate", "linalg", "ndimage"),
    *("optimize", "signal", "sparse", "special", "stats"),
)

# The numbers of letters that a sentence may have.
SHORTEST, LONGEST = 20, 200

# A role of reStructuredText such as :math:`x`, or code such as ``x``, of which the content is kept.
MARKUP = re.compile(r"(?::[a-z:]+:)?(`+)(.*?)\1")


def load_docstrings(
    subset: str = "train", *, n_per_class: int | None = None, random_state: Any = 0
) -> Bunch:
    """Load first sentences of SciPy's docstrings with the module they are from, without a download.

    Each describes a function or a class in at most 200 letters.  One half of the sentences of each
    module is for training, the other for testing.  The sentences are those of the installed
    version of SciPy.

    Parameters
    ----------
    subset : {"train", "test"}, default="train"
        The half of the sentences.
    n_per_class : int or None, default=None
        Maximum number of sentences of each module, at least 1.  None means 10 for training, and all
        for testing.
    random_state : int, RandomState or None, default=0
        Seed of the choice of the sentences, within each half.

    Returns
    -------
    Bunch
        data : ndarray of str objects of shape (n,)
            The sentences, sorted by module.
        target : ndarray of int of shape (n,)
            Module of each sentence, an index of ``target_names``.
        target_names : ndarray of str objects of shape (10,)
            Sorted names of the modules.
        labels : ndarray of str objects of shape (n,)
            Name of the module of each sentence.
        DESCR : str
            A sentence that describes the texts.

    Raises
    ------
    ValueError
        If a parameter is out of its range.

    See Also
    --------
    load_text_folder : Find the texts of a folder with a subfolder for each class.
    load_textures : The counterpart for images.

    Examples
    --------
    >>> from sktransfer import load_docstrings
    >>> texts = load_docstrings("train", n_per_class=5)
    >>> texts.data.shape, texts.labels[0]
    ((50,), 'fft')
    """
    check_choice("subset", subset, ("train", "test"))
    if n_per_class is None:
        n_per_class = 10 if subset == "train" else LONGEST
    check_int("n_per_class", n_per_class, 1)
    random = check_random_state(random_state)
    names = np.array(MODULES, dtype=object)
    halves = [_sentences(name)[subset == "test" :: 2] for name in names]
    chosen = [random.permutation(np.array(half, dtype=object))[:n_per_class] for half in halves]
    target = np.repeat(np.arange(len(names)), list(map(len, chosen)))
    return Bunch(
        data=np.concatenate(chosen),
        target=target,
        target_names=names,
        labels=names[target],
        DESCR=f"{len(target)} sentences from the docstrings of {len(names)} modules of SciPy.",
    )


def _sentences(module: str) -> list[str]:
    """Return the different first sentences of the docstrings of a module, sorted."""
    found = import_module(f"scipy.{module}")
    things = (getattr(found, name) for name in found.__all__)
    docstrings = (inspect.getdoc(thing) for thing in things if not inspect.ismodule(thing))
    sentences = {_first_sentence(docstring) for docstring in docstrings if docstring}
    return sorted(each for each in sentences if SHORTEST <= len(each) <= LONGEST)


def _first_sentence(docstring: str) -> str:
    """Return the first paragraph as one line of plain text."""
    paragraphs = re.split(r"\n\s*\n", docstring)
    # the docstring of a ufunc begins with its signature
    first = next((each for each in paragraphs if not re.match(r"\w+\(.*\)", each)), "")
    return " ".join(MARKUP.sub(r"\2", first).split())
