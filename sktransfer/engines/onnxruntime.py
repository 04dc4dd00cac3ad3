"""ONNX Runtime, in float32."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from .._support.threads import n_threads
from .base import Engine, Graph, Keep, exported, to_rows


class OnnxRuntime(Engine):
    """Modules run by ONNX Runtime; see :class:`Engine`."""

    name = "onnxruntime"
    packages = ("onnxruntime", "onnx", "onnxscript")
    dtypes = (torch.float32,)

    def compile(
        self, module: nn.Module, x: Tensor, dtype: torch.dtype, keep: Keep, any_length: bool
    ) -> Graph:
        """Return a function that computes what a module does; see :meth:`Engine.compile`."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = n_threads(None)
        options.log_severity_level = 3  # errors
        # Threads that wait for work take the processors of those that decode.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        content = keep(lambda: _convert(module, x, any_length))
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

        def run(batch: Tensor) -> Tensor:
            rows = session.run(None, {"x": to_rows(batch).numpy()})[0]
            return torch.from_numpy(rows).to(dtype)

        return run


@torch.no_grad()
def _convert(module: nn.Module, x: Tensor, any_length: bool) -> bytes:
    """Return a module as the content of an ONNX file."""
    content: bytes = to_onnx(
        exported(module, x, any_length), "x", "y"
    ).model_proto.SerializeToString()
    return content


def to_onnx(
    program: Any, input_name: str, output_name: str, axes: Mapping[int, str] | None = None
) -> Any:
    """Return a program of torch.export as an ONNX program, without messages of the converters.

    Parameters
    ----------
    program : ExportedProgram
    input_name, output_name : str
    axes : mapping of int to str or None, default=None
        The names of the axes of the input that may have any length.  None lets torch name them.
    """
    logger = logging.getLogger("onnxscript")
    level = logger.level
    logger.setLevel(logging.ERROR)  # it warns of optimisations that it does not make
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of its own code
            names: Any = {"input_names": [input_name], "output_names": [output_name]}
            if axes is not None:
                names["dynamic_shapes"] = (dict(axes),)
            return torch.onnx.export(program, (), dynamo=True, verbose=False, **names)
    finally:
        logger.setLevel(level)
