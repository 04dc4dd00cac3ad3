"""timm's networks, divided into stages by tracing their forward pass.

There is no table of stages: torch.fx traces ``forward_features``, which is cut where the resolution
halves.  Operations between the submodules, such as adding a class token or a position embedding,
become part of the stages.  A network that cannot be divided is refused with the reason.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from math import floor
from os import PathLike
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..._support.validation import did_you_mean, require
from ...data import ImagePreset, ImageSizes
from ...exceptions import NotAChainError
from ..backbone import Backbone
from ..download import is_offline
from ..filling import fill
from ..tracing import Run, Trace
from ..weights import (
    WeightsFile,
    download_checkpoint,
    is_path,
    read_download,
    read_weights,
    weights_info,
)
from ._fx_stages import Grid, known_nothing, stages
from ._timm_files import configured, likely, matches  # noqa: F401 - the registry calls them

# Options of timm's builders that let a network take other image sizes; not all builders know them.
_OPTIONS: tuple[dict[str, bool], ...] = ({"dynamic_img_size": True}, {"strict_img_size": False}, {})

# Candidates for the number that image sizes must be a multiple of, and for the minimum size.
_MULTIPLES = (1, 2, 4, 7, 8, 14, 16, 28, 32, 64)
_LEAST = (32, 64, 96, 128, 160, 192, 224, 256)

# Names of files of weights in a repository of the hub; the first that exists is used.
_HUB_FILES = ("model.safetensors", "pytorch_model.bin")

_SHA256 = re.compile(r"[0-9a-f]{64}")


def names() -> list[str]:
    """List timm's architectures, without a tag and with each tag of weights."""
    timm = _timm()
    return sorted({*timm.list_models(), *timm.list_pretrained()})


def _timm() -> ModuleType:
    return require("timm", "timm")


def load(name: str, weights: str | PathLike[str] | None = "default") -> Backbone:
    """Build ``name`` with the weights of a tag or a file, or with random ones.

    Parameters
    ----------
    name : str
        One of :func:`names`: an architecture such as ``"resnet18"``, or an architecture with a
        tag, such as ``"resnet18.a1_in1k"``, which is then the default.
    weights : str, path-like or None, default="default"
        ``"default"``, a tag of timm such as ``"a1_in1k"``, the path of a .safetensors, .pth or
        .pt file, or None for random weights.

    Returns
    -------
    Backbone

    Raises
    ------
    ValueError
        If the network is not a chain of stages, if the name or the tag is unknown, or if a file
        does not fit the network.
    OSError
        If a file is missing, or cannot be downloaded.
    ModuleNotFoundError
        If timm is not installed.

    Notes
    -----
    If timm's own preprocessing squashes an image into a square, or pads it to one, the preset
    crops the centre instead.
    """
    architecture, _, tag = name.partition(".")
    cfg = _cfg(architecture, tag, weights)
    preset = _preset(architecture, cfg)
    if weights is None:
        info = weights_info(None, "random", None, None, preset)
        return _chained(architecture, lambda **options: _create(cfg, **options), preset, info)
    if is_path(weights):
        return _from_file(architecture, cfg, read_weights(Path(weights)), preset)
    file = read_download(partial(_fetched, architecture, cfg))
    info = weights_info(cfg.tag or None, _source(cfg), file.sha256, cfg.license, preset)
    return _chained(architecture, lambda **options: _read(cfg, file.path, **options), preset, info)


def _cfg(architecture: str, tag: str, weights: object) -> Any:
    """Return timm's configuration of the weights: their source, input and classes."""
    timm = _timm()
    if not timm.is_model(architecture):
        near = did_you_mean(architecture, timm.list_models())
        raise ValueError(f"timm has no backbone {architecture!r}.{near}")
    tags = {
        name.partition(".")[2]: timm.get_pretrained_cfg(name)
        for name in timm.list_pretrained()
        if name.partition(".")[0] == architecture
    }
    if tag and tag not in tags:
        raise ValueError(
            f"the tag of timm/{architecture} must be one of {', '.join(map(repr, tags))}; "
            f"got {tag!r}.{did_you_mean(tag, tags)}"
        )
    default = tags[tag] if tag else timm.get_pretrained_cfg(architecture)
    if weights is None or is_path(weights):
        return default
    if weights == "default" and default.has_weights:
        return default
    if isinstance(weights, str) and weights in tags and (not tag or tag == weights):
        return tags[weights]
    raise ValueError(_unknown_tag(architecture, [tag] if tag else sorted(tags), weights))


