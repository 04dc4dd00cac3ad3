"""Engines give the features of torch, and the same bits in any batch."""

from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from helpers.forked import needs_computing_forks, run_program
from helpers.text_nets import WIDTH, text_backbone
from helpers.tiny import tiny_backbone
from torch import nn

from sktransfer import ActivationCache, FineTuneClassifier
from sktransfer.backbones import Backbone, get_backbone
from sktransfer.backbones.providers._transformer import DecoderBlock, EncoderBlock
from sktransfer.cache import Blobs
from sktransfer.data import Text
from sktransfer.engines import ENGINES, EngineError, choice
from sktransfer.extraction import Prefix, Tap, graphs, run_frozen
from sktransfer.extraction import prefix as prefixes
from sktransfer.extraction.batch_sizes import POSITIONS

LAST = Tap(3, "avg")
CPU = torch.device("cpu")

present = [
    pytest.param(
        name,
        marks=[
            pytest.mark.skipif(
                not all(find_spec(each) for each in ENGINES[name].packages),
                reason=f"{name} is not installed",
            ),
            *([pytest.mark.slow] if name == "compile" else []),
        ],
    )
    for name in ENGINES
]


# torch.compile has a folder of its own in place of the cache.
keeping = [each for each in present if each.values != ("compile",)]


@pytest.fixture(params=present)
def name(request):
    return request.param


@pytest.fixture
def images(rng):
    return list(rng.integers(0, 256, (9, 20, 20, 3), dtype=np.uint8))


@pytest.fixture
def worthwhile(monkeypatch):
    """Let every stage have enough work for an engine."""
    monkeypatch.setattr(prefixes, "LITTLE", 0)


@pytest.fixture
def onnxruntime_by_auto(monkeypatch):
    """Let "auto" take ONNX Runtime, which the tests have."""
    monkeypatch.setitem(choice.AUTO, torch.float32, ("onnxruntime",))


@pytest.fixture
def runs(monkeypatch):
    """The names of the engines, once for each batch that one of their graphs computes."""
    found = []

    def counting(engine, compile_):
        def compiled(*args):
            graph = compile_(*args)
            return lambda batch: (found.append(engine.name), graph(batch))[1]

        return compiled

    for engine in ENGINES.values():
        monkeypatch.setattr(engine, "compile", counting(engine, engine.compile), raising=False)
    return found


def made(backbone, *taps, engine="torch", cache=None, dtype=torch.float32, breaks=()):
    taps = list(taps) or [LAST]
    return Prefix(backbone, taps, CPU, dtype, 4, breaks=breaks).run_by(engine, cache)


def rows(prefix, items, **kwargs):
    return [np.asarray(each) for each in run_frozen(prefix, items, **kwargs).rows]


def distance(found, expected):
    return (np.linalg.norm(found - expected, axis=1) / np.linalg.norm(expected, axis=1)).max()


def test_an_engine_gives_the_features_of_torch(name, backbone, images, runs):
    (found,) = rows(made(backbone, engine=name), images)
    assert runs == [name] * 4  # the comparison, and three batches
    assert distance(found, rows(made(backbone), images)[0]) < 1e-5


def test_an_engine_computes_batches_of_one_item(name, backbone, images, runs):
    prefix = Prefix(backbone, [LAST], CPU, torch.float32, 1).run_by(name, None)
    (found,) = rows(prefix, images[:2])
    assert runs == [name] * 3
    assert distance(found, rows(made(backbone), images[:2])[0]) < 1e-5


@pytest.mark.skipif(not find_spec("openvino_telemetry"), reason="it comes with OpenVINO")
def test_openvino_reports_nothing_to_a_server(backbone, images, monkeypatch):
    from openvino_telemetry import Telemetry

    sent = []
    monkeypatch.setattr(Telemetry, "send_event", lambda *event, **_: sent.append(event))
    rows(made(backbone, engine="openvino"), images)
    assert sent == []


