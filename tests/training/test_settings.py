"""The settings of a fit are its parameters without "auto"."""

import re
from dataclasses import fields

import numpy as np
import pytest
import torch
from helpers.tiny import tiny_backbone
from sklearn.linear_model import LogisticRegression

from sktransfer import ActivationCache, FineTuneClassifier, Views
from sktransfer.backbones import find_cut, is_pretrained
from sktransfer.schedules import Constant, OneCycle
from sktransfer.training.settings import FitSettings, is_seeded, resolve

IMAGES = np.zeros((4, 16, 16, 3), np.uint8)
TABLE = np.zeros((4, 48), np.float32)
RANDOM = {"tag": None, "sha256": None}  # the information about random weights


def settings(X=IMAGES, *, weights_info=None, left_out=(), **parameters):
    """Return the settings of a classifier of the tiny backbone, without some parameters."""
    backbone = tiny_backbone().truncate(3)
    backbone.weights_info = weights_info or {}
    given = FineTuneClassifier(device="cpu", **parameters).get_params(deep=False)
    given = {name: value for name, value in given.items() if name not in left_out}
    return resolve(given, backbone, backbone.preset.check(X), lambda _: "exact model")


def test_every_setting_of_the_defaults_is_resolved_except_rates_rows_and_engine():
    found = settings(lr="auto", fine_tune_lr="auto")
    left = {field.name for field in fields(FitSettings) if getattr(found, field.name) == "auto"}
    assert left == {"lr", "fine_tune_lr", "inference_batch_size", "engine"}


def test_auto_fine_tunes_the_whole_of_a_pretrained_network_to_images():
    found = settings()
    assert (found.cut, found.tunes) == (0, True)
    assert found.augment == "light"
    assert found.freeze_bn
    assert found.standardise
    assert found.head_init == "exact model"
    assert found.freeze_epochs == 0
    assert found.layer_decay == 0.6
    assert (found.max_epochs, found.batch_size, found.weight_interpolation) == (10, 8, 0.5)
    assert found.inference_batch_size == "auto"


def test_auto_fine_tunes_the_last_stage_to_a_table():
    found = settings(TABLE)
    assert (found.cut, found.tunes) == (2, True)
    assert found.augment is None


@pytest.mark.parametrize("scratch", [{"weights": None}, {"weights_info": RANDOM}], ids=str)
def test_auto_trains_a_network_from_scratch_at_one_learning_rate(scratch):
    found = settings(TABLE, **scratch)
    assert found.cut == 0
    assert not found.freeze_bn
    assert not found.standardise
    assert found.head_init is None
    assert found.freeze_epochs == 0
    assert found.layer_decay == 1.0


def test_auto_does_not_augment_without_a_stage_to_train():
    found = settings(unfreeze=0)
    assert (found.cut, found.tunes) == (3, False)
    assert found.augment is None


@pytest.mark.parametrize("parameters", [{"head": "mlp"}, {"head_init": "prior"}], ids=str)
def test_auto_trains_a_head_without_an_exact_solution_alone_first(parameters):
    found = settings(**parameters)
    assert found.head_init is None
    assert found.freeze_epochs == 3


def test_the_initial_model_is_that_of_the_task_or_that_of_the_user():
    own = LogisticRegression(C=3.0)
    assert settings(head_init="logistic").head_init == "exact model"
    assert settings(head_init=own).head_init is own


@pytest.mark.parametrize(
    "parameters",
    [
        {"augment": None},
        {"augment": Views("light", n=2)},
        {"freeze_epochs": 5},
        {"layer_decay": 0.25},
        {"batch_size": 7},
        {"inference_batch_size": 7},
        {"lr": 0.5},
        {"fine_tune_lr": 0.5},
        {"class_weight": "balanced"},
        {"label_smoothing": 0.25},
        {"pooling": "max"},
    ],
    ids=str,
)
def test_a_value_of_the_user_is_kept(parameters):
    ((name, value),) = parameters.items()
    assert getattr(settings(**parameters), name) == value


