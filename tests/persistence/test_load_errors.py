"""A file that save did not write, or that does not fit this machine, raises an error."""

import pytest
from helpers.provider import TinyProvider
from helpers.saved import parts, replaced, write

from sktransfer.backbones import registry
from sktransfer.persistence import load, save
from sktransfer.persistence.schema import DESCRIPTION


def names(*classes):
    """Return an array of text as the codec packs it."""
    return {"!": "array", "of": ["<U1", list(classes)]}


ARRAY = {"!": "array", "of": ["<f4", [0.0, 1.0]]}


def tap(cut, reduce):
    """Return a tap as the codec packs it."""
    return {"!": "Tap", "of": {"cut": cut, "reduce": reduce}}


def change(saved, where, value):
    """Write the file with another value in its description."""
    description, tensors = parts(saved)
    write(saved, replaced(description, where, value), tensors)


def test_what_is_no_path_is_refused():
    with pytest.raises(TypeError, match=r"path must be a str or path-like; got int\."):
        load(5)


@pytest.mark.parametrize(
    "text", ["{", "[]", "{}", "NaN", "[" * 100_000, '{"format": "2"}', '{"format": NaN}'], ids=len
)
def test_a_text_that_is_not_a_description_is_refused(saved, text):
    write(saved, text, {})
    with pytest.raises(ValueError, match=r"model\.safetensors' must be a complete file written by"):
        load(saved)


@pytest.mark.parametrize("key", [*DESCRIPTION])
def test_a_missing_key_is_named(saved, key):
    description, tensors = parts(saved)
    description.pop(key)
    write(saved, description, tensors)
    with pytest.raises(ValueError, match=rf"must have '{key}'; it is missing|describes no model"):
        load(saved)


@pytest.mark.parametrize(
    ("where", "value", "message"),
    [
        (("class",), "os.system", "class must be one of 'FineTuneClassifier'"),
        (("class",), "PretrainedFeatureExtractor", r"parts must have 'layers'; it is missing"),
        (("versions", "torch"), "\x1b[31m", "must match"),
        (("more",), 1, "its description must not have 'more'"),
        (("parameters", "random_state"), {"!": "os.system", "of": "true"}, r"lacks 'os\.system'"),
        (("parameters", "fit"), 3, "parameters must not have 'fit'"),
        (("parameters", "cache"), "folder", "parameters must not have 'cache'"),
        (("parameters", "checkpoint"), "folder", "parameters must not have 'checkpoint'"),
        (("parameters", "tta"), 10**6, r"tta must be an integer in \[0, 1024\]; got 1000000"),
        (("parameters", "n_jobs"), 10**6, r"n_jobs must be an integer in \[-1, 1024\]"),
        (("parameters", "inference_batch_size"), 10**9, r"must be an integer in \[1, 16384\]"),
        (("parameters", "image_size"), 10**9, r"image_size must be an integer in \[1, 8192\]"),
        (("parameters", "device"), "meta", r"device must match auto\|"),
        (("parameters", "augment"), {"!": "LinearHead", "of": {}}, "augment must be of type Views"),
        (
            ("parameters", "head"),
            {"!": "Cosine", "of": {"final": 0.0}},
            "head must be of type LinearMapHead",
        ),
        (("parameters", "lr"), -1, r"lr must be a number in \(0, inf\)"),
        (("parameters", "decode_error"), "stop", "decode_error must be one of 'raise'"),
        (("parts", "predict"), 3, "parts must not have 'predict'"),
        (("parts", "columns"), {"predict": 3}, r"parts\.columns must not have 'predict'"),
        (("parts", "columns"), {"n_features_in_": -1}, "n_features_in_ must be an integer in"),
        (("parts", "numerics"), "three", r"numerics must be of type Numerics; got 'three'"),
        (("parts", "numerics", "device"), {"!": "device", "of": "gibberish"}, "device"),
        (("parts", "numerics", "precision"), {"!": "dtype", "of": "float16"}, "lacks 'float16'"),
        (("parts", "task", "classes"), ["a", "b", "c"], "classes must be an array of one axis"),
        (("parts", "task", "classes"), names("b", "a", "c"), "at least two sorted labels"),
        (("parts", "task", "classes"), names("a", "a", "b"), "at least two sorted labels"),
        (("parts", "task", "classes"), names("a"), "at least two sorted labels"),
        (("parts", "skipped"), {"!": "array", "of": ["|i1", [10**30]]}, "too large"),
        (("parts", "skipped"), {"!": "array", "of": ["|i1", [300]]}, "out of bounds"),
        (("parts", "skipped"), {"!": "array", "of": ["|i1", [-1]]}, "must be positions of items"),
        (("parts", "best_epoch"), 2, r"best_epoch must be an integer in \[0, 1\]; got 2"),
        (("parts", "history"), [], "history must be of type History"),
        (("parts", "report"), {"!": "Report", "of": [{"stage": 1}]}, r"report\[0\] must have"),
        (("parts", "origin"), {"!": "tuple", "of": ["a/b", None]}, "origin must be the address"),
        (("tail",), None, "tail must be of type dict"),
        (("tail", "cut"), 17, r"tail\.cut must be an integer in \[0, 3\]; got 17"),
        (("tail", "pooling"), "sum", "pooling must be one of 'avg'"),
        (("tail", "pooling"), "cls", "pooling must not be 'cls'"),
        (("tail", "pooling"), "avgmax", "width of the network, 32; got 16"),
        (("tail", "pooling"), "flatten", None),
        (("backbone", "stages"), 0, "stages must be an integer in"),
        (("backbone", "address"), "nowhere/net", "address of the network|provider must be one"),
        (("backbone", "preset", "fields"), {"nonsense": 1}, "nonsense"),
        (("backbone", "preset", "fields", "size"), 10**9, "short_side of the preset must be an"),
        (("backbone", "preset", "fields", "crop"), 1e-9, "short_side of the preset must be an"),
        (("backbone", "preset", "fields", "sizes"), 3, "sizes of the preset must be of type"),
    ],
    ids=str,
)
def test_values_that_save_never_writes_are_refused(saved, where, value, message):
    change(saved, where, value)
    if message is None:  # every width is a multiple of the number of channels
        load(saved)
        return
    with pytest.raises(ValueError, match=rf"(?s)model\.safetensors' must be a comp.*{message}"):
        load(saved)


