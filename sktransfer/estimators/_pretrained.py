"""The base class of the estimators that hold a pretrained network."""

from __future__ import annotations

from typing import Any

from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.exceptions import NotFittedError

from ._callbacks import CallbackSupportMixin
from ._columns import get_columns, set_fitted


class PretrainedEstimator(
    CallbackSupportMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator
):
    """Base class of the estimators whose ``fit`` loads a pretrained network.

    ``fit`` assigns one attribute, ``_fitted``.  Properties read it, as the attributes of a fit.
    """

    # The class of ``_fitted``, which has the methods ``parts`` and ``from_parts``.
    _result: Any

    def __sklearn_is_fitted__(self) -> bool:
        return "_fitted" in vars(self)

    def __getattr__(self, name: str) -> Any:
        # Properties that read the result of a fit end here before there is one.
        kind = type(self)
        message = f"{kind.__name__!r} object has no attribute {name!r}"
        if name == "_fitted" or isinstance(getattr(kind, name, None), property):
            raise NotFittedError(f"{message}, because it is not fitted. Call fit first.")
        raise AttributeError(f"{message}.")

    @property
    def weights_info_(self) -> dict[str, Any]:
        """The origin of the initial weights."""
        info: dict[str, Any] = self._fitted.weights_info
        return info

    def _make_unfitted(self) -> Any:
        """Return an unfitted copy, which records columns: an error leaves this estimator as is."""
        unfitted = object.__new__(type(self))
        unfitted.__dict__.update(self.get_params(deep=False))
        return unfitted

    def _parts(self) -> tuple[dict[str, Any], Any]:
        """Return the result of the fit as plain parts, and the module that holds the weights.

        ``sktransfer.save`` writes both to a file.  The parts are values and small objects by name.
        They include the columns of X, which are attributes of the estimator and not in ``_fitted``.
        """
        parts, module = self._fitted.parts()
        return parts | {"columns": get_columns(self)}, module

    def _set_parts(self, parts: dict[str, Any], module: Any) -> None:
        """Restore the result of a fit that ``_parts`` returned; used by ``sktransfer.load``."""
        others = {name: part for name, part in parts.items() if name != "columns"}
        set_fitted(self, parts["columns"], self._result.from_parts(others, module))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.input_tags.string = True
        tags.transformer_tags.preserves_dtype = ["float32"]  # always float32
        return tags
