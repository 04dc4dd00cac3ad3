"""Each parameter is declared once, and its check names it."""

from dataclasses import replace

import pytest
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression

from sktransfer import FineTuneClassifier, MLPHead, PretrainedFeatureExtractor, Views
from sktransfer.tasks import LinearHead
from sktransfer.training import PARAMETERS, RUNNING, check_parameters
from sktransfer.training.parameters import Facts, is_auto
from sktransfer.training.predictor import make_tta_views

# name -> a value that it must not have
WRONG = {
    "head": "lineal",
    "pooling": "mean",
    "freeze_bn": True,
    "augment": "strong",
    "tta": -1,
    "head_init": LogisticRegression,
    "freeze_epochs": 1.5,
    "max_epochs": -1,
    "unfreeze_every": 0,
    "lr": 0,
    "fine_tune_lr": "fast",
    "weight_interpolation": 1.5,
    "layer_decay": 1.1,
    "lr_schedule": "triangle",
    "weight_decay": -0.1,
    "dropout": 1,
    "label_smoothing": 1.0,
    "early_stopping": "yes",
    "validation_fraction": 0,
    "n_iter_no_change": 0,
    "tol": float("nan"),
    "batch_size": 0,
    "image_size": 0,
    "max_length": 0,
    "window": 7,
    "precision": "float16",
    "optimizer": "adam",
    "skorch_callbacks": 5,
    "checkpoint": "",
    "random_state": -1,
    "decode_error": "skip",
    "inference_batch_size": 0,
    "engine": "tensorrt",
    "n_jobs": 0,
    "verbose": -1,
    "cache": 3,
}

# These need the network or the targets, which come later.
CHECKED_LATER = {"unfreeze", "class_weight"}

# These are checked by the functions that load the network and adapt its preset.
UNDECLARED = {"backbone", "weights", "device", "image_shape", "preset"}


@pytest.mark.parametrize("name", WRONG)
def test_the_check_of_a_parameter_names_it(name):
    with pytest.raises((ValueError, TypeError), match=f"^{name} must be "):
        check_parameters({name: WRONG[name]})


def test_every_declared_parameter_has_a_wrong_value_here():
    assert WRONG.keys() | CHECKED_LATER == PARAMETERS.keys()


@pytest.mark.parametrize("name", sorted(CHECKED_LATER))
def test_a_parameter_that_is_checked_later_may_be_anything_before(name):
    check_parameters({name: object()})


@pytest.mark.parametrize("estimator", [FineTuneClassifier, PretrainedFeatureExtractor])
def test_the_defaults_of_an_estimator_are_right(estimator):
    check_parameters(estimator().get_params(deep=False))


def test_every_parameter_of_the_classifier_is_declared():
    names = set(FineTuneClassifier().get_params(deep=False))
    assert names - PARAMETERS.keys() == UNDECLARED
    assert PARAMETERS.keys() - names == {"window"}


def test_a_prediction_checks_only_what_it_reads():
    check_parameters({"lr": -1, "n_jobs": 2}, RUNNING)
    with pytest.raises(ValueError, match="n_jobs must be"):
        check_parameters({"lr": -1, "n_jobs": -2}, RUNNING)


def test_a_parameter_that_an_estimator_lacks_is_not_checked():
    check_parameters({})
    check_parameters({"head_init": "logistic"})


@pytest.mark.parametrize("head", ["mlp", MLPHead(), torch.nn.Linear])
@pytest.mark.parametrize("init", ["logistic", LogisticRegression()])
def test_only_a_linear_head_has_an_exact_solution(head, init):
    with pytest.raises(ValueError, match="head_init must be 'prior' if head is not 'linear'"):
        check_parameters({"head": head, "head_init": init})
    for linear in ("linear", LinearHead()):
        check_parameters({"head": linear, "head_init": init})


def test_the_initial_classifier_must_take_sample_weight():
    with pytest.raises(
        TypeError, match="head_init must be a classifier whose fit accepts sample_weight"
    ):
        check_parameters({"head_init": LinearDiscriminantAnalysis()})


def test_only_the_word_itself_is_auto():
    assert is_auto("auto")
    assert not any(map(is_auto, ["Auto", None, 0, LogisticRegression(), torch.zeros(2)]))


# The values of "auto"

IMAGES = Facts(pretrained=True, is_table=False, augment="light", n_stages=4, n_items=256)
TABLE = Facts(pretrained=True, is_table=True, augment=None, n_stages=4, n_items=10)
NEW = Facts(pretrained=False, is_table=False, augment="light", n_stages=4, n_items=10)
NEW_TABLE = Facts(pretrained=False, is_table=True, augment=None, n_stages=4, n_items=10)
FEW_IMAGES = replace(IMAGES, n_items=255)


@pytest.mark.parametrize(
    ("name", "known", "values"),
    [
        ("unfreeze", {}, ["all", 1, "all", "all"]),
        ("freeze_bn", {}, ["all", "all", "frozen", "frozen"]),
        ("augment", {"cut": 3}, ["light", None, "light", None]),
        ("augment", {"cut": 4}, [None, None, None, None]),
        ("head_init", {"head": "linear"}, ["exact", "exact", "prior", "prior"]),
        ("head_init", {"head": LinearHead()}, ["exact", "exact", "prior", "prior"]),
        ("head_init", {"head": "mlp"}, ["prior"] * 4),
        ("freeze_epochs", {"head_init": "logistic"}, [0, 0, 0, 0]),
        ("freeze_epochs", {"head_init": "prior"}, [3, 3, 0, 0]),
        ("layer_decay", {}, [0.6, 0.6, 1.0, 1.0]),
        ("weight_interpolation", {"head_init": "exact"}, [1, 1, 1, 1]),
        ("max_epochs", {"head_init": "exact"}, [6, 6, 6, 6]),
        ("batch_size", {"head_init": "exact"}, [32, 32, 32, 32]),
    ],
    ids=str,
)
def test_auto_depends_on_the_network_and_the_items(name, known, values):
    found = [PARAMETERS[name].auto(facts, known) for facts in (IMAGES, TABLE, NEW, NEW_TABLE)]
    assert found == values


@pytest.mark.parametrize(
    ("name", "few", "otherwise"),
    [("weight_interpolation", 0.5, 1), ("max_epochs", 10, 6), ("batch_size", 8, 32)],
)
def test_auto_of_few_images_and_an_exact_head_makes_more_steps_and_goes_half_the_way(
    name, few, otherwise
):
    auto = PARAMETERS[name].auto
    for init in ("exact", LogisticRegression()):
        assert auto(FEW_IMAGES, {"head_init": init}) == few
    assert auto(FEW_IMAGES, {"head_init": "prior"}) == otherwise
    assert auto(replace(FEW_IMAGES, pretrained=False), {"head_init": "exact"}) == otherwise


@pytest.mark.parametrize("name", ["lr", "fine_tune_lr", "inference_batch_size"])
def test_auto_of_a_parameter_that_is_resolved_later_stays(name):
    assert PARAMETERS[name].auto is None
    check_parameters({name: "auto"})


# Views of a prediction


@pytest.mark.parametrize(
    ("augment", "used"),
    [
        ("auto", "light"),
        (None, "light"),
        ("standard", "standard"),
        (Views("trivial", 2), "trivial"),
    ],
    ids=str,
)
def test_the_views_of_a_prediction_are_augmented_as_in_training(augment, used):
    assert make_tta_views(augment, 5) == Views(used, 5)
