"""The domain of each item, as the argument ``sample_domain`` names it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.utils.validation import check_consistent_length, column_or_1d

from .._support.validation import first_ten


@dataclass(frozen=True)
class Domains:
    """The domain of each of n items.

    Parameters
    ----------
    names : list
        The different domains: integers or strings, sorted; [None] if no domains were passed.
    codes : ndarray of int of shape (n,)
        The position of the domain of each item in ``names``.
    """

    names: list[Any]
    codes: np.ndarray

    @classmethod
    def of(cls, sample_domain: Any, n_items: int) -> Domains:
        """Check the argument ``sample_domain`` of ``n_items`` items; None means one domain.

        Raises
        ------
        ValueError
            If it has another length or more than one column.
        TypeError
            If it holds neither integers nor strings.
        """
        if sample_domain is None:
            return cls([None], np.zeros(n_items, int))
        if isinstance(sample_domain, str):
            raise TypeError(
                f"sample_domain must have the domain of each item; got one string, "
                f"{sample_domain!r}."
            )
        if isinstance(sample_domain, (list, tuple)):  # numpy would make one type of several
            _check_kinds(sample_domain)
        given = column_or_1d(sample_domain, warn=False)
        check_consistent_length(range(n_items), given)
        is_text = _check_kinds(given.tolist()) == {str}
        names, codes = np.unique(given.astype(str) if is_text else given, return_inverse=True)
        return cls(names.tolist(), codes)

    def parts(self) -> Iterator[tuple[Any, np.ndarray]]:
        """Yield each domain with the positions of its items."""
        for code, name in enumerate(self.names):
            yield name, np.flatnonzero(self.codes == code)

    def check_known(self, known: Any) -> None:
        """Raise an error if a domain is not one of those that ``fit`` has seen."""
        if self.names == [None] != list(known):
            raise ValueError(
                "sample_domain must be passed, because it was passed to fit with the domains "
                f"{', '.join(map(repr, known))}; got None."
            )
        unknown = [name for name in self.names if name not in known]
        if unknown and list(known) == [None]:
            raise ValueError(
                f"sample_domain must be None, because it was not passed to fit; got {unknown[0]!r}."
            )
        if unknown:
            raise ValueError(
                f"sample_domain must hold domains of fit: {', '.join(map(repr, known))}; got\n"
                f"{first_ten([repr(name) for name in unknown])}"
            )


def _check_kinds(parts: Iterable[Any]) -> set[type]:
    """Return the kinds of domains; raise an error unless all are integers, or all strings."""
    kinds = {
        str if isinstance(part, str) else int if isinstance(part, np.integer) else type(part)
        for part in parts
    }
    if kinds not in ({int}, {str}):
        listed = ", ".join(sorted(kind.__name__ for kind in kinds))
        raise TypeError(f"sample_domain must hold integers, or strings; got {listed}.")
    return kinds


def names_at(positions: np.ndarray) -> Callable[[int], str]:
    """Return a function that names the items at some positions of X, for messages."""
    return lambda index: f"X[{positions[index]}]"
