"""A fine-tuned network as a classifier: what it does once it is fitted."""

import numpy as np
from scipy.special import expit, logit, softmax
from sklearn.base import (
    BaseEstimator,
    ClassifierMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
)
from sklearn.utils.validation import check_is_fitted, column_or_1d

from .._support.progress import progress_bar
from ..cache import check_cache
from ..training import check_how, digests_of, resting_net, tta_views
from ._columns import check_items


class TunedClassifier(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, ClassifierMixin, BaseEstimator
):
    """Predictions and features of a network that ``fit``, of a subclass, has tuned.

    A fit leaves ``classes_``, ``backbone_``, ``head_``, ``net_`` and what they are served by; the
    parameters that predictions read are ``tta``, ``augment``, ``inference_batch_size``, ``cache``,
    ``n_jobs``, ``decode_error`` and ``verbose``.
    """

    def decision_function(self, X):
        """The scores of the classes: logits.

        Parameters
        ----------
        X : sequence of n_items paths, images, arrays or bytes, or a table of flattened images

        Returns
        -------
        ndarray of shape (n_items,) for two classes, else (n_items, n_classes), float64
            A row is NaN where ``decode_error`` let an image pass that cannot be decoded.
        """
        scores = self._scores(X)
        if len(self.classes_) == 2 and not self._multilabel:
            return scores[:, 1] - scores[:, 0]  # (n_items,)
        return scores  # (n_items, n_classes)

    def predict_proba(self, X):
        """The probabilities of the classes.

        Parameters
        ----------
        X : sequence of n_items paths, images, arrays or bytes, or a table of flattened images

        Returns
        -------
        ndarray of shape (n_items, n_classes), float64
            Rows sum to 1; of multi-label targets, each column is a probability of its own.  The row
            of an image that ``decode_error`` let pass without being decoded is NaN.
        """
        scores = self._scores(X)
        return expit(scores) if self._multilabel else softmax(scores, axis=1)

    def predict(self, X):
        """The most probable label of each item.

        Parameters
        ----------
        X : sequence of n_items paths, images, arrays or bytes, or a table of flattened images

        Returns
        -------
        ndarray of shape (n_items,), or (n_items, n_classes) of 0 and 1
            NaN, in an array of objects, where an image cannot be decoded.
        """
        scores = self._scores(X)
        bad = np.isnan(scores).any(axis=1)
        if self._multilabel:
            labels = (scores > 0).astype(int)
        else:
            labels = self.classes_[np.where(bad, 0, scores.argmax(axis=1))]
        if bad.any():
            labels = labels.astype(object)
            labels[bad] = np.nan
        return labels

    def score(self, X, y, sample_weight=None):
        """The share of items whose label is predicted; of several labels an item, of all of them.

        Parameters
        ----------
        X : sequence of n_items paths, images, arrays or bytes, or a table of flattened images
        y : array-like of shape (n_items,), or (n_items, n_classes) of 0 and 1
        sample_weight : array-like of shape (n_items,) or None, default=None

        Returns
        -------
        float in [0, 1]
            An image that ``decode_error`` let pass without being decoded counts as wrong.

        Raises
        ------
        ValueError
            If y is not of the shape of the predictions.
        """
        predicted, y = self.predict(X), np.asarray(y)
        if not self._multilabel:
            y = column_or_1d(y)
        if y.shape != predicted.shape:
            shape = predicted.shape
            raise ValueError(f"y must be of shape {shape}, a row for each item; got {y.shape}.")
        right = predicted == y
        return float(np.average(right if right.ndim == 1 else right.all(1), weights=sample_weight))

    def transform(self, X):
        """The features of the tuned network: what its head sees, before standardisation.

        Parameters
        ----------
        X : sequence of n_items paths, images, arrays or bytes, or a table of flattened images

        Returns
        -------
        ndarray of shape (n_items, n_features), float32
        """
        check_is_fitted(self, "backbone_")
        features = self._features(self._served[0], self._items(X))
        return features.astype(np.float32, copy=False)

    def _items(self, X):
        check_how(self)
        return self._check_items(self.backbone_.preset, X)

    def _check_items(self, preset, X, *, reset=False):
        return check_items(self, preset, X, reset=reset)

    def _features(self, served, items, views=None):
        told = views is not None and self.decode_error == "warn"  # by the items themselves
        decode_error = "ignore" if told else self.decode_error
        with progress_bar(len(items), type(self).__name__, self.verbose) as advance:
            return served.features(
                items,
                views=views,
                batch_size=self.inference_batch_size,
                cache=check_cache(self.cache),
                n_jobs=self.n_jobs,
                decode_error=decode_error,
                progress=advance,
            )

    def _scores(self, X):
        """Logits, (n_items, n_classes); of several members, of their mean probabilities."""
        check_is_fitted(self, "backbone_")
        items = self._items(X)
        scores = [self._member_scores(served, items) for served in self._served]
        if len(scores) == 1:
            return scores[0]
        if self._multilabel:
            return logit(np.mean([expit(s) for s in scores], axis=0))
        return np.log(np.mean([softmax(s, axis=1) for s in scores], axis=0))

    def _member_scores(self, served, items):
        """Logits of one member: of the items, and of random views of them where that is asked."""
        scores = served.scores(self._features(served, items))
        if not self.tta:
            return scores
        views = tta_views(self.augment, self.tta)
        seen = views.items(items, digests_of(items, check_cache(self.cache)))
        drawn = served.scores(self._features(served, seen, views.preset(self.backbone_.preset)))
        drawn = drawn.reshape(len(items), self.tta, -1).sum(axis=1)
        return (scores + drawn) / (1 + self.tta)

    @property
    def _n_features_out(self):
        check_is_fitted(self, "backbone_")
        return len(self._served[0].tail.mean)

    def __getstate__(self):
        state = super().__getstate__()
        if "backbone_" in state:
            # one copy of the weights: the net is made again around the tail
            state = {k: v for k, v in state.items() if k not in ("net_", "backbone_", "head_")}
            state["_phase"] = None if self.net_ is None else self.net_.phase
        return state

    def __setstate__(self, state):
        state = dict(state)
        phase = state.pop("_phase", None)
        super().__setstate__(state)
        if "_served" not in state:
            return
        tail = self._served[0].tail
        self.backbone_, self.head_ = tail.backbone, tail.head
        self.net_ = None if phase is None else resting_net(tail, phase)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.input_tags.string = True
        tags.classifier_tags.multi_label = True
        tags.transformer_tags.preserves_dtype = ["float32"]  # always float32
        return tags
