"""The skorch net that trains a tail."""

from __future__ import annotations

import math
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from skorch.callbacks import Callback, EpochTimer, PassthroughScoring
from torch import Tensor, nn

from .._support.random import example_rows, rng_of, seed_of, seeded_globals
from .._support.threads import computing_threads
from .._support.warn import warn_user
from ..backbones import fast_training, running, unpatched
from ..exceptions import TrainingDivergedError
from ..tasks import Task
from .batches import Batch, Samples, count_batches, read_ahead, split_rows
from .optim import read_learning_rates
from .scorable import ScorableNet
from .sources import move_to_device
from .tail import Entry, Pooled, Tail


class StopPhase(KeyboardInterrupt):
    """Raised to end a phase on request of a callback.

    skorch's loop ends at a KeyboardInterrupt, and its own callbacks raise one to stop a fit.
    """


class TailNet(ScorableNet):
    """The skorch net of one phase.

    Parameters
    ----------
    module : Tail
        Trained in place.
    criterion : callable
        Not used, but required by skorch; the loss is that of ``task``.
    make_optimizer : callable
        Takes no arguments, and returns the optimiser of the groups that ``stage_groups`` made.
    task : Task
        Computes the loss and the score of a batch.
    phase : {"head", "fine-tune"}
    seed : int
        All random draws of the phase are a function of the seed, the epoch and the step.
    label_smoothing : float in [0, 1), default=0.0
    precision : torch.dtype, default=torch.float32
        The type of the forward pass; the weights keep their own type.
    first_epoch : int, default=0
        The number of epochs of the earlier phases.
    **kwargs : dict
        Further parameters of skorch's ``NeuralNet``.

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
        super().__init__(module, criterion, train_split=None, **kwargs)
        self.make_optimizer = make_optimizer
        self.task = task
        self.phase = phase
        self.seed = seed
        self.label_smoothing = label_smoothing
        self.precision = precision
        self.first_epoch = first_epoch
        self.step_ = 0  # steps done in this phase
        self.epoch_ = 0  # epochs done in this phase
        self.n_steps_ = 0  # steps of the whole phase
        # The places where training rows and validation rows enter the module.
        self.entry_: Entry = 0
        self.valid_entry_: Entry = 0
        self.max_rows_: int | None = None  # maximum number of rows that fit in memory, if known
        self.interrupted_ = False  # by Ctrl-C
        self.asked_to_stop_ = False  # by the caller of the fit

    # Methods of skorch that subclasses may override

    def get_default_callbacks(self) -> list[tuple[str, Callback]]:
        """Return the callbacks that record losses, time, learning rates and scores."""
        return [
            ("epoch_timer", EpochTimer()),
            ("train_loss", PassthroughScoring("train_loss", on_train=True)),
            ("valid_loss", PassthroughScoring("valid_loss")),
            ("record", _Record()),
        ]

    def initialize_optimizer(self, triggered_directly: bool | None = None) -> TailNet:  # noqa: ARG002 - skorch's signature
        """Build the optimiser from the parameter groups."""
        self.optimizer_ = self.make_optimizer()
        if any("name" not in group for group in self.optimizer_.param_groups):
            raise TypeError(
                "optimizer must keep the parameter groups that it is given, with their names; got "
                "a group without a name. Pass the groups unchanged to the optimiser."
            )
        return self

    def get_split_datasets(self, X: Any, y: Any = None, **_: Any) -> Any:  # noqa: ARG002 - skorch's signature
        """Return the pair of training samples and validation samples that ``fit`` got as X."""
        return X

    def get_iterator(self, dataset: Any, training: bool = False) -> Any:
        """Return an iterable over the batches; those of samples are drawn for the current epoch."""
        if not isinstance(dataset, Samples):
            return super().get_iterator(dataset, training)
        return _Batches(self, dataset, seed_of(self.seed, self.phase) if training else None)

    def get_loss(
        self,
        y_pred: Tensor,
        y_true: Any,  # noqa: ARG002 - the batch holds soft targets
        X: Any = None,
        training: bool = False,
    ) -> Tensor:
        """Return the weighted mean loss of a batch."""
        return self._compute_losses(y_pred, X, training).mean()

    def validation_step(self, batch: Any, **_: Any) -> dict[str, Tensor]:
        """Return the loss and the outputs of a batch, computed in evaluation mode."""
        X, _ = batch
        self._set_training(False)
        with running(), torch.inference_mode():
            parts = self._move_to_device(X)
            outputs = self._compute_outputs(parts["x"], X.entry)
            return {"loss": self._compute_losses(outputs, parts, False).mean(), "y_pred": outputs}

    def train_step_single(self, batch: Any, **_: Any) -> dict[str, Tensor]:
        """Compute the gradients of a batch, in parts if the batch does not fit in memory."""
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
            current = read_learning_rates(self.optimizer_)
            learning_rates = ", ".join(f"{name} {lr:.2g}" for name, lr in current.items())
            raise TrainingDivergedError(
                f"The loss of epoch {self.first_epoch + self.epoch_ + 1} ({self.phase} phase) is "
                f"{loss}, at the learning rates {learning_rates}. Lower fine_tune_lr or lr, or "
                "clip gradients: skorch_callbacks=[GradientNormClipping(1.0)]."
            )
        self.step_ += 1
        self.interrupted_ = False  # a callback may have handled Ctrl-C itself
        return step

    def notify(self, method_name: str, **kwargs: Any) -> None:
        """Call the callbacks; a KeyboardInterrupt of a callback ends the phase, not the fit."""
        try:
            super().notify(method_name, **kwargs)
        except StopPhase:
            raise
        except KeyboardInterrupt as stop:
            if self.interrupted_:
                raise
            raise StopPhase from stop

    def fit_loop(self, X: Any, y: Any = None, epochs: int | None = None, **kwargs: Any) -> TailNet:
        """Train, and record in ``interrupted_`` if the user pressed Ctrl-C."""
        try:
            super().fit_loop(X, y, epochs, **kwargs)
        except StopPhase:
            raise
        except KeyboardInterrupt:
            self.interrupted_ = True
            raise
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        # skorch's Checkpoint pickles the net in a step, where parts of it cannot be pickled.
        module: Any = unpatched(deepcopy(self.module_))
        return wrap_trained_tail, (module.to("cpu"), self.task, self.phase)

    def train_on(self, train: Samples, valid: Samples | None, epochs: int) -> None:
        """Train for a number of epochs, on the training samples."""
        device = torch.device(self.device)
        train = replace(train, source=move_to_device(train.source, device))
        self.entry_ = train.source.entry
        self.valid_entry_ = valid.source.entry if valid is not None else Pooled()
        self.n_steps_ = self.max_epochs * count_batches(len(train), self.batch_size)
        with _note_interrupts(self):
            self._train(train, valid, epochs, device)

    def _train(
        self, train: Samples, valid: Samples | None, epochs: int, device: torch.device
    ) -> None:
        entry = self.entry_
        if isinstance(entry, Pooled):  # features enter the head, so no stage runs
            self.partial_fit((train, valid), None, epochs=epochs)
            return
        row = train.batch(np.arange(1), 0)[0]["x"]
        examples = example_rows(row.shape[1:], row.dtype).to(self.device)

        def run() -> Tensor:
            rows: Tensor = self.module_.probe(examples, entry)
            return rows

        with fast_training(self.module_, run, device, self.precision):
            self.partial_fit((train, valid), None, epochs=epochs)

    def _set_training(self, training: bool = True) -> None:
        """Set training or evaluation mode; only that of the head if no stage runs."""
        if isinstance(self.entry_, Pooled) and isinstance(self.valid_entry_, Pooled):
            self.module_.set_head_training(training)
        else:
            super()._set_training(training)

    # A method that callbacks use

    def rng(self, *words: int | str) -> np.random.Generator:
        """Return a new generator, seeded by the seed of the fit and by ``words``."""
        return rng_of(self.seed, self.phase, *words)

    def compute_loss_again(self, batch: Any, tail: Tail) -> float:
        """Return the loss of another tail in the last step: on its batch, with the same dropout."""
        X, y = batch
        total = 0.0
        with torch.no_grad():
            for number, part in enumerate(X.split(min(self.max_rows_ or len(y), len(y)))):
                total += float(self._compute_part(part, number, self.step_ - 1, tail)[1])
        return total / len(y)

    # The parts of a step

    def _compute_losses(self, outputs: Tensor, X: Mapping[str, Tensor], training: bool) -> Tensor:
        target = X["target"].to(outputs.device)
        if training and self.label_smoothing:
            target = self.task.smooth(target, self.label_smoothing)
        return self.task.loss(outputs, target) * X["weight"].to(outputs.device)

    def _accumulate(self, X: Batch, n: int, n_rows: int) -> dict[str, Tensor]:
        self._zero_grad_optimizer()
        total, found = torch.zeros(()), []
        for number, part in enumerate(X.split(n_rows)):
            outputs, loss = self._compute_part(part, number, self.step_, self.module_)
            with running():
                loss = loss / n
                loss.backward()  # type: ignore[no-untyped-call]  # torch's own
            total = total + loss.detach().cpu()
            found.append(outputs.detach())
        return {"loss": total, "y_pred": found[0] if len(found) == 1 else torch.cat(found)}

    def _compute_part(self, X: Batch, number: int, step: int, tail: Tail) -> tuple[Tensor, Tensor]:
        """Return the outputs for a part of a batch, and the sum of their losses."""
        parts = self._move_to_device(X)
        with self._seed_step(step, number), running():
            outputs = self._compute_outputs(parts["x"], X.entry, tail)
        with running():
            return outputs, self._compute_losses(outputs, parts, True).sum()

    def _halve(self, n_rows: int, error: torch.OutOfMemoryError) -> int:
        if n_rows <= 2:
            raise error
        self.max_rows_ = (n_rows + 1) // 2
        warn_user(
            f"The device has no memory for batches of {n_rows} items. From now on, a batch is "
            f"processed in parts of at most {self.max_rows_}, and their gradients are added, so "
            "batch_size stays the same."
        )
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return self.max_rows_

    @contextmanager
    def _seed_step(self, step: int, part: int) -> Iterator[None]:
        """Seed the global generators, which dropout uses, for one forward pass (a context)."""
        seed = seed_of(self.seed, self.phase, "step", step, part)
        device = torch.device(self.device)
        devices = [device] if device.type == "cuda" else []
        # fork_rng has to be the inner one, because it also saves and restores the CPU's generator.
        with seeded_globals(seed), torch.random.fork_rng(devices=devices, enabled=bool(devices)):
            if devices:
                with torch.cuda.device(device):  # otherwise the first GPU is seeded
                    torch.cuda.manual_seed(seed)
            yield


class _Batches:
    """An iterable over the batches of the current epoch; skorch uses one for all epochs."""

    def __init__(self, net: TailNet, samples: Samples, seed: int | None):
        self._net = net
        self._samples = samples
        self._seed = seed

    def __iter__(self) -> Iterator[Any]:
        epoch = self._net.epoch_
        n, size, lengths = len(self._samples), self._net.batch_size, self._samples.source.lengths
        return read_ahead(self._samples, split_rows(n, size, self._seed, epoch, lengths), epoch)


class _Record(Callback):
    """Record the epoch, the cut, the learning rates and the validation score.

    The history of skorch gets numbers only, as its loggers require: of the learning rates, that of
    the head.  ``rates_`` has those of all stages, with one dict for each epoch.
    """

    def __init__(self) -> None:
        self.rates_: list[dict[str, float]] = []

    def on_epoch_begin(self, net: TailNet, **kwargs: Any) -> None:  # noqa: ARG002 - skorch passes it
        self.correct_, self.seen_ = 0.0, 0.0

    def on_batch_end(
        self, net: TailNet, batch: Any = None, training: bool = False, y_pred: Any = None, **_: Any
    ) -> None:
        if not training:
            X, weight = batch[0], batch[0]["weight"]
            self.correct_ += float((net.task.correct(y_pred.cpu(), X["target"]) * weight).sum())
            self.seen_ += float(weight.sum())

    def on_epoch_end(self, net: TailNet, **kwargs: Any) -> None:  # noqa: ARG002 - skorch passes it
        record = net.history.record
        self.rates_.append(read_learning_rates(net.optimizer_))
        record("epoch", net.first_epoch + net.epoch_ + 1)
        record("cut", net.module_.backbone.cut)
        record("lr", list(self.rates_[-1].values())[-1])
        if self.seen_:
            record("valid_score", self.correct_ / self.seen_)
        net.epoch_ += 1


@contextmanager
def _note_interrupts(net: TailNet) -> Iterator[None]:
    """Record Ctrl-C in ``net.interrupted_`` before it raises; a context manager.

    This distinguishes Ctrl-C from the KeyboardInterrupt with which skorch's callbacks stop a fit.
    Python handles signals only in the main thread, so nothing is recorded in other threads.
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


def wrap_trained_tail(tail: Tail, task: Task, phase: str) -> TailNet:
    """Build a net around a trained tail, with an optimiser that has no state."""
    groups = [{"name": "head", "params": list(tail.head.parameters()), "lr": 0.0}]
    make = partial(torch.optim.SGD, groups)
    net = TailNet(tail, make_optimizer=make, task=task, phase=phase, seed=0)
    net.initialize()
    return net


def end_training(net: TailNet) -> None:
    """Prepare the net of a module that is on the CPU now for predictions.

    The gradients and the state of the optimiser, which are larger than the weights, are deleted.
    """
    net.optimizer_.zero_grad()
    net.optimizer_.state.clear()
    net.device = "cpu"


@computing_threads(1)
def copy_weights(module: nn.Module) -> dict[str, Tensor]:
    """Return a copy of the state of ``module`` on the CPU."""
    return {name: value.detach().cpu().clone() for name, value in module.state_dict().items()}
