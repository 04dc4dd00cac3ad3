"""Small sets of real texts for examples, from the docstrings of SciPy and of Python."""

from __future__ import annotations

import inspect
import re
from collections import Counter
from importlib import import_module
from itertools import chain
from typing import Any

import numpy as np
from sklearn.utils import Bunch, check_random_state

from .._support.validation import check_choice, check_int

# The modules of SciPy that are the classes.
SCIPY = (
    *("fft", "integrate", "interpolate", "linalg", "ndimage"),
    *("optimize", "signal", "sparse", "special", "stats"),
)

# The fields of Python's standard library that are the classes, with modules of each.
PYTHON = {
    "files": "os os.path shutil pathlib zipfile tarfile tempfile glob io",
    "network": "socket urllib.request urllib.parse http.client http.server http.cookiejar ssl "
    "email.message smtplib ftplib imaplib poplib ipaddress xmlrpc.client",
    "numbers": "math cmath statistics random decimal fractions numbers operator",
    "processes": "threading multiprocessing multiprocessing.pool asyncio concurrent.futures "
    "subprocess queue signal",
    "texts": "re string textwrap difflib codecs unicodedata html csv json locale gettext",
}

# The modules of each class, by source and class.
SOURCES = {
    "scipy": {name: [f"scipy.{name}"] for name in SCIPY},
    "python": {name: modules.split() for name, modules in PYTHON.items()},
}

# The numbers of letters that a sentence may have.
SHORTEST, LONGEST = 20, 200

# A role of reStructuredText such as :math:`x`, or code such as ``x``, of which the content is kept.
MARKUP = re.compile(r"(?::[a-z:]+:)?(`+)(.*?)\1")


def load_docstrings(
    subset: str = "train",
    *,
    source: str = "scipy",
    n_per_class: int | None = None,
    random_state: Any = 0,
) -> Bunch:
    """Load first sentences of docstrings with the module or field they are from.

    Each describes a function or a class in at most 200 letters.  Sentences that occur in several
    classes are left out.  One half of the sentences of each class is for training, the other for
    testing.  They are those of the installed versions of SciPy and Python, and need no download.

    Parameters
    ----------
    subset : {"train", "test"}, default="train"
        The half of the sentences.
    source : {"scipy", "python"}, default="scipy"
        "scipy" has ten modules of SciPy, which the words of a sentence distinguish well.  "python"
        has five fields of Python's standard library, which share few words: features of a
        pretrained network are better with few labels.
    n_per_class : int or None, default=None
        Maximum number of sentences of each class, at least 1.  None means 10 for training, and all
        for testing.
    random_state : int, RandomState or None, default=0
        Seed of the choice of the sentences, within each half.

    Returns
    -------
    Bunch
        data : ndarray of str objects of shape (n,)
            The sentences, sorted by class.
        target : ndarray of int of shape (n,)
            Class of each sentence, an index of ``target_names``.
        target_names : ndarray of str objects of shape (n_classes,)
            Sorted names of the modules, or of the fields.
        labels : ndarray of str objects of shape (n,)
            Name of the class of each sentence.
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
    check_choice("source", source, tuple(SOURCES))
    if n_per_class is None:
        n_per_class = 10 if subset == "train" else LONGEST
    check_int("n_per_class", n_per_class, 1)
    random = check_random_state(random_state)
    classes = SOURCES[source]
    names = np.array(list(classes), dtype=object)
    every = [_sentences(modules) for modules in classes.values()]
    counts = Counter(chain.from_iterable(every))  # a sentence of two classes has no right answer
    halves = [[s for s in own if counts[s] == 1][subset == "test" :: 2] for own in every]
    chosen = [random.permutation(np.array(half, dtype=object))[:n_per_class] for half in halves]
    target = np.repeat(np.arange(len(names)), list(map(len, chosen)))
    origin = "modules of SciPy" if source == "scipy" else "fields of Python's standard library"
    return Bunch(
        data=np.concatenate(chosen),
        target=target,
        target_names=names,
        labels=names[target],
        DESCR=f"{len(target)} sentences from the docstrings of {len(names)} {origin}.",
    )


def _sentences(modules: list[str]) -> list[str]:
    """Return the different first sentences of the docstrings of some modules, sorted."""
    docstrings = chain.from_iterable(map(_docstrings, modules))
    sentences = {_first_sentence(docstring) for docstring in docstrings if docstring}
    return sorted(each for each in sentences if SHORTEST <= len(each) <= LONGEST)


def _docstrings(module: str) -> list[str | None]:
    """Return the docstrings of the functions and classes of a module; none if it is not there."""
    try:
        found = import_module(module)
    except ImportError:  # Python was built without it
        return []
    public = getattr(found, "__all__", [name for name in vars(found) if name[0] != "_"])
    things = (getattr(found, name) for name in public)
    return [inspect.getdoc(thing) for thing in things if callable(thing)]


def _first_sentence(docstring: str) -> str:
    """Return the first paragraph as one line of plain text."""
    paragraphs = re.split(r"\n\s*\n", docstring)
    # the docstring of a ufunc begins with its signature
    first = next((each for each in paragraphs if not re.match(r"\w+\(.*\)", each)), "")
    return " ".join(MARKUP.sub(r"\2", first).split())
