"""Weights in one file, with their preprocessing, for a machine without a network."""

from __future__ import annotations

import os
import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from safetensors.torch import save
from torch import Tensor

from ..data import ImagePreset
from .backbone import Backbone
from .registry import get_backbone
from .weights import recorded


def fetch(
    address: str, to: str | os.PathLike[str], weights: str | os.PathLike[str] = "default"
) -> Path:
    """The file that it writes: pass its path as ``weights=``, on any machine.

    Parameters
    ----------
    address : str
        Of the backbone, ``"provider/model"``.
    to : str or path-like
        The folder of the file, which is made where it is missing.
    weights : str or path-like, default="default"
        ``"default"``, a tag of the provider, or the path of a file, which is converted.

    Returns
    -------
    Path
        Of a safetensors file: the weights under the network's own names, and, as metadata, the
        preprocessing, the address, the tag, the source, its sha256 and the licence.

    Raises
    ------
    ValueError
        If the provider reads no file for ``weights``, or cannot make the same backbone of the new
        file; nothing is written.
    OSError
        If the weights cannot be brought here, or the file cannot be written.

    Notes
    -----
    It serves every provider that reads its weights with :func:`sktransfer.backbones.read_weights`.
    The new file is loaded before it appears: the backbone must have the same fingerprint.

    Examples
    --------
    >>> from sktransfer.backbones.export import fetch
    >>> path = fetch("torchvision/resnet18", "weights")  # doctest: +SKIP
    >>> path.name  # doctest: +SKIP
    'torchvision_resnet18_IMAGENET1K_V1.safetensors'
    """
    with recorded() as files:
        backbone = get_backbone(address, weights)
    if len(files) != 1:
        raise ValueError(
            f"address must be of a backbone whose weights are one file; {address!r} with "
            f"weights={weights!r} read {len(files)} files with sktransfer.backbones.read_weights."
        )
    folder = Path(to)
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder, prefix=".fetch-") as aside:
        path = Path(aside) / _filename(address, backbone.weights_info.get("tag"))
        # save_file would make a file for its owner's eyes only
        path.write_bytes(save(_stored(files[0].state), _metadata(address, backbone)))
        _check_same(address, weights, path, backbone)
        return path.replace(folder / path.name)


def _filename(address: str, tag: str | None) -> str:
    name = "_".join(filter(None, [address, tag]))
    return re.sub(r"[^\w.-]", "_", name) + ".safetensors"


def _stored(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """``state`` as safetensors takes it: contiguous, nothing shared.

    Tensors that hold no numbers are left out: a classifier that was never trained.
    """
    return {
        name: tensor.contiguous().clone()
        for name, tensor in state.items()
        if not (tensor.numel() and tensor.isnan().all())
    }


def _metadata(address: str, backbone: Backbone) -> dict[str, str]:
    """What the new file says of itself, as text; ``ImagePreset.with_metadata`` reads it back."""
    info, preset = backbone.weights_info, backbone.preset
    said: dict[str, Any] = {key: info.get(key) for key in ("tag", "source", "sha256", "licence")}
    said["address"] = address
    if isinstance(preset, ImagePreset):
        said |= {
            "input_size": preset.size,
            "resize": preset.resize,
            "crop": preset.crop,
            "mean": ",".join(map(str, preset.mean)),
            "std": ",".join(map(str, preset.std)),
            "interpolation": preset.interpolation,
        }
    return {key: str(value) for key, value in said.items() if value is not None}


def _check_same(address: str, weights: object, path: Path, backbone: Backbone) -> None:
    again = get_backbone(address, path, offline=True)
    if again.fingerprint() != backbone.fingerprint():
        raise ValueError(
            f"address must be of a backbone that a file brings back; {address!r} made something "
            f"else of the file of weights={weights!r}. Its provider may pass over the metadata."
        )
