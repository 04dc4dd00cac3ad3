"""Extract features with a pretrained network as a scikit-learn transformer."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np
from sklearn.utils.validation import check_is_fitted

from .._support.progress import progress_bar
from .._support.validation import check_choice
from ..backbones import get_backbone
from ..cache import check_cache
from ..data import adapt, warn_of_lost_parts
from ..extraction import estimate_statistics
from ..training import (
    PARAMETERS,
    RUNNING,
    check_parameters,
    find_tuner,
    starting_weights,
)
from ._callbacks import report_fit, with_callbacks
from ._columns import check_items, get_columns, set_fitted
from ._domains import Domains, names_at
from ._extraction import BATCH_NORMS, Extraction, build_extraction, check_layers, tune
from ._pretrained import PretrainedEstimator


class PretrainedFeatureExtractor(PretrainedEstimator):
    """Turn images or texts into features: the pooled activations of a pretrained network.

    The network is frozen: no weight changes in ``fit``, and no label is needed.  The features can
    be used by any estimator of scikit-learn, in a pipeline.

    Parameters
    ----------
    backbone : str or callable, default="builtin/mini"
        The network.  A string is an address, ``"provider/model"``; :func:`list_backbones` lists
        all addresses.  A callable without arguments returns a ``Backbone``.
    weights : str, path-like, LanguageModelTuner or None, default="default"
        The weights of the network: ``"default"``, a tag of the provider, or the path of a
        .safetensors, .pth or .pt file.  None means random weights from a fixed seed.  Must be
        ``"default"`` if ``backbone`` is a callable.  A copy of a :class:`LanguageModelTuner` is
        first fitted to the texts of each fit.
    layer : str or list of str, default="last"
        Where the features are read.

        - The name of a stage, or "last" for the last stage, reads the output of this stage.
        - "logits" and "probabilities" read the output of the network's own classifier.
        - A list concatenates the features of several layers.
    pooling : str, default="auto"
        How the positions of a feature map, or the tokens of a text, become one vector of features.

        - "avg", "max" and "avgmax" are the mean, the maximum, and both.
        - "flatten" keeps all positions of an image, one after the other.
        - "cls" is the class token of a vision transformer, or the first token of a text.
        - "last" is the last token of a text; "concat" is the last token, the maximum and the mean.
        - "auto" means the pooling that the weights ask for, or else "avg".

        Has no effect on "logits" and "probabilities".
    image_size : int or None, default=None
        Side, in pixels, of the square image that the network receives.  None means the size that
        belongs to the weights.
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
    batch_norm : {"stored", "data", "both"}, default="stored"
        The mean and variance with which batch norm standardises activations.

        - "stored" uses those that belong to the weights.
        - "data" estimates them in ``fit`` from ``X``, in one pass without labels: of all items, or
          of each domain if ``sample_domain`` is passed.  This helps if the images are far from
          those of the pretraining, such as drawings, or if they come from several domains.
        - "both" concatenates the features of "stored" and of "data".

        Must be "stored" for a network without batch norm.
    cache : str, path-like, ActivationCache or None, default=None
        Folder for the features, by content of the items, so that each item passes the same network
        only once.  None keeps nothing.
    precision : {"float32", "bfloat16", "auto"}, default="float32"
        Type in which the network computes; the features are always float32.  "auto" means bfloat16
        on a device with hardware support for it, and float32 otherwise.
    engine : {"auto", "torch", "openvino", "onnxruntime", "compile"}, default="auto"
        The library that runs the network on a CPU.

        - "torch" is torch itself.
        - "openvino" and "onnxruntime" come with extras of these names, and need some seconds to
          compile a network; with ``cache``, a later process needs less than one.  "onnxruntime"
          computes in float32 only.
        - "compile" is :func:`torch.compile`, which needs a compiler of C++ and a minute.
        - "auto" takes openvino if it is installed, for stages with enough work whose output it
          changes by less than 1e-5 of its norm in float32, and by less than 0.05 in bfloat16.  It
          takes torch otherwise.

        Features of two engines differ in the last bits.  This can also be set after ``fit``.
    batch_size : int or "auto", default="auto"
        Number of items in each forward pass.  Smaller batches are filled up with zeros, so that
        features do not depend on the other items of the call.  "auto" means 16 on a CPU, 32 on mps
        and 64 on cuda; for texts, 256, 1024 and 16384 divided by their length.  Use 1 to
        transform single items with the lowest latency.  This can also be set after ``fit``.  With
        another batch size, the last bits of the features may differ.
    device : str or torch.device, default="auto"
        Where the network computes: "cpu", "cuda", "cuda:1" or "mps".  "auto" means the first
        available one of cuda, mps and cpu.
    n_jobs : int or None, default=None
        Number of threads that decode items while the network computes.  None means the number of
        threads that torch uses, which is 1 in the workers of joblib, and -1 one thread for each
        processor.
    decode_error : {"raise", "warn", "ignore"}, default="raise"
        What happens if an item cannot be decoded.  "raise" raises an error that lists the first
        ten such items.  "warn" returns rows of NaN for them, and warns.  "ignore" does the same
        without a warning.  A file that does not exist is always an error.
    verbose : int, default=1
        0 shows nothing.  Otherwise a progress bar is shown, in terminals and notebooks only.

    Attributes
    ----------
    backbone_ : Backbone
        The frozen network, up to the last stage that ``layer`` needs, with its stored statistics.
    statistics_ : dict
        The statistics of batch norm that were estimated in ``fit``: for each domain a dict of
        ndarrays by the names of the state dict of ``backbone_``.  The key is None if
        ``sample_domain`` was not passed.  Empty for ``batch_norm="stored"``.
    weights_info_ : dict
        Tag, source, sha256 and licence of the weights, and the size, mean and standard deviation
        of their inputs.
    n_features_in_ : int
        Number of columns of X.  Only if X was a table.
    feature_names_in_ : ndarray of str
        Names of the columns of X.  Only if X was a DataFrame.

    See Also
    --------
    FineTuneClassifier : Fine-tune the network, too.
    list_backbones : The addresses of all networks.
    load_image_folder : Paths and labels of the images in a folder.

    Notes
    -----
    Equal items have equal features, bit for bit, whatever the other items of the call are: batch
    norm never uses the statistics of a batch in ``transform``, and every batch has ``batch_size``
    rows.  The length of the row of a text depends on this text alone.

    With ``batch_norm="data"``, the statistics are those of precise batch norm [1]_: their average
    over batches of 16 items.  They are a function of the set of items and do not depend on their
    order, on duplicates, on ``batch_size`` or on the number of threads.  If the items of a domain
    hold few of the classes, the statistics remove the difference between these classes and the
    others, and the features become worse.

    References
    ----------
    .. [1] Y. Wu and J. Johnson, "Rethinking 'Batch' in BatchNorm", 2021,
       https://arxiv.org/abs/2105.07576

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from sktransfer import PretrainedFeatureExtractor
    >>> X, y = load_digits(n_class=2, return_X_y=True)  # rows of 64 values, images of 8 x 8
    >>> features = PretrainedFeatureExtractor(image_size=32, layer="layer2")
    >>> model = make_pipeline(features, StandardScaler(), LogisticRegression())
    >>> model.fit(X[:40], y[:40]).score(X[40:80], y[40:80])
    1.0
    """

    _result = Extraction
    _declared = PARAMETERS

    # Metadata routing passes the domains without a call of set_fit_request.
    __metadata_request__fit: ClassVar = {"sample_domain": True}
    __metadata_request__transform: ClassVar = {"sample_domain": True}

    def __init__(
        self,
        backbone="builtin/mini",
        *,
        weights="default",
        layer="last",
        pooling="auto",
        image_size=None,
        image_shape=None,
        max_length=None,
        preset=None,
        batch_norm="stored",
        cache=None,
        precision="float32",
        engine="auto",
        batch_size="auto",
        device="auto",
        n_jobs=None,
        decode_error="raise",
        verbose=1,
    ):
        self.backbone = backbone
        self.weights = weights
        self.layer = layer
        self.pooling = pooling
        self.image_size = image_size
        self.image_shape = image_shape
        self.max_length = max_length
        self.preset = preset
        self.batch_norm = batch_norm
        self.cache = cache
        self.precision = precision
        self.engine = engine
        self.batch_size = batch_size
        self.device = device
        self.n_jobs = n_jobs
        self.decode_error = decode_error
        self.verbose = verbose

    @with_callbacks
    def fit(self, X, y=None, sample_domain=None):
        """Load the network, and estimate the statistics of batch norm if they are needed.

        Otherwise nothing is learned from ``X``, but its items are checked, and its columns are
        recorded.

        Parameters
        ----------
        X : sequence of n_items paths, images, arrays, bytes or texts, or a table of images
        y : ignored
        sample_domain : array-like of shape (n_items,) or None, default=None
            The domain of each item, an integer or a string.  With ``batch_norm="data"`` or "both",
            each domain has statistics of its own.  None means one domain.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            If a parameter or an item is invalid; the message names it.
        DecodeError
            If an item cannot be decoded, ``decode_error="raise"`` and ``batch_norm`` is not
            "stored".
        """
        columns, fitted, items = self._load(X)
        with report_fit(self, 0, X, y):
            fitted = self._estimate(fitted, items, sample_domain, self.decode_error)
        set_fitted(self, columns, fitted)
        return self

    @with_callbacks
    def fit_transform(self, X, y=None, sample_domain=None):
        """Load the network and return the features of ``X``.

        The result equals that of ``fit(X).transform(X)``.

        Parameters
        ----------
        X : sequence of n_items paths, images, arrays, bytes or texts, or a table of images
        y : ignored
        sample_domain : array-like of shape (n_items,) or None, default=None
            The domain of each item, as for ``fit``.

        Returns
        -------
        ndarray of shape (n_items, n_features), float32
        """
        columns, fitted, items = self._load(X)
        # The features of the same items follow, and warn of those that cannot be decoded.
        quiet = "ignore" if self.decode_error == "warn" else self.decode_error
        with report_fit(self, -(-len(items) // fitted.prefix.batch_size), X, y) as step:
            fitted = self._estimate(fitted, items, sample_domain, quiet)
            features = self._compute_features(fitted, items, sample_domain, step)
        set_fitted(self, columns, fitted)
        return features

    def transform(self, X, sample_domain=None):
        """Return the features of ``X``.

        Parameters
        ----------
        X : sequence of n_items paths, images, arrays, bytes or texts, or a table of images
        sample_domain : array-like of shape (n_items,) or None, default=None
            The domain of each item, one of those in ``fit``.  Required if ``fit`` estimated
            statistics for each domain.

        Returns
        -------
        ndarray of shape (n_items, n_features), float32
            The row of an item that cannot be decoded is NaN, unless ``decode_error="raise"``.

        Raises
        ------
        DecodeError
            If an item cannot be decoded and ``decode_error="raise"``.  The message lists the first
            ten such items.
        ValueError
            If a domain was not seen in ``fit``.
        """
        check_is_fitted(self)
        items = check_items(self, self.backbone_.preset, X)
        return self._compute_features(self._fitted, items, sample_domain)

    def get_feature_names_out(self, input_features=None):
        """Return the names of the features: the layer, an underscore and a number.

        With ``batch_norm="both"``, they begin with ``stored_`` or ``data_``.

        Parameters
        ----------
        input_features : array-like of str or None, default=None
            Not used.  If X was a table, its length must be ``n_features_in_``.

        Returns
        -------
        ndarray of str objects of shape (n_features,)
        """
        super().get_feature_names_out(input_features)
        return np.array(self._fitted.names, dtype=object)

    @property
    def backbone_(self):
        """The frozen network, up to the last stage that ``layer`` needs."""
        return self._fitted.prefix.backbone

    @property
    def statistics_(self):
        """The statistics of batch norm that were estimated in ``fit``, by domain."""
        return self._fitted.statistics

    @property
    def _n_features_out(self):
        check_is_fitted(self)
        return self._fitted.n_features

    def _load(self, X):
        """Check the parameters, load the network and check the items of ``X``.

        Returns
        -------
        columns : dict
            The attributes that describe the columns of ``X``.
        fitted : Extraction
        items : Items
        """
        parameters = self.get_params(deep=False)
        check_parameters(parameters)
        check_choice("batch_norm", self.batch_norm, BATCH_NORMS)
        unfitted = self._make_unfitted()
        backbone = get_backbone(self.backbone, starting_weights(self.weights))
        layers = check_layers(parameters, backbone)
        backbone.preset = adapt(
            backbone.preset, self.preset, self.image_size, self.image_shape, self.max_length
        )
        items = check_items(unfitted, backbone.preset, X, reset=True)
        if find_tuner(self.weights) is not None:
            tune(backbone, parameters, items)
        fitted = build_extraction(parameters, backbone, layers)
        warn_of_lost_parts(backbone.preset, items)
        return get_columns(unfitted), fitted, items

    def _estimate(self, fitted, items, sample_domain, decode_error):
        """Return ``fitted`` with the statistics of each domain, if it needs them."""
        domains = Domains.of(sample_domain, len(items))
        if fitted.batch_norm == "stored":
            return fitted
        with progress_bar(len(items), "batch-norm statistics", self.verbose) as advance:
            statistics = {
                domain: estimate_statistics(
                    fitted.prefix,
                    items.take(positions),
                    cache=check_cache(self.cache),
                    n_jobs=self.n_jobs,
                    decode_error=decode_error,
                    progress=advance,
                    name=names_at(positions),
                )
                for domain, positions in domains.parts()
            }
        return replace(fitted, statistics=statistics)

    def _compute_features(self, fitted, items, sample_domain=None, step=lambda: None):
        """Return the features of items, and call ``step`` after each batch."""
        check_parameters(
            self.get_params(deep=False), RUNNING | {"batch_size": PARAMETERS["batch_size"]}
        )
        domains = Domains.of(sample_domain, len(items))
        size, n_done = fitted.n_runs * fitted.prefix.sized(self.batch_size).batch_size, 0
        n_passes = fitted.n_runs * len(items)
        with progress_bar(n_passes, type(self).__name__, self.verbose) as advance:

            def progress(n_items):
                nonlocal n_done
                advance(n_items)
                # ``step`` counts batches; cached items count as if they had been computed.
                for _ in range(-(-n_done // size), -(-(n_done + n_items) // size)):
                    step()
                n_done += n_items

            return fitted.features(
                items,
                domains,
                self.batch_size,
                self.engine,
                cache=check_cache(self.cache),
                n_jobs=self.n_jobs,
                decode_error=self.decode_error,
                progress=progress,
            )
