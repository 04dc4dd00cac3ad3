"""Claim: with engine="auto", features take as long as the forward pass of the best engine itself.

    python benchmarks/engines.py [--quick] [--texts FOLDER]

Processor time of one batch that is in memory, in turns; the result is the median of the ratios.
The engines run the network as their own documentation shows it, for the same batch.  Their graphs
take images of one size, and texts of any length.  Weights are random.  ``--texts`` is the folder of
a sentence transformer, such as all-MiniLM-L6-v2.
"""

import importlib.util
import io
import json
import os
import warnings
from argparse import ArgumentParser
from pathlib import Path
from statistics import median
from time import process_time

import torch
from _common import QUICK, at_least
from torch import nn
from torch.export import Dim

from sktransfer._support.threads import n_threads
from sktransfer.backbones import get_backbone
from sktransfer.extraction import Prefix, Tap

# Address and image size.
NETS = [
    ("torchvision/resnet18", 224),
    ("torchvision/mobilenet_v2", 224),
    ("torchvision/resnet50", 224),
    ("torchvision/vgg16", 150),
    ("torchvision/vit_b_16", 224),
]
N_ROWS, N_TURNS = (4, 1) if QUICK else (16, 5)
PRECISIONS = (torch.float32,) if QUICK else (torch.float32, torch.bfloat16)


def traced(network, batch):
    """The network as a program for batches of one shape, or for texts of any number and length."""
    shapes = ({0: Dim.DYNAMIC, 1: Dim.DYNAMIC},) if batch.ndim == 2 else None
    return torch.export.export(network, (batch,), dynamic_shapes=shapes)


def openvino(network, batch, dtype):
    """The forward pass of OpenVINO."""
    from openvino import Core, convert_model

    how = {
        "INFERENCE_PRECISION_HINT": "f32" if dtype == torch.float32 else "bf16",
        "INFERENCE_NUM_THREADS": n_threads(None),
        "NUM_STREAMS": 1,
    }
    model = convert_model(traced(network, batch))
    compiled, rows = Core().compile_model(model, "CPU", how), batch.numpy()
    return lambda: compiled([rows])


def onnxruntime(network, batch, dtype):
    """The forward pass of ONNX Runtime; None in bfloat16."""
    import onnxruntime as ort

    if dtype != torch.float32:
        return None
    program = traced(network, batch)
    made = torch.onnx.export(program, (), dynamo=True, verbose=False, input_names=["x"])
    file = io.BytesIO(made.model_proto.SerializeToString())
    options = ort.SessionOptions()
    options.intra_op_num_threads = n_threads(None)
    session = ort.InferenceSession(file.getvalue(), options, providers=["CPUExecutionProvider"])
    rows = batch.numpy()
    return lambda: session.run(None, {"x": rows})


def spent(job):
    """The processor time of a call, in seconds."""
    start = process_time()
    job()
    return process_time() - start


def measure(address, backbone, batch, dtype):
    """The row of one network and type."""
    network = nn.Sequential(*backbone.stages.values()).eval().requires_grad_(False)
    tap = Tap(len(backbone.names), "avg")
    length = batch.shape[1] if batch.ndim == 2 else None
    prefix = Prefix(backbone, [tap], torch.device("cpu"), dtype, len(batch), length=length)
    auto = prefix.run_by("auto", cache=None)
    jobs = {"torch": lambda: prefix(batch), "auto": lambda: auto(batch)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for engine in (openvino, onnxruntime):
            if importlib.util.find_spec(engine.__name__) is not None:
                job = engine(network, batch.contiguous(), dtype)
                jobs |= {engine.__name__: job} if job else {}
    for job in jobs.values():
        job()
    turns = [{name: spent(job) for name, job in jobs.items()} for _ in range(N_TURNS)]
    times = {name: median(turn[name] for turn in turns) for name in jobs}
    details = ", ".join(f"{name} {1e3 * each / len(batch):.2f}" for name, each in times.items())
    best = min((name for name in times if name != "auto"), key=times.__getitem__)
    ratio = median(turn[best] / turn["auto"] for turn in turns)
    claim = f"speed over {best}, `{address}`, {str(dtype).removeprefix('torch.')}"
    return at_least(claim, ratio, 0.95, f"milliseconds a row: {details}")


def networks(texts):
    """Yield addresses, networks and batches."""
    torch.manual_seed(0)
    for address, size in NETS[:1] if QUICK else NETS:
        batch = torch.randn(N_ROWS, 3, size, size).to(memory_format=torch.channels_last)
        yield address, get_backbone(address, None), batch
    if texts is not None:
        os.environ["SKTRANSFER_MODELS"] = str(texts.absolute().parent)
        backbone = get_backbone(f"transformers/{texts.name}")
        yield backbone.address, backbone, backbone.preset.example(N_ROWS)


parser = ArgumentParser()
parser.add_argument("--quick", action="store_true")
parser.add_argument("--texts", type=Path)
given = parser.parse_args()
rows = [measure(*network, dtype) for network in networks(given.texts) for dtype in PRECISIONS]
print(json.dumps({"rows": rows}, indent=2))
assert QUICK or all(row["holds"] is not False for row in rows), "each part of the claim must hold"
