"""Fine-tuning of a pretrained network, as a scikit-learn classifier."""

from sklearn.base import ClassifierMixin

from ..tasks import find_classification
from ._base import FineTuneEstimator
from ._callbacks import with_callbacks


class FineTuneClassifier(ClassifierMixin, FineTuneEstimator):
    """Classify photos by a pretrained network that is fine-tuned to them.

    The recipe of practitioners, in one ``fit``: a new head on frozen features first, then as many
    of the last stages as ``unfreeze`` says, at a low rate that falls from stage to stage, while
    augmentation draws variants of the photos.  Other stages stay frozen, batch statistics included.

    Parameters
    ----------
    backbone : str or callable, default="builtin/mini"
        Address of the network, ``"provider/model"``, or a factory: a callable that returns one.
        A factory's network counts as pretrained, unless its ``weights_info`` says something, and
        neither a tag nor a sha256.
    weights : str, path-like or None, default="default"
        ``"default"``, a tag of the provider, the path of a .safetensors, .pth or .pt file, or None
        for random weights: training from scratch.
    unfreeze : int, "all", str or "auto", default="auto"
        How many stages train, from the last: 0 trains the head alone, "all" the whole network, the
        name of a stage that stage and those after it.  "auto" is "all", or 1 for a pretrained
        network on the rows of a table, which is any two-dimensional X.
    head : {"linear", "mlp"} or callable, default="linear"
        What makes scores of features; ``MLPHead(hidden_sizes=..., dropout=...)``, or a callable of
        the numbers of features and outputs that returns a new Module.
    head_init : {"auto", "logistic", "prior"} or estimator, default="auto"
        What the head starts from: scikit-learn's ``LogisticRegression(C=0.01)`` on the standardised
        frozen features [1]_, another linear classifier, not fitted, whose ``fit`` takes
        ``sample_weight``, or the shares of the classes.
        "auto" is "logistic" for a linear head on a pretrained network.
    pooling : {"avg", "max", "avgmax", "flatten", "cls"}, default="avg"
        How the positions of the last feature map become one vector.
    dropout : float in [0, 1), default=0.0
        Share of the features that a training step hides from the head.
    freeze_bn : {"auto", "frozen", "all"}, default="auto"
        Batch norm of frozen stages never moves.  "all" keeps that of the others in evaluation mode
        too: its gain and bias learn, its statistics stay.  "auto" is "all" for a pretrained
        network, "frozen" for a new one.
    augment : None, {"auto", "light", "standard", "trivial"}, Views or callable, default="auto"
        Random variants of the photos, in training only.  "light": windows of half to all of the
        photo, and flips; "standard": rotation, shifts, shear, zoom and flips; "trivial":
        "light", then one operation of TrivialAugment [2]_; a transform of
        torchvision.transforms.v2, or another callable of a photo (3, h, w), uint8 or float32, that
        returns one of any size; or ``Views``, a few fixed variants that can be cached.  "auto" is
        "light" for photos where stages train.
    tta : int, default=0
        Random variants of each photo whose scores a prediction averages with those of the photo
        itself, made by ``augment``, or "light" where that is None.
    freeze_epochs : int or "auto", default="auto"
        Epochs of the head alone, on frozen features without augmentation.  "auto" is 3, or 0 where
        the head starts from an exact solution or the network from scratch.
    max_epochs : int, default=6
        Epochs of the second phase, in which ``unfreeze`` stages and the head train.
    unfreeze_every : int or None, default=None
        Thaw one stage more after so many epochs [3]_; None thaws all at once.
    lr : float or "auto", default=0.001
        Learning rate of the head while it trains alone; with ``unfreeze=0``, in both phases.
    fine_tune_lr : float or "auto", default=0.0003
        Learning rate of the head in the second phase, where stages train.  "auto", as for ``lr``,
        asks the range test of :func:`find_lr`.
    layer_decay : float in (0, 1] or "auto", default="auto"
        Rate of a stage over that of what follows it: the last stage learns at
        ``fine_tune_lr * layer_decay``.  "auto" is 0.6, and 1.0 from scratch.
    lr_schedule : str or Schedule, default="one_cycle"
        "constant", "cosine", "one_cycle", "sgdr", "cyclic", "slanted_triangular", or an object of
        ``sktransfer.schedules``; over each phase.
    optimizer : {"adamw", "sgd", "rmsprop"}, class or callable, default="adamw"
        Or a subclass of torch.optim.Optimizer, or a function of parameter groups.
    weight_decay : float, default=0.01
        Not applied to norms and biases.
    label_smoothing : float in [0, 1), default=0.1
        Share of each target that is spread over all classes.
    class_weight : dict, "balanced" or None, default=None
        How much each class counts; only the ratios matter.
    batch_size : int or "auto", default="auto"
        Rows of a training step; "auto" is 32.
    inference_batch_size : int or "auto", default="auto"
        Number of items in every forward pass without gradients: of the frozen stages in ``fit``,
        and of predictions.  A last batch, or a call on a few items, is filled up with zeros, so
        that a prediction does not depend on what else is in the call.  "auto" is 16 on a CPU, 32 on
        mps and 64 on cuda.  Use 1 to predict single items with the lowest latency; it may be set
        after ``fit``.
    early_stopping : bool, default=False
        Hold out a part of the training data, and stop when its loss no longer falls.
    validation_fraction : float in (0, 1), default=0.1
        Share of the training data to hold out, by class, groups kept whole.
    n_iter_no_change : int, default=5
        Epochs without an improvement before ``early_stopping`` ends a phase.
    tol : float, default=0.0001
        An improvement is a fall of the validation loss by more than this.
    image_size : int or None, default=None
        Side, in pixels, of the square that the network sees.  None is what its weights ask for;
        for the rows of a table, the least that it takes and that loses no pixel.
    image_shape : tuple of int or None, default=None
        (h, w), (h, w, c) or (c, h, w) of the images in a table of flattened rows.
    preset : dict, preset or None, default=None
        Overrides of the preprocessing that came with the weights, or a whole preset.
    cache : str, path-like, ActivationCache or None, default=None
        Folder where the output of frozen stages is kept by content, shared by folds, candidates
        and processes.  None keeps it for the time of one fit.
    checkpoint : str, path-like or None, default=None
        Folder where each epoch is kept: a fit that was killed and is run again, with the same
        parameters and data, goes on from its last epoch.
    precision : {"float32", "bfloat16", "auto"}, default="float32"
        In which the network computes; its weights are float32.  "auto" is bfloat16 on a device
        that has units for it.  A float64 table on a CPU is trained on in float64, unless it is
        "bfloat16".
    device : str or torch.device, default="auto"
        "cpu", "cuda", "cuda:1", "mps", or "auto": the first of cuda, mps, cpu that is there.
    n_jobs : int or None, default=None
        Threads that decode.  None is as many as torch computes with; -1 is one for each processor.
    decode_error : {"raise", "warn", "ignore"}, default="raise"
        What an image that cannot be decoded does: an error that names the first ten; or it is left
        out of ``fit``, and its prediction is NaN, with or without a warning.
    skorch_callbacks : list or None, default=None
        skorch's callbacks and those of ``sktransfer.callbacks``: mixing, averaging, clipping,
        snapshots, schedules of other settings.  They are copied, and see both phases.
    random_state : int, RandomState or None, default=None
        Of all that is drawn.  Two fits with one integer give the same bits on one machine.
    verbose : int, default=1
        0 is silent; otherwise long work shows a progress bar, on terminals only.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels; of multi-label targets, 0 to n_classes - 1.
    backbone_ : Backbone
        The network as it was tuned, frozen.
    head_ : Module
        The head.
    net_ : skorch.NeuralNet or None
        The net of the last phase that trained; None where none did.
    history_ : History
        A list of dicts, one an epoch; ``to_frame()`` makes a table of it.
    report_ : Report
        A list of dicts, one a stage: frozen or not, mode of batch norm, least and greatest rate,
        and how far its weights moved; ``to_frame()`` makes a table of it.
    n_iter_ : int
        Epochs that were trained, over both phases.
    best_epoch_ : int or None
        The epoch whose weights were kept, from 1, 0 for those before the first; None without
        validation data, and of an ensemble of snapshots.
    skipped_ : ndarray of int
        Positions of the rows of X that ``decode_error`` let ``fit`` leave out.
    weights_info_ : dict
        Tag, source, sha256, licence, input size, mean and std of the weights it began with.
    n_features_in_ : int
        Width of the table seen in ``fit``; only where X was a table.
    feature_names_in_ : ndarray of str
        Names of its columns; only where X was a DataFrame.

    See Also
    --------
    PretrainedFeatureExtractor : Features of a frozen network, for a pipeline.
    find_lr : The learning-rate range test.

    Notes
    -----
    "Weight 2 equals a row given twice" holds for one full batch without augmentation.  Logits are
    what ``decision_function`` gives, so that ``CalibratedClassifierCV(method="temperature")`` can
    scale them.

    References
    ----------
    .. [1] A. Kumar et al., "Fine-Tuning can Distort Pretrained Features and Underperform
       Out-of-Distribution", ICLR 2022, https://arxiv.org/abs/2202.10054
    .. [2] S. Müller and F. Hutter, "TrivialAugment: Tuning-free Yet State-of-the-Art Data
       Augmentation", ICCV 2021, https://arxiv.org/abs/2103.10158
    .. [3] J. Howard and S. Ruder, "Universal Language Model Fine-tuning for Text Classification",
       ACL 2018, https://arxiv.org/abs/1801.06146

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sktransfer import FineTuneClassifier
    >>> X, y = load_digits(n_class=2, return_X_y=True)  # rows of 64 values, images of 8 x 8
    >>> model = FineTuneClassifier(image_size=32, max_epochs=1, random_state=0)
    >>> model.fit(X[:40], y[:40]).score(X[40:80], y[40:80])
    1.0
    >>> [row["stage"] for row in model.report_ if not row["frozen"]]
    ['layer4', 'head']
    """

    def __init__(
        self,
        backbone="builtin/mini",
        *,
        weights="default",
        unfreeze="auto",
        head="linear",
        head_init="auto",
        pooling="avg",
        dropout=0.0,
        freeze_bn="auto",
        augment="auto",
        tta=0,
        freeze_epochs="auto",
        max_epochs=6,
        unfreeze_every=None,
        lr=0.001,
        fine_tune_lr=0.0003,
        layer_decay="auto",
        lr_schedule="one_cycle",
        optimizer="adamw",
        weight_decay=0.01,
        label_smoothing=0.1,
        class_weight=None,
        batch_size="auto",
        inference_batch_size="auto",
        early_stopping=False,
        validation_fraction=0.1,
        n_iter_no_change=5,
        tol=1e-4,
        image_size=None,
        image_shape=None,
        preset=None,
        cache=None,
        checkpoint=None,
        precision="float32",
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
        self.lr = lr
        self.fine_tune_lr = fine_tune_lr
        self.layer_decay = layer_decay
        self.lr_schedule = lr_schedule
        self.optimizer = optimizer
        self.weight_decay = weight_decay
        self.label_smoothing = label_smoothing
        self.class_weight = class_weight
        self.batch_size = batch_size
        self.inference_batch_size = inference_batch_size
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.image_size = image_size
        self.image_shape = image_shape
        self.preset = preset
        self.cache = cache
        self.checkpoint = checkpoint
        self.precision = precision
        self.device = device
        self.n_jobs = n_jobs
        self.decode_error = decode_error
        self.skorch_callbacks = skorch_callbacks
        self.random_state = random_state
        self.verbose = verbose

    @with_callbacks
    def fit(self, X, y, sample_weight=None, groups=None, X_val=None, y_val=None):
        """Fine-tune the network to photos and their labels.

        Parameters
        ----------
        X : sequence of n_items paths, images, arrays or bytes, or a table of flattened images
        y : array-like of shape (n_items,), or (n_items, n_classes) of 0 and 1
            Labels: strings, bools or integers; or multi-label indicators.
        sample_weight : array-like of shape (n_items,) or None, default=None
            How much each item counts.
        groups : array-like of shape (n_items,) or None, default=None
            Items of one group stay together when ``early_stopping`` holds some out.
        X_val, y_val : like X and y, or None, default=None
            Validation data; then none is held out.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            If a parameter, an item or a label is not what it must be, or the loss is not finite;
            the message names it.
        FreezeError
            If a frozen stage moved, or one that trains got no gradient.
        OSError
            If the folder of ``cache`` or ``checkpoint`` cannot be made or read.
        """
        return self._fit(
            X,
            y,
            sample_weight=sample_weight,
            groups=groups,
            X_val=X_val,
            y_val=y_val,
        )

    def decision_function(self, X):
        """Return the scores of the classes: logits.

        Parameters
        ----------
        X : sequence of n_items paths, images, arrays or bytes, or a table of flattened images

        Returns
        -------
        ndarray of shape (n_items,) for two classes, else (n_items, n_classes), float64
            The row of an image that cannot be decoded is NaN.
        """
        outputs = self._outputs(X)
        return self.task_.decision(outputs)

    def predict_proba(self, X):
        """Return the probabilities of the classes.

        Parameters
        ----------
        X : sequence of n_items paths, images, arrays or bytes, or a table of flattened images

        Returns
        -------
        ndarray of shape (n_items, n_classes), float64
            Rows sum to 1; for multi-label targets, each column is a probability of its own.  The
            row of an image that cannot be decoded is NaN.
        """
        outputs = self._outputs(X)
        return self.task_.probabilities(outputs)

    def score(self, X, y, sample_weight=None):
        """Return the accuracy of the predictions for ``X``.

        Parameters
        ----------
        X : sequence of n_items paths, images, arrays or bytes, or a table of flattened images
        y : array-like of shape (n_items,) or (n_items, n_classes) of 0 and 1
        sample_weight : array-like of shape (n_items,) or None, default=None

        Returns
        -------
        float in [0, 1]
            With several labels an item, all of them have to be right.  An image that cannot be
            decoded counts as wrong.

        Raises
        ------
        ValueError
            If y does not have the shape of the predictions.
        """
        return self.task_.score(self.predict(X), y, sample_weight)

    @property
    def classes_(self):
        """The labels, sorted; for multi-label targets, 0 to n_classes - 1."""
        return self.task_.classes

    def _find_task(self, y, n_items):
        return find_classification(y, n_items, type(self).__name__)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
