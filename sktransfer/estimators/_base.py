"""The base class of the estimators that fine-tune a pretrained network.

The steps of a fit::

    fit(X, y)           the public method of the subclass
    _fit                runs the steps below, and assigns their result
    |   _request        checks the parameters, and collects the arguments of ``fit``
    |   plan_fit        loads the network, checks the data, runs the frozen stages, builds the head
    |   run_fit         trains the head, then the last stages
    v
    _fitted             the result, from which all attributes that end in ``_`` are read

The functions are in :mod:`sktransfer.training`, and take no estimator.
"""

from copy import deepcopy
from functools import partial

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from .._support.progress import progress_bar
from .._support.validation import check_choice
from ..cache import check_cache
from ..training import (
    PARAMETERS,
    RUNNING,
    FeatureFit,
    Fitted,
    Predictor,
    Request,
    check_parameters,
    check_validation,
    copy_callbacks,
    find_augmentation,
    plan_fit,
    remove_checkpoint,
    run_fit,
)
from ._callbacks import report_fit
from ._columns import check_items, get_columns, set_fitted
from ._pretrained import PretrainedEstimator


class TunedNetwork(PretrainedEstimator):
    """Base class of the estimators whose fit trains a pretrained network.

    A subclass has the parameters that ``_declared`` declares.

    A fit assigns its result to one attribute, ``_fitted``, as its last step.  If it fails, the
    result of the last fit stays in place.  The public attributes that end in ``_`` are properties
    that read it.
    """

    _result = Fitted
    _declared = PARAMETERS
    # False if the targets may depend on the position of pixels.
    _augments = True
    # The steps of a plan that depend on the input of the head.
    _fit_kind = FeatureFit

    def _plan(self, request):
        """Return a context manager that yields the plan of a fit."""
        return plan_fit(request, self._fit_kind)

    def _find_task(self, y, n_items):
        """Return the task of ``y``, which defines the loss and the predictions.

        Parameters
        ----------
        y : array-like of n_items targets, or None
        n_items : int

        Returns
        -------
        Task
        """
        raise NotImplementedError

    def _fit(self, X, y, **others):
        """Fine-tune the network; if an error is raised, the last fit stays in place.

        Ctrl-C during training ends the fit early, with a warning.

        Parameters
        ----------
        X, y : as for ``fit``
        **others : dict
            The other arguments of ``fit``, by their names in :class:`sktransfer.training.Request`.
        """
        unfitted, request = self._request(X, y, **others)
        check_validation(self.skorch_callbacks, self.early_stopping or request.X_val is not None)
        with self._plan(request) as plan:
            with (
                report_fit(self, plan.n_epochs, X, y, "epoch") as step,
                progress_bar(plan.n_steps, type(self).__name__, self.verbose, "step") as advance,
            ):

                def report_epoch(net):
                    attributes = partial(_describe_so_far, plan, net)
                    return step(X=X, y=y, reconstruction_attributes=attributes)

                fitted = run_fit(plan, report_epoch, advance)
            set_fitted(self, get_columns(unfitted), fitted)
            remove_checkpoint(plan, fitted)
        return self

    def _request(self, X, y=None, **others):
        """Check the parameters, and collect the arguments of a fit.

        The items of ``X`` are checked later, as soon as the network is loaded and its preset is
        known.  This records their columns.  An unfitted copy of the estimator records them, so
        that an error leaves the estimator unchanged.

        Returns
        -------
        unfitted : TunedNetwork
            The copy that records the columns.
        request : Request
            The argument of ``plan_fit``.
        """
        parameters = self.get_params(deep=False)
        check_parameters(parameters, self._declared)
        unfitted = self._make_unfitted()
        return unfitted, Request(
            parameters=parameters,
            task=self._find_task,
            check_items=partial(check_items, unfitted),
            X=X,
            y=y,
            watched=bool(getattr(self, "_skl_callbacks", ())),
            augments=self._augments,
            **others,
        )

    def transform(self, X):
        """Return the features of the fine-tuned network, which are the input of its head.

        Parameters
        ----------
        X : sequence of n_items paths, images, arrays, bytes or texts, or a table of images

        Returns
        -------
        ndarray of shape (n_items, n_features), float32
            Features before they are standardised.  The row of an item that cannot be decoded is
            NaN, unless ``decode_error="raise"``.
        """
        features = self._run(X, Predictor.features)
        return features.astype(np.float32, copy=False)

    def _bind(self, X, method):
        """Check ``X``; return a method bound to its items, and their number.

        The method is one of :class:`sktransfer.training.Predictor`.
        """
        check_is_fitted(self)
        check_parameters(self.get_params(deep=False), RUNNING)
        items = check_items(self, self.backbone_.preset, X)
        bound = partial(
            method,
            self._fitted.predictor,
            items,
            batch_size=self.inference_batch_size,
            engine=self.engine,
            cache=check_cache(self.cache),
            n_jobs=self.n_jobs,
            decode_error=self.decode_error,
        )
        return bound, len(items)

    def _run(self, X, method, **how):
        """Check ``X``, and call a method of the predictor on its items, with a progress bar."""
        bound, n_items = self._bind(X, method)
        with progress_bar(n_items, type(self).__name__, self.verbose) as advance:
            return bound(progress=advance, **how)

    # Attributes of a fit

    @property
    def task_(self):
        """The kind of target, with its loss and its decision."""
        return self._fitted.task

    @property
    def backbone_(self):
        """The fine-tuned network, with all stages frozen."""
        return self._fitted.tail.backbone

    @property
    def head_(self):
        """The trained head."""
        return self._fitted.tail.head

    @property
    def module_(self):
        """The whole network, from inputs as the preset makes them to outputs."""
        return self._fitted.module

    @property
    def net_(self):
        """The skorch net of the last phase; None if no phase trained."""
        return self._fitted.net

    @property
    def history_(self):
        """A list with one dict for each epoch."""
        return self._fitted.history

    @property
    def report_(self):
        """A list with one dict for each stage."""
        return self._fitted.report

    @property
    def n_iter_(self):
        """The number of trained epochs."""
        return len(self._fitted.history)

    @property
    def best_epoch_(self):
        """The epoch whose weights were kept; None if there was no validation data."""
        return self._fitted.best_epoch

    @property
    def skipped_(self):
        """The positions of the items of X that were left out."""
        return self._fitted.skipped

    @property
    def _n_features_out(self):
        return self._fitted.predictor.n_features

    def __sklearn_clone__(self):
        # scikit-learn would copy what the callbacks hold, or fail if it cannot be copied.
        callbacks = self.skorch_callbacks
        if callbacks is None:
            return super().__sklearn_clone__()
        bare = object.__new__(type(self))
        bare.__dict__.update(vars(self) | {"skorch_callbacks": None})
        cloned = super(TunedNetwork, bare).__sklearn_clone__()
        return cloned.set_params(skorch_callbacks=copy_callbacks(callbacks))


