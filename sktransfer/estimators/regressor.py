"""Fine-tune a pretrained network as a scikit-learn regressor."""

from sklearn.base import RegressorMixin

from ..tasks import Points, find_points, find_regression
from ..training import REGRESSION_PARAMETERS, Predictor
from ._base import FineTuneEstimator
from ._callbacks import with_callbacks
from ._docstrings import share_entries
from .classifier import FineTuneClassifier


@share_entries(FineTuneClassifier, without=("classes_",))
class FineTuneRegressor(RegressorMixin, FineTuneEstimator):
    """Predict numbers for images or texts, or points in images, with a fine-tuned network.

    ``fit`` has the steps of :class:`FineTuneClassifier`.  The numbers are standardised inside, so
    their units do not matter: the losses in ``history_`` are those of numbers with mean 0 and
    standard deviation 1, and the validation score is 1 minus their mean squared error.

    Parameters
    ----------
    head_init : {"auto", "ridge", "prior"} or estimator, default="auto"
        The initial weights of the head.

        - "ridge" uses the coefficients of ``Ridge(alpha=1000)``, fitted to the standardised
          features of the frozen network and to the standardised numbers, whatever the ``loss``.
        - An unfitted linear regressor of scikit-learn, such as ``RidgeCV()``, is used in the same
          way.  Its ``fit`` must accept ``sample_weight``.
        - "prior" makes the head predict the constant with the lowest loss, such as the mean.
        - "auto" means "ridge" for a linear head on a pretrained network, and "prior" otherwise.

        A head other than a linear one must start from "prior".
    augment : None, {"auto", "light", "standard", "trivial"}, Views or callable, default="auto"
        Random changes of the images in the second phase of training; see
        :class:`FineTuneClassifier`.  "auto" means None: a number may depend on the position or the
        size of what an image shows, and would be wrong for an image that was moved.  Pass one if
        it does not.  Points follow the pixels, except those of a callable, which is refused.
    tta : int, default=0
        Number of random variants of each image for test-time augmentation.  A prediction is the
        mean over the variants and the image itself.  The variants are those of ``augment``, which
        must be passed.  With 0, only the image itself is used.  Must be 0 for points.
    freeze_epochs : int or "auto", default="auto"
        Number of epochs of the first phase, in which only the head trains.  "auto" means 3 if the
        network is pretrained and the head starts from "prior", and 0 otherwise.
    loss : {"squared_error", "absolute_error", "huber"}, default="squared_error"
        The loss of a standardised number.  "huber" is half of the squared error up to one standard
        deviation of y, and grows linearly beyond, so that outliers count less.  With several
        columns of y, the loss of an item is the mean over them.
    points : bool, default=False
        If True, y holds positions of points in the images.  A head on the mean over all positions
        cannot tell where something is: use ``pooling="flatten"``, and for a frozen network a
        factory as ``backbone`` that returns a chain without its last stage (``truncate``).
        ``preset={"crop": None}`` shows the whole image to the network, and not only the centre.
    flip_pairs : sequence of pairs of int or None, default=None
        The points that a horizontal flip exchanges, such as ``[(0, 1)]`` for the left and the right
        eye.  With None, augmentation flips no image; if a flip exchanges no points, pass ``[]``.
        Only for points.
    validation_fraction : float in (0, 1), default=0.1
        Fraction of the training data to hold out if ``early_stopping`` is True.  The split is
        stratified by up to ten quantiles of y if y is a single column, and keeps the items of a
        group together, without strata.

    Attributes
    ----------
    task_ : Task
        The kind of target, with its loss and the mean and scale of y: ``Regression`` or ``Points``.
    module_ : torch.nn.Module
        The whole network, to deploy, export or explain: it takes a batch of inputs as the preset
        makes them, and returns standardised numbers of shape (n, n_outputs).  A prediction is
        ``module_(x) * task_.scale + task_.mean``.  A copy in evaluation mode, on the CPU, in which
        all parameters require gradients.
    net_ : skorch.NeuralNet or None
        The skorch net of the last phase.  None if no phase trained.  Its ``predict`` takes inputs
        of the network, as the preset makes them.

    See Also
    --------
    FineTuneClassifier : Predict labels; describes the steps of a fit.
    PretrainedFeatureExtractor : Features of a frozen network, for a pipeline.
    find_lr : The learning-rate range test.

    Notes
    -----
    **Points** are pairs (x, y) in pixels of an item as Pillow opens it, before its EXIF orientation
    is applied.  They count to the right and downwards; (0, 0) is the centre of the top left pixel.
    The places of all items are found by decoding them once more, without resizing.

    References
    ----------
    .. [3] J. Howard and S. Ruder, "Universal Language Model Fine-tuning for Text Classification",
       ACL 2018, https://arxiv.org/abs/1801.06146
    .. [4] M. Wortsman, G. Ilharco, J. W. Kim et al., "Robust fine-tuning of zero-shot models",
       CVPR 2022, https://arxiv.org/abs/2109.01903

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sktransfer import FineTuneRegressor
    >>> X, _ = load_digits(return_X_y=True)  # rows of 64 values, images of 8 x 8
    >>> y = X.sum(axis=1)  # the amount of ink
    >>> model = FineTuneRegressor(image_size=32, max_epochs=2, random_state=0)
    >>> round(model.fit(X[:200], y[:200]).score(X[200:300], y[200:300]), 1)
    0.7
    """

    _declared = REGRESSION_PARAMETERS
    _augments = False

    def __init__(
        self,
        backbone="builtin/mini",
        *,
        weights="default",
        unfreeze="auto",
        head="linear",
        head_init="auto",
        pooling="auto",
        dropout=0.0,
        freeze_bn="auto",
        augment="auto",
        tta=0,
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
        loss="squared_error",
        points=False,
        flip_pairs=None,
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
        self.unfreeze = unfreeze
        self.head = head
        self.head_init = head_init
        self.pooling = pooling
        self.dropout = dropout
        self.freeze_bn = freeze_bn
        self.augment = augment
        self.tta = tta
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
        self.loss = loss
        self.points = points
        self.flip_pairs = flip_pairs
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

    @with_callbacks
    def fit(self, X, y, sample_weight=None, groups=None, X_val=None, y_val=None):
        """Fine-tune the network to items and their numbers.

        Parameters
        ----------
        X : sequence of n_items paths, images, arrays, bytes or texts, or a table of images
            The training items.
        y : array-like of shape (n_items,) or (n_items, n_outputs)
            The numbers of the items, finite and not missing.  With ``points=True``, an array of
            shape (n_items, n_points, 2) or (n_items, 2 * n_points) with the positions (x, y) of
            points; NaN if a point is not visible.  The columns of a DataFrame are known by their
            names (``task_.names``), in any order in later calls.
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
            If a parameter, an item or a number is invalid; the message names it.
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
        """Predict the number, or numbers, of each item.

        Parameters
        ----------
        X : sequence of n_items paths, images, arrays, bytes or texts, or a table of images

        Returns
        -------
        ndarray of shape (n_items,) or (n_items, n_outputs), float64
            In the shape and units of the y of ``fit``; points in pixels of the items.  NaN for an
            item that cannot be decoded, unless ``decode_error="raise"``.
        """
        if isinstance(getattr(self, "task_", None), Points):
            self._check_variants()
            return self._run(X, Predictor.points, tta=0, augment=None)
        return self.task_.decide(self._outputs(X))

    def score(self, X, y, sample_weight=None):
        """Return the coefficient of determination, R2, of the predictions for ``X``.

        Parameters
        ----------
        X : sequence of n_items paths, images, arrays, bytes or texts, or a table of images
        y : array-like of shape (n_items,) or (n_items, n_outputs)
            The true numbers.
        sample_weight : array-like of shape (n_items,) or None, default=None
            Weight of each item.  None means 1 for each.

        Returns
        -------
        float
            At most 1; 0 for the mean of ``y``.  With several columns, the mean over them.  Points
            that are not visible do not count.

        Raises
        ------
        ValueError
            If ``y`` is not numbers or has another shape than the predictions, or if an item cannot
            be decoded.
        """
        return self.task_.score(self.predict(X), y, sample_weight)

    def score_columns(self, X, y, sample_weight=None):
        """Return R2 of each column of ``y``.

        Parameters
        ----------
        X, y : as for ``score``
        sample_weight : array-like of shape (n_items,) or None, default=None

        Returns
        -------
        ndarray of shape (n_outputs,)
        """
        return self.task_.score_columns(self.predict(X), y, sample_weight)

    def _outputs(self, X):
        self._check_variants()
        return super()._outputs(X)

    def _find_task(self, y, n_items):
        """Return ``Regression`` or ``Points``."""
        self._check_variants()
        if self.points:
            return find_points(y, n_items, type(self).__name__, self.loss, self.flip_pairs)
        return find_regression(y, n_items, type(self).__name__, self.loss)

    def _check_variants(self):
        """Raise an error if test-time augmentation would choose an augmentation by itself."""
        if self.points and self.tta:
            raise ValueError(f"tta must be 0 if points is True; got {self.tta!r}.")
        if self.flip_pairs is not None and not self.points:
            raise ValueError(
                f"flip_pairs must be None if points is False; got {self.flip_pairs!r}."
            )
        if self.tta and self.augment in (None, "auto"):
            raise ValueError(
                f"tta must be 0 if augment is {self.augment!r}, because numbers may depend on the "
                f"position of pixels; got {self.tta!r}. If they do not, pass augment='light'."
            )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
