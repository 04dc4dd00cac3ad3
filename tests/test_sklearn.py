"""scikit-learn's own checks, every one of them."""

import pytest
import sklearn
from helpers.tiny import tiny_backbone
from sklearn.base import clone
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import estimator_checks_generator

from sktransfer import FineTuneClassifier, FineTuneRegressor, PretrainedFeatureExtractor

# How many checks scikit-learn yields for a transformer of two-dimensional arrays, for a classifier
# that takes weights and several labels an item, and transforms, and for such a regressor.  A tag
# that turned some of them off would lower the number.
N_CHECKS = {
    PretrainedFeatureExtractor: {"1.7": 47, "1.8": 47, "1.9": 47},
    FineTuneClassifier: {"1.7": 73, "1.8": 73, "1.9": 74},
    FineTuneRegressor: {"1.7": 65, "1.8": 65, "1.9": 66},
}

# scikit-learn runs these on its own transformers, and yields them to nobody else.
FURTHER = [
    "check_dataframe_column_names_consistency",
    "check_get_feature_names_out_error",
    "check_global_output_transform_pandas",
    "check_global_set_output_transform_polars",
    "check_set_output_transform",
    "check_set_output_transform_pandas",
    "check_set_output_transform_polars",
    "check_transformer_get_feature_names_out",
    "check_transformer_get_feature_names_out_pandas",
    "check_inplace_ensure_writeable",
]


# scikit-learn shortens the training of its own estimators in the same way.  With the default number
# of epochs, which changes the values only, the checks are slow tests.
EPOCHS = pytest.mark.parametrize("epochs", ["few", pytest.param("auto", marks=pytest.mark.slow)])

# These checks ask for good predictions.
LONGEST = ("check_classifiers_train", "check_regressors_train")


def checks_of(estimator):
    return [check for _, check in estimator_checks_generator(estimator)]


def name_of(check):
    return check.func.__name__


def n_epochs(check, epochs):
    """Return ``max_epochs`` of a check: two epochs are few if it asks for good predictions."""
    if epochs == "few":
        return 2 if name_of(check) in LONGEST else 1
    return epochs


@pytest.mark.parametrize("check", checks_of(PretrainedFeatureExtractor()), ids=name_of)
def test_the_extractor_passes(check):
    check(PretrainedFeatureExtractor())


# Some of them fit on a frame and transform bare values, or the reverse, where a warning is right.
@pytest.mark.filterwarnings("ignore:X (does not have|has).*feature names")
@pytest.mark.parametrize("name", FURTHER)
def test_the_extractor_passes_what_scikit_learn_asks_of_itself(name):
    extractor = clone(PretrainedFeatureExtractor(tiny_backbone))
    getattr(estimator_checks, name)("PretrainedFeatureExtractor", extractor)


def repeated(check):
    """Mark the longest check as slow if another one repeats it on the same values, read-only."""
    is_repeated = name_of(check) in LONGEST and not check.keywords
    return pytest.param(check, marks=[pytest.mark.slow] if is_repeated else [])


CHECKS = [repeated(check) for check in checks_of(FineTuneClassifier())]


@EPOCHS
@pytest.mark.parametrize("check", CHECKS, ids=name_of)
def test_the_classifier_passes(check, epochs):
    check(FineTuneClassifier(max_epochs=n_epochs(check, epochs)))


@pytest.mark.parametrize("name", FURTHER)
@pytest.mark.filterwarnings("ignore:X (does not have|has).*feature names")
def test_the_classifier_passes_what_scikit_learn_asks_of_its_own_transformers(name):
    # Training and the network change the values only, and these checks fit up to a dozen times.
    model = clone(FineTuneClassifier(tiny_backbone, max_epochs=0, random_state=0))
    getattr(estimator_checks, name)("FineTuneClassifier", model)


REGRESSOR_CHECKS = [repeated(check) for check in checks_of(FineTuneRegressor())]


# The fits of the classifier, which are much the same, have the network of the package.
@EPOCHS
@pytest.mark.parametrize("check", REGRESSOR_CHECKS, ids=name_of)
def test_the_regressor_passes(check, epochs):
    is_small = epochs == "few" and name_of(check) not in LONGEST
    network = tiny_backbone if is_small else "builtin/mini"
    check(FineTuneRegressor(network, max_epochs=n_epochs(check, epochs)))


@pytest.mark.parametrize("estimator", N_CHECKS)
def test_no_check_is_turned_off(estimator):
    version = ".".join(sklearn.__version__.split(".")[:2])
    expected = N_CHECKS[estimator].get(version, max(N_CHECKS[estimator].values()))
    assert len(checks_of(estimator())) >= expected
