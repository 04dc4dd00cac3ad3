"""A forked process computes, or raises an error that explains how to start it; it never hangs."""

import ctypes
import json
import os
import signal
import sys
import threading
import time
import warnings
from contextlib import contextmanager, suppress
from importlib.metadata import EntryPoint

import numpy as np
import pytest
import torch
from helpers.forked import in_fork, needs_computing_forks, run_program
from helpers.tiny import coloured_photos, tiny_backbone
from numpy.testing import assert_array_equal
from PIL import Image

from sktransfer import FineTuneClassifier, PretrainedFeatureExtractor, get_backbone, load
from sktransfer._support import forks
from sktransfer._support.device import resolve_device, resolve_precision
from sktransfer._support.random import seeded_globals
from sktransfer._support.threads import map_ahead
from sktransfer.backbones import registry, running
from sktransfer.data import decoding, naming
from sktransfer.training import optim

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no forks"),
    # Python 3.12 warns of every fork of a process with threads
    pytest.mark.filterwarnings("ignore:This process:DeprecationWarning"),
]

ONE_THREAD = "torch computes with one thread in process"


@contextmanager
def in_thread(context):
    """Keep a context entered in another thread."""
    entered, leave = threading.Event(), threading.Event()

    def run():
        with context:
            entered.set()
            leave.wait(60)

    thread = threading.Thread(target=run)
    thread.start()
    assert entered.wait(60)
    try:
        yield
    finally:
        leave.set()
        thread.join(60)


def recorded(function, *arguments):
    """Return the error or the messages of the warnings that a call causes."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            function(*arguments)
        except (RuntimeError, ValueError, OSError) as error:
            return f"{type(error).__name__}: {error}"
    return [str(warning.message) for warning in caught]


def predict_in_child(how):
    """Predict in a child after two threads computed in the parent (in a program of its own)."""
    X, y = coloured_photos(n_each=12)
    model = FineTuneClassifier(
        tiny_backbone, max_epochs=1, lr_schedule="constant", random_state=0
    ).fit(X, y)
    fork = os.fork
    if how == "C":
        fork = ctypes.PyDLL(None).fork
    else:
        forks._close_pools = lambda: False  # to the end of the program

    def predict():
        messages = recorded(model.predict_proba, X)
        assert recorded(model.predict_proba, X) == []
        (again,) = in_fork(lambda: recorded(model.predict_proba, X))
        assert again.startswith(ONE_THREAD)
        return messages, torch.get_num_threads(), model.predict_proba(X)

    (message,), n_threads, probabilities = in_fork(predict, fork)
    assert n_threads == 1
    assert message.startswith(ONE_THREAD)
    assert "loky or multiprocessing's 'spawn'" in message
    np.testing.assert_allclose(probabilities, model.predict_proba(X), rtol=1e-5)
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("how", ["C", "old OpenMP"])
def test_one_thread_computes_if_the_threads_of_the_parent_did_not_end(failed, how):
    assert how not in failed, failed[how]


@pytest.mark.parametrize(
    "call",
    [
        lambda: get_backbone("builtin/mini"),
        lambda: list(map_ahead(abs, [1, 2], 1, 1)),
        lambda: list(map_ahead(abs, [1], 1, 1)),
        lambda: running().__enter__(),
        lambda: load("no such file"),
    ],
    ids=["get_backbone", "map_ahead", "map_ahead of one", "running", "load"],
)
def test_each_way_to_a_network_checks_the_process(call, monkeypatch):
    monkeypatch.setattr(forks, "_close_pools", lambda: False)

    def run():
        with suppress(FileNotFoundError):
            call()

    (message,) = in_fork(lambda: recorded(run))
    assert message.startswith(ONE_THREAD)


def fork_while_a_thread_predicts():
    """Fork again and again (in a program of its own)."""
    X, y = coloured_photos(n_each=12)
    model = FineTuneClassifier(
        tiny_backbone, max_epochs=1, lr_schedule="constant", random_state=0
    ).fit(X, y)
    expected = model.predict_proba(X)
    done = threading.Event()

    def work():
        while not done.is_set():
            model.predict_proba(X)
            PretrainedFeatureExtractor(tiny_backbone).fit(X)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        for _ in range(12):
            assert_array_equal(in_fork(lambda: model.predict_proba(X)), expected)
    finally:
        done.set()
        thread.join()


@needs_computing_forks
def test_a_process_forks_while_other_threads_predict(failed):
    assert "predict" not in failed, failed["predict"]


def fork_from_threads():
    """Fork often in three threads at once (in a program of its own)."""
    errors = []
    sys.unraisablehook = lambda raised: errors.append(repr(raised.exc_value))
    held = forks.generators.held

    @contextmanager
    def slowly_held(seconds):  # another thread begins to fork before this one has ended
        with held(seconds) as is_free:
            yield is_free
        time.sleep(0.002)

    def work():
        for _ in range(50):
            pid = os.fork()
            if pid == 0:
                signal.alarm(60)
                with forks.networks.shared(), seeded_globals(0):
                    os._exit(0)
            _, status = os.waitpid(pid, 0)
            if status:
                errors.append(f"a child ended with {status}")

    threads = [threading.Thread(target=work) for _ in range(3)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(forks.generators, "held", slowly_held)
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert errors == []


def test_threads_fork_at_once(failed):
    assert "threads" not in failed, failed["threads"]


def fork_while_a_thread_imports():
    """Fork while the first fit imports torch's compiler (in a program of its own)."""
    X, y = coloured_photos(n_each=6)

    def fit():
        return (
            FineTuneClassifier(tiny_backbone, max_epochs=1, lr_schedule="constant", random_state=0)
            .fit(X, y)
            .predict(X)
        )

    thread = threading.Thread(target=fit)
    thread.start()
    while "torch._dynamo" not in sys.modules:
        time.sleep(0.001)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(forks, "PATIENCE", 120.0)
        predicted = in_fork(fit)
    thread.join()
    assert_array_equal(predicted, fit())