def _unknown_tag(architecture: str, tags: list[str], weights: object) -> str:
    if not tags:
        return (
            f"weights of timm/{architecture} must be None, or the path of a file; got {weights!r}. "
            "timm has no weights of this network."
        )
    listed = ", ".join(map(repr, ["default", *tags]))
    return (
        f"weights of timm/{architecture} must be one of {listed}, None, or the path of a "
        f".safetensors, .pth or .pt file; got {weights!r}.{did_you_mean(weights, tags)}"
    )


def _preset(architecture: str, cfg: Any) -> ImagePreset:
    """Return the preset that matches timm's preprocessing for evaluation."""
    data = _timm().data.resolve_data_config(pretrained_cfg=cfg.to_dict())
    channels, height, width = data["input_size"]
    if channels != 3 or height != width or len(data["mean"]) != 3:
        raise _refusal(architecture, f"its images are {height} x {width} with {channels} channels")
    return ImagePreset(
        size=height,
        resize=max(height, floor(height / data["crop_pct"])),
        mean=data["mean"],
        std=data["std"],
        interpolation=data["interpolation"],
        sizes=ImageSizes(minimum=1),
    )


def _refusal(architecture: str, reason: object) -> ValueError:
    return ValueError(f"timm/{architecture} is not a chain of stages: {reason}.")


# --- weights -------------------------------------------------------------------------------------


class _NoRandomNumbers(TorchFunctionMode):
    """Skip the random initialization of parameters, which a file overwrites anyway."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        is_initializer = func in (Tensor.normal_, Tensor.uniform_, Tensor.erfinv_)
        if is_initializer and isinstance(args[0], nn.Parameter):
            return args[0]
        return func(*args, **(kwargs or {}))


def _create(cfg: Any, **options: Any) -> nn.Module:
    """Build timm's network with random weights."""
    net: nn.Module = _timm().create_model(cfg.architecture, pretrained_cfg=cfg.to_dict(), **options)
    return net.eval()


def _read(cfg: Any, path: Path, **options: Any) -> nn.Module:
    """Build timm's network with the weights of a file, read and converted by timm."""
    cfg = replace(cfg, file=str(path), hf_hub_id=None, url=None, custom_load=False)
    with _NoRandomNumbers():
        return _create(cfg, pretrained=True, **options)


def _from_file(architecture: str, cfg: Any, file: WeightsFile, preset: ImagePreset) -> Backbone:
    preset = preset.with_metadata(file.metadata)
    cfg, heads = configured(replace(cfg, input_size=(3, preset.size, preset.size)), file.state)
    left_out: list[str] = []

    def build(**options: Any) -> nn.Module:
        with _NoRandomNumbers():
            net = _create(cfg, **options)
        try:
            left_out[:] = fill(net, file.state, str(file.path), heads)
        except ValueError as mismatch:
            try:  # timm renames tensors of older versions, and resizes position embeddings
                return _read(cfg, file.path, **options)
            except (RuntimeError, KeyError, ValueError, AttributeError, TypeError):
                raise mismatch from None
        return net

    backbone = _chained(architecture, build, preset, {})
    if left_out:
        backbone.classifier = None
    backbone.weights_info = file.info(backbone.preset, left_out)
    return backbone


def _fetched(architecture: str, cfg: Any, again: bool) -> tuple[Path, str | None]:
    """Return the file of weights in the cache of the hub or of torch, and its hash if known."""
    address = f"timm/{architecture}.{cfg.tag}" if cfg.tag else f"timm/{architecture}"
    if cfg.hf_hub_id:
        path = _from_hub(address, cfg, again)
        # The hub's cache names large files by their hash, and links to them.
        name = path.resolve().name
        return path, name if _SHA256.fullmatch(name) else None
    return download_checkpoint(cfg.url, again, address=address)


def _from_hub(address: str, cfg: Any, again: bool) -> Path:
    """Return a file of the hub; if the hub's cache contains it, the hub is not asked.

    If ``again`` is True, the file in the cache is damaged, and is replaced.
    """
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    repository, _, revision = cfg.hf_hub_id.partition("@")
    place: dict[str, Any] = {"revision": revision or None}
    for filename in () if again else _hub_files(cfg):
        cached = try_to_load_from_cache(repository, filename, **place)
        if isinstance(cached, str):
            return Path(cached)
    cause: object = "downloads are forbidden (offline=True, or SKTRANSFER_OFFLINE)"
    if again:
        cause = f"the file on this machine is damaged, and {cause}"
    for filename in () if is_offline() else _hub_files(cfg):
        try:
            return Path(hf_hub_download(repository, filename, force_download=again, **place))
        except LocalEntryNotFoundError as error:
            cause = error.__cause__ or error
            break
        except EntryNotFoundError as error:
            cause = error
        except OSError as error:
            cause = error
            break
    raise ConnectionError(_not_available(address, cfg, cause))


