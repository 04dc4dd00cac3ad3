"""torch.compile, in float32 and in bfloat16."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from .base import Engine, Graph, Keep

# Many graphs share the function for which torch counts compilations.  Beyond the limit, it would
# run the modules without compiling them.
MOST = 100_000


@contextmanager
def _compiling() -> Iterator[None]:
    """Run a module in one mode, so that torch compiles it once."""
    limits = {"recompile_limit": MOST, "accumulated_recompile_limit": MOST}
    with torch.inference_mode(False), torch.no_grad(), torch._dynamo.config.patch(limits):
        yield


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

        def run(batch: Tensor) -> Tensor:
            if batch.is_floating_point():
                batch = batch.to(dtype)
            with _compiling():
                y: Tensor = compiled(batch.clone() if batch.is_inference() else batch)
            return y

        run(x)  # the first run compiles
        return run