def test_features_do_not_depend_on_the_other_items(name, backbone, images):
    prefix = made(backbone, engine=name)
    (found,) = rows(prefix, images)
    for at in (0, 5, 8):
        np.testing.assert_array_equal(rows(prefix, [images[at]])[0][0], found[at])
    np.testing.assert_array_equal(rows(prefix, images[::-1])[0][::-1], found)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_features_have_the_same_bits_wherever_the_prefix_begins(
    name, backbone, images, tmp_path, dtype
):
    if dtype not in ENGINES[name].dtypes:
        pytest.skip(f"{name} does not compute in {dtype}")
    how = {"engine": name, "breaks": (2,), "dtype": dtype, "cache": ActivationCache(tmp_path)}
    rows(made(backbone, Tap(2), **how), images, cache=how["cache"])
    (continued,) = rows(made(backbone, **how), images, cache=how["cache"])
    (whole,) = rows(made(backbone, engine=name, breaks=(2,), dtype=dtype), images)
    np.testing.assert_array_equal(continued, whole)


def test_a_graph_does_not_begin_at_a_cut_inside_another_graph(name, backbone, images, tmp_path):
    cache = ActivationCache(tmp_path)
    rows(made(backbone, Tap(1), engine=name, cache=cache), images, cache=cache)
    (found,) = rows(made(backbone, engine=name, cache=cache), images, cache=cache)
    np.testing.assert_array_equal(found, rows(made(backbone, engine=name), images)[0])


def test_features_in_bfloat16_stay_near(name, backbone, images):
    if torch.bfloat16 not in ENGINES[name].dtypes:
        pytest.skip(f"{name} does not compute in bfloat16")
    (found,) = rows(made(backbone, engine=name, dtype=torch.bfloat16), images)
    assert found.dtype == np.float32
    assert distance(found, rows(made(backbone), images)[0]) < 5e-2


def test_an_engine_takes_batches_that_are_not_rounded(name, backbone):
    if torch.bfloat16 not in ENGINES[name].dtypes:
        pytest.skip(f"{name} does not compute in bfloat16")
    compiler = graphs.Compiler(ENGINES[name], backbone, torch.bfloat16, 4, False, None)
    found = compiler.compile_all(torch.zeros(1, 3, 16, 16), (3,), True, lambda *_: True)
    batch = torch.rand(4, 3, 16, 16).to(memory_format=torch.channels_last)
    rounded = found[0].run(batch.bfloat16())
    assert rounded.dtype == torch.bfloat16
    assert torch.equal(found[0].run(batch), rounded)


def block(kind):
    """A block of BERT or of GPT-2, whose options differ."""
    options = {"scale": 0.5} if kind is DecoderBlock else {}
    found = kind(WIDTH, 32, 2, activation="gelu_new", eps=1e-5, **options)
    for parameter in found.parameters():
        nn.init.normal_(parameter, std=0.2)
    return found


@pytest.fixture(params=[EncoderBlock, DecoderBlock])
def text_net(request):
    """A small chain for texts; its blocks have random weights."""
    plain = text_backbone(max_length=64)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        stages = {"embed": plain.stages["embed"], "a": block(request.param)}
        stages["b"] = block(request.param)
    return Backbone(stages, plain.preset, layout="NLM").freeze_to(3).eval()


@pytest.fixture
def texts():
    """Texts of several lengths; one of them fills a batch of the size "auto"."""
    return [Text(" ".join(f"word{at}" for at in range(n))) for n in (1, 5, 30, 31, 2, 62)]


def test_one_graph_gives_the_features_of_texts_of_any_length(
    name, text_net, texts, runs, monkeypatch, tmp_path
):
    monkeypatch.setitem(POSITIONS, "cpu", 64)
    cache = ActivationCache(tmp_path)
    prefix = Prefix(text_net, [LAST], CPU, torch.float32, "auto")
    (found,) = rows(prefix.run_by(name, cache), texts)
    assert set(runs) == {name}
    assert name == "compile" or cache.info()[graphs.KIND]["rows"] == 1
    assert distance(found, rows(prefix, texts)[0]) < 1e-5


def test_features_of_texts_do_not_depend_on_the_other_texts(name, text_net, texts):
    prefix = made(text_net, engine=name)
    (found,) = rows(prefix, texts)
    for at in (0, 3, 5):
        np.testing.assert_array_equal(rows(prefix, [texts[at]])[0][0], found[at])
    again = made(text_net, engine=name)  # it meets other lengths first
    np.testing.assert_array_equal(rows(again, texts[::-1])[0][::-1], found)


