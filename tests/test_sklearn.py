"""scikit-learn's own checks, every one of them."""

import pytest
import sklearn
from sklearn.base import clone
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import estimator_checks_generator

from sktransfer import PretrainedFeatureExtractor

# How many checks scikit-learn yields for a transformer of two-dimensional arrays.  A tag that
# turned some of them off would lower the number.
N_CHECKS = {"1.7": 47, "1.8": 47, "1.9": 47}

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


def checks_of(estimator):
    return [check for _, check in estimator_checks_generator(estimator)]


def name_of(check):
    return check.func.__name__


@pytest.mark.parametrize("check", checks_of(PretrainedFeatureExtractor()), ids=name_of)
def test_the_extractor_passes(check):
    check(PretrainedFeatureExtractor())


# Some of them fit on a frame and transform bare values, or the reverse, where a warning is right.
@pytest.mark.filterwarnings("ignore:X (does not have|has).*feature names")
@pytest.mark.parametrize("name", FURTHER)
def test_the_extractor_passes_what_scikit_learn_asks_of_itself(name):
    extractor = clone(PretrainedFeatureExtractor())
    getattr(estimator_checks, name)("PretrainedFeatureExtractor", extractor)


def test_no_check_is_turned_off():
    version = ".".join(sklearn.__version__.split(".")[:2])
    expected = N_CHECKS.get(version, max(N_CHECKS.values()))
    assert len(checks_of(PretrainedFeatureExtractor())) >= expected
