"""OpenVINO is told which kernels run convolutions, where its own choice was measured to be slow."""

import pytest
import torch
from torch import nn

from sktransfer.engines import ENGINES, base
from sktransfer.engines import openvino as openvino_

EPYC = {"cpu_name": "AMD EPYC", "avx512_f": True, "amx_tile": False}
XEON = {"cpu_name": "Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz", "avx512_f": True}
KERNELS = "jit_avx512_dw jit_avx512_1x1 jit_avx512"

needs_avx512 = pytest.mark.skipif(
    torch.backends.cpu.get_cpu_capability() != "AVX512", reason="the kernels need AVX-512"
)


@pytest.fixture
def on(monkeypatch):
    """A function that makes this processor another one."""
    return lambda units: monkeypatch.setattr(openvino_, "cpu_units", lambda: units)


@pytest.mark.parametrize(
    ("units", "expected"),
    [
        (EPYC, KERNELS),
        (EPYC | {"avx512_f": False}, ""),
        (EPYC | {"amx_tile": True}, ""),
        (XEON, ""),
        ({}, ""),  # torch is too old to know them
    ],
)
def test_kernels_are_chosen_on_processors_of_amd_with_avx512(units, expected, on):
    on(units)
    assert ENGINES["openvino"].kernels == expected


def test_the_description_of_an_engine_names_the_kernels_that_it_is_told(on, monkeypatch):
    monkeypatch.setattr(base, "version", lambda _: "2026.1")
    found = []
    for units in (XEON, EPYC):
        on(units)
        found.append(base.described.__wrapped__(ENGINES["openvino"]))
    assert found == ["openvino 2026.1 fixed", f"openvino 2026.1 fixed {KERNELS}"]


@pytest.fixture
def compiled(monkeypatch):
    """The models that OpenVINO compiles or reads."""
    openvino, found = pytest.importorskip("openvino"), []

    class Core(openvino.Core):
        def compile_model(self, *args):
            found.append(super().compile_model(*args))
            return found[-1]

        def import_model(self, *args):
            found.append(super().import_model(*args))
            return found[-1]

    monkeypatch.setattr(openvino_, "_core", Core)
    return found


def convolutions(n_channels):
    """Convolutions of three kinds, of which each has a kernel of its own, and an input."""
    whole, grouped = nn.Conv2d(n_channels, 16, 3), nn.Conv2d(32, 32, 3, groups=32)
    network = nn.Sequential(whole, nn.Conv2d(16, 32, 1), grouped).eval().requires_grad_(False)
    return network, torch.rand(4, n_channels, 12, 12).to(memory_format=torch.channels_last)


def kernels_of(model):
    return [name.removesuffix("_f32") for name in openvino_._kernels_of(model)]


@pytest.mark.parametrize("any_length", [False, True])
def test_a_graph_has_a_fixed_shape_unless_it_takes_any_length(compiled, any_length):
    network, x = nn.Linear(4, 4).eval().requires_grad_(False), torch.rand(3, 8, 4)
    ENGINES["openvino"].compile(network, x, torch.float32, lambda make: make(), any_length)
    assert compiled[0].input().partial_shape.is_static is not any_length


@needs_avx512
def test_convolutions_run_in_the_kernels_that_openvino_is_told(compiled, on):
    on(EPYC)
    network, x = convolutions(n_channels=3)
    contents = []

    def keep(make):
        contents.append(contents[0] if contents else make())
        return contents[0]

    for _ in range(2):  # the second time, it reads what it kept
        graph = ENGINES["openvino"].compile(network, x, torch.float32, keep, False)
        torch.testing.assert_close(graph(x), network(x))
    assert len(compiled) == 2
    for model in compiled:
        assert kernels_of(model) == ["jit_avx512", "jit_avx512_1x1", "jit_avx512_dw"]


@needs_avx512
def test_openvino_chooses_all_kernels_if_a_convolution_does_not_get_the_wish(compiled, on):
    network, x = convolutions(n_channels=16)  # in the middle of a network
    for units in (XEON, EPYC):
        on(units)
        graph = ENGINES["openvino"].compile(network, x, torch.float32, lambda make: make(), False)
        torch.testing.assert_close(graph(x), network(x))
    own, _, last = map(kernels_of, compiled)
    assert own == last
    assert "jit_gemm" not in own
