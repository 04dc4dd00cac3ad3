"""Attributes that exist only after ``fit``."""

from __future__ import annotations

from typing import Any

from sklearn.exceptions import NotFittedError


class FittedMixin:
    """Mixin for estimators whose ``fit`` assigns one attribute, ``_fitted``."""

    def __sklearn_is_fitted__(self) -> bool:
        return "_fitted" in vars(self)

    def __getattr__(self, name: str) -> Any:
        # Properties that read the result of a fit end here before there is one.
        kind = type(self)
        message = f"{kind.__name__!r} object has no attribute {name!r}"
        if name == "_fitted" or isinstance(getattr(kind, name, None), property):
            raise NotFittedError(f"{message}, because it is not fitted. Call fit first.")
        raise AttributeError(f"{message}.")
