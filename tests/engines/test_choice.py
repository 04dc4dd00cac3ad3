"""The engine that a parameter stands for depends on the device, the type and the packages."""

from importlib.metadata import version

import pytest
import torch

from sktransfer import FineTuneClassifier, PretrainedFeatureExtractor
from sktransfer.engines import ENGINES, base, check_engine, choice, describe_choice, find_engine

CPU = torch.device("cpu")


@pytest.fixture
def installed(monkeypatch):
    """The names of the engines that seem to be installed."""
    names = set()
    monkeypatch.setattr(choice, "is_installed", lambda engine: engine.name in names)
    return names


@pytest.mark.parametrize(
    ("names", "dtype", "expected"),
    [
        ({"openvino", "onnxruntime", "compile"}, torch.float32, "openvino"),
        ({"onnxruntime", "compile"}, torch.float32, None),
        ({"compile"}, torch.float32, None),
        ({"openvino", "onnxruntime"}, torch.bfloat16, "openvino"),
        ({"onnxruntime"}, torch.bfloat16, None),
        ({"openvino", "onnxruntime"}, torch.float64, None),
    ],
)
def test_auto_takes_openvino_if_it_is_installed(installed, names, dtype, expected):
    installed |= names
    assert getattr(find_engine("auto", CPU, dtype), "name", None) == expected


def test_auto_is_torch_on_a_gpu(installed):
    installed |= {"openvino", "onnxruntime"}
    assert find_engine("auto", torch.device("cuda"), torch.float32) is None


@pytest.mark.parametrize("name", ENGINES)
def test_a_named_engine_runs_on_a_cpu_only(name):
    with pytest.raises(ValueError, match=r"device 'cuda'; got .*Pass device='cpu'"):
        find_engine(name, torch.device("cuda"), torch.float32)


def test_onnxruntime_does_not_compute_in_bfloat16():
    with pytest.raises(ValueError, match="computes in bfloat16; got 'onnxruntime'"):
        find_engine("onnxruntime", CPU, torch.bfloat16)


@pytest.mark.parametrize("name", ENGINES)
def test_tables_in_float64_run_in_torch(name):
    assert find_engine(name, CPU, torch.float64) is None


def test_an_engine_that_is_not_installed_is_an_error_with_the_command(monkeypatch):
    monkeypatch.setattr(type(ENGINES["openvino"]), "packages", ("no_such_package",))
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'sktransfer\[openvino\]'"):
        check_engine("engine", "openvino")


@pytest.mark.parametrize("kind", [PretrainedFeatureExtractor, FineTuneClassifier])
def test_an_unknown_engine_is_an_error(kind, rng):
    X = rng.integers(0, 256, (4, 20, 20, 3), dtype="uint8")
    with pytest.raises(ValueError, match=r"engine must be one of .*Did you mean 'openvino'"):
        kind(engine="openvin").fit(X, [0, 1, 0, 1])


def test_the_description_of_a_choice_has_the_installed_engines_it_can_take(installed, monkeypatch):
    installed |= {"onnxruntime", "compile"}
    onnxruntime, compile_ = (base.described(ENGINES[each]) for each in ("onnxruntime", "compile"))
    assert describe_choice("onnxruntime") == [onnxruntime]
    assert describe_choice("auto") == []
    monkeypatch.setitem(choice.AUTO, torch.float32, ("onnxruntime",))
    assert describe_choice("auto") == [onnxruntime]
    assert describe_choice("compile") == [compile_]
    assert describe_choice("torch") == describe_choice("openvino") == []


def test_the_description_of_an_engine_has_its_version():
    assert base.described(ENGINES["compile"]) == f"compile {version('torch')}"
