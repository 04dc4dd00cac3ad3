"""Average the predictions of the snapshots of one fit."""

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, clone
from sklearn.utils.validation import check_is_fitted

from ..callbacks import Snapshots


class SnapshotEnsemble(ClassifierMixin, MetaEstimatorMixin, BaseEstimator):
    """Fit a classifier once and average the probabilities of several of its states.

    A schedule with warm restarts, such as ``SGDR``, ends each cycle at a low learning rate: the
    weights there make a network of their own [1]_.

    Parameters
    ----------
    estimator : FineTuneClassifier
        Its ``lr_schedule`` should have cycles.
    schedule : str, Schedule or None, default=None
        The schedule whose cycles end with a snapshot; the same as the estimator's.
    every : int or None, default=None
        Instead of a schedule: the number of epochs from one snapshot to the next.
    most : int, default=5
        The number of snapshots to keep, the last ones.

    Attributes
    ----------
    estimators_ : list of FineTuneClassifier
        A fitted classifier for each snapshot, the oldest first; the classifier itself if no cycle
        ended.
    classes_ : ndarray of shape (n_classes,)
        The labels.

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
        """Fit the classifier, and keep its snapshots.

        Parameters
        ----------
        X, y : as for the classifier
        **fit_params : dict
            Further arguments of the classifier's ``fit``.

        Returns
        -------
        self
        """
        snapshots = Snapshots(self.schedule, self.every, self.most)
        classifier = clone(self.estimator)
        callbacks = [*(classifier.skorch_callbacks or ()), snapshots]
        classifier.set_params(skorch_callbacks=callbacks).fit(X, y, **fit_params)
        kept = [] if classifier.net_ is None else classifier.net_.callbacks_
        states = [each.snapshots_ for _, each in kept if isinstance(each, Snapshots)][-1:]
        members = [classifier._with_weights(state) for state in (states[0] if states else [])]
        self.estimators_ = members or [classifier]
        return self

    def predict_proba(self, X):
        """Return the mean of the members' probabilities.

        Parameters
        ----------
        X : as for the classifier

        Returns
        -------
        ndarray of shape (n_items, n_classes), float64
        """
        check_is_fitted(self)
        return np.mean([member.predict_proba(X) for member in self.estimators_], axis=0)

    def predict(self, X):
        """Return the label with the highest mean probability.

        Parameters
        ----------
        X : as for the classifier

        Returns
        -------
        ndarray of shape (n_items,), or (n_items, n_classes) of 0 and 1
        """
        probabilities = self.predict_proba(X)
        return self.estimators_[0].task_.decide_probabilities(probabilities)

    @property
    def classes_(self):
        """The labels."""
        return self.estimators_[0].classes_

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags = self.estimator.__sklearn_tags__().input_tags
        tags.classifier_tags.multi_label = True
        return tags
