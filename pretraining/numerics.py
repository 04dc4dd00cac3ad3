"""The numerics that make a step fast on the hardware at hand."""

import os
import time
from pathlib import Path

import torch
from torch import Tensor, nn

PROCESSOR = Path("/proc/stat")


def autocast(device: torch.device) -> torch.autocast:
    """Mixed precision in bfloat16 where the hardware has it, else float32."""
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported()
    else:
        fast = torch.cpu.get_capabilities().get("avx512_bf16", False)
    return torch.autocast(device.type, torch.bfloat16, enabled=bool(fast))


class PreciseConv(nn.Conv2d):
    """A convolution in float32, whatever the precision around it."""

    def forward(self, maps: Tensor) -> Tensor:
        """The maps, in the precision that came in."""
        with torch.autocast(maps.device.type, enabled=False):
            return super().forward(maps.float()).to(maps.dtype)


def quicken(network: nn.Module, device: torch.device) -> None:
    """Let strided depthwise convolutions compute in float32 on a CPU, in place.

    Their bfloat16 gradients were measured 30 to 60 times slower there.
    """
    for layer in network.modules():
        strided = isinstance(layer, nn.Conv2d) and layer.groups > 1 and layer.stride != (1, 1)
        if device.type == "cpu" and strided:
            layer.__class__ = PreciseConv


class Pace:
    """As many threads as the machine has cores to spare, asked again every few seconds.

    Two threads beside another busy program were measured five times slower than one: each of the
    hundreds of parallel regions of a step waits for the thread that does not run.
    """

    def __init__(self, threads: int, every: float = 2.0):
        self.most, self.every = threads, every
        self.seen = machine_seconds()

    def adjust(self) -> None:
        """Set torch's number of threads by what others used since the last look."""
        now = machine_seconds()
        elapsed, busy, own = (new - old for new, old in zip(now, self.seen, strict=True))
        if elapsed < self.every:
            return
        self.seen = now
        spare = round(self.most - (busy - own) / elapsed - 0.2)
        threads = min(max(spare, 1), self.most)
        if threads != torch.get_num_threads():
            torch.set_num_threads(threads)


def machine_seconds() -> tuple[float, float, float]:
    """Seconds by the clock, of all cores' work, and of this process's, where Linux tells them."""
    own = time.process_time()
    if not PROCESSOR.exists():
        return time.monotonic(), own, own
    user, nice, system = PROCESSOR.read_text().split(maxsplit=4)[1:4]
    ticks = os.sysconf("SC_CLK_TCK")
    return time.monotonic(), (int(user) + int(nice) + int(system)) / ticks, own