def test_auto_keeps_the_fingerprint_of_torch_for_texts_with_little_work(
    text_net, onnxruntime_by_auto
):
    assert made(text_net, engine="auto").fingerprint(LAST) == made(text_net).fingerprint(LAST)


FORK = """
import sys
import numpy as np
import torch
from helpers.forked import in_fork
from helpers.tiny import tiny_backbone
from sktransfer.extraction import Prefix, Tap, run_frozen

images = list(np.random.default_rng(0).integers(0, 256, (9, 20, 20, 3), dtype=np.uint8))
net = tiny_backbone().freeze_to(3).eval()
prefix = Prefix(net, [Tap(3, "avg")], torch.device("cpu"), torch.float32, 4)
prefix = prefix.run_by(sys.argv[1], cache=None)
rows = lambda: run_frozen(prefix, images).rows[0]
expected = rows()
print((in_fork(rows) == expected).all(), (rows() == expected).all())
"""


def test_a_batch_of_another_shape_gets_a_graph_of_its_own(name, backbone):
    own, prefix = made(backbone), made(backbone, engine=name)
    for size in (16, 24):
        batch = torch.rand(4, 3, size, size).to(memory_format=torch.channels_last)
        assert distance(prefix(batch)[0], own(batch)[0]) < 1e-5


def test_a_graph_takes_batches_of_its_shape_only(name, backbone):
    compiler = graphs.Compiler(ENGINES[name], backbone, torch.float32, 4, False, None)
    found = compiler.compile_all(torch.zeros(1, 3, 16, 16), (3,), True, lambda *_: True)
    with pytest.raises(ValueError, match=r"must have the shape \(4, 3, 16, 16\)"):
        found[0].run(torch.zeros(4, 3, 24, 24))


@needs_computing_forks
def test_a_forked_process_gives_the_same_features(name):
    *_, last = run_program(FORK, name).splitlines()  # torch.compile may print before it
    assert last == "True True"


def test_the_fingerprint_names_the_engine_and_its_graphs(name, backbone):
    torch_own = made(backbone).fingerprint(LAST)
    texts = {torch_own}
    texts.add(made(backbone, engine=name).fingerprint(LAST))
    texts.add(made(backbone, engine=name, breaks=(1,)).fingerprint(LAST))
    assert len(texts) == 3
    assert all(text.startswith(torch_own) for text in texts)


def test_auto_keeps_the_fingerprint_of_torch_for_a_network_with_little_work(
    backbone, onnxruntime_by_auto
):
    assert made(backbone, engine="auto").fingerprint(LAST) == made(backbone).fingerprint(LAST)


@pytest.mark.parametrize("address", ["builtin/mini", "builtin/text"])
def test_auto_leaves_the_networks_of_the_package_to_torch(address, onnxruntime_by_auto):
    backbone = get_backbone(address)
    tap = Tap(len(backbone.names), "avg")
    assert made(backbone, tap, engine="auto").sized("auto").engine is None


def test_a_second_prefix_takes_the_graph_from_the_cache(backbone, images, tmp_path, monkeypatch):
    engine = ENGINES["onnxruntime"]
    cache = ActivationCache(tmp_path)
    (found,) = rows(made(backbone, engine=engine.name, cache=cache), images)
    assert cache.info()[graphs.KIND]["rows"] == 1
    monkeypatch.setattr("sktransfer.engines.onnxruntime._convert", None)  # it would fail
    again = made(tiny_backbone().freeze_to(3).eval(), engine=engine.name, cache=cache)
    np.testing.assert_array_equal(rows(again, images)[0], found)


def test_a_damaged_graph_in_the_cache_is_made_again(backbone, images, tmp_path):
    cache = ActivationCache(tmp_path)
    (found,) = rows(made(backbone, engine="onnxruntime", cache=cache), images)
    (path,) = tmp_path.rglob("*.blob")
    path.write_bytes(path.read_bytes()[:-100])
    again = made(backbone, engine="onnxruntime", cache=cache)
    np.testing.assert_array_equal(rows(again, images)[0], found)


class Unusual(nn.Module):
    """A stage whose steps depend on the values of its input."""

    def forward(self, x):
        return x + 1 if x.sum() > 1e9 else x


