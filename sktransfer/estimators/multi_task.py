"""Fine-tune one network for several tasks, of which labels may be missing."""

from copy import copy

import numpy as np
from sklearn.utils.validation import check_is_fitted

from .._support.validation import did_you_mean, require
from ..tasks import LabelSets, MultiLabel, Regression, find_mixed, take_outputs
from ..training import MULTI_TASK_PARAMETERS
from ._base import FineTuneEstimator
from ._callbacks import with_callbacks
from ._docstrings import share_entries
from .classifier import FineTuneClassifier
from .regressor import FineTuneRegressor


@share_entries(FineTuneClassifier)
class FineTuneMultiTask(FineTuneEstimator):
    """Predict several things about each item with one fine-tuned network: numbers, classes, labels.

    ``y`` is a table with a column for each task, in which labels may be missing.  So data sets with
    different labels can be used together: concatenate them.  ``fit`` has the steps of
    :class:`FineTuneClassifier`; its loss is the mean of the losses of all tasks.

    What it saves is time: one pass through the network and one model in place of one for each task.
    Do not expect a higher accuracy.  Linear heads on frozen features are the same as alone, and on
    photos of seven classes and three domains, fine-tuning to both had the accuracy of two fits.

    Parameters
    ----------
    tasks : dict of str to {"number", "class", "labels"}, or None, default=None
        The kind of each column of y.  A column that is not named has the kind of its values: floats
        are numbers, lists and sets are labels, and all others are classes.  It must be given for a
        column of integers, which may be numbers or classes, and for whole numbers beside a missing
        label, which pandas turns into floats.
    task_weights : dict of str to float, or None, default=None
        The weight of the loss of each column, at least 0; 1 for those that are not named.  Each
        loss is divided by that of a constant prediction, so equal weights mean equal importance for
        an item with all labels, whatever the units and the number of classes.
    head_init : {"auto", "exact", "prior"}, default="auto"
        The initial weights of the head.

        - "exact" uses the coefficients of linear models on the features of the frozen network:
          logistic regression for classes and labels, and ridge regression for numbers.
        - "prior" makes the head predict the constants with the lowest loss.
        - "auto" means "exact" for a linear head on a pretrained network, and "prior" otherwise.
    augment : None, {"auto", "light", "standard", "trivial"}, Views or callable, default="auto"
        Random changes of the images in the second phase of training; see
        :class:`FineTuneClassifier`.  "auto" means None, because numbers may depend on the position
        or the size of what an image shows.  Pass "light" if yours do not.
    label_smoothing : float in [0, 1), default=0.0
        Fraction of the target of classes that is distributed over all classes.
    loss : {"squared_error", "absolute_error", "huber"}, default="squared_error"
        The loss of standardised numbers, as for :class:`FineTuneRegressor`.
    validation_fraction : float in (0, 1), default=0.1
        Fraction of the training data to hold out if ``early_stopping`` is True.  The split is
        stratified by the combination of all classes, or by those of one column, as far as there are
        enough items.

    Attributes
    ----------
    task_ : Mixed
        The tasks of all columns, with their losses.
    classes_ : dict of str to ndarray
        The sorted labels of each column of classes or labels.
    module_ : torch.nn.Module
        The whole network.  It returns the outputs of all columns side by side.  A copy in
        evaluation mode, on the CPU, in which all parameters require gradients.

    See Also
    --------
    FineTuneClassifier : Predict labels, also several columns of them.
    FineTuneRegressor : Predict numbers, also several columns of them.

    Notes
    -----
    It is neither a classifier nor a regressor for scikit-learn, which has no name for mixed
    targets.  It can be cloned and searched with a DataFrame as y; ``score`` is the mean over the
    tasks.  For metrics, displays and exports of one task, use the estimator that :meth:`task`
    returns.

    References
    ----------
    .. [3] J. Howard and S. Ruder, "Universal Language Model Fine-tuning for Text Classification",
       ACL 2018, https://arxiv.org/abs/1801.06146
    .. [4] M. Wortsman, G. Ilharco, J. W. Kim et al., "Robust fine-tuning of zero-shot models",
       CVPR 2022, https://arxiv.org/abs/2109.01903

    Examples
    --------
    >>> import numpy as np
    >>> from sktransfer import FineTuneMultiTask, load_textures
    >>> photos = load_textures(n_per_class=4)
    >>> light = photos.data.mean(axis=(1, 2, 3))
    >>> light[::3] = np.nan  # not measured
    >>> y = {"material": photos.labels, "light": light}
    >>> model = FineTuneMultiTask(image_size=32, max_epochs=1, random_state=0)
    >>> model.fit(photos.data, y).predict(photos.data[:2]).columns.tolist()
    ['material', 'light']
    >>> model.task("material").predict(photos.data[:1])
    array(['brick'], dtype='<U6')
    """

    _declared = MULTI_TASK_PARAMETERS
    _augments = False

    def __init__(
        self,
        backbone="builtin/mini",
        *,
        weights="default",
        tasks=None,
        task_weights=None,
        unfreeze="auto",
        head="linear",
        head_init="auto",
        pooling="auto",
        dropout=0.0,
        freeze_bn="auto",
        augment="auto",
        freeze_epochs="auto",
        max_epochs="auto",
        unfreeze_every=None,
        weight_interpolation="auto",
        lr=0.001,
        fine_tune_lr=0.0003,
        layer_decay="auto",
        lr_schedule="one_cycle",
        optimizer="adamw",
        weight_decay=0.01,
        label_smoothing=0.0,
        loss="squared_error",
        batch_size="auto",
        inference_batch_size="auto",
        early_stopping=False,
        validation_fraction=0.1,
        n_iter_no_change=5,
        tol=1e-4,
        image_size=None,
        image_shape=None,
        max_length=None,
        preset=None,
        cache=None,
        checkpoint=None,
        precision="float32",
        engine="auto",
        device="auto",
        n_jobs=None,
        decode_error="raise",
        skorch_callbacks=None,
        random_state=None,
        verbose=1,
    ):
        self.backbone = backbone
        self.weights = weights
        self.tasks = tasks
        self.task_weights = task_weights
        self.unfreeze = unfreeze
        self.head = head
        self.head_init = head_init
        self.pooling = pooling
        self.dropout = dropout
        self.freeze_bn = freeze_bn
        self.augment = augment
        self.freeze_epochs = freeze_epochs
        self.max_epochs = max_epochs
        self.unfreeze_every = unfreeze_every
        self.weight_interpolation = weight_interpolation
        self.lr = lr
        self.fine_tune_lr = fine_tune_lr
        self.layer_decay = layer_decay
        self.lr_schedule = lr_schedule
        self.optimizer = optimizer
        self.weight_decay = weight_decay
        self.label_smoothing = label_smoothing
        self.loss = loss
        self.batch_size = batch_size
        self.inference_batch_size = inference_batch_size
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.image_size = image_size
        self.image_shape = image_shape
        self.max_length = max_length
        self.preset = preset
        self.cache = cache
        self.checkpoint = checkpoint
        self.precision = precision
        self.engine = engine
        self.device = device
        self.n_jobs = n_jobs
        self.decode_error = decode_error
        self.skorch_callbacks = skorch_callbacks
        self.random_state = random_state
        self.verbose = verbose

    # Test-time augmentation of mixed targets would need an augmentation that suits all of them.
    tta = 0

    @with_callbacks
    def fit(self, X, y, sample_weight=None, groups=None, X_val=None, y_val=None):
        """Fine-tune the network to items and their labels.

        Parameters
        ----------
        X : sequence of n_items paths, images, arrays, bytes or texts, or a table of images
            The training items.
        y : DataFrame or dict of sequences, of n_items rows
            A column for each task: numbers, classes, or lists or sets of labels.  None, NaN and
            NA are missing labels; each item needs a label in at least one column.
        sample_weight : array-like of shape (n_items,) or None, default=None
            Weight of each item in the loss, at least 0.  None means 1 for each.
        groups : array-like of shape (n_items,) or None, default=None
            Items of one group stay together when ``early_stopping`` holds out a part of them.
        X_val, y_val : like X and y, or None, default=None
            Validation data.  If given, no training data is held out, and the weights of the epoch
            with the lowest validation loss are kept.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            If a parameter, an item or a label is invalid; the message names it.
        TrainingDivergedError
            If the training loss is not finite.
        FreezeError
            If a frozen stage changed, or a trainable stage got no gradient.
        OSError
            If the folder of ``cache`` cannot be created or read, or ``checkpoint`` is not a folder.
        """
        return self._fit(
            X,
            y,
            sample_weight=sample_weight,
            groups=groups,
            X_val=X_val,
            y_val=y_val,
        )

    def predict(self, X):
        """Predict all columns for each item.

        Parameters
        ----------
        X : sequence of n_items paths, images, arrays, bytes or texts, or a table of images

        Returns
        -------
        DataFrame of n_items rows
            A column for each task: numbers, classes, or tuples of labels.  The index is that of X,
            if X is of pandas.  The row of an item that cannot be decoded has no values, unless
            ``decode_error="raise"``.

        Raises
        ------
        ModuleNotFoundError
            If pandas is not installed; it comes with the extra ``cli``.
        """
        require("pandas", "cli")
        table = self._as_table(self.task_.decide(self._outputs(X)))
        return table.set_axis(X.index) if hasattr(X, "iloc") else table

    def _as_table(self, predicted):
        """Return predictions of shape (n_items, n_columns) as a DataFrame."""
        pd = require("pandas", "cli")
        columns = {
            name: list(predicted[:, place])
            if isinstance(task, LabelSets)
            else pd.Series(predicted[:, place]).infer_objects()
            for place, (name, task) in enumerate(
                zip(self.task_.names, self.task_.tasks, strict=True)
            )
        }
        return pd.DataFrame(columns)

    def predict_proba(self, X):
        """Return the probabilities of the classes of each column that has classes or labels.

        Parameters
        ----------
        X : sequence of n_items paths, images, arrays, bytes or texts, or a table of images

        Returns
        -------
        dict of str to ndarray of shape (n_items, n_classes), float64
            The columns are those of ``classes_``.
        """
        return self.task_.probabilities(self._outputs(X))

    def score(self, X, y, sample_weight=None):
        """Return the mean of the scores of all tasks; see :meth:`scores`.

        Parameters
        ----------
        X : sequence of n_items paths, images, arrays, bytes or texts, or a table of images
        y : DataFrame or dict of sequences, of n_items rows
        sample_weight : array-like of shape (n_items,) or None, default=None

        Returns
        -------
        float
        """
        return float(np.mean(list(self.scores(X, y, sample_weight).values())))

    def scores(self, X, y, sample_weight=None):
        """Return the score of each task, over the items that are labelled for it.

        Parameters
        ----------
        X : sequence of n_items paths, images, arrays, bytes or texts, or a table of images
        y : DataFrame or dict of sequences, of n_items rows
        sample_weight : array-like of shape (n_items,) or None, default=None
            Weight of each item.  None means 1 for each.

        Returns
        -------
        dict of str to float
            R2 of numbers, accuracy of classes, and the fraction of items whose labels are all
            predicted correctly.

        Raises
        ------
        ValueError
            If y lacks a column, or a column has no labels.
        """
        predicted = self.task_.decide(self._outputs(X))
        found = self.task_.score_columns(predicted, y, sample_weight)
        return dict(zip(self.task_.names, found.tolist(), strict=True))

    def task(self, name):
        """Return a fitted estimator of one task, which shares the network.

        Parameters
        ----------
        name : str
            A column of y.

        Returns
        -------
        FineTuneRegressor or FineTuneClassifier
            For labels, a multi-label classifier that predicts columns of 0 and 1 in the order of
            ``classes_[name]``.  Its ``net_`` is None, and its history is that of all tasks.

        Raises
        ------
        ValueError
            If there is no such column.
        """
        check_is_fitted(self)
        names = list(self.task_.names)
        if name not in names:
            raise ValueError(
                f"name must be a column of y, one of {', '.join(map(repr, names))}; got {name!r}."
                f"{did_you_mean(name, names)}"
            )
        place = names.index(name)
        task = self.task_.tasks[place]
        start = sum(each.n_outputs for each in self.task_.tasks[:place])
        tail = copy(self._fitted.tail)
        head = take_outputs(tail.head, start, start + task.n_outputs)
        tail._modules = {**tail._modules, "head": head}
        if isinstance(task, LabelSets):
            task = MultiLabel(task.n_outputs, names=tuple(map(str, task.labels)))
        kind = FineTuneRegressor if isinstance(task, Regression) else FineTuneClassifier
        parameters = {
            key: value
            for key, value in self.get_params(deep=False).items()
            if key in kind().get_params(deep=False) and key != "head_init"
        }
        model = kind(**parameters)
        model._set_parts(self._parts()[0] | {"task": task, "phase": None}, tail)
        return model

    @property
    def classes_(self):
        """The sorted labels of each column of classes or labels."""
        parts = zip(self.task_.names, self.task_.tasks, strict=True)
        return {name: task.classes for name, task in parts if not isinstance(task, Regression)}

    def _find_task(self, y, n_items):
        """Return ``Mixed``."""
        return find_mixed(
            y, n_items, tasks=self.tasks, task_weights=self.task_weights, loss=self.loss
        )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.target_tags.multi_output = True
        return tags
