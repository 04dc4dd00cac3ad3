"""Export of weights with their preprocessing to one file, for machines that are offline."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor, nn

from .._support.files import check_folder, explaining, temporary_folder, write_file
from ..data import ImagePreset
from .backbone import Backbone
from .registry import get_backbone, resolve
from .weights import DIGEST, hash_content, recorded


def fetch(
    address: str, to: str | os.PathLike[str], weights: str | os.PathLike[str] = "default"
) -> Path:
    """Write the weights of a backbone to a file that ``weights=`` accepts on any machine.

    A network for texts, ``"transformers/OWNER/NAME"``, becomes a folder: its few files of
    configuration, tokenizer and safetensors are downloaded from the hub.

    Parameters
    ----------
    address : str
        The address of the backbone, ``"provider/model"``.
    to : str or path-like
        The folder of the file; it is created if it does not exist.
    weights : str or path-like, default="default"
        ``"default"``, a tag of the provider, or the path of a file, which is converted.

    Returns
    -------
    Path
        The path of the folder, or of a safetensors file.  The file contains the weights under the
        network's own names and, as metadata, the preprocessing, address, tag, source, sha256 and
        licence.

    Raises
    ------
    ValueError
        If the provider does not read exactly one file, or if the new file gives another backbone.
        Nothing is written then.
    OSError
        If the weights cannot be downloaded, or the file cannot be written.  The message names the
        file and, if the disk is full or cannot be written, the remedy.

    Notes
    -----
    The provider must read its weights with :func:`sktransfer.backbones.read_weights`, as all
    providers in this package do.  The new file is loaded before it gets its name, to check that the
    backbone has the same fingerprint.

    Examples
    --------
    >>> from sktransfer.backbones.export import fetch
    >>> path = fetch("torchvision/resnet18", "weights")  # doctest: +SKIP
    >>> path.name  # doctest: +SKIP
    'torchvision_resnet18_IMAGENET1K_V1.safetensors'
    """
    check_folder("to", to)
    provider, name = resolve(address)
    if hasattr(provider, "fetch"):
        if weights != "default":
            raise ValueError(
                f"weights must be 'default' for {address!r}, which is a folder; got {weights!r}."
            )
        path: Path = provider.fetch(name, Path(to))
        return path
    with recorded() as files:
        backbone = get_backbone(address, weights)
    if len(files) != 1:
        raise ValueError(
            f"address must be of a backbone whose weights are one file; {address!r} with "
            f"weights={weights!r} read {len(files)} files with sktransfer.backbones.read_weights."
        )
    folder, name = Path(to), _filename(address, backbone.weights_info.get("tag"))
    state, metadata = _stored(files[0].state), _metadata(address, backbone)
    # safetensors' save_file would make a file that only its owner can read
    content = save(state, metadata | {DIGEST: hash_content(state, metadata)})
    with explaining("to must be a folder that can be written", folder / name):
        folder.mkdir(parents=True, exist_ok=True)
        with temporary_folder(folder) as temporary:
            path = temporary / name
            write_file(path, content, durable=True)
            _check_same(address, weights, path, backbone)
            return path.replace(folder / name)


def save_weights(
    path: str | os.PathLike[str], backbone: Backbone, head: nn.Module | None, source: str
) -> None:
    """Write the weights of the stages, and of a language head, to a file of safetensors.

    Parameters
    ----------
    path : str or path-like
        A file that ends in ``.safetensors``.
    backbone : Backbone
    head : Module or None
    source : str
        The origin of the weights, for ``weights_info``.

    Raises
    ------
    ValueError
        If the file has another suffix.
    OSError
        If it cannot be written.
    """
    target = Path(path).expanduser()
    if target.suffix != ".safetensors":
        raise ValueError(
            f"path must end in '.safetensors'; got {str(path)!r}. Use "
            f"{str(target.with_suffix('.safetensors'))!r}."
        )
    modules = {"": backbone.stages, "language_head.": head}
    state = {
        f"{start}{name}": tensor.detach().cpu().contiguous().clone()
        for start, module in modules.items()
        if module is not None
        for name, tensor in module.state_dict().items()
    }
    licence = str(backbone.weights_info.get("licence") or "not stated")
    with explaining("path must be a file that can be written", target):
        write_file(target, save(state, {"source": source, "licence": licence}), durable=True)


def _filename(address: str, tag: str | None) -> str:
    name = "_".join(filter(None, [address, tag]))
    return re.sub(r"[^\w.-]", "_", name) + ".safetensors"


def _stored(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Copy the tensors to contiguous memory that they do not share, as safetensors requires.

    Tensors of NaN are left out: they belong to a classifier that was never trained.
    """
    return {
        name: tensor.contiguous().clone()
        for name, tensor in state.items()
        if not (tensor.numel() and tensor.isnan().all())
    }


def _metadata(address: str, backbone: Backbone) -> dict[str, str]:
    """Return the metadata of the new file, which ``ImagePreset.with_metadata`` reads."""
    info, preset = backbone.weights_info, backbone.preset
    entries: dict[str, Any] = {key: info.get(key) for key in ("tag", "source", "sha256", "licence")}
    entries["address"] = address
    if isinstance(preset, ImagePreset):
        entries |= {
            "input_size": preset.size,
            "resize": preset.resize,
            "crop": preset.crop,
            "mean": ",".join(map(str, preset.mean)),
            "std": ",".join(map(str, preset.std)),
            "interpolation": preset.interpolation,
        }
    return {key: str(value) for key, value in entries.items() if value is not None}


def _check_same(address: str, weights: object, path: Path, backbone: Backbone) -> None:
    again = get_backbone(address, path, offline=True)
    if again.fingerprint() != backbone.fingerprint():
        raise ValueError(
            f"address must be of a backbone that can be loaded from a file; {address!r} with "
            f"weights={weights!r} gives another backbone from the exported file. Its provider may "
            "ignore the metadata."
        )
