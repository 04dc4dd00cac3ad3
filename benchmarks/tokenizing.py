"""Claim: WordPiece gives the ids of the package tokenizers, one text at a time in half its time.

    python benchmarks/tokenizing.py [--quick]

A new tokenizer of each kind reads each set, three times, with a vocabulary that the package has
learned from the texts.
"""

import importlib.util
import json
import zipfile
from time import process_time

import numpy as np
from _common import QUICK, SHARED, at_least

from sktransfer.data import read_tokenizer

SETS = ("rt_polarity", "sst2", "ag_news", "imdb")
N_TEXTS, N_TOKENS = (200, 500) if QUICK else (None, 30_000)


def read_texts(name):
    """The training texts of a set, or made ones where it is not here."""
    path = SHARED / "data" / f"text_{name}.zip"
    if not path.exists():
        rng = np.random.default_rng(0)
        words = [f"word{number}" for number in range(300)]
        return [" ".join(rng.choice(words, 20)) for _ in range(200)], "made texts"
    with zipfile.ZipFile(path) as archive:
        lines = archive.read("train.jsonl").splitlines()[:N_TEXTS]
    return [json.loads(line)["text"] for line in lines], f"{len(lines)} texts"


def trained(texts):
    """The tokenizer of BERT with a vocabulary of these texts, as the content of a file."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer.train_from_iterator(
        texts,
        trainers.WordPieceTrainer(vocab_size=N_TOKENS, special_tokens=special, show_progress=False),
    )
    return tokenizer.to_str()


def measure(texts, content):
    """Return True if all ids are equal, and the processor time of each tokenizer."""
    from tokenizers import Tokenizer

    own, package = read_tokenizer(content), Tokenizer.from_str(content)
    start = process_time()
    ids = [own.encode(text) for text in texts]
    between = process_time()
    expected = [package.encode(text, add_special_tokens=False).ids for text in texts]
    return ids == expected, between - start, process_time() - between


rows, equal = [], True
for name in SETS:
    if importlib.util.find_spec("tokenizers") is None:
        rows.append(at_least(f"speed over tokenizers, {name}", "skipped: no tokenizers", 2.0))
        continue
    texts, about = read_texts(name)
    content = trained(texts)
    runs = [measure(texts, content) for _ in range(1 if QUICK else 3)]
    equal = equal and all(same for same, _, _ in runs)
    own, package = min(run[1] for run in runs), min(run[2] for run in runs)
    micro = [f"{1e6 * seconds / len(texts):.1f}" for seconds in (own, package)]
    details = f"{about}: {micro[0]} against {micro[1]} microseconds a text"
    rows.append(at_least(f"speed over tokenizers, {name}", package / own, 2.0, details))
print(json.dumps({"rows": rows, "equal": equal}, indent=2))
assert equal, "the ids must be equal"
assert QUICK or all(row["holds"] is not False for row in rows), "each part of the claim must hold"
