"""Reading of files that describe a tokenizer."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from . import word_tokenizer
from .tokenizer_limits import check_limits
from .tokenizers import Ids, JsonTokenizer, Tokenizer, WordPiece

# The maximum number of ids of a vocabulary.
MOST_IDS = 2**22

# The special tokens of BERT, if a vocabulary has no file that names others.
BERT_TOKENS = {
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "pad_token": "[PAD]",
    "mask_token": "[MASK]",
}

# Those without which a text has no ids.
NEEDED = ("unk_token", "cls_token", "sep_token")

# The errors that JSON of another form causes.
_UNEXPECTED = (ValueError, TypeError, LookupError, AttributeError, RecursionError)

# The post-processors that put special tokens around a text.
PROCESSORS = (
    "'ByteLevel', 'BertProcessing', 'RobertaProcessing', 'TemplateProcessing' and 'Sequence'"
)


def read_tokenizer(content: bytes | str, source: str = "tokenizer.json") -> Tokenizer:
    """Make a tokenizer from the content of a ``tokenizer.json``.

    Parameters
    ----------
    content : bytes or str
    source : str, default="tokenizer.json"
        The name of the file, for error messages.

    Returns
    -------
    WordPiece or JsonTokenizer
        A WordPiece if the file describes the tokenizer of BERT.

    Raises
    ------
    ValueError
        If the content does not describe a tokenizer.
    ModuleNotFoundError
        If it describes another tokenizer than that of BERT, and the package ``tokenizers`` is not
        installed.

    Examples
    --------
    >>> from sktransfer.data import WordPiece, read_tokenizer
    >>> tokenizer = WordPiece(("[UNK]", "a", "play", "##ing", "!"))
    >>> read_tokenizer(tokenizer.to_bytes()) == tokenizer
    True
    """
    try:
        return _read(content)
    except _UNEXPECTED as error:
        cause = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        raise ValueError(
            f"{source} must describe a tokenizer; it does not: {cause.rstrip('.')}. Use another "
            "copy of the file, or let transformers write it: tokenizer.save_pretrained('FOLDER')."
        ) from error


@lru_cache(maxsize=4)
def _read(content: bytes | str) -> Tokenizer:
    """Make a tokenizer; the fits of a search share it, with the words that it has kept."""
    described = json.loads(content)
    if described.get("type") == word_tokenizer.KIND:
        return word_tokenizer.WordTokenizer(tuple(map(str, described["vocabulary"])))
    check_limits(described)
    added = described.get("added_tokens") or []
    make = _wordpiece if _is_wordpiece(described, added) else _json_tokenizer
    return make(described, added)


def read_vocabulary(content: bytes | str, settings: Mapping[str, Any]) -> WordPiece:
    r"""Make the tokenizer of BERT from the content of a ``vocab.txt``.

    Parameters
    ----------
    content : bytes or str
        One token a line.
    settings : mapping
        The content of ``tokenizer_config.json``: ``do_lower_case``, ``strip_accents``,
        ``tokenize_chinese_chars`` and the special tokens.

    Returns
    -------
    WordPiece

    Raises
    ------
    ValueError
        If a special token is not in the vocabulary, or the content is not UTF-8.

    Examples
    --------
    >>> from sktransfer.data import read_vocabulary
    >>> tokenizer = read_vocabulary("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nfilm", {})
    >>> tokenizer.prefix, tokenizer.encode("Film"), tokenizer.suffix
    ((2,), [5], (3,))
    """
    text = content if isinstance(content, str) else content.decode()
    lines = [line.rstrip() for line in text.removesuffix("\n").split("\n")]
    ids = {token: id_ for id_, token in enumerate(lines)}
    names = {key: _content(settings.get(key, token)) for key, token in BERT_TOKENS.items()}
    absent = [names[key] for key in NEEDED if names[key] not in ids]
    if absent:
        raise ValueError(
            f"vocab.txt must contain the special tokens {', '.join(map(repr, absent))}, one token "
            f"a line; it has {len(lines)} lines without them. Is it the vocabulary of another "
            "tokenizer?"
        )
    special = {token: ids[token] for token in names.values() if token in ids}
    lowercase = bool(settings.get("do_lower_case", True))
    accents = settings.get("strip_accents")
    return WordPiece(
        tuple(token if ids[token] == id_ else "" for id_, token in enumerate(lines)),
        unknown=ids[names["unk_token"]],
        prefix=(ids[names["cls_token"]],),
        suffix=(ids[names["sep_token"]],),
        special=tuple(sorted(special.items(), key=lambda each: each[1])),
        lowercase=lowercase,
        strip_accents=lowercase if accents is None else bool(accents),
        split_chinese=bool(settings.get("tokenize_chinese_chars", True)),
    )


def _content(token: Any) -> Any:
    """Return the text of a special token, which older files write as a mapping."""
    return token["content"] if isinstance(token, Mapping) else token


def _is_wordpiece(described: Mapping[str, Any], added: Sequence[Mapping[str, Any]]) -> bool:
    """Return True if a WordPiece gives the same ids."""
    unusual = ("single_word", "lstrip", "rstrip", "normalized")
    return (
        _kind(described, "model", "WordPiece") == "WordPiece"
        and "continuing_subword_prefix" in described["model"]
        and _kind(described, "normalizer") == "BertNormalizer"
        and _kind(described, "pre_tokenizer") == "BertPreTokenizer"
        and not any(token.get(flag) for token in added for flag in unusual)
    )


def _kind(described: Mapping[str, Any], part: str, default: str = "") -> str:
    return str((described.get(part) or {}).get("type", default))


def _wordpiece(described: Mapping[str, Any], added: Sequence[Mapping[str, Any]]) -> WordPiece:
    model, normalizer = described["model"], described["normalizer"]
    prefix, suffix = _around(described.get("post_processor"))
    vocabulary = _in_order(model["vocab"])
    lowercase, accents = normalizer["lowercase"], normalizer.get("strip_accents")
    return WordPiece(
        vocabulary,
        unknown=_id(model["vocab"][model["unk_token"]]),
        prefix=prefix,
        suffix=suffix,
        special=tuple((str(token["content"]), _id(token["id"])) for token in added),
        lowercase=bool(lowercase),
        strip_accents=bool(lowercase if accents is None else accents),
        clean=bool(normalizer["clean_text"]),
        split_chinese=bool(normalizer["handle_chinese_chars"]),
        continuation=str(model["continuing_subword_prefix"]),
        longest_word=_id(model.get("max_input_chars_per_word", 100)),
    )


def _json_tokenizer(
    described: Mapping[str, Any], added: Sequence[Mapping[str, Any]]
) -> JsonTokenizer:
    model = described["model"]
    vocabulary = model["vocab"]
    if isinstance(vocabulary, list):  # pairs of a token and its logarithmic probability
        unknown, ids = model.get("unk_id"), list(range(len(vocabulary)))
    else:
        unknown = vocabulary.get(model.get("unk_token"))
        ids = [_id(id_) for id_ in vocabulary.values()]
    ids += [_id(token["id"]) for token in added]
    prefix, suffix = _around(described.get("post_processor"))
    if "dropout" in model:  # with it, a text has other ids each time
        model = {**model, "dropout": None}
    return JsonTokenizer(
        json.dumps({**described, "model": model, "truncation": None, "padding": None}),
        prefix=prefix,
        suffix=suffix,
        unknown=None if unknown is None else _id(unknown),
        vocab_size=1 + max([*ids, *prefix, *suffix]),
    )


def _in_order(ids: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the tokens of a vocabulary by their ids, which may have gaps."""
    tokens = [""] * (1 + max(map(_id, ids.values())))
    for token, id_ in ids.items():
        tokens[id_] = token
    if sum(map(bool, tokens)) != len(ids):
        raise ValueError("two tokens of its vocabulary have one id, or a token is empty")
    return tuple(tokens)