def _not_available(address: str, cfg: Any, cause: object) -> str:
    from huggingface_hub.constants import HF_HUB_CACHE

    reason = str(cause).partition("\n")[0] or type(cause).__name__
    return (
        f"weights of {address} could not be downloaded: {reason}. The file needed is "
        f"{_hub_files(cfg)[0]} of {cfg.hf_hub_id}, and its place is {HF_HUB_CACHE}. On a "
        f"connected machine, `sktransfer fetch {address} --to DIR` writes a file: copy it to this "
        "machine and pass weights=PATH."
    )


def _hub_files(cfg: Any) -> tuple[str, ...]:
    return (cfg.hf_hub_filename,) if cfg.hf_hub_filename else _HUB_FILES


def _source(cfg: Any) -> str:
    return f"https://huggingface.co/{cfg.hf_hub_id}" if cfg.hf_hub_id else str(cfg.url)


# --- stages --------------------------------------------------------------------------------------


def _chained(
    architecture: str,
    build: Callable[..., nn.Module],
    preset: ImagePreset,
    info: Mapping[str, Any],
) -> Backbone:
    """Divide a network into stages, if possible one that takes several image sizes."""
    reason: NotAChainError | None = None
    for options in _OPTIONS:
        try:
            net = build(**options)
        except TypeError as error:  # this builder does not know the option
            if not options or "unexpected keyword" not in str(error):
                raise
            continue
        try:
            return _backbone(net, preset, info)
        except NotAChainError as error:
            reason = error
    raise _refusal(architecture, reason) from reason


def _backbone(net: nn.Module, preset: ImagePreset, info: Mapping[str, Any]) -> Backbone:
    _check_forward(net)
    whole = _timm().models.get_notrace_functions()
    features = Trace(net, "forward_features", whole)
    head = Trace(net, "forward_head", whole)
    run = _tried(features, preset.size)
    if isinstance(run, Exception):
        cause = str(run).strip().partition("\n")[0].partition(". ")[0].rstrip(".,")
        raise NotAChainError(f"it does not run on the meta device: {cause}") from run
    sizes, others = _sizes(net, features, preset.size)
    grid = _grid(net, run.shape(features.output))
    return Backbone(
        stages(features, [run, *others], grid, preset.size),
        replace(preset, sizes=sizes),
        head.part(head.image, head.output, known_nothing)
        if getattr(net, "num_classes", 1)
        else None,
        layout=grid.layout,
        n_prefix_tokens=grid.n_prefix_tokens,
        weights_info=info,
    )


def _check_forward(net: nn.Module) -> None:
    """Raise unless ``forward`` is ``forward_head`` after ``forward_features`` and nothing else."""
    image, features, logits = object(), object(), object()
    probe: Any = copy.copy(net)
    probe.forward_features = lambda x, **_: features if x is image else None
    probe.forward_head = lambda x, **_: logits if x is features else None
    try:
        is_plain = probe.forward(image) is logits
    except Exception:  # noqa: BLE001 - the network's own code runs, and may raise anything
        is_plain = False
    if not is_plain:
        raise NotAChainError("its forward pass is not forward_head(forward_features(x))")


def _grid(net: nn.Module, shape: tuple[int, ...]) -> Grid:
    """Find the layout of the last feature map."""
    stated = str(getattr(net, "output_fmt", "NCHW")).rpartition(".")[2]
    n_prefix = int(getattr(net, "num_prefix_tokens", 0))
    for grid in (Grid(stated), Grid("NCHW"), Grid("NHWC"), Grid("NLC", n_prefix)):
        if grid.side(shape):
            return grid
    raise NotAChainError(f"its last feature map is not square; its shape is {shape}")


def _sizes(net: nn.Module, features: Trace, size: int) -> tuple[ImageSizes, list[Run]]:
    """Find the image sizes that the network takes by trying some; also return a run of another."""
    fixed = net.pretrained_cfg.get("fixed_input_size", False)  # type: ignore[union-attr, operator]  # a dict of timm's
    if fixed and not getattr(net, "dynamic_img_size", False):
        return ImageSizes(only=(size,)), []
    for multiple in _MULTIPLES:
        run = _tried(features, size + multiple) if size % multiple == 0 else None
        if isinstance(run, Run):
            least = (-(-side // multiple) * multiple for side in _LEAST if side < size)
            minimum = next(
                (side for side in least if isinstance(_tried(features, side), Run)), size
            )
            return ImageSizes(minimum=minimum, multiple=multiple), [run]
    return ImageSizes(only=(size,)), []


def _tried(features: Trace, size: int) -> Run | Exception:
    try:
        return features.run(size)
    except Exception as error:  # noqa: BLE001 - the network's own code runs, and may raise anything
        return error
