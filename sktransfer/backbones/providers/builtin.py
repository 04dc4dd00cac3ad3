"""Small networks of the project's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..._support.tensors import TensorFile
from ...data import ImagePreset, ImageSizes, TextPreset, read_tokenizer
from ..backbone import Backbone
from ..filling import Undrawn, fill, fits
from ..language_head import LanguageHead
from ..tensor_files import MOST_HEADER
from ..weights import is_path, read_weights, weights_info
from ._mini import mini_stages
from ._packed import unpack
from ._small_cnn import PRESET, small_cnn_stages
from ._text import END, TABLE, TABLE_SCALE, lm_head, lm_stages, text_stages

# The weights of the text network, whose metadata hold its tokenizer.
TEXT = Path(__file__).with_name("text.safetensors")
HEAD = "language_head"


def _text_preset(metadata: Mapping[str, str]) -> TextPreset:
    """Return the preset of texts; a file without a tokenizer has that of the package."""
    if "tokenizer" not in metadata:
        with TEXT.open("rb") as opened:
            metadata = TensorFile(opened, MOST_HEADER).metadata
    return TextPreset(read_tokenizer(metadata["tokenizer"], TEXT.name), max_length=512)


def _lm_preset(metadata: Mapping[str, str]) -> TextPreset:
    """Return the preset of texts, each of which begins with the end of the one before."""
    preset = _text_preset(metadata)
    tokenizer: Any = preset.tokenizer
    return replace(preset, tokenizer=replace(tokenizer, prefix=(END,)))


@dataclass(frozen=True)
class Model:
    """The stages, preset and weights of a network."""

    stages: Callable[[], dict[str, nn.Module]]
    preset: Callable[[Mapping[str, str]], Any]  # for the metadata of a file of weights
    layout: str = "NCHW"
    file: Path | None = None  # None: the default weights are random, from a fixed seed
    sha256: str | None = None  # of the file
    language_head: Callable[[], LanguageHead] | None = None

    def parts(self) -> nn.ModuleDict:
        """Return the stages and the language head, by the names of their tensors in files."""
        head = {} if self.language_head is None else {HEAD: self.language_head()}
        return nn.ModuleDict(self.stages() | head)

    @property
    def optional(self) -> tuple[str, ...]:
        """The beginnings of the names of tensors that a file may lack."""
        return () if self.language_head is None else (HEAD,)

    def completed(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the weights of a file; a language model without a table has that of the text."""
        if self.language_head is None or TABLE in state:
            return state
        table = unpack(read_weights(TEXT, MODELS["text"].sha256).state)[TABLE]
        return state | {TABLE: TABLE_SCALE * table}


MODELS = {
    "lm": Model(
        lm_stages,
        _lm_preset,
        layout="NLM",
        file=Path(__file__).with_name("lm.safetensors"),
        sha256="320c2441b3b82245ee94eaadc9557d32d607537fcb801f72065b02b721cc17ef",
        language_head=lm_head,
    ),
    "mini": Model(
        mini_stages,
        ImagePreset(size=80, crop=1.0, sizes=ImageSizes(minimum=32)).with_metadata,
        file=Path(__file__).with_name("mini.safetensors"),
        sha256="f3a155d43a9d63499ea4e0f2a6ae28ce1377c41476727a431bab0431ad2cf9a3",
    ),
    "small_cnn": Model(small_cnn_stages, PRESET.with_metadata),
    "text": Model(
        text_stages,
        _text_preset,
        layout="NLM",
        file=TEXT,
        sha256="601d604c76f137e7b518c4da258d3cbfea70aae547f3c27abde005cf7c736047",
    ),
}


def names() -> list[str]:
    """List the models of this provider."""
    return sorted(MODELS)


def likely(state: Mapping[str, Tensor], path: str) -> list[str]:  # noqa: ARG001 - they are few
    """List the models that ``state`` may belong to."""
    return names()


def matches(name: str, state: Mapping[str, Tensor]) -> bool:
    """Return True if the network ``name`` has the tensors in ``state``."""
    heads = MODELS[name].optional
    with torch.device("meta"):
        # A language model may lack its table, too.
        return fits(MODELS[name].parts(), unpack(state), (*heads, TABLE) if heads else ())


def load(name: str, weights: str | PathLike[str] | None = "default") -> Backbone:
    """Build the network ``name``; without a file of weights, the default weights are random."""
    model = MODELS[name]
    left_out: list[str] = []
    sha256 = model.sha256 if weights == "default" else None
    if weights == "default":
        weights = model.file
    if weights is None:
        parts, preset = model.parts(), model.preset({})
        info = weights_info(None, "random, seeded", None, "BSD-3-Clause", preset)
    elif is_path(weights):
        file = read_weights(weights, sha256)
        state = model.completed(unpack(file.state))
        with Undrawn():
            parts = model.parts()
        left_out = fill(parts, state, str(weights), model.optional)
        preset = model.preset(file.metadata)
        info = file.info(preset)
    else:
        raise ValueError(
            f"weights of builtin/{name} must be 'default', the path of a .safetensors, .pth or .pt "
            f"file, or None; got {weights!r}. Weights of another network need its backbone, such "
            "as backbone='torchvision/resnet18'."
        )
    stages: dict[str, nn.Module] = dict(parts.items())
    head: Any = stages.pop(HEAD, None)
    head = None if left_out else head
    return Backbone(stages, preset, layout=model.layout, weights_info=info, language_head=head)
