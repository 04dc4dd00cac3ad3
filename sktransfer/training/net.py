"""The skorch net that trains a tail."""

from __future__ import annotations

import copy
import math
import signal
import threading
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

from .._support.random import example_rows, rng_of, seed_of, seeded_globals
from ..backbones import fast_training
from ..exceptions import TrainingDivergedError
from ..tasks import Task
from .batches import Samples, read_ahead, resident, split_rows
from .optim import group_rates
from .tail import Entry, Pooled, Tail


class StopPhase(KeyboardInterrupt):
    """A callback ended the phase.

    skorch ends its loop at a KeyboardInterrupt, and its own callbacks raise one to stop a fit.
    """


class TailNet(NeuralNet):
    """The skorch net of one phase.

    Parameters
    ----------
    module : Tail
        Trained in place.
    make_optimizer : callable
        Takes nothing; returns the optimiser of the groups that ``stage_groups`` made.
    task : Task
        Gives the loss and the score of a batch.
    phase : str
        "head" or "fine-tune".
    seed : int
        All random draws of the phase are a pure function of it, of the epoch and the step.
    label_smoothing : float in [0, 1)
    precision : torch.dtype
        The type of the forward pass; the weights keep their own.
    first_epoch : int
        The number of epochs of the phases before this one.
    """

    def __init__(
        self,
        module: Tail,
        criterion: Callable[[], nn.Module] = nn.Identity,
        *,
        make_optimizer: Callable[[], torch.optim.Optimizer],
        task: Task,
        phase: str,
        seed: int,
        label_smoothing: float = 0.0,
        precision: torch.dtype = torch.float32,
        first_epoch: int = 0,
        **kwargs: Any,
    ):
        super().__init__(module, criterion, train_split=None, verbose=0, **kwargs)
        self.make_optimizer = make_optimizer
        self.task = task
        self.phase = phase
        self.seed = seed
        self.label_smoothing = label_smoothing
        self.precision = precision
        self.first_epoch = first_epoch
        self.step_ = 0
        self.epoch_ = 0
        self.n_steps_ = 0
        self.max_rows_: int | None = None
        self.interrupted_ = False
        self.asked_to_stop_ = False

    # Methods that skorch asks its subclasses for

    def get_default_callbacks(self) -> list[tuple[str, Callback]]:
        """Return the callbacks that record losses, time, learning rates and scores."""
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
        """Return the training samples and the validation samples, which come as a pair."""
        return X

    def get_iterator(self, dataset: Samples, training: bool = False) -> Any:
        """Return the batches of the epoch in which they are read."""
        return _Batches(self, dataset, seed_of(self.seed, self.phase) if training else None)

    def get_loss(
        self,
        y_pred: Tensor,
        y_true: Any,  # noqa: ARG002 - the batch holds soft targets
        X: Any = None,
        training: bool = False,
    ) -> Tensor:
        """Return the weighted mean loss of a batch."""
        return self._losses(y_pred, X, training).mean()

    def validation_step(self, batch: Any, **_: Any) -> dict[str, Tensor]:
        """Return loss and outputs of a batch, in evaluation mode."""
        X, _ = batch
        self._set_training(False)
        with torch.inference_mode():
            parts = self._moved(X)
            outputs = self._outputs(parts["x"], self.valid_entry_)
            return {"loss": self._losses(outputs, parts, False).mean(), "y_pred": outputs}

    def train_step_single(self, batch: Any, **_: Any) -> dict[str, Tensor]:
        """Compute the gradients of a batch; if it does not fit in memory, part by part."""
        X, y = batch
        self._set_training(True)
        n_rows = min(self.max_rows_ or len(y), len(y))
        while True:
            try:
                step = self._accumulate(X, len(y), n_rows)
                break
            except torch.OutOfMemoryError as error:
                n_rows = self._halve(n_rows, error)
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
        """Call the callbacks; a KeyboardInterrupt that is not the user's ends the phase."""
        try:
            super().notify(method_name, **kwargs)
        except StopPhase:
            raise
        except KeyboardInterrupt as stop:
            if self.interrupted_:
                raise
            raise StopPhase from stop

    def fit_loop(self, X: Any, y: Any = None, epochs: int | None = None, **kwargs: Any) -> TailNet:
        """Train, and note if the user interrupted it."""
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
        self.entry_ = train.source.entry
        self.valid_entry_ = valid.source.entry if valid is not None else Pooled()
        self.n_steps_ = self.max_epochs * len(split_rows(len(train), self.batch_size, None, 0))
        with _noting_interrupts(self):
            self._train(train, valid, epochs, device)

    def _train(
        self, train: Samples, valid: Samples | None, epochs: int, device: torch.device
    ) -> None:
        entry = self.entry_
        if isinstance(entry, Pooled):  # features enter the head: no stage runs
            self.partial_fit((train, valid), None, epochs=epochs)
            return
        row = train.batch(np.arange(1), 0)[0]["x"]
        examples = example_rows(row.shape[1:], row.dtype).to(self.device)

        def run() -> Tensor:
            rows: Tensor = self.module_.features(examples, entry)
            return rows

        with fast_training(self.module_, run, device, self.precision):
            self.partial_fit((train, valid), None, epochs=epochs)

    def _set_training(self, training: bool = True) -> None:
        """Set the mode; if features enter the head, of the head alone, which is faster."""
        if isinstance(self.entry_, Pooled) and isinstance(self.valid_entry_, Pooled):
            self.module_.set_head_training(training)
        else:
            super()._set_training(training)

    # A method that callbacks use

    def rng(self, *words: int | str) -> np.random.Generator:
        """Return a new generator, seeded by the fit's seed and by ``words``."""
        return rng_of(self.seed, self.phase, *words)

    # The parts of a step

    def _losses(self, outputs: Tensor, X: Mapping[str, Tensor], training: bool) -> Tensor:
        target = X["target"].to(outputs.device)
        if training and self.label_smoothing:
            target = self.task.smooth(target, self.label_smoothing)
        return self.task.loss(outputs, target) * X["weight"].to(outputs.device)

    def _accumulate(self, X: Mapping[str, Tensor], n: int, n_rows: int) -> dict[str, Tensor]:
        self._zero_grad_optimizer()
        # equal parts, none of them of one row, from which batch norm cannot learn
        n_parts = min(math.ceil(n / n_rows), max(n // 2, 1))
        split = {name: value.tensor_split(n_parts) for name, value in X.items()}
        total, found = torch.zeros(()), []
        for part in range(n_parts):
            parts = self._moved({name: values[part] for name, values in split.items()})
            with self._drawing(part):
                outputs = self._outputs(parts["x"], self.entry_)
            loss = self._losses(outputs, parts, True).sum() / n
            loss.backward()  # type: ignore[no-untyped-call]  # torch's own
            total = total + loss.detach().cpu()
            found.append(outputs.detach())
        return {"loss": total, "y_pred": torch.cat(found)}

    def _halve(self, n_rows: int, error: torch.OutOfMemoryError) -> int:
        if n_rows <= 2:
            raise error
        self.max_rows_ = (n_rows + 1) // 2
        warnings.warn(
            f"The device has no memory for batches of {n_rows}; from here on they go through in "
            f"parts of {self.max_rows_}, whose gradients are added: batch_size stays what it was.",
            UserWarning,
            stacklevel=2,
        )
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return self.max_rows_

    def _moved(self, X: Mapping[str, Tensor]) -> dict[str, Tensor]:
        moved = {name: value.to(self.device, non_blocking=True) for name, value in X.items()}
        if moved["x"].ndim == 4:
            moved["x"] = moved["x"].contiguous(memory_format=torch.channels_last)
        return moved

    def _outputs(self, x: Tensor, entry: Entry) -> Tensor:
        """Return the outputs; stages compute in ``precision``, the head in that of its weights."""
        low = self.precision not in (torch.float32, torch.float64)
        device = torch.device(self.device).type
        with torch.autocast(device, self.precision) if low else nullcontext():
            features = self.module_.features(x, entry)
        outputs: Tensor = self.module_.outputs(features)
        return outputs

    @contextmanager
    def _drawing(self, part: int) -> Iterator[None]:
        """Return a context manager in which modules draw from the seed of this step."""
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
    """The batches of an epoch; skorch makes one iterable for all epochs."""

    def __init__(self, net: TailNet, samples: Samples, seed: int | None):
        self._net = net
        self._samples = samples
        self._seed = seed

    def __iter__(self) -> Iterator[Any]:
        epoch = self._net.epoch_
        n, size = len(self._samples), self._net.batch_size
        return read_ahead(self._samples, split_rows(n, size, self._seed, epoch), epoch)


class _Record(Callback):
    """Record the phase, the cut, the learning rates and the validation score of an epoch."""

    def on_epoch_begin(self, net: TailNet, **kwargs: Any) -> None:  # noqa: ARG002
        self.correct_, self.seen_ = 0.0, 0.0

    def on_batch_end(
        self, net: TailNet, batch: Any = None, training: bool = False, y_pred: Any = None, **_: Any
    ) -> None:
        if not training:
            X, weight = batch[0], batch[0]["weight"]
            self.correct_ += float((net.task.correct(y_pred.cpu(), X["target"]) * weight).sum())
            self.seen_ += float(weight.sum())

    def on_epoch_end(self, net: TailNet, **kwargs: Any) -> None:  # noqa: ARG002
        record = net.history.record
        record("phase", net.phase)
        record("epoch", net.first_epoch + net.epoch_ + 1)
        record("cut", net.module_.backbone.cut)
        record("lr", group_rates(net.optimizer_))
        if self.seen_:
            record("valid_score", self.correct_ / self.seen_)
        net.epoch_ += 1


@contextmanager
def _noting_interrupts(net: TailNet) -> Iterator[None]:
    """Return a context manager in which ``net`` notes Ctrl-C before it raises.

    Nothing else tells it from the KeyboardInterrupt by which skorch's callbacks stop a fit.  Python
    handles signals in the main thread only, so elsewhere there is nothing to note.
    """
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield
        return

    def note(number: int, frame: Any) -> None:
        try:
            handler(number, frame)
        except KeyboardInterrupt:
            net.interrupted_ = True
            raise

    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


def resting_net(tail: Tail, task: Task, phase: str) -> TailNet:
    """Return the net around a trained tail, with an optimiser that has no state."""
    groups = [{"name": "head", "params": list(tail.head.parameters()), "lr": 0.0}]
    make = partial(torch.optim.SGD, groups)
    net = TailNet(tail, make_optimizer=make, task=task, phase=phase, seed=0)
    net.initialize()
    return net


def release(net: TailNet) -> None:
    """Free the gradients and the state of the optimiser: three times the weights that trained."""
    net.optimizer_.zero_grad()
    net.optimizer_.state.clear()


def weights_of(module: nn.Module) -> dict[str, Tensor]:
    """Return a copy of the state of ``module``, on the CPU."""
    return {name: value.detach().cpu().clone() for name, value in module.state_dict().items()}


def fresh(callbacks: Any) -> list[Any]:
    """Return copies of skorch callbacks: a fit leaves those that the user passed unchanged."""
    return copy.deepcopy(list(callbacks or ()))
