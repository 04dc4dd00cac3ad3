"""OpenVINO, in float32 and in bfloat16."""

from __future__ import annotations

import io
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import default_decompositions

from .._support.threads import n_threads
from .base import Engine, Graph, Keep, exported, to_rows

HINTS = {torch.float32: "f32", torch.bfloat16: "bf16"}


class OpenVINO(Engine):
    """Modules run by OpenVINO; see :class:`Engine`."""

    name = "openvino"
    packages = ("openvino",)
    dtypes = tuple(HINTS)

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
            program = exported(module, x, any_length)
            compiled.append(_core().compile_model(_converted(program), "CPU", how))
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