@needs_computing_forks
def test_a_process_forks_while_another_thread_fits_for_the_first_time(failed):
    assert "import" not in failed, failed["import"]


# The first fit imports torch's compiler, and the last case changes the process.
CASES = {
    "import": fork_while_a_thread_imports,
    "C": lambda: predict_in_child("C"),
    "predict": fork_while_a_thread_predicts,
    "threads": fork_from_threads,
    "old OpenMP": lambda: predict_in_child("old OpenMP"),
}

PROGRAM = """
import json, traceback
from test_forks import CASES
failed = {}
for name, case in CASES.items():
    try:
        case()
    except Exception:  # the test of this case shows it
        failed[name] = traceback.format_exc()
print(json.dumps(failed))
"""


@pytest.fixture(scope="module")
def failed():
    """The cases that fail in a process with two threads, with the reason; a hang fails all."""
    return json.loads(run_program(PROGRAM, folder="_support").splitlines()[-1])


@pytest.mark.parametrize(
    ("module", "name", "use"),
    [
        (naming.Image, "init", naming._replace_in_pillow.__wrapped__),
        (optim, "SGD", optim._import_compiler.__wrapped__),
        (EntryPoint, "load", lambda: registry._imported(EntryPoint("a", "b", registry.GROUP))),
    ],
    ids=["formats of Pillow", "compiler of torch", "provider"],
)
def test_a_fork_waits_for_modules_that_are_imported(monkeypatch, module, name, use):
    waits = []

    def fork():
        with forks.networks.held(0.01) as is_free:
            waits.append(not is_free)

    def run(*args, **how):
        thread = threading.Thread(target=fork)
        thread.start()
        thread.join()

    monkeypatch.setattr(module, name, run)
    use()
    assert waits == [True]


