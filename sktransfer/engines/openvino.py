"""OpenVINO, in float32 and in bfloat16."""

from __future__ import annotations

import io
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import default_decompositions

from .._support.device import cpu_units
from .._support.files import temporary_folder
from .._support.threads import n_threads
from .base import Engine, Graph, Keep, exported, to_rows

HINTS = {torch.float32: "f32", torch.bfloat16: "bf16"}

# Kernels of convolutions on processors of AMD with AVX-512, the best first; those that do not fit
# a layer are skipped.  With those that OpenVINO takes, "brgconv", MobileNetV2 was measured to need
# 1.23 to 1.35 times as long in float32, 1.16 to 1.2 times in bfloat16, ResNets up to 1.04 times.
BLOCKED = ("jit_avx512_dw", "jit_avx512_1x1", "jit_avx512")
CONVOLUTIONS = ("Convolution", "GroupConvolution")


class OpenVINO(Engine):
    """Modules run by OpenVINO; see :class:`Engine`."""

    name = "openvino"
    packages = ("openvino",)
    dtypes = tuple(HINTS)
    form = "fixed"

    @property
    def kernels(self) -> str:
        """See :class:`Engine`."""
        units = cpu_units()
        is_amd = str(units.get("cpu_name")).startswith("AMD ")
        fits = is_amd and units.get("avx512_f") and not units.get("amx_tile")
        return " ".join(BLOCKED) if fits else ""

    def compile(
        self, module: nn.Module, x: Tensor, dtype: torch.dtype, keep: Keep, any_length: bool
    ) -> Graph:
        """Return a function that computes what a module does; see :meth:`Engine.compile`."""
        how = {
            "INFERENCE_PRECISION_HINT": HINTS[dtype],
            "INFERENCE_NUM_THREADS": n_threads(None),
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,
        }
        compiled: list[Any] = []

        def make() -> bytes:
            # OpenVINO forks the process when it is imported, so torch's modules come first
            model = _converted(exported(module, x, any_length))
            if not any_length:  # a known shape spares the copy that moves the channels
                model.reshape(list(to_rows(x).shape))
            compiled.append(_compiled(model, how, self.kernels))
            content: bytes = compiled[0].export_model().getvalue()
            return content

        content = keep(make)
        if not compiled:
            compiled.append(_core().import_model(io.BytesIO(content), "CPU", how))
        free: list[Any] = []  # requests, each of which runs in one thread at a time

        def run(batch: Tensor) -> Tensor:
            try:
                request = free.pop()
            except IndexError:
                request = compiled[0].create_infer_request()
            shared = {"share_inputs": True, "share_outputs": True}
            rows = request.infer([to_rows(batch).numpy()], **shared)[0]  # its next run changes them
            y = torch.from_numpy(rows).to(dtype, copy=True)
            free.append(request)
            return y

        return run


def _core() -> Any:
    from openvino import Core

    return Core()


def _converted(program: Any) -> Any:
    """Return OpenVINO's model of a program of torch.export.

    ``openvino.convert_model`` does the same, but it reports each use to a server on the internet,
    from processes that it forks.
    """
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.fx_decoder import TorchFXPythonDecoder
    from openvino.frontend.pytorch.torchdynamo.export_decompositions import ops_to_not_decompose

    table = default_decompositions()
    for operation in ops_to_not_decompose():
        table.pop(operation, None)  # type: ignore[no-untyped-call]  # torch has no type for it
    graph = program.run_decompositions(table).module()
    frontend = FrontEndManager().load_by_framework("pytorch")
    decoder = TorchFXPythonDecoder(graph, dynamic_shapes=True)  # must outlive the conversion
    return frontend.convert(frontend.load(decoder))


def _compiled(model: Any, how: dict[str, Any], kernels: str) -> Any:
    """Return a compiled model, whose convolutions run in some kernels if all of them can.

    With a wish, OpenVINO takes kernels in some graphs that neither the wish nor its own order
    begins with; these were measured to need up to 60 times as long.
    """
    if kernels and any(each.get_type_name() in CONVOLUTIONS for each in model.get_ops()):
        compiled = _core().compile_model(_wishing(kernels, model), "CPU", how)
        if all(name.startswith(tuple(kernels.split())) for name in _kernels_of(compiled)):
            return compiled
    return _core().compile_model(model, "CPU", how)


def _wishing(kernels: str, model: Any) -> Any:
    """Return a model with a wish for the kernels of its convolutions.

    OpenVINO reads this wish from files alone.
    """
    from openvino import Tensor as Content
    from openvino import serialize

    wish = ",".join(f"cpu:{name}" for name in kernels.split())
    with temporary_folder() as folder:
        path = folder / "model.xml"
        serialize(model, path)
        root = ET.fromstring(path.read_bytes())  # noqa: S314 - OpenVINO wrote it
        weights = Content(np.fromfile(path.with_suffix(".bin"), np.uint8))
    for layer in root.iter("layer"):
        if layer.get("type") in CONVOLUTIONS:
            for data in layer.iter("data"):
                data.set("PrimitivesPriority", wish)
    return _core().read_model(ET.tostring(root), weights)


def _kernels_of(compiled: Any) -> list[str]:
    """Return the kernels of the convolutions of a compiled model, in their order."""
    infos = [each.get_rt_info() for each in compiled.get_runtime_model().get_ordered_ops()]
    names = [[info[key].astype(str) for key in ("layerType", "primitiveType")] for info in infos]
    return [kernel for layer, kernel in names if layer in CONVOLUTIONS]
