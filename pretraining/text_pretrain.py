"""Make the weight file of the embedded text network: free text in, ``text.safetensors`` out.

A small student learns to give, for each passage of free text, what an encoder gives on average
over the tokens of this passage, after a few of its blocks.  See README.md beside this file.
"""

import argparse
import json
import os
from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numerics import Pace
from report import log_row
from safetensors.torch import save_file
from state import RunFolder, State, take_fields
from text_learning import (
    Goal,
    Passages,
    Recipe,
    Task,
    averaged_tokens,
    make_state,
    run_epoch,
)
from text_probe import SETS, probe_texts
from text_source import load_passages, mix_passages, read_books, read_glosses
from text_teacher import WORD, Teacher, load_targets
from text_vocabulary import count_words, load_tokenizer, zipf_counts
from torch import Tensor, nn

# the one definition of the architecture
from sktransfer.backbones.providers._packed import pack, unpack
from sktransfer.backbones.providers._text import TABLE, text_stages
from sktransfer.data import WordPiece

LICENCE = (
    "BSD-3-Clause; trained on books in the public domain and on the definitions of WordNet, with a "
    "teacher under Apache-2.0"
)

# The least number of occurrences of a word that random passages are made of.
FREQUENT = 8

COLUMNS = (
    *("epoch", "minutes", "rate", "loss"),
    *(f"probe_{name}_{count}" for name, chosen in SETS.items() for count in chosen.labels),
    "probe_mean",
)


@dataclass(frozen=True)
class Places(RunFolder):
    """Where a run reads and writes."""

    data: Path
    run: Path
    out: Path
    teacher: Path
    sets: Path | None = None
    probe_every: int = 2
    threads: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))


def file_tensors(state: State) -> dict[str, Tensor]:
    """The averaged weights as the file holds them."""
    return pack({name: value.cpu() for name, value in state.average.items()}, [TABLE])


def averaged(state: State, recipe: Recipe) -> nn.Sequential:
    """The network that the weight file holds, ready to evaluate."""
    network = nn.Sequential(OrderedDict(text_stages(recipe.n_tokens)))
    network.load_state_dict(unpack(file_tensors(state)))
    return network.eval()


