"""The skorch net that trains a tail."""

from __future__ import annotations

import copy
import dis
import math
import signal
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from skorch import NeuralNet
from skorch.callbacks import Callback, EpochTimer, PassthroughScoring
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, log_softmax

from .._support.random import example_rows, rng_of, seed_of, seeded_globals
from ..backbones import fast_training
from ..exceptions import TrainingDivergedError
from .batches import Samples, read_ahead, resident, split_rows
from .optim import group_rates
from .tail import Tail


def loss_of(logits: Tensor, target: Tensor, multilabel: bool) -> Tensor:
    """The loss of each row, (b,): cross-entropy, or the mean of binary ones over the labels."""
    if multilabel:
        return binary_cross_entropy_with_logits(logits, target, reduction="none").mean(1)
    return -(target * log_softmax(logits, dim=1)).sum(1)


class StopPhase(KeyboardInterrupt):
    """A callback ended the phase; skorch ends its loop at a KeyboardInterrupt."""


def _raised(error: KeyboardInterrupt) -> bool:
    """Whether a ``raise`` statement of a callback made it.

    Nothing else tells it from Ctrl-C: skorch's callbacks raise the same error, but a signal comes
    in the middle of an instruction that is none, or from a handler.
    """
    trace: Any = error.__traceback__
    while trace.tb_next is not None:
        trace = trace.tb_next
    code = trace.tb_frame.f_code
    is_handler = code is getattr(signal.getsignal(signal.SIGINT), "__code__", None)
    return dis.opname[code.co_code[trace.tb_lasti]] == "RAISE_VARARGS" and not is_handler