class FineTuneEstimator(TunedNetwork):
    """Base class of the estimators that fine-tune a pretrained network to targets.

    A subclass defines ``_find_task``.  It computes its predictions from the outputs of the network
    (``_outputs``).
    """

    def get_augmentation(self, X):
        """Return the preset and the augmentation that ``fit`` uses for ``X``.

        Parameters
        ----------
        X : sequence of n_items paths, images, arrays, bytes or texts, or a table of images

        Returns
        -------
        preset : Preset
            The preprocessing of the items.
        augment : None, str, Views or callable
            The parameter ``augment``, with "auto" replaced by its meaning for ``X``.
        """
        _, request = self._request(X)
        return find_augmentation(request, self._fit_kind)

    def predict(self, X):
        """Predict the target of each item.

        Parameters
        ----------
        X : sequence of n_items paths, images, arrays, bytes or texts, or a table of images

        Returns
        -------
        ndarray of shape (n_items,) or (n_items, n_outputs)
            If items cannot be decoded, their predictions are NaN, and the array has dtype object,
            unless ``decode_error="raise"``.
        """
        outputs = self._outputs(X)
        return decide_rows(self.task_.decide, outputs)

    def adapt(self, X_target, stages="tail"):
        """Return a copy of this model whose batch norm has the statistics of other images.

        No labels are needed, and no weight changes.  This helps if ``X_target`` comes from another
        domain than the training data, and most if the model was fitted with ``freeze_bn="own"``,
        so that each domain has statistics of its own.  It gains little, or makes predictions worse,
        if ``X_target`` holds few of the classes, or fewer than about 30 images: then compare both
        models on labelled images.

        Parameters
        ----------
        X_target : sequence of n_items paths, images, arrays or bytes, or a table of images
            Images of the domain in which the model will predict.
        stages : {"tail", "all"}, default="tail"
            The stages that get the statistics of ``X_target``.  "tail" means those that
            ``unfreeze`` selected; the output of the others stays in the cache.  "all" means the
            whole network.

        Returns
        -------
        estimator
            A fitted estimator of the same class, whose ``net_`` is None.

        Raises
        ------
        ValueError
            If these stages have no batch norm.
        DecodeError
            If an item cannot be decoded and ``decode_error="raise"``; otherwise it is left out.

        Examples
        --------
        >>> from sktransfer import FineTuneClassifier, load_textures
        >>> train = load_textures("train", n_per_class=4)
        >>> model = FineTuneClassifier(freeze_bn="own", max_epochs=0).fit(train.data, train.labels)
        >>> dark = [image // 4 for image in train.data]
        >>> bool(model.adapt(dark).score(dark, train.labels) > model.score(dark, train.labels))
        True
        """
        check_is_fitted(self)
        check_choice("stages", stages, ("tail", "all"))
        statistics = self._run(
            X_target, Predictor.statistics, cut=self._fitted.tail.cut if stages == "tail" else 0
        )
        state = {f"backbone.{name}": torch.from_numpy(part) for name, part in statistics.items()}
        return self._with_weights(state)

    def _outputs(self, X):
        """Return the outputs of the network for ``X``, (n_items, n_outputs)."""
        return self._run(X, Predictor.outputs, tta=self.tta, augment=self.augment)

    def _with_weights(self, state):
        """Return a fitted copy of this estimator whose network has other weights.

        Parameters
        ----------
        state : dict of str to Tensor
            Weights of the network and of the head, such as a snapshot.  Weights that it lacks stay
            as they are.  ``net_`` of the copy is None.
        """
        other = object.__new__(type(self))
        other.__dict__.update(vars(self))
        tail = deepcopy(self._fitted.tail)
        tail.load_state_dict(state, strict=False)
        parts = self._fitted.parts()[0] | {"phase": None, "best_epoch": None}
        for name in ("history", "report"):  # copies, which share what callbacks recorded
            parts[name] = type(parts[name])(map(dict, parts[name]))
        other._fitted = Fitted.from_parts(parts, tail)
        return other


def _describe_so_far(plan, net):
    """Return the attributes that the estimator would have if the fit stopped after this epoch."""
    return {"_fitted": Fitted.so_far(plan, net)}


def decide_rows(decide, values):
    """Return the predictions for rows of values; NaN, in an array of objects, for a row of NaN."""
    bad = np.isnan(values).any(axis=1)
    predicted = decide(np.where(bad[:, None], 0, values))
    if bad.any():
        predicted = predicted.astype(object)
        predicted[bad] = np.nan
    return predicted
