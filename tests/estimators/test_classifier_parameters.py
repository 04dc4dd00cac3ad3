"""Each parameter of the classifier changes something, and a wrong value is named."""

from functools import partial

import numpy as np
import pytest
import torch
from helpers.fine_tuning import classifier, named
from sklearn.linear_model import LogisticRegression
from skorch.callbacks import GradientNormClipping
from torch import nn
from torchvision.transforms import v2

from sktransfer import MLPHead, Views
from sktransfer.callbacks import CutMix, MixUp, ModelEMA, Scheduled
from sktransfer.schedules import Cosine, OneCycle


@pytest.fixture(scope="module")
def plain(photos):
    """The scores of a fit with the parameters that the others change."""
    X, y = photos
    return classifier(unfreeze=3).fit(X[:24], y[:24]).decision_function(X[24:])


@pytest.mark.parametrize(
    "parameters",
    [
        {"augment": None},
        {"augment": "standard"},
        {"augment": "trivial"},
        {"augment": Views("light", n=2)},
        {"augment": v2.RandomHorizontalFlip()},
        {"batch_size": 12},
        {"class_weight": {"red": 3}},
        {"dropout": 0.5},
        {"fine_tune_lr": 0.01},
        {"freeze_bn": "frozen"},
        {"freeze_epochs": 1},
        {"head": "mlp"},
        {"head_init": "prior"},
        {"head_init": LogisticRegression(C=1.0)},
        {"image_size": 32},
        {"label_smoothing": 0.0},
        {"layer_decay": 0.9},
        {"lr_schedule": "constant"},
        {"lr_schedule": "sgdr"},
        {"lr_schedule": OneCycle(warmup=0.5)},
        {"lr_schedule": OneCycle(momentum_dip=None)},
        {"max_epochs": 3},
        {"optimizer": "sgd"},
        {"optimizer": "rmsprop"},
        {"optimizer": torch.optim.Adagrad},
        {"pooling": "max"},
        {"precision": "bfloat16"},
        {"preset": {"mean": (0.1, 0.1, 0.1)}},
        {"random_state": 1},
        {"skorch_callbacks": [GradientNormClipping(0.01)]},
        {"skorch_callbacks": [MixUp()]},
        {"skorch_callbacks": [CutMix()]},
        {"skorch_callbacks": [ModelEMA()]},
        {"skorch_callbacks": [Scheduled("weight_decay", Cosine())]},
        {"tta": 2},
        {"unfreeze": 1},
        {"unfreeze_every": 1},
        {"weight_decay": 5.0},
    ],
    ids=named,
)
def test_each_parameter_changes_the_scores(photos, plain, parameters):
    X, y = photos
    other = classifier(**({"unfreeze": 3} | parameters)).fit(X[:24], y[:24])
    assert not np.array_equal(plain, other.decision_function(X[24:]))


@pytest.mark.parametrize(
    "head",
    ["linear", "mlp", MLPHead((5, 4), dropout=0.0), partial(nn.Linear, bias=False)],
    ids=named,
)
def test_a_head_is_a_name_or_a_builder(photos, head):
    model = classifier(head=head, freeze_epochs=2, lr=0.01).fit(*photos)
    assert model.decision_function(photos[0]).shape == (36, 3)
    assert isinstance(model.head_, nn.Module)


# Errors


