"""Read and change the files of saved models."""

import json
import random

import torch
from safetensors import safe_open
from safetensors.torch import save as to_bytes

from sktransfer.persistence import file_format

# Values that save does not write in most places: numbers out of range, other types, other names,
# text that controls a terminal, and objects of the wrong class.
STRANGE = [
    *(None, True, -1, 0, 10**9, 2**63, 10**300, -0.5, 1e308, "", "x" * 5000, "\x1b[31m\n\u202e"),
    *("\ud800", "meta", "cls", "logits", "float16", "builtin/mini", "../..", [], [[]], {}),
    *({"fit": 1}, {"!": "os.system", "of": "true"}, {"!": "tuple"}, {"!": "path", "of": 3}),
    {"!": "array", "of": ["<U9999999", ["a"]]},
    {"!": "array", "of": ["|i1", [10**30]]},
    {"!": "device", "of": "xla"},
    {"!": "Cosine", "of": {"final": 7}},
    {"!": "MLPHead", "of": {"hidden_sizes": [2**62] * 3, "dropout": 0.5}},
    {"!": "Tap", "of": {"cut": 99, "reduce": "avg"}},
    {"!": "dict", "of": [[[1], 2]]},
]


def parts(path):
    """Return the description of a model, as a dict, and its tensors."""
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 - no dict
        return json.loads(file.metadata()["sktransfer"]), tensors


def write(path, description, tensors):
    """Write a file whose text has the right digest."""
    text = description if isinstance(description, str) else json.dumps(description)
    path.write_bytes(
        to_bytes(tensors, {"sktransfer": text, "digest": file_format.digest_of_text(text)})
    )


def sign(description, tensors):
    """Return the description with the digests of ``tensors``."""
    digests = {name: file_format.digest_of(tensor) for name, tensor in tensors.items()}
    return description | {"tensors": digests}


def replaced(description, where, value):
    """Replace a value of a description in place; ``where`` leaves out the keys "of"."""
    inner = description
    for key in where[:-1]:
        inner = inner[key]
        inner = inner.get("of", inner) if isinstance(inner, dict) else inner
    inner[where[-1]] = value
    return description


def mutate(description, tensors, seed):
    """Change a description, or its tensors, in one random place, and sign it again."""
    draw = random.Random(seed)
    if draw.random() < 0.2:
        _change_tensor(tensors, draw)
    else:
        _change_value(description, draw)
    return sign(description, tensors)


def _places(value):
    """Yield each container inside ``value`` with each of its keys."""
    for key, part in value.items() if isinstance(value, dict) else enumerate(value):
        yield value, key
        if isinstance(part, (dict, list)):
            yield from _places(part)


def _change_value(description, draw):
    top = draw.choice([key for key in description if key != "tensors"])
    places = [(description, top)]
    if isinstance(description[top], (dict, list)):
        places += _places(description[top])
    container, key = draw.choice(places)
    how = draw.choice(["replace", "replace", "remove", "rename", "swap"])
    if how == "remove":
        container.pop(key)
    elif how == "rename" and isinstance(container, dict):
        container[draw.choice(["predict", "__class__", "!", ""])] = container.pop(key)
    elif how == "swap":
        other, name = draw.choice(places)
        container[key] = json.loads(json.dumps(other[name]))
    else:
        container[key] = draw.choice(STRANGE)


def _change_tensor(tensors, draw):
    name = draw.choice(list(tensors))
    tensor = tensors[name]
    changes = {
        "remove": lambda: tensors.pop(name),
        "rename": lambda: tensors.update({"\x1b[31m": tensors.pop(name)}),
        "dtype": lambda: tensors.update({name: tensor.to(draw.choice([torch.int8, torch.half]))}),
        "empty": lambda: tensors.update({name: torch.zeros(0, 2**40)}),
        "shape": lambda: tensors.update({name: tensor.reshape(-1, 1).clone()}),
        "value": lambda: tensors.update({name: torch.full_like(tensor, 3)}),
    }
    changes[draw.choice(list(changes))]()
