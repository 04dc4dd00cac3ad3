"""Standardise the features of each domain, and train on confident predictions for the target."""

from numbers import Real
from typing import ClassVar

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, clone
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from .._support.validation import check_int, check_range
from .._support.warn import warn_user
from ._domains import Domains

UNLABELLED = -1


class DomainSelfTrainingClassifier(ClassifierMixin, MetaEstimatorMixin, BaseEstimator):
    """Classify features of a new domain with labels of another one.

    ``fit`` takes the labelled items of the source and the unlabelled items of the target.  First,
    the features of each domain are standardised by their own mean and standard deviation.  Second,
    a classifier is fitted to the source.  Third, as in scikit-learn's ``SelfTrainingClassifier``,
    its most confident predictions for the target become labels, and it is fitted again: to more
    and more of the target, of each class at most its share in the source [1]_.

    This assumes that the target holds the classes in about the same shares as the source.  If it
    holds few of them, this gains little, or makes predictions worse.  ``fit`` warns if that seems
    to be so, but it does not notice all such cases.

    Parameters
    ----------
    estimator : classifier or None, default=None
        The classifier, which must have ``predict_proba``.  None means
        ``LogisticRegression(C=0.01, max_iter=1000)``.
    max_iter : int, default=10
        Number of times that the classifier is fitted to the source and to a part of the target.
        The part of each class grows in equal steps, up to its share in the source; less confident
        items stay without a label.  With 0, the features of each domain are only standardised.
    max_share_distance : float in [0, 1], default=0.2
        ``fit`` warns if the shares of the classes that the source model predicts for the target,
        before adaptation, differ by more than this from those of the source, as total variation
        distance.  1 never warns.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The sorted labels.
    estimator_ : classifier
        The classifier of the last iteration; it takes standardised features.
    scalers_ : dict
        For each domain, the ``StandardScaler`` of its features.  If ``sample_domain`` was not
        passed, the domains are "source" and "target".
    target_domains_ : list
        The domains that have unlabelled items.
    transduction_ : ndarray of shape (n_items,)
        The labels of the last fit: those that were passed, and -1 or a prediction for the others.
    share_distance_ : float
        The distance that ``max_share_distance`` limits; 0 if all items are labelled.
    n_iter_ : int
        Number of times that the classifier was fitted.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of str
        Names of the features.  Only if X was a DataFrame.

    See Also
    --------
    PretrainedFeatureExtractor : Features with ``batch_norm="data"``, on which this works best.
    domain_shift : Test if two sets of items come from different domains.
    sklearn.semi_supervised.SelfTrainingClassifier : Self-training within one domain.

    Notes
    -----
    In a pipeline, scikit-learn's metadata routing passes ``sample_domain`` to this estimator, and
    to :class:`PretrainedFeatureExtractor`, if ``sklearn.set_config(enable_metadata_routing=True)``
    is called.  Without it, labelled items are the source and unlabelled items the target.

    Score a search on labelled items of the target, because an item with the label -1 counts as
    wrong.  The splitters of a search stratify by y, so labels that are strings need another ``cv``,
    such as ``KFold(5, shuffle=True)``, or integers in their place.

    References
    ----------
    .. [1] Y. Zou, Z. Yu, B. V. K. Vijaya Kumar and J. Wang, "Unsupervised Domain Adaptation for
       Semantic Segmentation via Class-Balanced Self-Training", ECCV 2018,
       https://arxiv.org/abs/1810.07911

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from sktransfer import DomainSelfTrainingClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> X_target = 3 - 0.5 * X[::2] + X[::2] ** 2 / 9  # another domain
    >>> labels = np.concatenate([y[1::2], np.full(75, -1)])  # -1 is not labelled
    >>> model = DomainSelfTrainingClassifier(max_share_distance=1)
    >>> model = model.fit(np.concatenate([X[1::2], X_target]), labels)
    >>> model.predict(X_target).shape
    (75,)
    """

    # Metadata routing passes the domains without a call of set_fit_request.
    __metadata_request__fit: ClassVar = {"sample_domain": True}
    __metadata_request__predict: ClassVar = {"sample_domain": True}
    __metadata_request__predict_proba: ClassVar = {"sample_domain": True}
    __metadata_request__score: ClassVar = {"sample_domain": True}

    def __init__(self, estimator=None, *, max_iter=10, max_share_distance=0.2):
        self.estimator = estimator
        self.max_iter = max_iter
        self.max_share_distance = max_share_distance

    def fit(self, X, y, sample_domain=None):
        """Fit the classifier to labelled and unlabelled items.

        Parameters
        ----------
        X : array-like of shape (n_items, n_features)
            The features of all domains.
        y : array-like of shape (n_items,)
            The labels; -1 for an item without a label.  If labels are strings, this is a list, or
            an array of dtype object.
        sample_domain : array-like of shape (n_items,) or None, default=None
            The domain of each item, an integer or a string.  None means that all labelled items
            are one domain, and all unlabelled items another one.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If fewer than two classes have labels, -1 has become a string, or ``estimator`` has no
            ``predict_proba``.
        """
        check_int("max_iter", self.max_iter, 0)
        check_range("max_share_distance", self.max_share_distance, "[0, 1]")
        estimator = self._make_estimator()
        y = _as_labels(y)
        X, y = validate_data(self, X, y, dtype=[np.float64, np.float32], ensure_min_samples=2)
        labelled = ~_find_unlabelled(y)
        labels = _check_labels(y[labelled])
        domains = Domains.of(sample_domain, len(X))
        if sample_domain is None:
            domains = Domains(["source", "target"][: 2 - labelled.all()], np.where(labelled, 0, 1))
        scalers = {name: StandardScaler().fit(X[rows]) for name, rows in domains.parts()}
        distance = self._compare_shares(estimator, X, labels, labelled)
        scaled = _scale(scalers, domains, X)
        model = clone(estimator).fit(scaled[labelled], labels)
        final = y.copy()
        if not labelled.all():
            model, final[~labelled] = self._train(model, scaled, labels, labelled)
        if distance > self.max_share_distance:
            warn_user(
                "The target seems to hold other classes than the source: the class shares that the "
                f"source predicts for it differ by {distance:.2f} from those of the source, more "
                f"than max_share_distance={self.max_share_distance}. If it holds few of the "
                "classes, adaptation may make predictions worse: compare them on some labelled "
                "items of the target."
            )
        self.classes_ = model.classes_
        self.estimator_ = model
        self.scalers_ = scalers
        self.target_domains_ = [n for n, rows in domains.parts() if not labelled[rows].all()]
        self.transduction_ = final
        self.share_distance_ = distance
        self.n_iter_ = 1 if labelled.all() else 1 + self.max_iter
        return self

    def _make_estimator(self):
        """Return the classifier that is fitted in each iteration."""
        if self.estimator is None:
            return LogisticRegression(C=0.01, max_iter=1000)
        if not hasattr(self.estimator, "predict_proba"):
            raise ValueError(
                "estimator must have predict_proba, whose maximum is the confidence of a "
                f"prediction; got {self.estimator!r}."
            )
        return clone(self.estimator)

    def _compare_shares(self, estimator, X, labels, labelled):
        """Return how far the shares of the classes predicted for the target are from the source."""
        if labelled.all():
            return 0.0
        model = make_pipeline(StandardScaler(), estimator).fit(X[labelled], labels)
        source, target = (
            (model.classes_ == values[:, None]).mean(axis=0)
            for values in (labels, model.predict(X[~labelled]))
        )
        return float(np.abs(source - target).sum() / 2)

    def _train(self, model, scaled, labels, labelled):
        """Fit the classifier to the source and to more and more of the target.

        Returns the last model, and the labels of the target that it was fitted to; -1 for the
        items that were not confident enough.
        """
        target = scaled[~labelled]
        shares = (model.classes_ == labels[:, None]).mean(axis=0)
        chosen = np.full(len(target), -1)
        for step in range(1, self.max_iter + 1):
            chosen = _choose(model.predict_proba(target), shares, step / self.max_iter)
            kept = chosen >= 0
            model = clone(model).fit(
                np.concatenate([scaled[labelled], target[kept]]),
                np.concatenate([labels, model.classes_[chosen[kept]]]),
            )
        found = np.full(len(target), UNLABELLED, dtype=object)
        found[chosen >= 0] = model.classes_[chosen[chosen >= 0]]
        return model, found

    def predict(self, X, sample_domain=None):
        """Predict the class of each item.

        Parameters
        ----------
        X : array-like of shape (n_items, n_features)
        sample_domain : array-like of shape (n_items,) or None, default=None
            The domain of each item, one of those in ``fit``.  None means the target.

        Returns
        -------
        ndarray of shape (n_items,)

        Raises
        ------
        ValueError
            If a domain was not seen in ``fit``, or if there are several targets and
            ``sample_domain`` is None.
        """
        scaled = self._scale(X, sample_domain)
        return self.estimator_.predict(scaled)

    def predict_proba(self, X, sample_domain=None):
        """Return the probabilities of the classes.

        Parameters
        ----------
        X : array-like of shape (n_items, n_features)
        sample_domain : array-like of shape (n_items,) or None, default=None
            As for ``predict``.

        Returns
        -------
        ndarray of shape (n_items, n_classes)
        """
        scaled = self._scale(X, sample_domain)
        return self.estimator_.predict_proba(scaled)

    def score(self, X, y, sample_weight=None, sample_domain=None):
        """Return the accuracy of the predictions for ``X``.

        Parameters
        ----------
        X : array-like of shape (n_items, n_features)
        y : array-like of shape (n_items,)
            The true labels.
        sample_weight : array-like of shape (n_items,) or None, default=None
            Weight of each item in the mean.  None means 1 for each.
        sample_domain : array-like of shape (n_items,) or None, default=None
            As for ``predict``.

        Returns
        -------
        float in [0, 1]
        """
        predicted = self.predict(X, sample_domain=sample_domain)
        return accuracy_score(y, predicted, sample_weight=sample_weight)

    def _scale(self, X, sample_domain):
        """Check ``X``, and standardise its rows by their domains."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        domains = Domains.of(sample_domain, len(X))
        if sample_domain is None:
            names = self.target_domains_ or list(self.scalers_)
            if len(names) > 1:
                raise ValueError(
                    "sample_domain must be passed, because there are several targets: "
                    f"{', '.join(map(repr, names))}; got None."
                )
            domains = Domains(names, domains.codes)
        domains.check_known(self.scalers_)
        return _scale(self.scalers_, domains, X)


def _as_labels(y):
    """Return labels as they were passed; a list of strings and -1 becomes an array of objects."""
    if isinstance(y, (list, tuple)) and any(isinstance(label, str) for label in y):
        labels = np.empty(len(y), dtype=object)
        labels[:] = y
        y = labels
    values = np.asarray([] if y is None else y, dtype=object).ravel()
    if any(isinstance(label, str) and label == str(UNLABELLED) for label in values):
        raise ValueError(
            "y must have the number -1 for an item without a label; got the string '-1'. If labels "
            "are strings, pass a list, or an array of dtype object before -1 is set."
        )
    if any(label is None for label in values):
        raise ValueError("y must have -1 for an item without a label; got None.")
    return y


def _find_unlabelled(y):
    """Return a mask of the items whose label is -1."""
    if y.dtype.kind == "O":
        is_minus = [isinstance(label, Real) and label == UNLABELLED for label in y]
        return np.array(is_minus, dtype=bool)
    return y == UNLABELLED if y.dtype.kind in "if" else np.zeros(len(y), dtype=bool)


def _check_labels(labels):
    """Return the labels as an array of one type; raise an error if they are not two classes."""
    if len({isinstance(label, str) for label in labels.tolist()}) > 1:
        raise ValueError("y must have labels of one kind, besides -1; got strings and numbers.")
    labels = np.array(labels.tolist()) if labels.dtype.kind == "O" else labels
    check_classification_targets(labels)
    if len(np.unique(labels)) < 2:
        raise ValueError(
            "y must have labels of at least two classes, besides -1 for items without a label; got "
            f"{len(np.unique(labels))} class."
        )
    return labels


def _scale(scalers, domains, X):
    """Return the rows, each standardised by the scaler of its domain."""
    scaled = np.empty_like(X)
    for name, rows in domains.parts():
        if len(rows):
            scaled[rows] = scalers[name].transform(X[rows])
    return scaled


def _choose(probabilities, shares, part):
    """Return the predicted class of the most confident items of each class; -1 for the others.

    Parameters
    ----------
    probabilities : ndarray of shape (n, n_classes)
    shares : ndarray of shape (n_classes,)
        The shares of the classes among the items.
    part : float in (0, 1]
        The part of the items to choose.
    """
    predicted, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    chosen = np.full(len(predicted), -1)
    for code, share in enumerate(shares):
        rows = np.flatnonzero(predicted == code)
        n = int(np.ceil(part * share * len(predicted)))
        best = rows[np.argsort(-confidence[rows], kind="stable")[:n]]
        chosen[best] = code
    return chosen