class TailNet(NeuralNet):
    """The skorch net of one phase.

    Parameters
    ----------
    module : Tail
        Trained in place.
    make_optimizer : callable
        The optimiser of the groups that ``stage_groups`` made; takes nothing.
    phase : str
        "head" or "fine-tune".
    seed : int
        All that the phase draws is a pure function of it, of the epoch and the step.
    multilabel : bool
    label_smoothing : float in [0, 1)
    precision : torch.dtype
        Of the forward pass; weights stay as they are.
    first_epoch : int
        Epochs of the phases before this one.
    """

    def __init__(
        self,
        module: Tail,
        criterion: Callable[[], nn.Module] = nn.Identity,
        *,
        make_optimizer: Callable[[], torch.optim.Optimizer],
        phase: str,
        seed: int,
        multilabel: bool = False,
        label_smoothing: float = 0.0,
        precision: torch.dtype = torch.float32,
        first_epoch: int = 0,
        **kwargs: Any,
    ):
        super().__init__(module, criterion, train_split=None, verbose=0, **kwargs)
        self.make_optimizer = make_optimizer
        self.phase = phase
        self.seed = seed
        self.multilabel = multilabel
        self.label_smoothing = label_smoothing
        self.precision = precision
        self.first_epoch = first_epoch
        self.step_ = 0
        self.epoch_ = 0
        self.n_steps_ = 0
        self.most_rows_: int | None = None
        self.interrupted_ = False
        self.told_to_stop_ = False

    # What skorch asks its subclasses for

    def get_default_callbacks(self) -> list[tuple[str, Callback]]:
        """Losses, time, and what the epoch was like."""
        return [
            ("epoch_timer", EpochTimer()),
            ("train_loss", PassthroughScoring("train_loss", on_train=True)),
            ("valid_loss", PassthroughScoring("valid_loss")),
            ("record", _Record()),
        ]

    def initialize_optimizer(self, triggered_directly: bool | None = None) -> TailNet:  # noqa: ARG002
        """Make the optimiser of the groups."""
        self.optimizer_ = self.make_optimizer()
        if any("name" not in group for group in self.optimizer_.param_groups):
            raise TypeError("optimizer must keep the parameter groups that it is given, by name.")
        return self

    def get_split_datasets(self, X: Any, y: Any = None, **_: Any) -> Any:  # noqa: ARG002
        """The training samples and those of validation, which come as a pair."""
        return X

    def get_iterator(self, dataset: Samples, training: bool = False) -> Any:
        """The batches of whichever epoch it is when they are asked for."""
        return _Batches(self, dataset, seed_of(self.seed, self.phase) if training else None)

    def get_loss(
        self,
        y_pred: Tensor,
        y_true: Any,  # noqa: ARG002 - the batch holds soft targets
        X: Any = None,
        training: bool = False,
    ) -> Tensor:
        """The weighted mean loss of a batch."""
        return self._losses(y_pred, X, training).mean()

    def validation_step(self, batch: Any, **_: Any) -> dict[str, Tensor]:
        """Loss and scores of a batch, in evaluation mode."""
        X, _ = batch
        self._set_training(False)
        with torch.inference_mode():
            parts = self._moved(X)
            logits = self._scores(parts["x"], self.starts_[1])
            return {"loss": self._losses(logits, parts, False).mean(), "y_pred": logits}

    def train_step_single(self, batch: Any, **_: Any) -> dict[str, Tensor]:
        """Gradients of a batch; where it does not fit in memory, of its parts, one by one."""
        X, y = batch
        self._set_training(True)
        most = min(self.most_rows_ or len(y), len(y))
        while True:
            try:
                step = self._accumulate(X, len(y), most)
                break
            except torch.OutOfMemoryError as error:
                most = self._halve(most, error)
        loss = step["loss"].item()
        if not math.isfinite(loss):
            rates = ", ".join(f"{k} {v:.2g}" for k, v in group_rates(self.optimizer_).items())
            raise TrainingDivergedError(
                f"The loss of epoch {self.first_epoch + self.epoch_ + 1} ({self.phase} phase) is "
                f"{loss}, at the learning rates {rates}. Lower fine_tune_lr or lr, or clip "
                "gradients: skorch_callbacks=[GradientNormClipping(1.0)]."
            )
        self.step_ += 1
        return step

    def notify(self, method_name: str, **kwargs: Any) -> None:
        """Call the callbacks; skorch's own end a fit by a KeyboardInterrupt that no user made."""
        try:
            super().notify(method_name, **kwargs)
        except StopPhase:
            raise
        except KeyboardInterrupt as stop:
            if not _raised(stop):
                raise
            raise StopPhase from stop

    def fit_loop(self, X: Any, y: Any = None, epochs: int | None = None, **kwargs: Any) -> TailNet:
        """Train; remembers whether the user interrupted it."""
        try:
            super().fit_loop(X, y, epochs, **kwargs)
        except StopPhase:
            raise
        except KeyboardInterrupt:
            self.interrupted_ = True
            raise
        return self

    def train_on(self, train: Samples, valid: Samples | None, epochs: int) -> None:
        """Train for some more epochs."""
        device = torch.device(self.device)
        train = replace(train, source=resident(train.source, device))
        self.starts_ = (train.source.start, valid.source.start if valid is not None else None)
        self.n_steps_ = self.max_epochs * len(split_rows(len(train), self.batch_size, None, 0))
        if train.source.start is None:  # features enter the head: no stage runs
            self.partial_fit((train, valid), None, epochs=epochs)
            return
        row = train.batch(np.arange(1), 0)[0]["x"]
        examples = example_rows(row.shape[1:], row.dtype).to(self.device)

        def run() -> Tensor:
            rows: Tensor = self.module_.features(examples, train.source.start)
            return rows

        with fast_training(self.module_, run, device, self.precision):
            self.partial_fit((train, valid), None, epochs=epochs)

    def _set_training(self, training: bool = True) -> None:
        """Set the mode; where features enter the head, of the head alone: a matter of time."""
        if self.starts_ == (None, None):
            self.module_.set_head_training(training)
        else:
            super()._set_training(training)

    # What callbacks ask for

    def rng(self, *words: int | str) -> np.random.Generator:
        """A generator of one's own, a pure function of the fit's seed and of ``words``."""
        return rng_of(self.seed, self.phase, *words)

    # How a step is done

    def _losses(self, logits: Tensor, X: Mapping[str, Tensor], training: bool) -> Tensor:
        target = X["target"].to(logits.device)
        if training and self.label_smoothing:
            middle = 0.5 if self.multilabel else 1 / target.shape[1]
            target = target + self.label_smoothing * (middle - target)
        losses = loss_of(logits, target, self.multilabel)
        return losses * X["weight"].to(logits.device)

    def _accumulate(self, X: Mapping[str, Tensor], n: int, most: int) -> dict[str, Tensor]:
        self._zero_grad_optimizer()
        # equal parts, none of them of one row, from which batch norm cannot learn
        n_parts = min(math.ceil(n / most), max(n // 2, 1))
        split = {name: value.tensor_split(n_parts) for name, value in X.items()}
        total, scores = torch.zeros(()), []
        for part in range(n_parts):
            parts = self._moved({name: values[part] for name, values in split.items()})
            with self._drawing(part):
                logits = self._scores(parts["x"], self.starts_[0])
            loss = self._losses(logits, parts, True).sum() / n
            loss.backward()  # type: ignore[no-untyped-call]  # torch's own
            total = total + loss.detach().cpu()
            scores.append(logits.detach())
        return {"loss": total, "y_pred": torch.cat(scores)}

    def _halve(self, most: int, error: torch.OutOfMemoryError) -> int:
        if most <= 2:
            raise error
        self.most_rows_ = (most + 1) // 2
        warnings.warn(
            f"The device has no memory for batches of {most}; from here on they go through in "
            f"parts of {self.most_rows_}, whose gradients are added: batch_size stays what it was.",
            UserWarning,
            stacklevel=2,
        )
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return self.most_rows_

    def _moved(self, X: Mapping[str, Tensor]) -> dict[str, Tensor]:
        moved = {name: value.to(self.device, non_blocking=True) for name, value in X.items()}
        if moved["x"].ndim == 4:
            moved["x"] = moved["x"].contiguous(memory_format=torch.channels_last)
        return moved

    def _scores(self, x: Tensor, start: int | None) -> Tensor:
        """Logits; stages compute in the asked precision, the small head in that of its weights."""
        low = self.precision not in (torch.float32, torch.float64)
        device = torch.device(self.device).type
        with torch.autocast(device, self.precision) if low else nullcontext():
            features = self.module_.features(x, start)
        logits: Tensor = self.module_.logits(features)
        return logits

    @contextmanager
    def _drawing(self, part: int) -> Iterator[None]:
        """A time in which modules draw from a seed that is the step's own."""
        seed = seed_of(self.seed, self.phase, "step", self.step_, part)
        device = torch.device(self.device)
        devices = [device] if device.type == "cuda" else []
        # within seeded_globals: fork_rng saves and restores the generator of the CPU, too
        with seeded_globals(seed), torch.random.fork_rng(devices=devices, enabled=bool(devices)):
            if devices:
                with torch.cuda.device(device):  # else the seed is that of the first one
                    torch.cuda.manual_seed(seed)
            yield


class _Batches:
    """The batches of an epoch; skorch makes one such iterable for all of them."""

    def __init__(self, net: TailNet, samples: Samples, seed: int | None):
        self._net = net
        self._samples = samples
        self._seed = seed

    def __iter__(self) -> Iterator[Any]:
        epoch = self._net.epoch_
        n, size = len(self._samples), self._net.batch_size
        return read_ahead(self._samples, split_rows(n, size, self._seed, epoch), epoch)


class _Record(Callback):
    """Write down what an epoch was like: phase, cut, rates, share of right answers."""

    def on_epoch_begin(self, net: TailNet, **kwargs: Any) -> None:  # noqa: ARG002
        self.right_, self.seen_ = 0.0, 0.0

    def on_batch_end(
        self, net: TailNet, batch: Any = None, training: bool = False, y_pred: Any = None, **_: Any
    ) -> None:
        if not training:
            X, y = batch
            logits, weight = y_pred.cpu(), X["weight"]
            if net.multilabel:
                right = ((logits > 0) == (X["target"] > 0.5)).all(1)
            else:
                right = logits.argmax(1) == y
            self.right_ += float((right * weight).sum())
            self.seen_ += float(weight.sum())

    def on_epoch_end(self, net: TailNet, **kwargs: Any) -> None:  # noqa: ARG002
        record = net.history.record
        record("phase", net.phase)
        record("epoch", net.first_epoch + net.epoch_ + 1)
        record("cut", net.module_.backbone.cut)
        record("lr", group_rates(net.optimizer_))
        if self.seen_:
            record("valid_score", self.right_ / self.seen_)
        net.epoch_ += 1


def resting_net(tail: Tail, phase: str) -> TailNet:
    """The net around a trained tail, as a pickle brings it: no optimiser that remembers."""
    groups = [{"name": "head", "params": list(tail.head.parameters()), "lr": 0.0}]
    make = partial(torch.optim.SGD, groups)
    net = TailNet(tail, make_optimizer=make, phase=phase, seed=0)
    net.initialize()
    return net


def rest(net: TailNet) -> None:
    """Let go of gradients and of what the optimiser remembers: three times what trained."""
    net.optimizer_.zero_grad()
    net.optimizer_.state.clear()


def weights_of(module: nn.Module) -> dict[str, Tensor]:
    """A copy of the state of ``module``, on the CPU."""
    return {name: value.detach().cpu().clone() for name, value in module.state_dict().items()}


def fresh(callbacks: Any) -> list[Any]:
    """Copies of skorch callbacks: a fit leaves those that the user passed as they were."""
    return copy.deepcopy(list(callbacks or ()))
