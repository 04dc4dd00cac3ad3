"""Encoders and decoders for texts, from folders that the package transformers writes.

The networks are built by this package from ``config.json`` and safetensors.  Nothing that a folder
names is imported or run.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Collection, Mapping
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..._support.files import explaining, temporary_folder
from ..._support.text import printable
from ..._support.warn import warn_user
from ...data import TextPreset, Tokenizer, WordPiece, read_tokenizer, read_vocabulary
from ..backbone import Backbone
from ..filling import MisfitError, allocate, fill_tensors
from ..weights import is_path, read_weights, weights_info
from . import _model_folder as folders
from . import _sentence_modules as sentence_modules
from ._hub import Hub
from ._language_heads import HEAD, LanguageForm, find_mask_token, language_form
from ._model_folder import ModelFolder
from ._transformer import InOut, build
from ._transformer_configs import COMPUTED, HEADS, Architecture, architecture

PREFIX = "transformers"

# The standard deviation of random weights.
SPREAD = 0.02

# The maximum number of tokens of a text, if the folder states none.
MAX_LENGTH = 256

# Lengths of rows beyond those of TextPreset, for networks with more positions.
LONG = (768, 1024, 1536, 2048, 3072, 4096, 6144, 8192)

# Parts of names in old files, and what they are called today.
OLD_NAMES = {
    "LayerNorm.gamma": "LayerNorm.weight",
    "LayerNorm.beta": "LayerNorm.bias",
    "cls.predictions.decoder.bias": "cls.predictions.bias",
    "lm_head.decoder.bias": "lm_head.bias",
}

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"

TOKENIZER_FILES = (
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt"),
    "sentence_bert_config.json",
)

# Files that contain pickles, or weights of other frameworks.
OTHER_WEIGHTS = ("*.bin", "*.pt", "*.pth", "*.ckpt*", "*.h5", "*.msgpack")

# The classes of tokenizers that a vocab.txt describes completely.
BERT_TOKENIZERS = tuple(
    f"{name}Tokenizer{fast}" for name in ("Bert", "DistilBert", "Electra") for fast in ("", "Fast")
)


def names() -> list[str]:
    """List the networks below the directory of the variable SKTRANSFER_MODELS."""
    return folders.names()


def accepts(name: str) -> bool:
    """Return True if ``name`` may be the path of a folder, which :func:`names` need not list."""
    return bool(name)


def load(name: str, weights: str | PathLike[str] | None = "default") -> Backbone:
    """Build the network in a folder.

    Parameters
    ----------
    name : str
        The path of a folder of the package transformers or sentence-transformers, or its name below
        the directory of the environment variable SKTRANSFER_MODELS.
    weights : str, path-like or None, default="default"
        ``"default"`` for the weights in the folder, the path of another file of weights, or None
        for random weights.

    Returns
    -------
    Backbone

    Raises
    ------
    ValueError
        If the network is not a chain of stages, needs code of its own, or has weights or a
        tokenizer that do not fit.
    OSError
        If the folder or one of its files does not exist.
    ModuleNotFoundError
        If the tokenizer needs the package tokenizers, which is not installed.
    """
    return _load(folders.find(name, PREFIX), weights)


def fetch(name: str, to: Path) -> Path:
    """Download the folder of a network from the hub, for a machine without internet access.

    Parameters
    ----------
    name : str
        The name of a repository of the hub, ``"OWNER/NAME"``.
    to : Path
        The directory in which the folder ``OWNER/NAME`` is made.

    Returns
    -------
    Path
        The path of the folder, which exists only if it contains a network that can be loaded.

    Raises
    ------
    ValueError
        If there is no such repository, or its network cannot be used.
    OSError
        If the folder exists already or cannot be written, or if the hub cannot be reached.
    """
    label, target = f"{PREFIX}/{name}", to / name
    hub = Hub(name, label)
    if target.exists():
        raise FileExistsError(
            f"the folder of {label} must not exist yet; {str(target)!r} does. Remove it, or choose "
            "another directory."
        )
    with explaining("to must be a folder that can be written", to):
        target.parent.mkdir(parents=True, exist_ok=True)
    with temporary_folder(to) as temporary:
        folder = ModelFolder(temporary / "network", label)
        _download(hub, folder)
        _load(folder)
        return folder.root.replace(target)


def _download(hub: Hub, folder: ModelFolder) -> None:
    """Download the files of a network; those that do not exist are found missing later."""
    root = folder.root
    for name in ("modules.json", folders.MARK, folders.CARD):
        hub.download(name, root)
    if "modules.json" in folder:
        for path in filter(None, _module_paths(folder).values()):
            folder.check_plain(path)
            hub.download(f"{path}/{folders.MARK}", root)
    network = _inside(folder)[0] if "modules.json" in folder else folder
    architecture(network.json(folders.MARK), folder.label)  # weights may be large
    start = "" if network is folder else f"{network.root.name}/"
    for name in TOKENIZER_FILES:
        hub.download(start + name, root)
    if not hub.download(start + WEIGHTS, root) and hub.download(start + INDEX, root):
        for shard in _shards(network):
            hub.download(start + shard, root)
    shutil.rmtree(root / ".cache", ignore_errors=True)  # of the package that downloads


def _load(folder: ModelFolder, weights: str | PathLike[str] | None = "default") -> Backbone:
    """Build the network in a folder; see :func:`load`."""
    after: dict[str, Any] = {}
    if "modules.json" in folder:
        folder, after = _inside(folder)
    config = folder.json(folders.MARK)
    form, language = architecture(config, folder.label), language_form(config)
    preset = _preset(folder, form)
    left_out: list[str] = []
    if weights is None:
        net = _randomized(build(form, language if language.is_declared else None))
        info = weights_info(None, "random", None, None, preset)
    elif weights == "default" or is_path(weights):
        state, sha256, source = _weights(folder, weights)
        net, left_out = _filled(form, language, state, folder.label, source)
        info = weights_info(None, source, sha256, folder.licence(), preset, left_out)
    else:
        raise ValueError(
            f"weights of {folder.label} must be 'default', None, or the path of a .safetensors, "
            f".pth or .pt file; got {weights!r}."
        )
    parts: dict[str, Any] = dict(net.items())
    classifier, head = parts.pop("classifier", None), parts.pop(HEAD, None)
    if head is not None and language.objective == "masked":
        settings = folder.json("tokenizer_config.json")
        head.mask_token = find_mask_token(json.loads(preset.tokenizer.to_bytes()), settings)
    return Backbone(
        parts,
        preset,
        None if left_out else classifier,
        layout="NLM",
        weights_info=info | after,
        language_head=head,
    )


# --- the files of a folder -----------------------------------------------------------------------


def _inside(folder: ModelFolder) -> tuple[ModelFolder, dict[str, Any]]:
    """Return the folder of the network in one of sentence-transformers, and what follows it."""
    paths = _module_paths(folder)
    after: dict[str, Any] = {}
    if "Pooling" in paths:
        config = folder.inner(paths["Pooling"]).json(folders.MARK)
        after["pooling"] = sentence_modules.pooling(config)
    if "Normalize" in paths:
        after["normalize"] = "not applied"
    for remark in sentence_modules.remarks(list(paths), after.get("pooling")):
        warn_user(f"{folder.label}: {remark}.")
    return folder.inner(paths["Transformer"]), after


def _module_paths(folder: ModelFolder) -> dict[str, str]:
    return sentence_modules.paths(folder.values("modules.json", []), folder.label)


def _preset(folder: ModelFolder, form: Architecture) -> TextPreset:
    tokenizer = _tokenizer(folder)
    if tokenizer.vocab_size > form.n_tokens:
        raise ValueError(
            f"the tokenizer of {folder.label} must fit its network; it gives ids up to "
            f"{tokenizer.vocab_size - 1}, and the network has {form.n_tokens} tokens. Use the "
            "tokenizer that the network was trained with."
        )
    limit = form.n_positions - form.first
    least = len(tokenizer.prefix) + len(tokenizer.suffix) + 1
    stated = folder.json("sentence_bert_config.json").get("max_seq_length")
    asked = stated if isinstance(stated, int) and stated >= least else MAX_LENGTH
    lengths = [length for length in (*TextPreset.lengths, *LONG) if length < limit]
    return TextPreset(tokenizer, max_length=min(asked, limit), lengths=(*lengths, limit))


def _tokenizer(folder: ModelFolder) -> Tokenizer:
    settings = folder.json("tokenizer_config.json")
    if settings.get("auto_map"):
        raise ValueError(
            f"the tokenizer of {folder.label} must not need code of its own, which is never run; "
            "its tokenizer_config.json names some under 'auto_map'. Take another network."
        )
    if "tokenizer.json" in folder:
        source = f"tokenizer.json of {folder.label}"
        tokenizer = read_tokenizer(folder.read("tokenizer.json"), source)
    else:
        tokenizer = _from_vocabulary(folder, settings)
    if not folder.json("sentence_bert_config.json").get("do_lower_case"):
        return tokenizer
    if not isinstance(tokenizer, WordPiece):
        raise ValueError(  # noqa: TRY004 - the content of a file is a value
            f"the tokenizer of {folder.label} must change letters to lower case itself; its "
            "sentence_bert_config.json asks for 'do_lower_case'. Set that to false, and pass texts "
            "in lower case."
        )
    return replace(tokenizer, lowercase=True)


def _from_vocabulary(folder: ModelFolder, settings: Mapping[str, Any]) -> WordPiece:
    kind = settings.get("tokenizer_class", BERT_TOKENIZERS[0])
    if "vocab.txt" in folder and kind in BERT_TOKENIZERS:
        special = folder.json("special_tokens_map.json")
        return read_vocabulary(folder.read("vocab.txt"), {**special, **settings})
    raise FileNotFoundError(
        f"{folder.label} must contain tokenizer.json, or the vocab.txt of a BertTokenizer; it does "
        f"not, and its tokenizer {kind!r} is code of the package transformers. That package writes "
        "the file: AutoTokenizer.from_pretrained('FOLDER').save_pretrained('FOLDER')."
    )


def _weights(
    folder: ModelFolder, weights: str | PathLike[str]
) -> tuple[dict[str, Tensor], str, str]:
    """Return the tensors of a network, the hash of their files, and the name of the source."""
    if weights != "default":
        file = read_weights(weights)
        return file.state, file.sha256, printable(file.path.name)
    source = printable(folder.root.resolve().name)
    if WEIGHTS in folder:
        file = read_weights(folder.path(WEIGHTS))
        return file.state, file.sha256, source
    if INDEX not in folder:
        raise FileNotFoundError(_no_weights(folder))
    state: dict[str, Tensor] = {}
    digest = hashlib.sha256()
    for shard in _shards(folder):
        file = read_weights(folder.path(shard))
        state |= file.state
        digest.update(bytes.fromhex(file.sha256))
    return state, digest.hexdigest(), source


def _shards(folder: ModelFolder) -> list[str]:
    """Return the names of the files that an index lists."""
    index = folder.json(INDEX).get("weight_map")
    if not isinstance(index, Mapping) or not index:
        raise ValueError(f"{INDEX} of {folder.label} must map tensors to files; it does not.")
    shards = sorted(set(map(str, index.values())))
    for shard in shards:
        folder.check_plain(shard)
    return shards


def _no_weights(folder: ModelFolder) -> str:
    found = sorted({path.name for kind in OTHER_WEIGHTS for path in folder.root.glob(kind)})
    sentence = f"{folder.label} must contain model.safetensors, or {INDEX} and its files; "
    if not found:
        return f"{sentence}it contains no weights. Copy them into {str(folder.root.resolve())!r}."
    return (
        f"{sentence}it contains only {printable(', '.join(found))}, and loading a pickle can run "
        "code. If you trust it, convert it with the package transformers: "
        "AutoModel.from_pretrained('FOLDER').save_pretrained('FOLDER')."
    )


# --- the network ---------------------------------------------------------------------------------


def _randomized(net: nn.ModuleDict) -> nn.ModuleDict:
    """Draw the weights of linear layers and embeddings; those of norms are 1."""
    for part in net.modules():
        if isinstance(part, (nn.Linear, nn.Embedding, InOut)):
            nn.init.normal_(part.weight, std=SPREAD)
            bias = getattr(part, "bias", None)
            if bias is not None:
                nn.init.zeros_(bias)
    return net


def _filled(
    form: Architecture,
    language: LanguageForm,
    state: Mapping[str, Tensor],
    label: str,
    source: str,
) -> tuple[nn.ModuleDict, list[str]]:
    """Build a network with the tensors of a file; also return the differences of the classifier.

    The network has a language head if the file has all its tensors.
    """
    form = replace(form, names={**form.names, **language.names})
    # A config.json can ask for more memory than the file has tensors, so the network gets memory
    # only after a comparison.
    with torch.device("meta"):
        net = build(form, language)
    names = {name: form.in_file(name) for name in net.state_dict()}
    # weights that this package has tuned have its own names; of two biases of a language head, the
    # one of the decoder is used
    ordered = sorted(state, key=lambda name: name.endswith("decoder.bias"))
    state = {_current(names.get(name, name), form.prefix): state[name] for name in ordered}
    if not all(names[name] in state for name in names if name.startswith(f"{HEAD}.")):
        del net[HEAD]
        names = {name: names[name] for name in net.state_dict()}
    heads = tuple(known for name, known in names.items() if name.startswith("classifier."))
    given = _given(state, set(names.values()))
    left_out: list[str] = []
    for has_memory in (False, True):
        if has_memory:
            allocate(net, {name: given.get(known) for name, known in names.items()})
        own = {names[name]: tensor for name, tensor in net.state_dict().items()}
        try:
            left_out = fill_tensors(own, given, source, f"the config.json of {label}", heads)
        except MisfitError as error:  # no other network would fit the folder
            raise ValueError(str(error)) from None
    return net, left_out


def _current(in_file: str, prefix: str) -> str:
    """Return the name of a tensor without the start for networks with a head, as it is today."""
    name = in_file.removeprefix(prefix)
    for old, new in OLD_NAMES.items():
        name = name.replace(old, new)
    return name


def _given(state: Mapping[str, Tensor], wanted: Collection[str]) -> dict[str, Tensor]:
    """Return the tensors of a file that a network needs, and those that are unexpected.

    Those of heads that the network lacks are left out, and those that are computed.
    """
    return {
        name: tensor
        for name, tensor in state.items()
        if name in wanted or not (name.startswith((*HEADS, HEAD)) or name.endswith(COMPUTED))
    }
