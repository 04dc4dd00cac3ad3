"""torch.compile, in float32 and in bfloat16."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .base import Engine, Graph, Keep


class Compile(Engine):
    """Modules run by torch.compile; see :class:`Engine`.

    Nothing is kept in the cache, because the result is code: torch keeps it in a folder of its own.
    """

    name = "compile"
    packages = ("torch",)
    dtypes = (torch.float32, torch.bfloat16)

    def compile(
        self,
        module: nn.Module,
        x: Tensor,
        dtype: torch.dtype,
        keep: Keep,  # noqa: ARG002 - as in Engine
        any_length: bool,
    ) -> Graph:
        """Return a function that computes what a module does; see :meth:`Engine.compile`."""
        own = module.to(dtype).to(memory_format=torch.channels_last)
        compiled = torch.compile(own, dynamic=any_length, options={"freezing": True})
        with torch.inference_mode():  # a module is compiled in its first run
            compiled(x.to(dtype) if x.is_floating_point() else x)

        def run(batch: Tensor) -> Tensor:
            y: Tensor = compiled(batch)
            return y

        return run
