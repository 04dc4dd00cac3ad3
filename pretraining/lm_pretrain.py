"""Make the weight file of the embedded language model: free text in, ``lm.safetensors`` out.

Causal convolutions on the table of ``builtin/text`` learn to predict the next token of books and
definitions.  See README.md beside this file.
"""

import argparse
import json
import math
import os
import zipfile
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from numerics import Pace, autocast
from report import log_row
from safetensors.torch import save_file
from state import RunFolder, State, copy_weights, descend, take_fields, warmed_cosine
from text_source import read_books, read_glosses
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear

from sktransfer import get_backbone

# the one definition of the architecture
from sktransfer.backbones.providers._packed import pack, unpack
from sktransfer.backbones.providers._text import END, TABLE, TABLE_SCALE, lm_head, lm_stages
from sktransfer.data import WordPiece

LICENCE = "BSD-3-Clause; trained on books in the public domain and on the definitions of WordNet"
COLUMNS = ("epoch", "minutes", "rate", "loss", "perplexity", "reviews")


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the outcome; kept in the weight file as JSON."""

    seed: int = 0
    hours: float = 0.0
    epochs: int = 40
    steps: int = 500  # of an epoch
    rows: int = 32
    window: int = 64
    candidates: int = 2_048  # 0: all tokens
    peak: float = 4e-3
    head_rate: float = 0.1  # that of the layer of the head, in peaks
    warmup: float = 0.02
    decay: float = 0.01
    average: float = 0.999
    held_out: float = 0.01

    def rate(self, progress: float) -> float:
        """Learning rate, by the share of the run that is over."""
        return self.peak * warmed_cosine(progress, self.warmup)


@dataclass(frozen=True)
class Places(RunFolder):
    """Where a run reads and writes."""

    data: Path
    run: Path
    out: Path
    reviews: Path | None = None
    probe_every: int = 5
    threads: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))


def as_stream(tokenizer: WordPiece, texts: Iterable[str]) -> np.ndarray:
    """The ids of all texts one after the other, each after an end."""
    return np.concatenate([np.array([END, *tokenizer.encode(text)], np.uint16) for text in texts])


def load_stream(recipe: Recipe, places: Places, tokenizer: WordPiece) -> np.ndarray:
    """The stream of books and definitions, in blocks in random order; the first call writes it."""
    stored = places.cache / f"stream-{recipe.seed}.npy"
    if not stored.exists():
        texts = read_books(places.data / "free_books.zip")
        texts += read_glosses(places.data / "free_wordnet_glosses.zip")
        order = np.random.default_rng(recipe.seed).permutation(len(texts) // 64 + 1)
        blocks = (texts[at * 64 : at * 64 + 64] for at in order)
        stored.parent.mkdir(parents=True, exist_ok=True)
        partial = stored.with_suffix(".partial.npy")
        np.save(partial, as_stream(tokenizer, (text for block in blocks for text in block)))
        partial.replace(stored)
    return np.load(stored, mmap_mode="r")


class LanguageModel(nn.Module):
    """The stages and the head on a table that does not learn, with the loss of a batch."""

    def __init__(self, table: Tensor, **sizes: int):
        super().__init__()
        n_tokens, width = table.shape
        parts = lm_stages(n_tokens, width, **sizes, dropout=0.0)
        self.parts = nn.Sequential(OrderedDict(parts))
        self.language_head = lm_head(n_tokens, width)
        self.table = self.parts.embed.words.weight
        self.table.data.copy_(table)
        self.table.requires_grad_(False)

    def hidden(self, ids: Tensor) -> Tensor:
        """The vectors ``(n, d)`` that predict all tokens of windows but the first."""
        found: Tensor = self.language_head.transform(self.parts(ids[:, :-1])[..., :-1])
        return found.flatten(0, 1)

    def loss(
        self, ids: Tensor, chosen: Tensor | None = None, log_odds: Tensor | None = None
    ) -> Tensor:
        """The mean loss of the tokens, among all tokens or among the ``chosen`` ones.

        ``log_odds`` are the logarithms of the probabilities with which tokens are chosen.  They are
        subtracted, so that the scores are those of a softmax over all tokens.
        """
        hidden, target = self.hidden(ids), ids[:, 1:].flatten()
        bias = self.language_head.bias
        if chosen is None or log_odds is None:
            return cross_entropy(linear(hidden, self.table, bias).float(), target)
        scores = linear(hidden, self.table[chosen], bias[chosen] - log_odds[chosen])
        place = torch.full((len(self.table),), -1)
        place[chosen] = torch.arange(len(chosen))
        return cross_entropy(scores.float(), place[target])


def file_state(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights by their names in files, without the table."""
    named = {name.removeprefix("parts."): value for name, value in state.items()}
    return {name: value for name, value in named.items() if name not in (TABLE, "table")}


