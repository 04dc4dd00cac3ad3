"""Average the predictions of snapshots of one fit."""

from copy import copy

import numpy as np
from sklearn import get_config
from sklearn.base import BaseEstimator, MetaEstimatorMixin, clone
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, process_routing
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from ..callbacks import Snapshots
from ..training import check_parameters
from ._base import decide_rows
from .classifier import FineTuneClassifier
from .multi_task import FineTuneMultiTask
from .regressor import FineTuneRegressor
from .segmenter import FineTuneSegmenter

ESTIMATORS = (FineTuneClassifier, FineTuneRegressor, FineTuneMultiTask, FineTuneSegmenter)


def _has_probabilities(ensemble):
    return hasattr(ensemble.estimator, "predict_proba")


class SnapshotEnsemble(MetaEstimatorMixin, BaseEstimator):
    """Fit an estimator once, and average the probabilities, numbers or points of its snapshots.

    A snapshot is the state of the network at the end of an epoch.  A schedule with warm restarts,
    such as ``SGDR``, ends each of its cycles at a low learning rate, where the loss is close to a
    minimum.  The networks at the ends of the cycles form an ensemble at the cost of one fit [1]_.

    Parameters
    ----------
    estimator : FineTuneClassifier, FineTuneRegressor, FineTuneMultiTask or FineTuneSegmenter
        The estimator, which is cloned.  Its ``lr_schedule`` should have cycles.  Snapshots are not
        interpolated (``weight_interpolation``).
    schedule : str, Schedule or None, default=None
        A snapshot is taken at the end of each cycle of this schedule, which should be the
        ``lr_schedule`` of the estimator.  Give either this or ``every``.
    every : int or None, default=None
        Number of epochs between snapshots, at least 1.
    most : int, default=5
        Maximum number of snapshots, at least 1.  The oldest ones are dropped.

    Attributes
    ----------
    estimators_ : list of estimators
        A fitted estimator for each snapshot, the oldest first.  If there is no snapshot, the
        fitted estimator itself.
    classes_ : ndarray of shape (n_classes,), list or dict of ndarray
        The sorted labels, as those of the estimator.  Not for a regressor.

    See Also
    --------
    sktransfer.callbacks.Snapshots : The callback that takes the snapshots.

    References
    ----------
    .. [1] G. Huang, Y. Li, G. Pleiss, Z. Liu, J. E. Hopcroft and K. Q. Weinberger, "Snapshot
       Ensembles: Train 1, Get M for Free", ICLR 2017, https://arxiv.org/abs/1704.00109

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sktransfer import FineTuneClassifier, SnapshotEnsemble
    >>> from sktransfer.schedules import SGDR
    >>> X, y = load_digits(n_class=2, return_X_y=True)
    >>> schedule = SGDR(cycle_length=1, multiplier=1)
    >>> classifier = FineTuneClassifier(lr_schedule=schedule, max_epochs=2, random_state=0)
    >>> ensemble = SnapshotEnsemble(classifier, schedule=schedule).fit(X[:40], y[:40])
    >>> len(ensemble.estimators_), ensemble.score(X[40:80], y[40:80])
    (2, 1.0)
    """

    def __init__(self, estimator, *, schedule=None, every=None, most=5):
        self.estimator = estimator
        self.schedule = schedule
        self.every = every
        self.most = most

    def fit(self, X, y, **fit_params):
        """Fit a clone of the estimator, and keep its snapshots.

        Parameters
        ----------
        X, y : as for the estimator's ``fit``
        **fit_params : dict
            Further arguments of the estimator's ``fit``.

        Returns
        -------
        self
        """
        if not isinstance(self.estimator, ESTIMATORS):
            *others, last = (kind.__name__ for kind in ESTIMATORS)
            raise TypeError(
                f"estimator must be a {', '.join(others)} or {last}; got "
                f"{type(self.estimator).__name__}. If it is a pipeline, put the ensemble inside."
            )
        snapshots = Snapshots(self.schedule, self.every, self.most).initialize()
        check_parameters(self.estimator.get_params(deep=False), self.estimator._declared)
        if get_config()["enable_metadata_routing"]:
            fit_params = process_routing(self, "fit", **fit_params).estimator.fit
        model = clone(self.estimator)
        own = model.skorch_callbacks
        model.set_params(skorch_callbacks=[*(own or ()), snapshots]).fit(X, y, **fit_params)
        model.set_params(skorch_callbacks=own)
        # The net holds a copy of the callback, with the snapshots of the last phase.
        kept = [] if model.net_ is None else model.net_.callbacks_
        states = [each.snapshots_ for _, each in kept if isinstance(each, Snapshots)][-1:]
        members = [model._with_weights(state) for state in (states[0] if states else [])]
        self.estimators_ = members or [model]
        return self

    @available_if(_has_probabilities)
    def predict_proba(self, X):
        """Return the mean of the probabilities of all snapshots.

        Parameters
        ----------
        X : as for the estimator's ``predict_proba``

        Returns
        -------
        ndarray of shape (n_items, n_classes), float64, or list, dict or iterator of ndarray
            As the estimator's ``predict_proba``: a list with an array for each column of labels, a
            dict with one for each task, or an iterator over the images of a FineTuneSegmenter.
        """
        check_is_fitted(self)
        if isinstance(self.estimators_[0], FineTuneMultiTask):
            return self.estimators_[0].task_.probabilities(self._mean_outputs(X))
        if isinstance(self.estimators_[0], FineTuneSegmenter):
            maps = (member.predict_proba(X) for member in self.estimators_)
            return (np.mean(found, axis=0) for found in zip(*maps, strict=True))
        found = [member.predict_proba(X) for member in self.estimators_]
        if isinstance(found[0], list):
            return [np.mean(column, axis=0) for column in zip(*found, strict=True)]
        return np.mean(found, axis=0)

    def predict(self, X):
        """Return the labels with the highest mean probabilities, and the means of numbers.

        Parameters
        ----------
        X : as for the estimator's ``predict``

        Returns
        -------
        ndarray, DataFrame or list of ndarray
            In the form of the estimator's ``predict``.  For multi-label targets, 1 for each label
            with a mean probability above 0.5.
        """
        check_is_fitted(self)
        first = self.estimators_[0]
        if isinstance(first, FineTuneMultiTask):
            return first._as_table(first.task_.decide(self._mean_outputs(X)))
        if isinstance(first, FineTuneSegmenter):
            values = first.task_.pixel_values
            maps = self.predict_proba(X)
            return [values[each.argmax(-1)] if np.ndim(each) else np.nan for each in maps]
        if isinstance(first, FineTuneRegressor):
            return np.mean([member.predict(X) for member in self.estimators_], axis=0)
        probabilities = self.predict_proba(X)
        if isinstance(probabilities, list):
            probabilities = np.concatenate(probabilities, axis=1)
        return decide_rows(first.task_.decide_probabilities, probabilities)

    def score(self, X, y, sample_weight=None):
        """Return the score of the predictions: that of the estimator, such as the accuracy.

        Parameters
        ----------
        X, y : as for the estimator's ``score``
        sample_weight : array-like of shape (n_items,) or None, default=None

        Returns
        -------
        float
            Of a classifier, an item that cannot be decoded counts as wrong.

        Raises
        ------
        ValueError
            As for the estimator's ``score``.
        """
        check_is_fitted(self)
        first = self.estimators_[0]
        if isinstance(first, FineTuneMultiTask):
            return first.task_.score(first.task_.decide(self._mean_outputs(X)), y, sample_weight)
        if isinstance(first, FineTuneSegmenter):
            return first.task_.score(*first._compared(X, y, self.predict), sample_weight)
        return first.task_.score(self.predict(X), y, sample_weight)

    def _mean_outputs(self, X):
        """Return the outputs of a FineTuneMultiTask with the mean numbers and probabilities."""
        outputs = [member._outputs(X) for member in self.estimators_]
        return self.estimators_[0].task_.average(outputs)

    def adapt(self, X_target, stages="tail"):
        """Return a copy whose snapshots have the batch-norm statistics of other images.

        Parameters
        ----------
        X_target : as for :meth:`FineTuneClassifier.adapt`
        stages : {"tail", "all"}, default="tail"
            The stages that get the statistics of ``X_target``.

        Returns
        -------
        SnapshotEnsemble
            A fitted ensemble.

        Raises
        ------
        ValueError
            If these stages have no batch norm.
        """
        check_is_fitted(self)
        other = copy(self)
        other.estimators_ = [member.adapt(X_target, stages) for member in self.estimators_]
        return other

    def get_metadata_routing(self):
        """Return the routing of metadata: ``fit`` passes it to the ``fit`` of the estimator.

        Returns
        -------
        MetadataRouter
        """
        mapping = MethodMapping().add(caller="fit", callee="fit")
        router = MetadataRouter(owner=self)
        return router.add(estimator=self.estimator, method_mapping=mapping)

    @property
    def classes_(self):
        """The sorted labels."""
        return self.estimators_[0].classes_

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        inner = self.estimator.__sklearn_tags__()
        for name in ("estimator_type", "classifier_tags", "regressor_tags", "target_tags"):
            setattr(tags, name, getattr(inner, name))
        tags.input_tags = inner.input_tags
        return tags