def test_freeze_bn_of_the_user_is_kept():
    assert not settings(freeze_bn="frozen").freeze_bn
    assert settings(weights=None, freeze_bn="all").freeze_bn


def test_schedules_and_caches_become_objects(tmp_path):
    assert settings().lr_schedule == OneCycle()
    assert settings(lr_schedule="constant").lr_schedule == Constant()
    assert settings().cache is None
    assert isinstance(settings(cache=tmp_path).cache, ActivationCache)


def test_numpy_scalars_become_python_numbers():
    found = settings(batch_size=np.int64(9), lr=np.float32(0.5), layer_decay=np.float64(0.5))
    assert [type(value) for value in (found.batch_size, found.lr, found.layer_decay)] == [
        int,
        float,
        float,
    ]


def test_an_estimator_may_lack_the_parameters_of_classes():
    found = settings(left_out=("label_smoothing", "class_weight", "tta"))
    assert found.label_smoothing == 0
    assert found.class_weight is None


# Numerics


@pytest.mark.parametrize(
    ("dtype", "precision", "computed", "weights"),
    [
        (np.float32, "float32", torch.float32, torch.float32),
        (np.float64, "float32", torch.float64, torch.float64),
        (np.float32, "bfloat16", torch.bfloat16, torch.float32),
        (np.float64, "bfloat16", torch.bfloat16, torch.float32),
    ],
)
def test_a_table_of_doubles_is_computed_in_doubles(dtype, precision, computed, weights):
    numerics = settings(TABLE.astype(dtype), precision=precision).numerics
    assert (numerics.precision, numerics.dtype) == (computed, weights)
    assert numerics.device == torch.device("cpu")
    assert numerics.numpy_dtype == np.dtype(str(weights).removeprefix("torch."))
    frozen = torch.float32 if computed == torch.float64 else computed
    assert numerics.frozen_precision == frozen


# Cuts


@pytest.mark.parametrize(
    ("unfreeze", "cut"),
    [(0, 3), (1, 2), (3, 0), ("all", 0), ("stem", 0), ("layer1", 1), ("layer2", 2)],
)
def test_the_cut_leaves_the_stages_that_train(unfreeze, cut):
    assert find_cut(tiny_backbone(), unfreeze) == cut
    assert settings(unfreeze=unfreeze).cut == cut


@pytest.mark.parametrize(
    ("unfreeze", "message"),
    [
        (4, "4."),
        (-1, "-1."),
        (1.5, "1.5."),
        (None, "None."),
        (True, "True."),
        ([1], "[1]."),
        ("layer3", "'layer3'. Did you mean 'layer2'?"),
        ("All", "'All'. Did you mean 'all'?"),
    ],
)
def test_the_error_about_a_wrong_unfreeze_lists_all_that_it_may_be(unfreeze, message):
    expected = (
        "unfreeze must be 'auto', 'all', the number of the last stages that train, from 0 to 3, or "
        "the name of the first stage that trains, one of 'stem', 'layer1', 'layer2'; got "
    )
    with pytest.raises(ValueError, match=f"^{re.escape(expected + message)}$"):
        find_cut(tiny_backbone(), unfreeze)


@pytest.mark.parametrize(
    ("info", "pretrained"),
    [({}, True), (RANDOM, False), ({"tag": "v1"}, True), ({"tag": None, "sha256": "ab"}, True)],
    ids=str,
)
def test_random_weights_have_neither_a_tag_nor_a_hash(info, pretrained):
    backbone = tiny_backbone()
    backbone.weights_info = info
    assert is_pretrained(backbone) == pretrained


def test_only_an_integer_is_a_seed():
    assert is_seeded(0)
    assert is_seeded(np.int64(3))
    assert not is_seeded(None)
    assert not is_seeded(np.random.RandomState(0))
