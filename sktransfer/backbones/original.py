"""The tensors with which a network began, left out of its state as long as they do not change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from .._support.hashing import hash_parts


@dataclass(frozen=True)
class Original:
    """The original tensors of a network, which a file of its state can leave out.

    Parameters
    ----------
    tensors : mapping of str to Tensor
        By their names in the state.  Training must not change them.
    """

    tensors: Mapping[str, Tensor]

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor], prefix: str) -> Original:
        """Return tensors of a network whose names in the state begin with a prefix."""
        return cls({f"{prefix}{name}": tensor for name, tensor in tensors.items()})

    @cached_property
    def fingerprint(self) -> str:
        """A hash of names and tensors."""
        parts = (part for item in self.tensors.items() for part in item)
        return hash_parts("original", *parts).hex()

    def copy(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return copies of tensors; those that have the original bits are the original ones."""
        changed = self.leave_out(state)
        return {
            name: tensor.detach().cpu().clone() if name in changed else self.tensors[name]
            for name, tensor in state.items()
        }

    def leave_out(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return a state without the tensors that have the original bits."""
        return {
            name: tensor
            for name, tensor in state.items()
            if name not in self.tensors or not _same_bits(tensor, self.tensors[name])
        }

    def complete(self, rest: Mapping[str, Tensor], names: Iterable[str]) -> dict[str, Tensor]:
        """Return a state with the tensors that :meth:`leave_out` left out.

        Parameters
        ----------
        rest : mapping of str to Tensor
        names : iterable of str
            The names of the whole state.
        """
        return {name: self.tensors[name] for name in names if name in self.tensors} | dict(rest)


def _same_bits(a: Tensor, b: Tensor) -> bool:
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    # Values are not enough: 0.0 equals -0.0, and NaN differs from itself.
    one, other = (tensor.detach().cpu().reshape(-1).view(torch.uint8) for tensor in (a, b))
    return torch.equal(one, other)