@torch.inference_mode()
def embed(network: nn.Module, tokenizer: WordPiece, texts: Sequence[str]) -> np.ndarray:
    """Averages ``(n, d)`` of texts, of which the first 512 tokens count."""
    passages = as_passages(tokenizer, texts, 512)
    order = np.argsort(passages.lengths, kind="stable")
    rows = np.empty(0)
    for part in np.array_split(order, max(len(order) // 32, 1)):
        found = averaged_tokens(network(passages.batch(part))).numpy()
        rows = rows if len(rows) else np.empty((len(order), found.shape[1]), np.float32)
        rows[part] = found
    return rows


def as_passages(tokenizer: WordPiece, texts: Sequence[str], longest: int = 128) -> Passages:
    """The ids of texts, as far as the longest goes."""
    ids = [np.array(tokenizer.encode(text)[:longest], np.uint16) for text in texts]
    starts = np.concatenate([[0], np.cumsum([len(row) for row in ids])])
    return Passages(np.concatenate(ids), starts)


def find_tokenizer(recipe: Recipe, places: Places, words: Sequence[str]) -> WordPiece:
    """The tokenizer of the free text and of the teacher's words, learned on the first call."""
    name = f"tokenizer-{recipe.n_tokens}-{recipe.gloss_weight}.json"

    def counts() -> dict[str, int]:
        books = count_words(read_books(places.data / "free_books.zip"))
        glosses = read_glosses(places.data / "free_wordnet_glosses.zip")
        free = books + count_words(glosses, recipe.gloss_weight)
        return free + zipf_counts(words, free.total())

    return load_tokenizer(counts, recipe.n_tokens, places.cache / name)


def known_words(texts: Sequence[str], words: Sequence[str]) -> Counter[str]:
    """The teacher's words and the frequent words of texts, with one more than their counts."""
    counts = count_words(texts)
    frequent = {word for word, n in counts.items() if n >= FREQUENT and WORD.fullmatch(word)}
    return Counter({word: counts[word] + 1 for word in sorted(frequent.union(words))})


def prepare(recipe: Recipe, places: Places) -> tuple[Task, WordPiece]:
    """The training task, and the tokenizer."""
    pace = Pace(places.threads) if recipe.hours else None  # a run of epochs promises equal bits
    teacher = Teacher.load(places.teacher, recipe.taps, places.device)
    tokenizer = find_tokenizer(recipe, places, teacher.words)
    found = load_passages(places.data, places.cache / "passages.txt")
    texts = found[: recipe.passages or len(found)]
    mixed = mix_passages(texts, known_words(texts, teacher.words), recipe.mixed, recipe.seed)
    taps = "-".join(map(str, recipe.taps))
    targets = np.concatenate(
        [
            load_targets(teacher, texts, places.cache / f"targets-{taps}", pace),
            load_targets(teacher, mixed, places.cache / f"mixed-{taps}", pace),
        ]
    )
    width = text_stages(recipe.n_tokens)["embed"].words.embedding_dim
    goal = Goal.fit(targets, width, recipe.seed).to(places.device)
    passages = as_passages(tokenizer, texts + mixed)
    return Task(passages, targets, goal, recipe, places.device, pace), tokenizer


def begin(task: Task, places: Places) -> State:
    """The state that a run starts from: fresh, or where a kill left it."""
    torch.manual_seed(task.recipe.seed)
    state = make_state(text_stages(task.recipe.n_tokens), task.recipe, places.device)
    if places.checkpoint.exists():
        state.load(places.checkpoint, places.device)
    return state


def write_weights(path: Path, state: State, recipe: Recipe, tokenizer: WordPiece) -> None:
    """The weight file: tensors, the tokenizer, and what a reader must know as metadata."""
    metadata = {
        "tokenizer": tokenizer.to_bytes().decode(),
        "pooling": "avg",
        "licence": LICENCE,
        "tag": f"seed {recipe.seed}",
        "source": "sktransfer's own pretraining/text_pretrain.py",
        "recipe": json.dumps(asdict(recipe) | {"epochs_done": state.epoch, "steps": state.step}),
    }
    partial = path.with_suffix(".partial")
    save_file(file_tensors(state), partial, metadata)
    partial.replace(path)


def train(recipe: Recipe, places: Places) -> Path:
    """The weight file of a run; a run that was killed continues from its last epoch."""
    places.run.mkdir(parents=True, exist_ok=True)
    task, tokenizer = prepare(recipe, places)
    state = begin(task, places)
    while state.progress(task) < 1:
        row = {"loss": run_epoch(state, task)}
        state.epoch += 1
        rate = state.optimiser.param_groups[1]["lr"]
        row = {"epoch": state.epoch, "minutes": state.seconds / 60, "rate": rate} | row
        last = state.progress(task) >= 1
        if places.sets and (last or state.epoch % places.probe_every == 0):
            scores = probe_texts(partial(embed, averaged(state, recipe), tokenizer), places.sets)
            row |= {f"probe_{name}": score for name, score in scores.items()}
        print(json.dumps({name: round(value, 4) for name, value in row.items()}), flush=True)
        log_row(places.run / "log.csv", row, COLUMNS)
        write_weights(places.out, state, recipe, tokenizer)
        state.save(places.checkpoint)
    return places.out


def parse(arguments: list[str] | None) -> tuple[Recipe, Places]:
    """Recipe and places of a command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("data", type=Path, help="folder with free_books.zip and free_wordnet_glosses.zip")
    add("out", type=Path, help="weight file to write, a .safetensors")
    add("--teacher", type=Path, required=True, help="folder of the encoder")
    add("--run", type=Path, default=Path("run"), help="folder of checkpoint and log")
    add("--sets", type=Path, help="folder of the zips of labelled texts to probe")
    add("--hours", type=float, default=0.0, help="length of the training; wins over --epochs")
    add("--epochs", type=int, default=Recipe.epochs)
    add("--passages", type=int, default=Recipe.passages, help="use the first ones only")
    add("--mixed", type=int, default=Recipe.mixed, help="passages with random words")
    add("--seed", type=int, default=Recipe.seed)
    add("--n-tokens", type=int, default=Recipe.n_tokens, help="size of the vocabulary")
    add("--taps", default="0,4,6", help="blocks of the teacher; 0 is its embedding")
    add("--positions", type=int, default=Recipe.positions, help="positions of a batch")
    add("--peak", type=float, default=Recipe.peak, help="highest learning rate")
    add("--table-rate", type=float, default=Recipe.table_rate, help="that of the table, in peaks")
    add("--word-dropout", type=float, default=Recipe.word_dropout)
    add("--probe-every", type=int, default=Places.probe_every, help="epochs between probes")
    add("--threads", type=int, default=os.cpu_count())
    add("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    given = vars(parser.parse_args(arguments))
    torch.set_num_threads(given["threads"])
    given["taps"] = tuple(int(tap) for tap in given["taps"].split(","))
    given["device"] = torch.device(given["device"])
    return take_fields(Recipe, given), take_fields(Places, given)


if __name__ == "__main__":
    print(train(*parse(None)))