@pytest.mark.parametrize(
    ("where", "value", "message"),
    [
        (("parts", "widths"), [8, 17], "width of the network, 16; got 17"),
        (("parts", "widths"), [8], "as many layers as widths and taps"),
        (("parts", "taps"), [], "as many layers as widths and taps"),
        (("parts", "taps"), [tap(9, "avg")] * 2, r"cut of a tap must be an integer in \[1, 3\]"),
        (("parts", "taps"), [tap(1, "logits")] * 2, "must have a classifier, which gives logits"),
        (("parts", "taps"), [tap(1, None)] * 2, "pooling must be one of"),
        (("parts", "layers"), "stem", "layers must be of type list"),
        (("parts", "dtype"), "float32", "dtype must be one of torch"),
        (("tail",), {}, "tail must be one of None"),
        (("parts", "batch_norm"), "own", "batch_norm must be one of 'stored'"),
        (("parts", "batch_norm"), "data", "statistics must be those of batch_norm="),
        (("parts", "statistics"), {"a": 1}, r"statistics\['a'\] must be of type dict"),
        (("parts", "statistics"), {"a": {}}, "statistics must be those of batch_norm="),
        (("parts", "statistics"), {"a": {"b": ARRAY}}, "statistics must be those of the network"),
    ],
    ids=str,
)
def test_values_that_no_extractor_has_are_refused(extractor, path, where, value, message):
    save(extractor, path)
    change(path, where, value)
    with pytest.raises(ValueError, match=rf"(?s)model\.safetensors' must be a comp.*{message}"):
        load(path)


def test_a_large_head_takes_no_memory(saved):
    change(saved, ("tail", "head"), {"!": "MLPHead", "of": {"hidden_sizes": [2**40, 2**20]}})
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
