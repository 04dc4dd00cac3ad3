"""A file that save did not write, or that does not fit this machine, raises an error."""

import pytest
from helpers.provider import TinyProvider
from helpers.saved import parts, write

from sktransfer.backbones import registry
from sktransfer.persistence import load


def test_an_unknown_class_is_refused(saved):
    description, tensors = parts(saved)
    write(saved, description | {"class": "os.system"}, tensors)
    with pytest.raises(
        ValueError, match=r"its class must be FineTuneClassifier or .*; got 'os\.system'"
    ):
        load(saved)


@pytest.mark.parametrize("text", ["{", "[]", "{}", "[" * 100_000], ids=len)
def test_a_text_that_is_not_a_description_is_refused(saved, text):
    write(saved, text, {})
    with pytest.raises(ValueError, match="its text cannot be read"):
        load(saved)


@pytest.mark.parametrize(
    "key", ["versions", "backbone", "parts", "parameters", "tail", "tensors", "class"]
)
def test_a_missing_key_is_named(saved, key):
    description, tensors = parts(saved)
    description.pop(key)
    write(saved, description, tensors)
    with pytest.raises(ValueError, match=rf"{key}|have changed"):
        load(saved)


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (("parameters", "random_state"), {"!": "os.system", "of": "true"}),
        (("parts", "task", "classes"), {"!": "array", "of": ["<U99999999", [99], ["a"] * 99]}),
        (("parts", "task", "classes"), {"!": "array", "of": ["O,O", [1], ["a"]]}),
        (("parameters", "augment"), {"!": "Views", "of": {"augment": "none such", "n": 1}}),
        (("parts", "numerics", "precision"), {"!": "dtype", "of": "load"}),
        (("tail", "cut"), {"!": "tuple"}),
        (("backbone", "preset", "fields"), {"nonsense": 1}),
        (("backbone", "address"), "nowhere/net"),
        (("parts", "numerics"), "three"),
        (("parameters", "fit"), "three"),
        (("parts", "numerics", "device"), {"!": "device", "of": "gibberish"}),
        (("parts", "task", "classes"), ["a", "b", "c"]),
        (("parts", "skipped"), {"!": "array", "of": ["|i1", [1], [10**30]]}),
        (("parts", "columns"), {"predict": 3}),
        (("tail", "cut"), 17),
        (("tail", "pooling"), "nonsense"),
    ],
    ids=str,
)
def test_values_that_save_never_writes_are_a_value_error(saved, where, value):
    description, tensors = parts(saved)
    inner = description
    for key in where[:-1]:
        inner = inner[key]
        inner = inner.get("of", inner)
    inner[where[-1]] = value
    write(saved, description, tensors)
    with pytest.raises(ValueError):  # noqa: PT011 - each has its own message
        load(saved)


def test_a_huge_head_takes_no_memory(saved):
    description, tensors = parts(saved)
    description["parameters"]["head"] = {
        "!": "MLPHead",
        "of": {"hidden_sizes": [2**40, 2**20], "dropout": 0},
    }
    write(saved, description, tensors)
    with pytest.raises(ValueError, match=r"head\.0\.weight: was missing, is torch.float32"):
        load(saved)


def test_the_parts_of_a_network_that_differ_here_are_listed(saved, monkeypatch):
    class Other(TinyProvider):
        def load(self, name, weights):
            return super().load(name, "wide")

    monkeypatch.setitem(registry._registered, "tiny", Other())
    expected = r"(?s)stages\.layer2\.0: was .*, is .*The versions are the same"
    with pytest.raises(ValueError, match=expected):
        load(saved)
    description, tensors = parts(saved)
    description["versions"]["torch"] = "1.0.0"
    write(saved, description, tensors)
    with (
        pytest.warns(UserWarning, match="other versions"),
        pytest.raises(ValueError, match=r"Versions differ: torch 1\.0\.0, here"),
    ):
        load(saved)
