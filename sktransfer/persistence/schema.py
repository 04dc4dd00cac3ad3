"""The contents of a saved model: every key of its description, with the rule of its values."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .._support.device import PRECISIONS
from ..data import Views
from ..engines import NAMES
from ..estimators import (
    BATCH_NORMS,
    FineTuneClassifier,
    FineTuneMultiTask,
    FineTuneRegressor,
    FineTuneSegmenter,
    LanguageModelTuner,
    PretrainedFeatureExtractor,
)
from ..extraction import Tap
from ..schedules import Schedule
from ..tasks import (
    HEADS,
    MAP_HEADS,
    Classification,
    Columns,
    FPNHead,
    LabelSets,
    LanguageModel,
    LinearHead,
    LinearMapHead,
    Mixed,
    MLPHead,
    MultiLabel,
    Points,
    Regression,
    Segmentation,
)
from ..training import History, Numerics, Report, check_parameters
from .codec import DTYPES, MOST_PIXELS, NOT_SAVED, device, pooling
from .rules import (
    Rule,
    any_of,
    anything,
    array,
    dict_of,
    integer,
    is_a,
    list_of,
    matching,
    number,
    one_of,
    optional,
    record,
    text,
)

CLASSES: dict[str, Any] = {
    kind.__name__: kind
    for kind in (
        FineTuneClassifier,
        FineTuneMultiTask,
        FineTuneRegressor,
        FineTuneSegmenter,
        LanguageModelTuner,
        PretrainedFeatureExtractor,
    )
}

# Limits of the parameters that predictions use: the rows of a batch, the views of an item, and the
# threads that decode.
MOST_ROWS, MOST_VIEWS, MOST_THREADS = 2**14, 2**10, 2**10

ADDRESS = matching(r"[^/\s]{1,100}/\S{1,200}")
HASH = matching("[0-9a-f]{8,64}")
WEIGHTS = optional(any_of(text, is_a(Path)))
ROWS = any_of(one_of("auto"), integer(1, MOST_ROWS))
HEAD = any_of(is_a(LinearHead), is_a(MLPHead), is_a(FPNHead), is_a(LinearMapHead))

# Rules in addition to those that training.PARAMETERS declares, which also accept code.
PARAMETERS: dict[str, Rule] = {
    "augment": any_of(optional(text), is_a(Views)),
    "backbone": text,
    "batch_norm": one_of(*BATCH_NORMS),
    "batch_size": ROWS,
    "class_weight": optional(any_of(one_of("balanced"), is_a(dict))),
    "device": device,
    "head": any_of(one_of(*HEADS, *MAP_HEADS), HEAD),
    "ignore_label": optional(any_of(integer(), list_of(integer()), list_of(integer(), tuple))),
    "engine": one_of(*NAMES),
    "flip_pairs": optional(anything),
    "head_init": text,
    "image_shape": optional(any_of(list_of(integer(1)), list_of(integer(1), tuple))),
    "image_size": optional(integer(1, MOST_PIXELS)),
    "inference_batch_size": ROWS,
    "loss": text,
    "layer": any_of(text, list_of(text), list_of(text, tuple)),
    "lr_schedule": any_of(text, is_a(Schedule)),
    "max_length": optional(integer(1)),
    "n_jobs": optional(integer(-1, MOST_THREADS)),
    "optimizer": text,
    "precision": one_of(*PRECISIONS),
    "random_state": optional(integer(0)),
    "skorch_callbacks": optional(any_of(list_of(text, high=0), list_of(text, tuple, 0))),
    "stages": optional(any_of(list_of(text), list_of(text, tuple))),
    "tta": integer(0, MOST_VIEWS),
    "unfreeze": any_of(integer(0), text),
    "weights": any_of(WEIGHTS, is_a(LanguageModelTuner)),
}

EPOCH = record(
    {
        "phase": one_of("head", "fine-tune"),
        "epoch": integer(1),
        "cut": integer(0),
        "train_loss": number,
        "lr": dict_of(number),
        "seconds": number,
    },
    others=anything,  # such as the losses of validation data
)
STAGE = record(
    {
        "stage": text,
        "frozen": is_a(bool),
        "batch_norm": one_of("", "eval", "train"),
        "lr_min": number,
        "lr_max": number,
        "moved": number,
        "note": text,
    }
)
COLUMNS = record({}, {"n_features_in_": integer(1), "feature_names_in_": array("O")})
ORIGIN = {"weights_info": dict_of(anything), "origin": list_of(WEIGHTS, tuple), "columns": COLUMNS}


def _class(name: str, value: Any) -> None:
    """Accept the name of a class of the table, to which a new estimator may have been added."""
    one_of(*CLASSES)(name, value)


def _classes(name: str, task: Any) -> None:
    """Accept at least two classes, sorted and different, as ``fit`` finds them."""
    is_a(Classification)(name, task)
    array("biufUO")(f"classes of {name}", task.classes)
    if len(task.classes) < 2 or not np.array_equal(np.unique(task.classes), task.classes):
        raise ValueError(f"classes of {name} must be at least two sorted labels")


def _columns(name: str, task: Any) -> None:
    """Accept at least two columns of labels, each with classes as ``fit`` finds them."""
    is_a(Columns)(name, task)
    if len(task.tasks) < 2:
        raise ValueError(f"{name} must have at least two columns; got {len(task.tasks)}")
    list_of(_classes, tuple)(f"tasks of {name}", task.tasks)


def _numbers(name: str, task: Any) -> None:
    """Accept a finite mean and a positive scale for at least one column of numbers, or point."""
    is_a(Regression)(name, task)
    moments = {"mean": task.mean, "scale": task.scale}
    for key, values in moments.items():
        array("f")(f"{key} of {name}", values)
        if not np.isfinite(values).all():
            raise ValueError(f"{key} of {name} must be finite; got {values.tolist()[:3]}")
    if not len(task.mean) == len(task.scale) >= 1 or task.scale.min() <= 0:
        raise ValueError(f"{name} must have a mean and a positive scale for each column")
    if isinstance(task, Points):
        _points(name, task)
    elif task.is_flat and len(task.mean) > 1:
        raise ValueError(f"{name} must have one column if y has one axis; got {len(task.mean)}")


def _points(name: str, task: Points) -> None:
    """Accept an even number of positions, and pairs of points."""
    if len(task.mean) % 2:
        raise ValueError(f"{name} must have two positions for each point; got {len(task.mean)}")
    if task.pairs is not None:
        pair = list_of(integer(0, task.n_points - 1), tuple)
        list_of(pair, tuple)(f"pairs of {name}", task.pairs)
        if any(len(each) != 2 for each in task.pairs):
            raise ValueError(f"pairs of {name} must be pairs of points; got {task.pairs[:3]}")


def _masks(name: str, task: Any) -> None:
    """Accept at least two classes of masks, sorted and different, with weights."""
    is_a(Segmentation)(name, task)
    array("iu")(f"classes of {name}", task.classes)
    array("f")(f"weights of {name}", task.weights)
    list_of(integer(), tuple)(f"ignored of {name}", task.ignored)
    if len(task.classes) < 2 or not np.array_equal(np.unique(task.classes), task.classes):
        raise ValueError(f"classes of {name} must be at least two sorted values")
    if len(task.weights) != len(task.classes) or not np.isfinite(task.weights).all():
        raise ValueError(f"weights of {name} must be finite numbers, one for each class")


def _mixed(name: str, task: Any) -> None:
    """Accept columns with a name, a weight and a positive level each."""
    is_a(Mixed)(name, task)
    n = len(task.tasks)
    if not n == len(task.weights) == len(task.levels) >= 1 or min(task.levels) <= 0:
        raise ValueError(f"{name} must have a weight and a positive level for each column")
    if min(task.weights) < 0 or not any(task.weights):
        raise ValueError(f"weights of {name} must be at least 0; got {task.weights[:3]}")
    list_of(any_of(_label_sets, _classes, _numbers), tuple)(f"tasks of {name}", task.tasks)


def _label_sets(name: str, task: Any) -> None:
    """Accept sorted labels, one for each output."""
    is_a(LabelSets)(name, task)
    if task.n_outputs != len(task.labels) or len(np.unique(task.labels)) != task.n_outputs:
        raise ValueError(f"labels of {name} must be as many as outputs, and sorted")


def _skipped(name: str, value: Any) -> None:
    array("iu")(name, value)
    if len(value) and value.min() < 0:
        raise ValueError(f"{name} must be positions of items; got {value.min()}")


def _statistics(name: str, value: Any) -> None:
    """Accept the mean and variance of channels by domain, which is None, an integer or a string."""
    is_a(dict)(name, value)
    for domain, statistics in value.items():
        any_of(optional(integer()), text)(f"a domain of {name}", domain)
        dict_of(array("f"))(f"{name}[{domain!r}]"[:80], statistics)


# The parts of every fine-tuned network, besides its task.
FINE_TUNED: dict[str, Rule] = {
    "numerics": is_a(Numerics),
    "history": list_of(EPOCH, History),
    "report": list_of(STAGE, Report),
    "best_epoch": optional(integer(0)),
    "skipped": _skipped,
    "phase": one_of(None, "head", "fine-tune"),
    **ORIGIN,
}

# The parts of the result of a fit, as ``_parts`` of each class returns them.
PARTS: dict[str, Rule] = {
    "FineTuneClassifier": record(
        {"task": any_of(is_a(MultiLabel), _columns, _classes), **FINE_TUNED}
    ),
    "FineTuneMultiTask": record({"task": _mixed, **FINE_TUNED}),
    "FineTuneRegressor": record({"task": _numbers, **FINE_TUNED}),
    "FineTuneSegmenter": record({"task": _masks, **FINE_TUNED}),
    "LanguageModelTuner": record({"task": is_a(LanguageModel), **FINE_TUNED}),
    "PretrainedFeatureExtractor": record(
        {
            "layers": list_of(text),
            "widths": list_of(integer(1)),
            "taps": list_of(is_a(Tap)),
            "device": device,
            "dtype": one_of(*DTYPES.values()),
            **ORIGIN,
        },
        {"batch_norm": one_of(*BATCH_NORMS), "statistics": _statistics},
    ),
}

TAIL = record(
    {
        "pooling": pooling,
        "dropout": number,
        "freeze_bn": is_a(bool),
        "cut": integer(0),
        "head": HEAD,
    }
)
DENSE_TAIL = record(
    {
        "layout": record(
            {
                "maps": list_of(list_of(any_of(text, integer(1)))),
                "rows": list_of(list_of(integer(1))),
                "size": integer(1, MOST_PIXELS),
            }
        ),
        "dropout": number,
        "freeze_bn": is_a(bool),
        "cut": integer(0),
        "head": any_of(is_a(FPNHead), is_a(LinearMapHead)),
    }
)
# The head of a language model belongs to the network; its structure is described as text.
LANGUAGE_TAIL = record({"pooling": pooling, "cut": integer(0), "head": dict_of(text)})

# The rules of the tails of some classes; others have TAIL.
TAILS: dict[str, Rule] = {"LanguageModelTuner": LANGUAGE_TAIL, "FineTuneSegmenter": DENSE_TAIL}

DESCRIPTION: dict[str, Rule] = {
    "format": integer(),
    "class": _class,
    "versions": dict_of(matching(r"[\w.+!-]{1,100}")),
    "backbone": record(
        {
            "address": ADDRESS,
            "stages": integer(1),
            "classifier": is_a(bool),
            "preset": optional(record({"class": text, "fields": dict_of(anything)})),
            "structure": optional(dict_of(text)),
            "fingerprint": HASH,
        }
    ),
    "base": optional(
        record({"weights": optional(text), "fingerprint": HASH, "preset": optional(HASH)})
    ),
    "tail": anything,
    "parameters": dict_of(anything),
    "parts": anything,
    "left out": list_of(text),
    "tensors": dict_of(HASH),
}


def check_description(described: Any) -> None:
    """Raise an error if a description contains something that ``save`` does not write.

    Parameters
    ----------
    described : object
        The description, as the codec reads it.

    Raises
    ------
    ValueError, TypeError
        The message names the part.
    """
    record(DESCRIPTION)("its description", described)
    kind, parameters = described["class"], described["parameters"]
    PARTS[kind]("parts", described["parts"])
    allowed = set(CLASSES[kind]().get_params(deep=False)) - set(NOT_SAVED)
    record({}, {name: PARAMETERS.get(name, anything) for name in allowed})("parameters", parameters)
    check_parameters(parameters, CLASSES[kind]._declared)
    _check_counts(described)


def _check_counts(described: Mapping[str, Any]) -> None:
    """Raise an error if counts in different parts of a description do not agree."""
    parts, backbone = described["parts"], described["backbone"]
    if (backbone["structure"] is None) != (described["base"] is not None):
        raise ValueError("its description must have the structure of the network, or its base")
    n_stages = backbone["stages"]
    if len(parts["origin"]) != 2 or parts["origin"][0] != backbone["address"]:
        raise ValueError("parts.origin must be the address of the network and its weights")
    if "history" in parts:  # a fine-tuned network
        TAILS.get(described["class"], TAIL)("tail", described["tail"])
        integer(0, n_stages)("tail.cut", described["tail"]["cut"])
        optional(integer(0, len(parts["history"])))("parts.best_epoch", parts["best_epoch"])
        return
    one_of(None)("tail", described["tail"])
    if not len(parts["layers"]) == len(parts["widths"]) == len(parts["taps"]) >= 1:
        raise ValueError("parts must have as many layers as widths and taps, at least one")
    for tap in parts["taps"]:
        integer(1, n_stages)("the cut of a tap", tap.cut)
