"""Fine-tune a pretrained network as a scikit-learn classifier."""

from sklearn.base import ClassifierMixin

from ..tasks import find_classification
from ._base import FineTuneEstimator
from ._callbacks import with_callbacks


class FineTuneClassifier(ClassifierMixin, FineTuneEstimator):
    """Classify images or texts with a pretrained network that is fine-tuned to them.

    ``fit`` has up to three steps.  A new head is initialised from a logistic regression on the
    features of the frozen network, or from the class priors (``head_init``).  In the first phase,
    which is optional, the head trains alone (``freeze_epochs``).  In the second phase, the head and
    the last stages train (``max_epochs``), with a learning rate that is lower for each earlier
    stage, and images are augmented at random.  The other stages stay frozen, including the
    statistics of their batch norm.

    Parameters
    ----------
    backbone : str or callable, default="builtin/mini"
        The network.  A string is an address, ``"provider/model"``; :func:`list_backbones` lists
        all addresses.  A callable without arguments returns a ``Backbone``.  Its network counts as
        pretrained, unless its ``weights_info`` is not empty and has neither a tag nor a sha256.
    weights : str, path-like, LanguageModelTuner or None, default="default"
        The weights that the network begins with: ``"default"``, a tag of the provider, or the path
        of a .safetensors, .pth or .pt file.  None means random weights, which is training from
        scratch.  Must be ``"default"`` if ``backbone`` is a callable.  A copy of a
        :class:`LanguageModelTuner` is first fitted to the training texts of each fit, without
        those that are held out, and with a ``cache`` its result is shared.
    unfreeze : int, "all", str or "auto", default="auto"
        The stages that train in the second phase.

        - An integer is the number of stages, counted from the last one.  With 0, only the head
          trains.
        - "all" trains the whole network.
        - The name of a stage trains this stage and all later ones.
        - "auto" means 1 for a pretrained network and tabular input (any two-dimensional X), and
          "all" otherwise.
    head : {"linear", "mlp"} or callable, default="linear"
        The head, which computes the outputs of the network from the features.

        - "linear" is one linear layer.
        - "mlp" is :class:`MLPHead` with one hidden layer of 256 units and a dropout of 0.5.
        - A callable takes the number of features and the number of outputs, and returns a new
          ``torch.nn.Module``; for example ``MLPHead(hidden_sizes=(512,), dropout=0.2)``.
    head_init : {"auto", "logistic", "prior"} or estimator, default="auto"
        The initial weights of the head.

        - "logistic" uses the coefficients of ``LogisticRegression(C=0.01)``, fitted to the
          standardised features of the frozen network, so that fine-tuning does not distort the
          features in order to improve a random head [1]_.
        - An unfitted linear classifier of scikit-learn is used in the same way.  Its ``fit`` must
          accept ``sample_weight``.
        - "prior" makes the head predict the class priors.
        - "auto" means "logistic" for a linear head on a pretrained network, and "prior" otherwise.
          For 128 texts or more whose stages train, C is 0.001: a head that fits a few hundred texts
          too well leaves the stages little to learn.

        A head other than a linear one must start from "prior".
    pooling : str, default="auto"
        How the positions of a feature map, or the tokens of a text, become one vector of features.

        - "avg", "max" and "avgmax" are the mean, the maximum, and both.
        - "flatten" keeps all positions of an image, one after the other.
        - "cls" is the class token of a vision transformer, or the first token of a text.
        - "last" is the last token of a text; "concat" is the last token, the maximum and the mean.
        - "auto" means the pooling that the weights ask for, or else "avg".
    dropout : float in [0, 1), default=0.0
        Probability with which a feature is set to zero before the head, in training only.
    freeze_bn : {"auto", "frozen", "all", "own"}, default="auto"
        The batch-norm layers that stay in evaluation mode during training.

        - "frozen" keeps those of the frozen stages in evaluation mode.
        - "all" keeps those of the trainable stages in evaluation mode, too.  Their weights and
          biases train, but their running statistics do not change.
        - "own" does the same after it has replaced the statistics of the trainable stages by those
          of the training data; see :meth:`adapt`.
        - "auto" means "all" for a pretrained network, and "frozen" for random weights.
    augment : None, {"auto", "light", "standard", "trivial"}, Views or callable, default="auto"
        Random changes of the images in the second phase of training.

        - None trains on the images as they are.
        - "light" crops 50 to 100 % of the image, and flips it horizontally.
        - "standard" rotates, shifts, shears, zooms and flips.
        - "trivial" is "light", followed by one operation of TrivialAugment [2]_.
        - ``Views`` makes a fixed number of variants of each image, which can be cached.  Every
          epoch draws one of them.
        - A callable takes an image as a tensor of shape (3, h, w), and returns a tensor of that
          form and of any size; for example a transform of ``torchvision.transforms.v2``.  The
          tensor is uint8, or float32 in [0, 1] for images with more than 8 bits per channel.
        - "auto" means "light" if the items are images and stages train, and None otherwise.
    tta : int, default=0
        Number of random variants of each image for test-time augmentation.  A prediction averages
        their scores and the score of the image itself.  With 0, only the image itself is used; for
        texts it must be 0.  The variants are those of ``augment``, or "light" if that is None or
        "auto".
    freeze_epochs : int or "auto", default="auto"
        Number of epochs of the first phase, in which only the head trains, without augmentation.
        "auto" means 3 if the network is pretrained and the head starts from "prior", and 0
        otherwise: then the head is already fitted, or the network is trained from scratch.
    max_epochs : int or "auto", default="auto"
        Number of epochs of the second phase, in which the head and the stages that ``unfreeze``
        selects train.  "auto" means 10 for a classifier of fewer than 256 images whose head starts
        from a linear model, and 6 otherwise.
    unfreeze_every : int or None, default=None
        If an integer, the second phase starts with the last stage only and unfreezes one more
        stage after this number of epochs, until all stages that ``unfreeze`` selects train [3]_.
        None trains them from the first epoch.
    weight_interpolation : float in [0, 1] or "auto", default="auto"
        The weights after ``fit``, on the line from the weights at the start of the second phase (0)
        to those at its end (1).  A value between them keeps more of the pretrained network, and
        with few images it is often more accurate than both ends [4]_.  ``history_`` has the losses
        and scores before this step.  "auto" means 0.5 for a classifier of fewer than 256 images
        whose head starts from a linear model, and 1 otherwise.
    lr : float or "auto", default=0.001
        Base learning rate of the head in the first phase, and in the second phase if no stage
        trains (``unfreeze=0``).  If stages train and the first phase has no epochs, as by default
        with a pretrained network, it is not used: set ``fine_tune_lr``.  A head with n inputs, more
        than 1280, has ``1280 / n`` times this rate.  "auto" uses the suggestion of the
        learning-rate range test; see :func:`find_lr`.
    fine_tune_lr : float or "auto", default=0.0003
        Base learning rate of the head in the second phase if stages train.  "auto" is as for
        ``lr``.
    layer_decay : float in (0, 1] or "auto", default="auto"
        Layer-wise learning-rate decay: the factor by which the learning rate falls from the head
        to the last stage, and from each stage to the one before it.  The last stage trains with
        ``fine_tune_lr * layer_decay``, the stage before it with ``fine_tune_lr * layer_decay**2``.
        "auto" means 0.6 for a pretrained network, and 1.0 for random weights.
    lr_schedule : str or Schedule, default="one_cycle"
        How all learning rates change during a phase: "constant", "cosine", "one_cycle", "sgdr",
        "cyclic", "slanted_triangular", or an object of ``sktransfer.schedules``.  Each phase runs
        the schedule once.
    optimizer : {"adamw", "sgd", "rmsprop"}, class or callable, default="adamw"
        The optimiser.  "sgd" has Nesterov momentum of 0.9.  Also a subclass of
        ``torch.optim.Optimizer``, or a callable that takes the parameter groups and returns an
        optimiser, such as ``partial(torch.optim.SGD, momentum=0.5)``.
    weight_decay : float, default=0.01
        Weight decay of the optimiser, at least 0.  It is not applied to biases and norms.
    label_smoothing : float in [0, 1), default=0.1
        Fraction of each target that is distributed over all classes, in training only.  Multi-label
        targets move towards one half by this fraction.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes in the loss.  A dict maps labels to weights; a label that is missing
        has weight 1.  "balanced" weights each class inversely to its frequency.  With None, all
        classes have weight 1.  Only the ratios of the weights matter.  Must be None if y has more
        than one column.
    batch_size : int or "auto", default="auto"
        Number of items in a training step.  "auto" means 8 for a classifier of fewer than 256
        images whose head starts from a linear model, and 32 otherwise.
    inference_batch_size : int or "auto", default="auto"
        Number of items in each forward pass without gradients: of the frozen stages in ``fit``,
        and in predictions.  Smaller batches are filled up with zeros, so that a prediction does
        not depend on the other items of the call.  "auto" means 16 on a CPU, 32 on mps and 64 on
        cuda; for texts, 256, 1024 and 16384 divided by their length.  Use 1 to predict
        single items with the lowest latency.  This can also be set after ``fit``.
    early_stopping : bool, default=False
        If True, a part of the training data is held out for validation, unless ``X_val`` is passed
        to ``fit``, and a phase ends when the validation loss stops improving.  If False, all
        epochs are trained.
    validation_fraction : float in (0, 1), default=0.1
        Fraction of the training data to hold out if ``early_stopping`` is True.  The split is
        stratified by class, and keeps the items of a group together.
    n_iter_no_change : int, default=5
        Number of epochs without an improvement after which ``early_stopping`` ends a phase.
    tol : float, default=0.0001
        Minimum decrease of the validation loss that counts as an improvement, at least 0.
    image_size : int or None, default=None
        Side, in pixels, of the square image that the network receives.  None means the size that
        belongs to the weights.  For tabular input, None means the smallest size that the
        network accepts and that loses no pixel.
    image_shape : tuple of int or None, default=None
        Shape of the flattened images in tabular input: (h, w), (h, w, c) or (c, h, w).  With None,
        a row of length 3 * s * s is an image of shape (s, s, 3).  A row of any other length is
        padded with zeros to the next square, and becomes a grey image.
    max_length : int or None, default=None
        Maximum number of tokens of a text, including the special tokens of the network; the rest
        of a longer text is not used, and ``fit`` warns.  None means the number that belongs to the
        weights.  Must be None if the items are not texts.
    preset : dict, preset or None, default=None
        Changes of the preprocessing that belongs to the weights.  A dict replaces some of its
        fields, such as ``{"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}``.  A preset replaces
        all of it.  None changes nothing.
    cache : str, path-like, ActivationCache or None, default=None
        Folder for the output of the frozen stages, by content of the items.  Folds, grid
        candidates and processes share it.  With None, the output is kept for one fit only.
    checkpoint : str, path-like or None, default=None
        Folder in which every epoch is saved.  If a fit was killed and is run again with the same
        parameters and data, it resumes from its last complete epoch.  Fits that run at the same
        time use separate files.  If a file is damaged or cannot be written, a warning is issued and
        the fit continues.  The files of a fit are deleted when it is complete.  None saves nothing.
    precision : {"float32", "bfloat16", "auto"}, default="float32"
        Type in which the stages compute.  Their weights are float32.  "auto" means bfloat16 on a
        device with hardware support for it, and float32 otherwise.  For a float64 table on a CPU,
        "float32" and "auto" train in float64.
    engine : {"auto", "torch", "openvino", "onnxruntime", "compile"}, default="auto"
        The library that runs the frozen stages, and all stages in predictions, on a CPU.

        - "torch" is torch itself.
        - "openvino" and "onnxruntime" come with extras of these names, and need some seconds to
          compile a network; with ``cache``, a later process needs less than one.  "onnxruntime"
          computes in float32 only.
        - "compile" is :func:`torch.compile`, which needs a compiler of C++ and a minute.
        - "auto" takes openvino if it is installed, for stages with enough work whose output it
          changes by less than 1e-5 of its norm in float32, and by less than 0.05 in bfloat16.  It
          takes torch otherwise.

        Outputs of two engines differ in the last bits.  This can also be set after ``fit``.
    device : str or torch.device, default="auto"
        Where the network computes: "cpu", "cuda", "cuda:1" or "mps".  "auto" means the first
        available one of cuda, mps and cpu.
    n_jobs : int or None, default=None
        Number of threads that decode items.  None means the number of threads that torch uses,
        and -1 one thread for each processor.
    decode_error : {"raise", "warn", "ignore"}, default="raise"
        What happens if an item cannot be decoded.  "raise" raises an error that lists the first
        ten such items.  "warn" leaves them out of ``fit``, predicts NaN for them, and warns.
        "ignore" does the same without a warning.
    skorch_callbacks : list or None, default=None
        Callbacks of skorch or of ``sktransfer.callbacks``, for example ``MixUp()``.  They are
        copied for each phase, and the copies share the objects that they hold, such as a list or a
        study.  None means no further callbacks.
    random_state : int, RandomState or None, default=None
        Seed of all random draws: new weights, the order of the items, augmentation, dropout and
        the validation split.  With an int, two fits on one machine are equal to the last bit.
    verbose : int, default=1
        0 shows nothing.  1 shows a progress bar with the loss and the learning rate of the head,
        in terminals and notebooks only.  2 also prints a line for each epoch, everywhere.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,), or list of ndarray
        The sorted labels.  For multi-label targets, the integers from 0 to n_classes - 1.  For
        several columns of labels, a list with the labels of each column.
    task_ : Task
        The kind of target, with its loss and its decision: ``Classification``, ``MultiLabel`` or
        ``Columns``.
    backbone_ : Backbone
        The fine-tuned network, with all stages frozen.
    head_ : torch.nn.Module
        The trained head.  Its inputs are features with the mean and scale of ``module_``.
    module_ : torch.nn.Module
        The whole network, to deploy, export or explain: it takes a batch of inputs as the preset
        makes them, and returns logits of shape (n, n_classes).  A copy in evaluation mode, on the
        CPU, in which all parameters require gradients.
    net_ : skorch.NeuralNet or None
        The skorch net of the last phase.  None if no phase trained.  Its ``predict`` and
        ``predict_proba`` take inputs of the network, as the preset makes them.
    history_ : History
        A list with one dict for each epoch, which includes the values that callbacks recorded.
        ``to_frame()`` returns it as a DataFrame.
    report_ : Report
        A list with one dict for each stage: if it was frozen, the mode of its batch norm, its
        minimum and maximum learning rate, and how far its weights moved.  ``to_frame()`` returns
        it as a DataFrame.
    n_iter_ : int
        Number of trained epochs, over both phases.
    best_epoch_ : int or None
        Number of the epoch whose weights were kept, counted from 1 over both phases.  0 means the
        weights before the first epoch.  None if there was no validation data.
    skipped_ : ndarray of int
        Positions of the items of X that could not be decoded and were left out of ``fit``.
    weights_info_ : dict
        Tag, source, sha256 and licence of the initial weights, and the size, mean and standard
        deviation of their inputs.
    n_features_in_ : int
        Number of columns of X.  Only if X was a table.
    feature_names_in_ : ndarray of str
        Names of the columns of X.  Only if X was a DataFrame.

    See Also
    --------
    PretrainedFeatureExtractor : Features of a frozen network, for a pipeline.
    find_lr : The learning-rate range test.

    Notes
    -----
    ``decision_function`` returns logits, so ``CalibratedClassifierCV(method="temperature")`` can
    scale them.  A sample weight of 2 has the same effect as a duplicated item, if the training data
    is a single batch and is not augmented.

    References
    ----------
    .. [1] A. Kumar, A. Raghunathan, R. Jones, T. Ma and P. Liang, "Fine-Tuning can Distort
       Pretrained Features and Underperform Out-of-Distribution", ICLR 2022,
       https://arxiv.org/abs/2202.10054
    .. [2] S. Müller and F. Hutter, "TrivialAugment: Tuning-free Yet State-of-the-Art Data
       Augmentation", ICCV 2021, https://arxiv.org/abs/2103.10158
    .. [3] J. Howard and S. Ruder, "Universal Language Model Fine-tuning for Text Classification",
       ACL 2018, https://arxiv.org/abs/1801.06146
    .. [4] M. Wortsman, G. Ilharco, J. W. Kim et al., "Robust fine-tuning of zero-shot models",
       CVPR 2022, https://arxiv.org/abs/2109.01903

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
        """Fine-tune the network to items and their labels.

        Parameters
        ----------
        X : sequence of n_items paths, images, arrays, bytes or texts, or a table of images
            The training items.
        y : array-like of shape (n_items,) or (n_items, n_columns)
            The labels of the items: strings, bools or integers.  Several columns of only 0 and 1
            are multi-label indicators; any others are columns of labels, each with classes of its
            own.  Names are safer than integers, which mean something in one data set only.
        sample_weight : array-like of shape (n_items,) or None, default=None
            Weight of each item in the loss, at least 0.  None means 1 for each.
        groups : array-like of shape (n_items,) or None, default=None
            Items of one group stay together when ``early_stopping`` holds out a part of them.
        X_val, y_val : like X and y, or None, default=None
            Validation data.  If given, no training data is held out, and the weights of the epoch
            with the lowest validation loss are kept.  Each label must be one of ``y``.

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

    def decision_function(self, X):
        """Return the scores of the classes, which are logits.

        Parameters
        ----------
        X : sequence of n_items paths, images, arrays, bytes or texts, or a table of images

        Returns
        -------
        ndarray of shape (n_items,) for two classes, else (n_items, n_classes), float64
            The row of an item that cannot be decoded is NaN.  For several columns of labels, a
            list with such an array for each column.
        """
        outputs = self._outputs(X)
        return self.task_.decision(outputs)

    def predict_proba(self, X):
        """Return the probabilities of the classes.

        Parameters
        ----------
        X : sequence of n_items paths, images, arrays, bytes or texts, or a table of images

        Returns
        -------
        ndarray of shape (n_items, n_classes), float64
            Each row sums to 1.  For multi-label targets, each entry is the probability of one
            label, and rows need not sum to 1.  The row of an item that cannot be decoded is NaN.
            For several columns of labels, a list with such an array for each column.
        """
        outputs = self._outputs(X)
        return self.task_.probabilities(outputs)

    def score(self, X, y, sample_weight=None):
        """Return the accuracy of the predictions for ``X``.

        Parameters
        ----------
        X : sequence of n_items paths, images, arrays, bytes or texts, or a table of images
        y : array-like of shape (n_items,) or (n_items, n_columns)
            The true labels.  Items with a label that the classifier does not know count as wrong,
            with a warning; in cross-validation, a rare class may be missing from a training part.
        sample_weight : array-like of shape (n_items,) or None, default=None
            Weight of each item in the mean.  None means 1 for each.

        Returns
        -------
        float in [0, 1]
            If y has several columns, an item counts as correct if all its labels are:
            ``score_columns`` returns the accuracy of each column.  An item that cannot be decoded
            counts as wrong.

        Raises
        ------
        ValueError
            If the shape of ``y`` differs from that of the predictions, or if the classifier knows
            none of its labels, such as integers instead of names.
        """
        return self.task_.score(self.predict(X), y, sample_weight)

    def score_columns(self, X, y, sample_weight=None):
        """Return the accuracy of each column of ``y``.

        Parameters
        ----------
        X, y : as for ``score``
        sample_weight : array-like of shape (n_items,) or None, default=None

        Returns
        -------
        ndarray of shape (n_columns,)
            One accuracy if ``y`` has a single column.
        """
        return self.task_.score_columns(self.predict(X), y, sample_weight)

    @property
    def classes_(self):
        """The sorted labels; for multi-label targets, 0 to n_classes - 1; of each column."""
        return self.task_.classes

    def _find_task(self, y, n_items):
        """Return ``Classification``, ``MultiLabel`` or ``Columns``, depending on ``y``."""
        return find_classification(y, n_items, type(self).__name__)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        tags.target_tags.multi_output = True
        return tags
