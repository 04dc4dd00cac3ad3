"""The base of the estimators that fine-tune a pretrained network."""

from copy import deepcopy
from functools import partial

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from .._support.progress import progress_bar
from ..cache import check_cache
from ..training import (
    RUNNING,
    Fitted,
    Predictor,
    Request,
    augmentation_of,
    check_parameters,
    plan_fit,
    run_fit,
)
from ._callbacks import CallbackSupportMixin, report_fit
from ._columns import check_items, get_columns, replace_columns


class FineTuneEstimator(
    CallbackSupportMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator
):
    """Base of the estimators that fine-tune a pretrained network.

    A subclass has the parameters that :data:`sktransfer.training.PARAMETERS` declares, a method
    ``_find_task`` that returns the task of y, and predictions made of the outputs of the network.
    A fit assigns one value, ``_fitted``; the public attributes are read from it.
    """

    def _find_task(self, y, n_items):
        """Return the task of ``y``."""
        raise NotImplementedError

    def _fit(self, X, y, **others):
        """Fit the network; an error or an interrupt leaves the last fit in place."""
        twin, request = self._request(X, y, **others)
        with (
            plan_fit(request) as plan,
            report_fit(self, plan.n_epochs, X, y, "epoch") as step,
            progress_bar(plan.n_epochs, type(self).__name__, self.verbose, "epoch") as advance,
        ):
            n_done = 0

            def done(net):
                nonlocal n_done
                n_before, n_done = n_done, net.first_epoch + len(net.history)
                advance(n_done - n_before)  # several epochs if the fit continues from a checkpoint
                attributes = partial(_attributes_so_far, plan, net)
                return step(X=X, y=y, reconstruction_attributes=attributes)

            fitted = run_fit(plan, done)
        replace_columns(self, get_columns(twin))
        self._fitted = fitted
        return self

    def _request(self, X, y=None, **others):
        """Check the parameters; return an unfitted twin, which records columns, and a request."""
        parameters = self.get_params(deep=False)
        check_parameters(parameters)
        twin = object.__new__(type(self))
        twin.__dict__.update(parameters)
        return twin, Request(
            parameters=parameters,
            task=self._find_task,
            check_items=partial(check_items, twin),
            X=X,
            y=y,
            watched=bool(getattr(self, "_skl_callbacks", ())),
            **others,
        )

    def get_augmentation(self, X):
        """Return the preset and the augmentation with which ``fit`` trains on ``X``.

        Parameters
        ----------
        X : sequence of n_items paths, images, arrays or bytes, or a table of flattened images

        Returns
        -------
        preset : Preset
        augment : None, str, Views or callable
            The parameter ``augment``; if it is "auto", what that means for ``X``.
        """
        _, request = self._request(X)
        return augmentation_of(request, self.backbone_ if self.__sklearn_is_fitted__() else None)

    def transform(self, X):
        """Return the features of the tuned network: the input of its head, not standardised.

        Parameters
        ----------
        X : sequence of n_items paths, images, arrays or bytes, or a table of flattened images

        Returns
        -------
        ndarray of shape (n_items, n_features), float32
        """
        features = self._run(X, Predictor.features)
        return features.astype(np.float32, copy=False)

    def predict(self, X):
        """Predict the target of each item.

        Parameters
        ----------
        X : sequence of n_items paths, images, arrays or bytes, or a table of flattened images

        Returns
        -------
        ndarray of shape (n_items,) or (n_items, n_outputs)
            NaN, in an array of objects, for an image that cannot be decoded.
        """
        outputs = self._outputs(X)
        bad = np.isnan(outputs).any(axis=1)
        predicted = self.task_.decide(np.where(bad[:, None], 0, outputs))
        if bad.any():
            predicted = predicted.astype(object)
            predicted[bad] = np.nan
        return predicted

    def _outputs(self, X):
        """Return the outputs (n_items, n_outputs) of the network."""
        return self._run(X, Predictor.outputs, tta=self.tta, augment=self.augment)

    def _run(self, X, method, **how):
        """Call a method of the predictor on the items of ``X``."""
        check_is_fitted(self)
        check_parameters(self.get_params(deep=False), RUNNING)
        items = check_items(self, self.backbone_.preset, X)
        with progress_bar(len(items), type(self).__name__, self.verbose) as advance:
            return method(
                self._fitted.predictor,
                items,
                batch_size=self.inference_batch_size,
                cache=check_cache(self.cache),
                n_jobs=self.n_jobs,
                decode_error=self.decode_error,
                progress=advance,
                **how,
            )

    def _parts(self):
        """Return the parts of a fit that a file keeps, and the module with the tensors."""
        return self._fitted.parts() | {"columns": get_columns(self)}, self._fitted.tail

    def _set_parts(self, parts, module):
        """Become the estimator that had these parts."""
        parts = dict(parts)
        self.__dict__.update(parts.pop("columns"))
        self._fitted = Fitted.from_parts(module, parts)

    def _with_weights(self, state):
        """Return a fitted copy whose network has other weights, such as those of a snapshot."""
        twin = object.__new__(type(self))
        twin.__dict__.update(vars(self))
        tail = deepcopy(self._fitted.tail)
        tail.load_state_dict(state, strict=False)
        twin._fitted = Fitted.from_parts(tail, self._fitted.parts() | {"phase": None})
        return twin

    # Attributes of a fit

    def __sklearn_is_fitted__(self):
        return "_fitted" in vars(self)

    @property
    def task_(self):
        """The task that was learned."""
        return self._fitted.task

    @property
    def backbone_(self):
        """The network as it was tuned, frozen."""
        return self._fitted.tail.backbone

    @property
    def head_(self):
        """The head."""
        return self._fitted.tail.head

    @property
    def net_(self):
        """The skorch net of the last phase that trained, or None."""
        return self._fitted.net

    @property
    def history_(self):
        """The epochs, as a list of dicts."""
        return self._fitted.history

    @property
    def report_(self):
        """The stages, as a list of dicts."""
        return self._fitted.report

    @property
    def n_iter_(self):
        """The number of epochs that were trained."""
        return len(self._fitted.history)

    @property
    def best_epoch_(self):
        """The epoch whose weights were kept, or None."""
        return self._fitted.best_epoch

    @property
    def skipped_(self):
        """Positions of the items of X that were left out."""
        return self._fitted.skipped

    @property
    def weights_info_(self):
        """The origin of the weights."""
        return self._fitted.weights_info

    @property
    def _n_features_out(self):
        return self._fitted.predictor.n_features

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.input_tags.string = True
        tags.transformer_tags.preserves_dtype = ["float32"]  # always float32
        return tags


def _attributes_so_far(plan, net):
    """Return the attributes of the estimator as if the fit had stopped here."""
    return {"_fitted": Fitted.so_far(plan, net)}
