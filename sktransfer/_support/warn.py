"""Warnings that show the line of the user's code."""

from __future__ import annotations

import sys
import warnings

# This package, libraries that call it, and modules of Python whose functions run in between
PASSED_OVER = {
    *("sktransfer", "skorch", "sklearn", "torch", "joblib"),
    *("concurrent", "contextlib", "functools", "threading"),
}


def warn_user(message: str, category: type[Warning] = UserWarning) -> None:
    """Issue a warning at the line of the user's code that led to it.

    The line is the first one outside this package and the libraries that call it, such as
    scikit-learn in a search.  In a thread of this package there is no such line, so that of the
    caller is shown.

    Examples
    --------
    >>> from sktransfer._support.warn import warn_user
    >>> warn_user("max_epochs is small.")  # doctest: +SKIP
    script.py:3: UserWarning: max_epochs is small.
    """
    # The parameter skip_file_prefixes of warnings.warn, of Python 3.12, does nearly the same.
    level, frame = 2, sys._getframe(1)
    while str(frame.f_globals.get("__name__")).partition(".")[0] in PASSED_OVER:
        if frame.f_back is None:
            level = 2
            break
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)