@pytest.fixture
def unusual():
    plain = tiny_backbone()
    stages = dict(plain.stages) | {"odd": Unusual()}
    return Backbone(stages, plain.preset).freeze_to(4).eval()


def test_a_named_engine_that_cannot_run_a_network_is_an_error(unusual, images):
    prefix = made(unusual, Tap(4, "avg"), engine="onnxruntime")
    with pytest.raises(EngineError, match=r"'onnxruntime' cannot run them.*odd.*engine='auto'"):
        rows(prefix, images)


def test_auto_runs_in_torch_what_an_engine_cannot_run(
    unusual, images, worthwhile, onnxruntime_by_auto
):
    taps = [Tap(3, "avg"), Tap(4, "avg")]
    found = rows(made(unusual, *taps, engine="auto"), images)
    for each, expected in zip(found, rows(made(unusual, *taps), images), strict=True):
        assert distance(each, expected) < 1e-5


@pytest.mark.parametrize("engine", ["onnxruntime", "auto"])
def test_an_engine_that_changes_features_is_not_used(
    engine, backbone, images, monkeypatch, worthwhile, onnxruntime_by_auto
):
    monkeypatch.setitem(graphs.TOLERANCES, torch.float32, -1.0)
    prefix = made(backbone, engine=engine)
    if engine == "auto":
        np.testing.assert_array_equal(rows(prefix, images)[0], rows(made(backbone), images)[0])
    else:
        with pytest.raises(EngineError, match=r"differ by .* of their norm"):
            rows(prefix, images)


@pytest.mark.parametrize(
    "net", [tiny_backbone, pytest.param("builtin/mini", marks=pytest.mark.slow)]
)
def test_predictions_are_the_same_with_and_without_a_cache(name, net, rng, tmp_path, runs):
    X, y = rng.integers(0, 256, (8, 32, 32, 3), dtype=np.uint8), [0, 1] * 4
    how = {"unfreeze": 1, "max_epochs": 2, "random_state": 0, "image_size": 32, "verbose": 0}
    how["augment"] = None
    model = FineTuneClassifier(net, engine=name, cache=str(tmp_path), **how).fit(X, y)
    cached = model.predict_proba(X)
    assert set(runs) == {name}
    np.testing.assert_array_equal(model.set_params(cache=None).predict_proba(X), cached)
    np.testing.assert_allclose(model.set_params(engine="torch").predict_proba(X), cached, atol=1e-5)


def test_threads_compile_one_after_the_other(name, backbone, images):
    prefix = made(backbone, engine=name)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: rows(prefix, images)[0], range(4)))
    assert all(np.array_equal(each, found[0]) for each in found)
    assert distance(found[0], rows(made(backbone), images)[0]) < 1e-5


def test_other_threads_compute_the_same_bits_while_an_engine_compiles(name, backbone, images):
    plain = made(backbone)
    (expected,) = rows(plain, images)
    with ThreadPoolExecutor(1) as pool:
        other = tiny_backbone().freeze_to(3).eval()
        compiling = pool.submit(lambda: rows(made(other, engine=name), images))
        found = []
        while not compiling.done():
            found += rows(plain, images)
    assert compiling.result()
    assert all(np.array_equal(each, expected) for each in found)


@pytest.mark.parametrize("content", [b"no graph", b""])
@pytest.mark.parametrize("name", keeping)
def test_what_is_kept_is_made_again_if_the_engine_cannot_read_it(
    name, backbone, images, tmp_path, monkeypatch, content
):
    cache = ActivationCache(tmp_path)
    (expected,) = rows(made(backbone, engine=name, cache=cache), images)
    with monkeypatch.context() as patch:
        patch.setattr(Blobs, "get", lambda self, key: content)
        (found,) = rows(made(backbone, engine=name, cache=cache), images)
    np.testing.assert_array_equal(found, expected)


def test_a_row_of_zeros_equals_that_of_an_engine(name, images):
    stage = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    nn.init.constant_(stage[0].bias, -1e6)
    net = Backbone({"only": stage}, tiny_backbone().preset).freeze_to(1).eval()
    how = [Tap(1, "avg")], CPU, torch.float32, 4
    assert not rows(Prefix(net, *how).run_by(name, None), images)[0].any()