def ungrouped(groups):
    return torch.optim.SGD([p for group in groups for p in group["params"]], lr=0.1)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"augment": "strong"}, r"augment must be one of 'auto', None, 'light'"),
        ({"batch_size": 0}, "batch_size must be an integer of at least 1, or 'auto'; got 0"),
        (
            {"class_weight": "even"},
            r"class_weight must be one of 'balanced', None, or a dict",
        ),
        ({"class_weight": {"pink": 2}}, "class_weight must have classes of y as keys; got 'pink'"),
        (
            {"class_weight": {"gren": 2}},
            r"not in y\. y has 'blue', 'green', 'red'\. Did you mean 'green'\?",
        ),
        ({"class_weight": {"red": -1}}, r"class_weight\['red'\] must be a number in \[0, inf\)"),
        ({"class_weight": {"red": np.nan}}, r"class_weight\['red'\] must be .*; got nan"),
        (
            {"class_weight": dict.fromkeys(["red", "green", "blue"], 0)},
            r"class_weight must give at least two classes of y a weight above 0; got \{'red': 0, ",
        ),
        ({"dropout": 1}, r"dropout must be a number in \[0, 1\); got 1"),
        ({"early_stopping": "yes"}, "early_stopping must be one of False, True; got 'yes'"),
        ({"fine_tune_lr": 0}, r"fine_tune_lr must be a number in \(0, inf\), or 'auto'; got 0"),
        (
            {"weight_interpolation": 1.5},
            r"weight_interpolation must be a number in \[0, 1\], or 'auto'; got 1.5",
        ),
        ({"freeze_bn": True}, "freeze_bn must be one of 'auto', 'frozen', 'all', 'own'; got True"),
        ({"freeze_epochs": -1}, "freeze_epochs must be an integer of at least 0"),
        (
            {"head": "lineal"},
            "head must be one of 'linear', 'mlp', or a .*; got 'lineal'. Did you mean",
        ),
        ({"head": nn.Linear(16, 3)}, "head must be one of 'linear', 'mlp', or a callable"),
        ({"head": lambda n, k: None}, "head must return a Module"),
        ({"head": lambda n, k: nn.Linear(n, 7)}, "head must return a Module with 3 outputs"),
        ({"head": lambda n, k: nn.Linear(5, k)}, "head must return a Module for 16 features"),
        ({"head": "mlp", "head_init": "logistic"}, "head_init must be 'prior' if head is not"),
        (
            {"head_init": "exact"},
            "head_init must be one of 'auto', 'logistic', 'prior', or an unf",
        ),
        (
            {"head_init": LogisticRegression},
            "head_init must be one of 'auto', 'logistic', 'prior', or",
        ),
        ({"label_smoothing": -0.1}, r"label_smoothing must be a number in \[0, 1\)"),
        ({"layer_decay": 0}, r"layer_decay must be a number in \(0, 1\], or 'auto'; got 0"),
        ({"layer_decay": 1.5}, r"layer_decay must be a number in \(0, 1\], or 'auto'; got 1.5"),
        ({"lr": "fast"}, r"lr must be a number in \(0, inf\), or 'auto'; got 'fast'"),
        (
            {"lr_schedule": "triangle"},
            "lr_schedule must be one of 'constant', .*, or a function",
        ),
        ({"max_epochs": 1.5}, "max_epochs must be an integer of at least 0, or 'auto'; got 1.5"),
        ({"n_iter_no_change": 0}, "n_iter_no_change must be an integer of at least 1"),
        (
            {"optimizer": "adam"},
            "optimizer must be one of 'adamw', 'sgd', .*, or a function of parameter",
        ),
        (
            {"optimizer": 3, "max_epochs": 0},
            "optimizer must be one of 'adamw', .*; got 3",
        ),
        ({"skorch_callbacks": 5}, "skorch_callbacks must be a list of .*, or None; got 5"),
        ({"skorch_callbacks": [("a", 5)]}, "skorch_callbacks must be a list of .*; got 5"),
        ({"checkpoint": 5}, "checkpoint must be the path of a folder, or None; got 5"),
        ({"pooling": "mean"}, "pooling must be one of 'auto', 'avg'"),
        ({"pooling": "cls"}, "pooling must not be 'cls'"),
        ({"optimizer": ungrouped}, "optimizer must keep the parameter groups that it is given"),
        ({"precision": "float16"}, "precision must be one of 'float32'"),
        ({"tol": -1}, r"tol must be a number in \[0, inf\); got -1"),
        ({"tta": -1}, "tta must be an integer of at least 0"),
        ({"unfreeze": 4}, "unfreeze must be 'auto', 'all', the number .* from 0 to 3, or the name"),
        (
            {"unfreeze": None},
            "unfreeze must be 'auto', 'all', .* 'layer2'; got None",
        ),
        ({"random_state": -1}, r"random_state must be an integer in \[0, 2\*\*32\), .*; got -1"),
        ({"random_state": "x"}, "random_state must be .*RandomState, or None; got 'x'"),
        ({"device": "gpu"}, "device must be one of 'auto', .*; got 'gpu'. Did you mean 'cuda'"),
        ({"lr_schedule": None}, "lr_schedule must be one of 'constant', .*; got None"),
        ({"unfreeze_every": 0}, "unfreeze_every must be an integer of at least 1, or None"),
        ({"validation_fraction": 1.0}, r"validation_fraction must be a number in \(0, 1\)"),
        ({"weight_decay": -1}, r"weight_decay must be a number in \[0, inf\)"),
        ({"cache": 3}, "cache must be None, the path of a folder, or an ActivationCache"),
        ({"verbose": -1}, "verbose must be an integer of at least 0"),
        ({"decode_error": "skip"}, "decode_error must be one of 'raise', 'warn', 'ignore'"),
    ],
    ids=named,
)
def test_a_wrong_parameter_is_named(photos, parameters, message):
    with pytest.raises((ValueError, TypeError), match=message):
        classifier(**parameters).fit(*photos)


