"""Tensors with the original bits are left out of a state, and added again."""

import pytest
import torch

from sktransfer.backbones import Original

KNOWN = {"weight": torch.tensor([0.0, 1.0, float("nan")]), "count": torch.tensor(3)}


def original():
    return Original.of({name: tensor.clone() for name, tensor in KNOWN.items()}, "net.")


def state(**changes):
    tensors = {f"net.{name}": tensor.clone() for name, tensor in (KNOWN | changes).items()}
    return tensors | {"head": torch.ones(2)}


def test_tensors_that_did_not_change_are_left_out_and_added_again():
    rest = original().leave_out(state())
    assert list(rest) == ["head"]
    whole = original().complete(rest, state())
    assert whole.keys() == state().keys()
    torch.testing.assert_close(whole, state(), rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize(
    "changed",
    [
        torch.tensor([-0.0, 1.0, float("nan")]),
        torch.tensor([0.0, 1.0, 2.0]),
        torch.tensor([0.0, 1.0, float("nan")], dtype=torch.float64),
        torch.tensor([[0.0, 1.0, float("nan")]]),
    ],
    ids=["sign of zero", "value", "type", "shape"],
)
def test_a_tensor_with_other_bits_stays(changed):
    rest = original().leave_out(state(weight=changed))
    assert set(rest) == {"net.weight", "head"}
    assert rest["net.weight"] is not None
    assert original().complete(rest, state())["net.weight"] is rest["net.weight"]


def test_a_copy_shares_the_tensors_that_did_not_change():
    known, changed = original(), state(weight=torch.zeros(3))
    copied = known.copy(changed)
    torch.testing.assert_close(copied, changed)
    assert copied["net.count"] is known.tensors["net.count"]
    changed["net.weight"] += 1
    assert copied["net.weight"].tolist() == [0, 0, 0]


def test_the_fingerprint_is_that_of_the_tensors_and_their_names():
    assert original().fingerprint == original().fingerprint
    other = Original.of(KNOWN | {"count": torch.tensor(4)}, "net.")
    assert len({original().fingerprint, other.fingerprint, Original(KNOWN).fingerprint}) == 3
