"""Copies of stages that run fast, and the work of stages."""

from __future__ import annotations

import math
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from .._support.random import example_rows
from ..backbones import fuse_conv_bn, positions, running, sum_shifts

# Batch norm is fused only if each row of a stage's output changes by less than this share of its
# norm.
TOLERANCE = 1e-5

# Stages that multiply fewer pairs of numbers for a batch compute with one thread, in about 20 ms or
# less.  Several threads would save some milliseconds if the processors are idle, and lose seconds
# if they are busy.  The limit depends on the stage and the batch alone, because the number of
# threads can affect the last bits.
SMALL = 6e8

# "auto" leaves stages to torch that multiply fewer pairs of numbers for a batch: to compile them
# takes longer than to compute hundreds of photos.
LITTLE = 1.5e9


@torch.no_grad()
def fused(plain: list[nn.Module], batch: Tensor) -> list[nn.Module]:
    """Copy the stages, with fused batch norm if two random inputs show that nothing changes.

    A copy depends on the stage and on the shape of its input alone: a row has the same bits
    whatever other taps there are, and wherever the prefix begins.
    """
    x, stages = blank_rows(2, batch, plain), []
    norms = [any(isinstance(part, nn.BatchNorm2d) for part in s.modules()) for s in plain]
    for at, stage in enumerate(plain):
        if norms[at]:
            x = example_rows(x.shape[1:], x.dtype)
            stages.append(fuse_conv_bn(stage, x, TOLERANCE))
        else:
            stages.append(deepcopy(stage).eval())
        if _type_of(plain) == torch.float64:
            sum_shifts(stages[-1])
        if any(norms[at + 1 :]):  # the next one needs the form of its input
            x = stage(x)
    return stages


def blank_rows(n: int, batch: Tensor, stages: list[nn.Module]) -> Tensor:
    """Return rows of zeros of the form of a batch, in the type of the weights if it has floats."""
    dtype = _type_of(stages) if batch.is_floating_point() else batch.dtype
    return torch.zeros(n, *batch.shape[1:], dtype=dtype)


def _type_of(stages: list[nn.Module]) -> torch.dtype:
    """Return the type of the weights."""
    return next((p.dtype for stage in stages for p in stage.parameters()), torch.float32)


def _estimate_work(stage: nn.Module, output: Any, layout: str) -> float:
    """Return about how many pairs of numbers a stage multiplies for one row."""
    if not isinstance(output, Tensor):
        return math.inf
    tables = (nn.Embedding, nn.EmbeddingBag)  # rows of these weights are looked up
    weights = (
        parameter
        for part in stage.modules()
        if not isinstance(part, tables)
        for parameter in part.parameters(recurse=False)
    )
    n_weights = sum(p.numel() for p in weights if p.ndim > 1)
    return float(n_weights * positions(output, layout).shape[2])


@torch.no_grad()
def estimate_works(stages: list[nn.Module], batch: Any, layout: str) -> list[float]:
    """Return about how many pairs of numbers each stage multiplies for one row.

    Parameters
    ----------
    stages : list of Module
        The first ones of a chain.
    batch : Tensor or object
        A batch for the first of them.  If it is not a tensor, the numbers are infinite.
    layout : str
    """
    if not isinstance(batch, Tensor):
        return [math.inf] * len(stages)
    x, works = blank_rows(1, batch, stages), []
    with running(n_threads=1):
        for stage in stages:
            x = stage(x)
            works.append(_estimate_work(stage, x, layout))
    return works
