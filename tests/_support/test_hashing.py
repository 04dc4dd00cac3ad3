"""Descriptions: equal for objects that are made alike, different for all others."""

import copy
import functools
import math
import pickle
import threading
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from helpers.fresh import run_fresh
from torchvision.transforms import v2

import sktransfer
from sktransfer._support.hashing import described
from sktransfer.schedules import Cosine

STRENGTH = 3


def helper(x):
    return x + 1


@dataclass
class Blend:
    """A transform as users write them, whose repr hides a parameter."""

    share: float = 0.5

    def __call__(self, image):
        return image * self.share

    def __repr__(self):
        return "Blend()"


def module(source):
    """Return what ``source`` defines as ``transform``, as a notebook would."""
    scope = {"__name__": "__main__"}
    exec(source, scope)
    return scope["transform"]


def closure(n):
    return lambda x: x + n


def default(n):
    return lambda x, n=n: x + n


ALIKE = {
    "number": lambda: 3,
    "nested": lambda: [1, (2.5, None), {"a": {1, 2}}],
    "array": lambda: np.arange(4),
    "tensor": lambda: torch.arange(4.0),
    "scalar tensor": lambda: torch.tensor(1.0),
    "empty tensor": lambda: torch.zeros(0),
    "transform": lambda: v2.RandomRotation(30),
    "composed": lambda: v2.Compose([v2.RandomHorizontalFlip(), v2.Lambda(helper)]),
    "function": lambda: closure(1),
    "partial": lambda: functools.partial(helper, x=1),
    "built in": lambda: math.sqrt,
    "enum": lambda: v2.InterpolationMode.BILINEAR,
    "dtype": lambda: torch.float32,
    "object": lambda: Blend(0.3),
    "method": lambda: Blend(0.3).__call__,
    "class": lambda: Blend,
    "module": lambda: math,
    "net": lambda: torch.nn.Linear(1, 1, bias=False).requires_grad_(False).apply(zero),
}


def zero(net):
    net.weight.zero_()


@pytest.mark.parametrize("name", ALIKE)
def test_objects_that_are_made_alike_have_equal_descriptions(name):
    assert described(ALIKE[name]()) == described(ALIKE[name]())


@pytest.mark.parametrize("name", sorted(ALIKE.keys() - {"module"}))
def test_a_deep_copy_has_the_same_description(name):
    thing = ALIKE[name]()
    assert described(copy.deepcopy(thing)) == described(thing)


@pytest.mark.parametrize("name", sorted(ALIKE.keys() - {"module", "function"}))
def test_pickling_does_not_change_a_description(name):
    thing = ALIKE[name]()
    assert described(pickle.loads(pickle.dumps(thing))) == described(thing)


def test_different_objects_have_different_descriptions():
    assert len({described(make()) for make in ALIKE.values()}) == len(ALIKE)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, True),
        (1, 1.0),
        ("1", 1),
        ([1], (1,)),
        (np.arange(4), np.arange(4.0)),
        (torch.zeros(2, 3), torch.zeros(3, 2)),
        (torch.zeros(2), torch.ones(2)),
        (v2.RandomRotation(30), v2.RandomRotation(31)),
        (v2.Compose([v2.Identity()]), v2.Compose([v2.Identity(), v2.Identity()])),
        (Blend(0.3), Blend(0.4)),
        (closure(1), closure(2)),
        (default(1), default(2)),
        (lambda x: x + 1, lambda x: x + 2),
        (lambda x: x.a, lambda x: x.b),
        (lambda x: [y + 1 for y in x], lambda x: [y + 2 for y in x]),
        (functools.partial(helper, x=1), functools.partial(helper, x=2)),
    ],
)
def test_any_difference_changes_the_description(one, other):
    assert described(one) != described(other)


@pytest.mark.parametrize(
    ("source", "edited"),
    [
        ("def transform(x): return x + 1", "def transform(x): return x + 2"),
        ("K = 1\ndef transform(x): return x + K", "K = 2\ndef transform(x): return x + K"),
        (
            "def f(x): return x\ndef transform(x): return f(x)",
            "def f(x): return -x\ndef transform(x): return f(x)",
        ),
        (
            "class T:\n  def __call__(self, x): return x\ntransform = T()",
            "class T:\n  def __call__(self, x): return -x\ntransform = T()",
        ),
        (
            "class B:\n  def f(self): return 1\nclass T(B): pass\ntransform = T()",
            "class B:\n  def f(self): return 2\nclass T(B): pass\ntransform = T()",
        ),
        ("class T:\n  k = 1\ntransform = T()", "class T:\n  k = 2\ntransform = T()"),
        (
            "class T:\n  @property\n  def k(self): return 1\ntransform = T()",
            "class T:\n  @property\n  def k(self): return 2\ntransform = T()",
        ),
        (
            "class T:\n  @staticmethod\n  def k(): return 1\ntransform = T()",
            "class T:\n  @staticmethod\n  def k(): return 2\ntransform = T()",
        ),
    ],
)
def test_edited_code_has_another_description(source, edited):
    assert described(module(source)) == described(module(source)) != described(module(edited))


def test_a_global_that_is_not_read_does_not_count():
    source = "def transform(x): return x + 1"
    assert described(module(source)) == described(module(f"other = 1\n{source}"))


def test_objects_that_contain_themselves_have_a_description():
    loop = [1]
    loop.append(loop)
    assert described(loop) == "[1, <up 1>]"
    assert described(module("def transform(x): return transform(x)"))


def test_a_description_is_the_same_in_every_process(capsys):
    code = (
        "from torchvision.transforms import v2; from sktransfer._support.hashing import described;"
        "print(described([v2.RandomRotation(30), lambda x: {'a', 'b', x}, {'a', 'b', 'c'}]))"
    )
    printed = run_fresh(code)
    exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})
    assert capsys.readouterr().out == printed


def test_an_object_that_cannot_be_taken_apart_is_an_error():
    with pytest.raises(TypeError, match="lock cannot be taken apart: cannot pickle"):
        described([threading.Lock()])


class UsersOptimizer(torch.optim.SGD):
    def step(self, closure=None):
        return super().step(closure)


def test_using_an_optimiser_does_not_change_its_description():
    before = described(UsersOptimizer)
    UsersOptimizer([torch.zeros(1, requires_grad=True)], lr=0.1)  # torch wraps its step now
    assert described(UsersOptimizer) == before


def test_this_package_is_described_by_its_version():
    # It is installed code wherever its files are, for example when it runs from its source.
    for thing, name in (
        (Cosine, "schedules.named.Cosine"),
        (described, "_support.hashing.described"),
    ):
        assert described(thing) == f"sktransfer.{name} {sktransfer.__version__}"


def test_an_object_of_this_package_is_described_by_its_parameters():
    assert described(Cosine()) == described(Cosine()) != described(Cosine(final=0.5))


def test_a_package_with_a_similar_name_is_not_installed():
    scope = {"__name__": "sktransfer_extras.layers"}
    exec("def double(x): return 2 * x", scope)
    assert described(scope["double"]).startswith("def sktransfer_extras.layers.double(")
