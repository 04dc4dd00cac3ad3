"""Tune a language model to texts."""

import math

from sklearn.base import clone
from sklearn.utils.validation import check_is_fitted

from ..backbones import save_weights
from ..training import LANGUAGE_PARAMETERS, check_parameters, measure_loss, plan_language_fit
from ._base import TunedNetwork
from ._callbacks import with_callbacks
from ._columns import check_items


class LanguageModelTuner(TunedNetwork):
    """Tune a pretrained language model to texts, before it classifies them.

    There are often many texts, and labels for few of them.  A network that has learned to predict
    the tokens of these texts gives features that suit them better [1]_.  No label is needed.

    The tuner can be a transformer of its own, whose features are those of the tuned network.  It
    can also be the ``weights`` of :class:`FineTuneClassifier` or
    :class:`PretrainedFeatureExtractor`.  A copy of it is then fitted to the training texts of each
    fit, so no held-out text reaches it.  With a ``cache``, candidates of a search share the tuned
    weights of a fold.

    Parameters
    ----------
    backbone : str, callable or None, default=None
        The network, which must have a language head; see ``Backbone.language_head``.  A string is
        an address, ``"provider/model"``.  A callable without arguments returns a ``Backbone``.
        None means ``"builtin/lm"``, a small network in this package; or, for a tuner that is the
        ``weights`` of another estimator, the network of that estimator.
    weights : str, path-like or None, default="default"
        The weights that tuning begins with: ``"default"``, a tag of the provider, or the path of a
        .safetensors, .pth or .pt file.  None means random weights.  Must be ``"default"`` if
        ``backbone`` is a callable.
    texts : sequence of str or None, default=None
        Texts to tune to in place of ``X``, such as a large number of texts without labels.  They
        must not contain texts that are held out for a test.
    window : int, default=128
        Maximum number of tokens of a piece, at least 8.  Longer texts are divided into pieces, so
        that no token is left out, and no token is predicted from those of another piece.
    unfreeze : int, "all" or str, default="all"
        The stages that train: their number, counted from the last one, all of them, or the name of
        the first one.  The language head trains, too.
    unfreeze_every : int or None, default=None
        If an integer, training starts with the last stage only and unfreezes one more stage after
        this number of epochs, until all stages that ``unfreeze`` selects train.  None trains them
        from the first epoch.
    max_epochs : int, default=1
        Number of epochs.
    lr : float or "auto", default=0.001
        Base learning rate of the language head.  "auto" uses the suggestion of the learning-rate
        range test; see :func:`find_lr`.
    layer_decay : float in (0, 1], default=0.385
        The factor by which the learning rate falls from the head to the last stage, and from each
        stage to the one before it.  The default is that of ULMFiT, 1 / 2.6.
    lr_schedule : str or Schedule, default="slanted_triangular"
        How all learning rates change during training: "constant", "cosine", "one_cycle", "sgdr",
        "cyclic", "slanted_triangular", or an object of ``sktransfer.schedules``.
    optimizer : {"adamw", "sgd", "rmsprop"}, class or callable, default="adamw"
        The optimiser.  "sgd" has Nesterov momentum of 0.9.  Also a subclass of
        ``torch.optim.Optimizer``, or a callable that takes the parameter groups and returns an
        optimiser, such as ``partial(torch.optim.SGD, momentum=0.5)``.
    weight_decay : float, default=0.01
        Weight decay of the optimiser, at least 0.  It is not applied to biases and norms.
    batch_size : int or "auto", default="auto"
        Number of pieces in a training step.  "auto" means 32.
    inference_batch_size : int or "auto", default="auto"
        Number of texts in each forward pass of ``transform``.  "auto" means 256 on a CPU, 1024 on
        mps and 16384 on cuda, divided by their length.
    early_stopping : bool, default=False
        If True, a part of the texts is held out, unless ``X_val`` is passed to ``fit``, and
        training ends when their loss stops improving.
    validation_fraction : float in (0, 1), default=0.1
        Fraction of the texts to hold out if ``early_stopping`` is True.
    n_iter_no_change : int, default=5
        Number of epochs without an improvement after which ``early_stopping`` ends training.
    tol : float, default=0.0001
        Minimum decrease of the validation loss that counts as an improvement, at least 0.
    pooling : str, default="auto"
        How the tokens of a text become the features that ``transform`` returns: "avg", "max",
        "avgmax", "cls", "last", "concat", or "auto" for the pooling that the weights ask for, or
        else "avg".  Training does not depend on it.
    max_length : int or None, default=None
        Maximum number of tokens of a text in ``transform``, including the special tokens of the
        network; the rest of a longer text is not used there.  None means the number that belongs to
        the weights.
    preset : dict, preset or None, default=None
        Changes of the preprocessing that belongs to the weights.  A dict replaces some of its
        fields.  A preset replaces all of it.  None changes nothing.
    cache : str, path-like, ActivationCache or None, default=None
        Folder for the features of ``transform``.  None keeps nothing.
    checkpoint : str, path-like or None, default=None
        Folder in which every epoch is saved.  If a fit was killed and is run again with the same
        parameters and data, it resumes from its last complete epoch.  Fits that run at the same
        time use separate files.  If a file is damaged or cannot be written, a warning is issued and
        the fit continues.  The files of a fit are deleted when it is complete.  None saves nothing.
    precision : {"float32", "bfloat16", "auto"}, default="float32"
        Type in which the stages compute.  Their weights are float32.  "auto" means bfloat16 on a
        device with hardware support for it, and float32 otherwise.
    engine : {"auto", "torch", "openvino", "onnxruntime", "compile"}, default="auto"
        The library that runs the frozen stages on a CPU, as in :class:`FineTuneClassifier`.
    device : str or torch.device, default="auto"
        Where the network computes: "cpu", "cuda", "cuda:1" or "mps".  "auto" means the first
        available one of cuda, mps and cpu.
    n_jobs : int or None, default=None
        Number of threads that divide texts into tokens in ``transform``.  None means the number of
        threads that torch uses, and -1 one thread for each processor.
    skorch_callbacks : list or None, default=None
        Callbacks of skorch or of ``sktransfer.callbacks``, for example ``MixUp()``.  They are
        copied for each fit, and the copies share the objects that they hold, such as a list or a
        study.  None means no further callbacks.
    random_state : int, RandomState or None, default=None
        Seed of all random draws: new weights, the order of the texts, the tokens that are masked,
        dropout and the validation split.  With an int, two fits on one machine are equal to the
        last bit.  A tuner that is the ``weights`` of another estimator and has None uses the seed
        of that estimator.
    verbose : int, default=1
        0 shows nothing.  1 shows a progress bar with the loss and the learning rate of the head,
        in terminals and notebooks only.  2 also prints a line for each epoch, everywhere.

    Attributes
    ----------
    backbone_ : Backbone
        The tuned network, with all stages frozen.
    head_ : LanguageHead
        The tuned language head.
    module_ : torch.nn.Module
        The whole network: it takes ids as the preset makes them, and returns the scores of tokens,
        (n, length, n_tokens).  A copy in evaluation mode, on the CPU.
    net_ : skorch.NeuralNet or None
        The skorch net that trained the network.  None if there were no epochs.
    task_ : LanguageModel
        The objective, "causal" or "masked", and the number of tokens.
    history_ : History
        A list with one dict for each epoch.  Losses are means over the tokens that are predicted,
        and the validation score is the share of them that have the highest score.
    report_ : Report
        A list with one dict for each stage: if it was frozen, its minimum and maximum learning
        rate, and how far its weights moved.
    n_iter_ : int
        Number of trained epochs.
    best_epoch_ : int or None
        Number of the epoch whose weights were kept, counted from 1.  0 means the weights before the
        first epoch.  None if there was no validation data.
    weights_info_ : dict
        Tag, source, sha256 and licence of the initial weights.
    n_features_in_ : int
        Number of columns of X.  Only if X was a table.
    feature_names_in_ : ndarray of str
        Names of the columns of X.  Only if X was a DataFrame.

    See Also
    --------
    FineTuneClassifier : Classify texts with the tuned network.
    PretrainedFeatureExtractor : Features of a network that is not tuned.

    Notes
    -----
    A causal network, such as GPT-2, learns to predict each token from those before it.  A masked
    network, such as BERT, predicts 15 % of the tokens from all others: of these, 80 % are replaced
    by the mask token, 10 % by a random token, and 10 % are left as they are [2]_.  They are drawn
    again in each epoch.

    References
    ----------
    .. [1] J. Howard and S. Ruder, "Universal Language Model Fine-tuning for Text Classification",
       ACL 2018, https://arxiv.org/abs/1801.06146
    .. [2] J. Devlin, M.-W. Chang, K. Lee and K. Toutanova, "BERT: Pre-training of Deep
       Bidirectional Transformers for Language Understanding", NAACL 2019,
       https://arxiv.org/abs/1810.04805

    Examples
    --------
    >>> from sktransfer import FineTuneClassifier, LanguageModelTuner, load_docstrings
    >>> texts, other = (load_docstrings(part, n_per_class=20).data for part in ("train", "test"))
    >>> before = LanguageModelTuner(max_epochs=0, verbose=0).fit(texts)
    >>> tuner = LanguageModelTuner(max_epochs=2, random_state=0, verbose=0).fit(texts)
    >>> bool(tuner.perplexity(other) < 0.7 * before.perplexity(other))
    True
    >>> model = FineTuneClassifier("builtin/lm", weights=LanguageModelTuner(), pooling="concat")
    >>> model.set_params(weights__max_epochs=2).fit(texts, labels)  # doctest: +SKIP
    """

    _declared = LANGUAGE_PARAMETERS
    # Texts can always be decoded.
    decode_error = "raise"

    def __init__(
        self,
        backbone=None,
        *,
        weights="default",
        texts=None,
        window=128,
        unfreeze="all",
        unfreeze_every=None,
        max_epochs=1,
        lr=0.001,
        layer_decay=0.385,
        lr_schedule="slanted_triangular",
        optimizer="adamw",
        weight_decay=0.01,
        batch_size="auto",
        inference_batch_size="auto",
        early_stopping=False,
        validation_fraction=0.1,
        n_iter_no_change=5,
        tol=1e-4,
        pooling="auto",
        max_length=None,
        preset=None,
        cache=None,
        checkpoint=None,
        precision="float32",
        engine="auto",
        device="auto",
        n_jobs=None,
        skorch_callbacks=None,
        random_state=None,
        verbose=1,
    ):
        self.backbone = backbone
        self.weights = weights
        self.texts = texts
        self.window = window
        self.unfreeze = unfreeze
        self.unfreeze_every = unfreeze_every
        self.max_epochs = max_epochs
        self.lr = lr
        self.layer_decay = layer_decay
        self.lr_schedule = lr_schedule
        self.optimizer = optimizer
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.inference_batch_size = inference_batch_size
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.pooling = pooling
        self.max_length = max_length
        self.preset = preset
        self.cache = cache
        self.checkpoint = checkpoint
        self.precision = precision
        self.engine = engine
        self.device = device
        self.n_jobs = n_jobs
        self.skorch_callbacks = skorch_callbacks
        self.random_state = random_state
        self.verbose = verbose

    @with_callbacks
    def fit(self, X, y=None, groups=None, X_val=None):
        """Tune the network to texts.

        Parameters
        ----------
        X : sequence of n_texts str
            The texts, unless ``texts`` takes their place.
        y : ignored
        groups : array-like of shape (n_texts,) or None, default=None
            Texts of one group stay together when ``early_stopping`` holds out a part of them.
        X_val : sequence of str or None, default=None
            Validation texts.  If given, no text is held out, and the weights of the epoch with the
            lowest validation loss are kept.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            If a parameter or a text is invalid, or the network has no language head.
        TrainingDivergedError
            If the training loss is not finite.
        OSError
            If the folder of ``cache`` cannot be created or read, or ``checkpoint`` is not a folder.
        """
        return self._fit(X if self.texts is None else self.texts, None, groups=groups, X_val=X_val)

    def _plan(self, request):
        """Return a context manager that yields the plan of a fit."""
        return plan_language_fit(request)

    def tuned_stages(self, backbone, items, random_state):
        """Fit a copy of this tuner to items, and return the tuned stages.

        Other estimators call it if this tuner is their ``weights``.

        Parameters
        ----------
        backbone : Backbone
            The network to tune, which does not change.
        items : Items
            Texts.
        random_state : int or RandomState

        Returns
        -------
        state : dict of str to Tensor
            The state of the stages.
        info : dict
            The number of texts, and the losses of each epoch.
        """
        copy = clone(self).set_params(
            backbone=lambda: backbone,
            weights="default",
            texts=None,
            preset=None,
            max_length=None,
            random_state=random_state,
        )
        copy.fit([str(item) for item in items])
        losses = {
            name: [row[name] for row in copy.history_ if name in row]
            for name in ("train_loss", "valid_loss")
        }
        return copy.backbone_.stages.state_dict(), {"n_texts": len(items), **losses}

    def perplexity(self, X):
        """Return the perplexity of texts: the exponential of the mean loss of a token.

        It is the number of equally likely tokens among which the network would be as uncertain.  A
        masked network predicts the same tokens in each call.

        Parameters
        ----------
        X : sequence of n_texts str

        Returns
        -------
        float
            At least 1.  Only perplexities of the same tokens can be compared.
        """
        return math.exp(-self.score(X))

    def score(self, X, y=None):
        """Return the mean log-likelihood of a token, which is minus the log of the perplexity.

        Parameters
        ----------
        X : sequence of n_texts str
        y : ignored

        Returns
        -------
        float
            At most 0.
        """
        check_is_fitted(self)
        check_parameters(self.get_params(deep=False), self._declared)
        items = check_items(self, self.backbone_.preset, X)
        predictor = self._fitted.predictor
        n_rows = 32 if isinstance(self.batch_size, str) else self.batch_size
        where = predictor.tail, predictor.task, predictor.numerics
        return -measure_loss(*where, items, self.window, n_rows)

    def save_weights(self, path):
        """Write the tuned weights to a file, which ``weights`` of other estimators can name.

        The tensors have the names of the stages.  The language head is in the file, too, and
        estimators that do not need it leave it out.

        Parameters
        ----------
        path : str or path-like
            The file, whose name ends in ``.safetensors``.  A file that exists is replaced.

        Raises
        ------
        ValueError
            If the suffix is another one.
        OSError
            If the file cannot be written.
        """
        check_is_fitted(self)
        source = f"{self._fitted.origin[0]} tuned to texts"
        save_weights(path, self.backbone_, self.head_, source)