@dataclass(frozen=True)
class Task:
    """The data, the recipe and the pace of the training."""

    stream: np.ndarray
    held_out: np.ndarray
    recipe: Recipe
    log_odds: Tensor
    pace: Pace | None = None

    @property
    def steps(self) -> int:
        """The number of batches of an epoch."""
        return self.recipe.steps


def make_state(table: Tensor, recipe: Recipe, places: Places, **sizes: int) -> State:
    """The state that a run starts from: fresh, or where a kill left it."""
    torch.manual_seed(recipe.seed)
    model = LanguageModel(table, **sizes).to(places.device)
    layer = model.language_head.transform[1].weight
    learned = [weight for weight in model.parameters() if weight.requires_grad]
    matrices = [w for w in learned if w.ndim > 1 and w is not layer]
    groups = [
        {"params": matrices, "weight_decay": recipe.decay, "times": 1.0},
        {"params": [layer], "weight_decay": 0.0, "times": recipe.head_rate},
        {"params": [w for w in learned if w.ndim <= 1], "weight_decay": 0.0, "times": 1.0},
    ]
    optimiser = torch.optim.AdamW(groups, recipe.peak, (0.9, 0.99), fused=True)
    state = State(model, optimiser, copy_weights(model))
    if places.checkpoint.exists():
        state.load(places.checkpoint, places.device)
    return state


def draw_windows(stream: np.ndarray, recipe: Recipe, draw: np.random.Generator) -> Tensor:
    """Ids ``(rows, window + 1)`` of random places of the stream."""
    starts = draw.integers(len(stream) - recipe.window - 1, size=recipe.rows)
    rows = np.stack([stream[start : start + recipe.window + 1] for start in starts])
    return torch.from_numpy(rows.astype(np.int64))


def draw_candidates(
    ids: Tensor, recipe: Recipe, n_tokens: int, draw: np.random.Generator
) -> Tensor | None:
    """The tokens among which the next one is predicted: those of a batch, and others."""
    if not recipe.candidates:
        return None
    others = torch.from_numpy(draw.choice(n_tokens, recipe.candidates, replace=False))
    return torch.unique(torch.cat([ids[:, 1:].flatten(), others]))


def chosen_log_odds(stream: np.ndarray, recipe: Recipe, n_tokens: int) -> Tensor:
    """The logarithm of the probability with which each token is among the candidates."""
    counts = np.bincount(stream, minlength=n_tokens)
    absent = (1 - counts / counts.sum()) ** (recipe.rows * recipe.window)
    chosen = 1 - absent * (1 - recipe.candidates / n_tokens)
    return torch.from_numpy(np.log(np.maximum(chosen, 1e-9))).float()


def run_epoch(state: State, task: Task, device: torch.device) -> float:
    """The mean loss of an epoch, or of the part of it that the run's hours allow."""
    recipe = task.recipe
    draw = np.random.default_rng((recipe.seed, state.epoch))
    seen: list[float] = []
    state.student.train()
    for _ in range(recipe.steps):
        progress = state.progress(task)
        if progress >= 1:
            break
        if task.pace:
            task.pace.adjust()
        ids = draw_windows(task.stream, recipe, draw)
        chosen = draw_candidates(ids, recipe, len(task.log_odds), draw)
        with autocast(device):
            loss = state.student.loss(ids, chosen, task.log_odds)
        decay = min(recipe.average, 1 - 1 / (state.step + 1))
        descend(state, loss, recipe.rate(progress), decay, 1.0)
        seen.append(float(loss.detach()))
    return sum(seen) / max(len(seen), 1)