def _id(value: Any) -> int:
    """Return an id, or another number of the same range."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < MOST_IDS:
        raise ValueError(f"a number must be an integer from 0 to {MOST_IDS - 1}; got {value!r}")
    return value


def _around(processor: Mapping[str, Any] | None) -> tuple[Ids, Ids]:
    """Return the ids that a post-processor puts before and after a text."""
    kind = (processor or {}).get("type", "ByteLevel")
    if processor is None or kind == "ByteLevel":
        return (), ()
    if kind in ("BertProcessing", "RobertaProcessing"):
        return (_id(processor["cls"][1]),), (_id(processor["sep"][1]),)
    if kind == "Sequence":
        inner = [_around(each) for each in processor["processors"]]
        before = [id_ for prefix, _ in reversed(inner) for id_ in prefix]
        return tuple(before), tuple(id_ for _, suffix in inner for id_ in suffix)
    if kind != "TemplateProcessing":
        raise ValueError(f"its post-processor must be one of {PROCESSORS}; got {kind!r}")
    return _template(processor)


def _template(processor: Mapping[str, Any]) -> tuple[Ids, Ids]:
    sides: tuple[list[int], list[int]] = [], []
    side = 0
    for piece in processor["single"]:
        if "Sequence" in piece:
            side += 1
            continue
        special = processor["special_tokens"][piece["SpecialToken"]["id"]]
        sides[side].extend(map(_id, special["ids"]))
    if side != 1:
        raise ValueError("its template must contain one text")
    return tuple(sides[0]), tuple(sides[1])