@needs_computing_forks
def test_a_network_that_ran_for_long_during_the_fork_is_an_error_in_the_child(monkeypatch):
    monkeypatch.setattr(forks, "PATIENCE", 0.05)
    with in_thread(running()):
        error = in_fork(lambda: recorded(lambda: running().__enter__()))
        grandchild = in_fork(lambda: in_fork(lambda: recorded(lambda: running().__enter__())))
    for text in (error, grandchild):
        assert "RuntimeError: Process " in text
        assert "was forked while another thread ran one, or imported modules, for more than" in text
        assert "Start processes with joblib's loky" in text
    assert in_fork(lambda: recorded(lambda: running().__enter__())) == []


@pytest.mark.parametrize(
    "context",
    [lambda: seeded_globals(0), decoding._loading.alone, lambda: decoding._budget.spend(2**30)],
    ids=["generators", "loading", "memory"],
)
def test_a_lock_that_another_thread_has_is_free_in_the_child(monkeypatch, context):
    monkeypatch.setattr(forks, "PATIENCE", 0.05)
    image = Image.new("L", (2100, 2100))  # large enough to wait for memory

    def use():
        with seeded_globals(1), decoding.decoded(image) as picture:
            return picture.size

    with in_thread(context()):
        assert in_fork(use) == image.size


def test_a_fork_waits_for_a_network_that_runs_briefly():
    events = []

    def run():
        with running():
            started.set()
            threading.Event().wait(0.2)
            events.append("network")

    started = threading.Event()
    thread = threading.Thread(target=run)
    thread.start()
    assert started.wait(60)
    assert in_fork(lambda: [*events, "child"]) == ["network", "child"]
    thread.join()


@needs_computing_forks
def test_the_parent_may_fork_while_it_runs_a_network():
    def run():
        with running():
            return "runs"

    with running():
        assert in_fork(run) == "runs"
    assert in_fork(run) == "runs"


@pytest.mark.parametrize("device", ["auto", "cuda", "cuda:1"])
def test_a_fork_cannot_use_cuda_after_its_parent(monkeypatch, device):
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    X, _ = coloured_photos(n_each=1)
    extractor = PretrainedFeatureExtractor(tiny_backbone, device=device)
    error = in_fork(lambda: recorded(extractor.fit, X))
    assert error.startswith("RuntimeError: device must be 'cpu' in process")
    assert f"CUDA; got '{'cuda' if device == 'auto' else device}'." in error
    assert "Start processes with joblib's loky" in error


@needs_computing_forks
def test_a_fork_computes_on_the_cpu_after_its_parent_used_cuda(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    X, _ = coloured_photos(n_each=1)
    extractor = PretrainedFeatureExtractor(tiny_backbone, device="cpu").fit(X)
    assert in_fork(lambda: extractor.transform(X).shape) == (3, 16)


def test_a_network_on_cuda_is_an_error_when_it_runs_in_a_fork(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    cuda = torch.device("cuda")
    for call in (lambda: running(cuda).__enter__(), lambda: resolve_precision("auto", cuda)):
        error = in_fork(lambda: recorded(call))  # noqa: B023 - called at once
        assert error.startswith("RuntimeError: device must be 'cpu' in process")


def test_a_fork_that_does_not_use_cuda_is_ordinary():
    assert in_fork(lambda: resolve_device("auto")) == resolve_device("auto")


def test_the_cpu_can_be_chosen_without_asking_for_cuda(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: pytest.fail("CUDA is asked"))
    assert resolve_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize(
    ("file", "is_other"),
    [
        ("/env/site-packages/scikit_learn.libs/libgomp-e985bcbb.so.1.0.0", True),
        ("/env/site-packages/torch/lib/libgomp.so.1", False),
        ("/env/site-packages/torch.libs/libgomp-a34b3233.so.1.0.0", False),
        ("/env/lib/libgomp.so.1", False),
    ],
)
def test_the_openmp_of_torch_is_known_by_its_folder(file, is_other):
    assert forks._belongs_to_another_wheel(file) == is_other