@torch.inference_mode()
def perplexity(
    model: LanguageModel, stream: np.ndarray, window: int = 64, most: int = 512
) -> float:
    """The perplexity of a stream, with a softmax over all tokens."""
    window = min(window, len(stream) - 1)
    n = min((len(stream) - 1) // window, most)
    rows = [stream[at * window : at * window + window + 1] for at in range(n)]
    parts = torch.from_numpy(np.stack(rows).astype(np.int64)).split(16)
    losses = [float(model.eval().loss(part)) * len(part) for part in parts]
    return math.exp(sum(losses) / n)


def read_model(stored: Mapping[str, Tensor], table: Tensor, **sizes: int) -> LanguageModel:
    """The network with the weights of a file."""
    model = LanguageModel(table, **sizes)
    own = model.state_dict()
    named = {name if name in own else f"parts.{name}": w for name, w in unpack(stored).items()}
    model.load_state_dict(own | named)
    return model


def file_tensors(state: State) -> dict[str, Tensor]:
    """The averaged weights as the file holds them."""
    learned = file_state({name: value.cpu() for name, value in state.average.items()})
    matrices = [name for name, value in learned.items() if name.endswith(".weight")]
    return pack(learned, [name for name in matrices if learned[name].ndim == 2])


def write_weights(path: Path, state: State, recipe: Recipe) -> None:
    """The weight file: tensors, and what a reader must know as metadata."""
    metadata = {
        "licence": LICENCE,
        "tag": f"seed {recipe.seed}",
        "source": "sktransfer's own pretraining/lm_pretrain.py",
        "recipe": json.dumps(asdict(recipe) | {"epochs_done": state.epoch, "steps": state.step}),
    }
    partial = path.with_suffix(".partial")
    save_file(file_tensors(state), partial, metadata)
    partial.replace(path)


def read_reviews(path: Path, n: int = 300) -> list[str]:
    """The first texts of a set that is not trained on."""
    with zipfile.ZipFile(path) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".jsonl"))
        lines = archive.read(name).decode().strip().split("\n")[:n]
    return [json.loads(line)["text"] for line in lines]


def prepare(recipe: Recipe, places: Places, tokenizer: WordPiece, n_tokens: int) -> Task:
    """The training task."""
    stream = load_stream(recipe, places, tokenizer)
    n_train = int(len(stream) * (1 - recipe.held_out))
    log_odds = chosen_log_odds(np.asarray(stream[:n_train]), recipe, n_tokens)
    pace = Pace(places.threads) if recipe.hours else None  # a run of epochs promises equal bits
    return Task(stream[:n_train], stream[n_train:], recipe, log_odds, pace)


def train(recipe: Recipe, places: Places, **sizes: int) -> Path:
    """The weight file of a run; a run that was killed continues from its last epoch."""
    places.run.mkdir(parents=True, exist_ok=True)
    text = get_backbone("builtin/text")
    table = TABLE_SCALE * text.stages["embed"].words.weight.detach()
    tokenizer = text.preset.tokenizer
    task = prepare(recipe, places, tokenizer, len(table))
    reviews = as_stream(tokenizer, read_reviews(places.reviews)) if places.reviews else None
    state = make_state(table, recipe, places, **sizes)
    while state.progress(task) < 1:
        row = {"loss": run_epoch(state, task, places.device)}
        state.epoch += 1
        row |= {"epoch": state.epoch, "minutes": state.seconds / 60}
        row |= {"rate": state.optimiser.param_groups[0]["lr"]}
        if state.progress(task) >= 1 or state.epoch % places.probe_every == 0:
            model = read_model(file_tensors(state), table, **sizes)
            row["perplexity"] = perplexity(model, task.held_out)
            if reviews is not None:
                row["reviews"] = perplexity(model, reviews)
        print(json.dumps({name: round(value, 4) for name, value in row.items()}), flush=True)
        log_row(places.run / "log.csv", row, COLUMNS)
        write_weights(places.out, state, recipe)
        state.save(places.checkpoint)
    return places.out


def parse(arguments: list[str] | None) -> tuple[Recipe, Places]:
    """Recipe and places of a command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("data", type=Path, help="folder with free_books.zip and free_wordnet_glosses.zip")
    add("out", type=Path, help="weight file to write, a .safetensors")
    add("--run", type=Path, default=Path("run"), help="folder of checkpoint and log")
    add("--reviews", type=Path, help="zip of texts whose perplexity is measured")
    add("--probe-every", type=int, default=Places.probe_every, help="epochs between probes")
    add("--threads", type=int, default=os.cpu_count())
    for name, value in asdict(Recipe()).items():
        add(f"--{name.replace('_', '-')}", type=type(value), default=value)
    given = vars(parser.parse_args(arguments))
    torch.set_num_threads(given["threads"])
    return take_fields(Recipe, given), take_fields(Places, given)


if __name__ == "__main__":
    print(train(*parse(None)))