@pytest.mark.parametrize(
    ("fit_params", "message"),
    [
        ({"y": None}, "requires y to be passed, but the target y is None"),
        ({"y": np.zeros(36)}, "y must have at least 2 classes; got only one class: 0"),
        ({"y": np.arange(5)}, "y must have one label for each of 36 items; got 5"),
        ({"sample_weight": np.zeros(36)}, "Sample weights must contain at least one non-zero"),
        ({"sample_weight": -np.ones(36)}, "Negative values in data passed to `sample_weight`"),
        ({"X_val": np.zeros((1, 8, 8, 3), "u1")}, "X_val and y_val must be given together; y_val"),
        ({"y_val": ["red"]}, "X_val and y_val must be given together; X_val is missing"),
        (
            {"X_val": np.zeros((1, 8, 8, 3), "u1"), "y_val": ["pink"]},
            "y_val must contain only labels that the classifier knows; got 'pink'",
        ),
    ],
    ids=["none", "one", "short", "weightless", "negative", "no y_val", "no X_val", "unseen"],
)
def test_wrong_data_is_named(photos, fit_params, message):
    X, y = photos
    with pytest.raises(ValueError, match=message):
        classifier().fit(X, **({"y": y} | fit_params))


@pytest.mark.parametrize(
    ("y", "message"),
    [(iter("ab"), r"str_\w*iterator\. Pass list\(y\)\."), ({"a", "b"}, "set"), ("ab", "str")],
    ids=["iterator", "set", "string"],
)
def test_labels_without_an_order_or_a_length_are_named(photos, y, message):
    with pytest.raises(TypeError, match=f"y must be a sequence with a value .* got {message}"):
        classifier().fit(photos[0], y)


def test_the_rows_without_a_group_are_listed(photos):
    X, y = photos
    groups = [*range(35), None]
    with pytest.raises(ValueError, match=r"groups must have a group for each item; 1 of 36 have"):
        classifier(early_stopping=True).fit(X, y, groups=groups)


def test_validation_labels_must_be_of_the_kind_of_y(photos):
    X, y = photos
    several = np.eye(3, dtype=int)[np.arange(36) % 3]
    with pytest.raises(ValueError, match=r"y_val must have one label .*; got columns of 0 and 1"):
        classifier().fit(X, y, X_val=X[:3], y_val=several[:3])
    with pytest.raises(ValueError, match=r"y_val must have columns of 0 and 1 .*; got one label"):
        classifier().fit(X, several, X_val=X[:3], y_val=[0, 1, 2])


def test_columns_of_numbers_are_no_labels(photos):
    with pytest.raises(ValueError, match="36 values of column 0 of y are no labels"):
        classifier().fit(photos[0], np.random.default_rng(0).normal(size=(36, 2)))
