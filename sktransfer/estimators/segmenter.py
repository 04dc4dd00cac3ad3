"""Fine-tune a pretrained network to predict a class for each pixel."""

from collections.abc import Iterable
from numbers import Integral

import numpy as np
from sklearn.utils.validation import check_is_fitted

from .._support.validation import first_ten
from ..data import check_masks
from ..tasks import find_segmentation
from ..training import SEGMENTATION_PARAMETERS, DensePredictor, MapFit
from ._base import FineTuneEstimator
from ._callbacks import with_callbacks
from ._docstrings import share_entries
from .classifier import FineTuneClassifier


@share_entries(FineTuneClassifier, without=("classes_",))
class FineTuneSegmenter(FineTuneEstimator):
    """Predict a class for each pixel of images with a pretrained network.

    A head combines the outputs of several stages to a map of classes.  By default, all stages are
    frozen: their outputs are computed once, and with ``cache`` they serve every head.

    Parameters
    ----------
    unfreeze : int, "all", str or "auto", default="auto"
        The stages that train in the second phase, as for :class:`FineTuneClassifier`.  "auto" means
        0 for a pretrained network, and "all" otherwise.
    head : {"linear", "fpn"} or callable, default="fpn"
        The head, which computes the scores of the classes from the outputs of ``stages``.

        - "linear" is one linear layer on all channels at the positions of the finest map.
        - "fpn" is :class:`FPNHead`, a feature pyramid network of 48 channels.
        - A callable takes the list of the numbers of channels and the number of classes, and
          returns a new ``torch.nn.Module`` of a list of maps; for example ``FPNHead(width=96)``.
    stages : sequence of str or None, default=None
        The stages whose outputs the head takes.  None means the last stage of each resolution, of
        the last four resolutions.  Stages after the last of them are dropped.
    augment : None, {"auto", "light", "standard", "trivial"} or Views, default="auto"
        Random changes of the images in the second phase of training, which masks follow; see
        :class:`FineTuneClassifier`.  "auto" means "light" if stages train, and None otherwise.
    freeze_epochs : int or "auto", default="auto"
        Number of epochs of the first phase, in which only the head trains.  "auto" means 3 if the
        network is pretrained and stages train, and 0 otherwise.
    lr : float or "auto", default=0.01
        Base learning rate of the head if no stage trains.
    fine_tune_lr : float or "auto", default=0.001
        Base learning rate of the head in the second phase if stages train.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes in the loss of a pixel, as for :class:`FineTuneClassifier`.
    ignore_label : int, sequence of int or None, default=255
        Values of pixels without a class.  They do not count in the loss and in the score.
    batch_size : int or "auto", default=4
        Number of items in a training step.
    preset : dict, preset or None, default=None
        Changes of the preprocessing that belongs to the weights.  None resizes the whole image to
        the square that the network sees, so that each pixel gets a class.

    Attributes
    ----------
    task_ : Task
        The kind of target, with its loss: ``Segmentation``.
    module_ : torch.nn.Module
        The whole network, to deploy, export or explain: it takes a batch of inputs as the preset
        makes them, and returns logits of shape (n, n_classes, h, w) at the positions of the finest
        map.  A copy in evaluation mode, on the CPU, in which all parameters require gradients.
    net_ : skorch.NeuralNet or None
        The skorch net of the last phase.  None if no phase trained.

    See Also
    --------
    FineTuneClassifier : Predict a label for each image; describes the steps of a fit.
    feature_pyramid : A backbone for the segmentation networks of torchvision.

    Notes
    -----
    **Masks** are paths of images with one number for each pixel (such as PNG files of mode L or P),
    PIL images, or integer arrays of shape (h, w).  A mask has the size of its item as Pillow opens
    it, before an EXIF orientation is applied, and so has a prediction.  Masks are read whenever
    they are needed.

    **The validation score** of an epoch, ``valid_score`` in ``history_``, is the weighted mean of
    the shares of right pixels of the items, at the size that the network sees.  ``score`` is the
    mean IoU of the classes, at the size of the items.

    The estimator is not a classifier for scikit-learn, whose metrics take targets of at most two
    axes.  ``clone``, pipelines and searches work, with lists of masks as y.

    References
    ----------
    .. [3] J. Howard and S. Ruder, "Universal Language Model Fine-tuning for Text Classification",
       ACL 2018, https://arxiv.org/abs/1801.06146
    .. [4] M. Wortsman, G. Ilharco, J. W. Kim et al., "Robust fine-tuning of zero-shot models",
       CVPR 2022, https://arxiv.org/abs/2109.01903

    Examples
    --------
    >>> import numpy as np
    >>> from sktransfer import FineTuneSegmenter
    >>> X = np.random.default_rng(0).integers(100, 120, (16, 48, 64, 3), dtype=np.uint8)
    >>> y = np.zeros((16, 48, 64), np.uint8)
    >>> for at in range(16):
    ...     y[at, 16:40, at : at + 30] = 1
    >>> X[y == 1] += 120
    >>> model = FineTuneSegmenter(image_size=64, max_epochs=4, batch_size=4, random_state=0)
    >>> bool(model.fit(X, y).score(X, y) > 0.8)
    True
    >>> model.predict(X[:1])[0].shape
    (48, 64)
    """

    _declared = SEGMENTATION_PARAMETERS
    _fit_kind = MapFit

    def __init__(
        self,
        backbone="builtin/mini",
        *,
        weights="default",
        unfreeze="auto",
        head="fpn",
        stages=None,
        dropout=0.0,
        freeze_bn="auto",
        augment="auto",
        freeze_epochs="auto",
        max_epochs="auto",
        unfreeze_every=None,
        weight_interpolation="auto",
        lr=0.01,
        fine_tune_lr=0.001,
        layer_decay="auto",
        lr_schedule="one_cycle",
        optimizer="adamw",
        weight_decay=0.01,
        class_weight=None,
        ignore_label=255,
        batch_size=4,
        inference_batch_size="auto",
        early_stopping=False,
        validation_fraction=0.1,
        n_iter_no_change=5,
        tol=1e-4,
        image_size=None,
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
        self.stages = stages
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
        self.class_weight = class_weight
        self.ignore_label = ignore_label
        self.batch_size = batch_size
        self.inference_batch_size = inference_batch_size
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.image_size = image_size
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
        """Fit the network to images and their masks.

        Parameters
        ----------
        X : sequence of n_items paths, images, arrays or bytes
            The training items.
        y : sequence of n_items masks, or array of shape (n_items, h, w)
            The mask of each item: a path, a PIL image, or an integer array (h, w).
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
            If a parameter, an item or a mask is invalid; the message names it.
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
        """Predict the class of each pixel.

        Parameters
        ----------
        X : sequence of n_items paths, images, arrays or bytes

        Returns
        -------
        list of n_items ndarray of shape (h, w)
            Values of ``classes_`` in the size of each item, uint8 if they fit.  NaN for an item
            that cannot be decoded, unless ``decode_error="raise"``.
        """
        return self._run(X, DensePredictor.masks)

    def predict_proba(self, X):
        """Yield the probabilities of the classes at each pixel, item by item.

        Parameters
        ----------
        X : sequence of n_items paths, images, arrays or bytes

        Returns
        -------
        iterator of n_items ndarray of shape (h, w, n_classes), float32
            A few items are computed at a time, because the arrays are large.  NaN for an item that
            cannot be decoded, unless ``decode_error="raise"``.
        """
        return self._each(X, DensePredictor.probabilities)

    def _each_mask(self, X):
        """Yield the masks that ``predict`` returns, item by item."""
        return self._each(X, DensePredictor.each_mask)

    def _each(self, X, method):
        """Check ``X``, and return the iterator of a method of the predictor over its items."""
        return self._bind(X, method)[0]()

    def score(self, X, y, sample_weight=None):
        """Return the mean intersection over union (IoU) of the classes.

        Parameters
        ----------
        X : sequence of n_items paths, images, arrays or bytes
        y : sequence of n_items masks, or array of shape (n_items, h, w)
        sample_weight : array-like of shape (n_items,) or None, default=None
            Weight of the pixels of each item.  None means 1 for each.

        Returns
        -------
        float in [0, 1]
            The pixels of all items count together.  Classes that occur neither in ``y`` nor in a
            prediction are left out of the mean.  Classes that the model does not know are a
            warning: their IoU is 0, and their pixels are wrong for the classes predicted there.

        Raises
        ------
        ValueError
            If masks cannot be read, have only unknown classes or other sizes than their items, or
            if an item cannot be decoded.
        """
        return self.task_.score(*self._compared(X, y), sample_weight)

    def score_classes(self, X, y, sample_weight=None):
        """Return the intersection over union of each class.

        Parameters
        ----------
        X, y : as for ``score``
        sample_weight : array-like of shape (n_items,) or None, default=None

        Returns
        -------
        ndarray of shape (n_classes,)
            NaN for a class that occurs neither in ``y`` nor in a prediction.
        """
        return self.task_.score_columns(*self._compared(X, y), sample_weight)

    def _compared(self, X, y, predict=None):
        """Return predicted and true masks of the same sizes.

        Masks that cannot be read are an error before the prediction.
        """
        check_is_fitted(self)
        masks = check_masks(y, "y")
        masks.check(keep=True)
        predicted = (predict or self.predict)(X)
        if len(masks) != len(predicted):
            raise ValueError(
                f"y must have a mask for each of {len(predicted)} items; got {len(masks)}."
            )
        missing = [f"X[{at}]" for at, each in enumerate(predicted) if np.ndim(each) != 2]
        if missing:
            raise ValueError(
                "X must have items that can be decoded, because each pixel needs a prediction; "
                f"{len(missing)} cannot:\n{first_ten(missing)}\nLeave them out."
            )
        self.task_.check_sizes(masks, [mask.shape[::-1] for mask in predicted], "y[{}]".format)
        return predicted, masks

    @property
    def classes_(self):
        """The sorted values of the classes in masks."""
        return self.task_.classes

    def _request(self, X, y=None, **others):
        if others.get("y_val") is not None:
            others["y_val"] = check_masks(others["y_val"], "y_val")
        return super()._request(X, None if y is None else check_masks(y, "y"), **others)

    def _find_task(self, y, n_items):
        """Return ``Segmentation``."""
        if y is None:
            check_masks(y, "y")
        if len(y) != n_items:
            raise ValueError(f"y must have a mask for each of {n_items} items; got {len(y)}.")
        return find_segmentation(y, self._ignored(), self.class_weight)

    def _ignored(self):
        """Return the values of pixels that have no class."""
        labels = self.ignore_label
        labels = () if labels is None else labels if isinstance(labels, Iterable) else (labels,)
        if isinstance(labels, str) or not all(isinstance(each, Integral) for each in labels):
            raise ValueError(
                f"ignore_label must be an integer, several, or None; got {self.ignore_label!r}."
            )
        return tuple(map(int, labels))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.no_validation = True
        tags.target_tags.required = True
        tags.input_tags.string = False
        return tags
