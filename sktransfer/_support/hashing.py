"""Hashes of content, and descriptions of callables to hash.

Neither ``repr`` nor ``pickle`` describes a callable well enough.  ``repr`` may hide parameters or
show a memory address; ``pickle`` stores a function by name, so an edited function would keep its
hash.
"""

from __future__ import annotations

import dis
import pickle
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator
from hashlib import blake2b
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .plain import PLAIN

# The repr of these types describes a value completely.
DESCRIBED_BY_REPR = (*PLAIN, type(...), complex, bytes, range)

# Installed code is described by its name and version.
STDLIB = sysconfig.get_path("stdlib")
ROOT = __name__.partition(".")[0]


def hash_parts(kind: str, *parts: Any) -> bytes:
    """Return a hash of 16 bytes that stands for ``parts``.

    Parameters
    ----------
    kind : str
        What the parts describe, in at most 16 bytes.  Equal parts of different kinds have
        different hashes.
    *parts : str, bytes-like, ndarray or Tensor
        The type and length of each part enter the hash, so ``"ab", "c"`` and ``"a", "bc"`` differ.
        The dtype and shape of arrays and tensors count.

    Examples
    --------
    >>> from sktransfer._support.hashing import hash_parts
    >>> hash_parts("example", "a", b"b").hex()
    '0e02f44f215f09a9156bc9d3755ae381'
    """
    (digest,) = hash_steps(kind, [parts])
    return digest


def hash_steps(kind: str, steps: Iterable[Iterable[Any]]) -> Iterator[bytes]:
    """Yield, after each step, the hash of the parts of all steps so far; see :func:`hash_parts`.

    Each part is read once.

    Examples
    --------
    >>> from sktransfer._support.hashing import hash_parts, hash_steps
    >>> list(hash_steps("example", [["a"], ["b"]])) == [
    ...     hash_parts("example", "a"), hash_parts("example", "a", "b")
    ... ]
    True
    """
    state = blake2b(digest_size=16, person=kind.encode())
    for parts in steps:
        for part in parts:
            form, content = _form_and_content(part)
            state.update(f"{form} {len(content)}\n".encode())
            state.update(content)
        yield state.digest()


def hash_int(text: str) -> int:
    """Return a hash of ``text`` as an integer of 64 bits."""
    return int.from_bytes(blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest())


def _form_and_content(part: Any) -> tuple[str, Any]:
    """Return the form of a part as text, and its content as a buffer of bytes."""
    if type(part) is bytes:  # as below, but this is called for each path
        return "bytes", part
    if isinstance(part, str):
        return "str", part.encode(errors="surrogatepass")
    if isinstance(part, Tensor):
        values = part.detach().cpu().reshape(-1).contiguous()
        return f"{part.dtype} {tuple(part.shape)}", values.view(torch.uint8).numpy()
    if isinstance(part, np.ndarray):
        array = np.ascontiguousarray(part).reshape(-1)
        return f"{part.dtype.str} {part.shape}", array.view(np.uint8)
    return "bytes", memoryview(part).cast("B")


def described(thing: Any) -> str:
    """Describe an object by its type, state and code.

    Two objects have equal descriptions only if they were made alike.  Functions and classes that
    are not part of an installed package are described by their code and the globals it reads.

    Raises
    ------
    TypeError
        If the object contains something that pickle cannot take apart, such as an open file or a
        lock.

    Examples
    --------
    >>> from sktransfer._support.hashing import described
    >>> described([1, "a"])
    "[1, 'a']"
    >>> described(1) == described(1.0)
    False
    """
    return _describe(thing, ())


def _describe(thing: Any, parents: tuple[int, ...]) -> str:
    """Describe ``thing``; ``parents`` are the ids of the objects that contain it."""
    if type(thing) in DESCRIBED_BY_REPR:
        return repr(thing)
    if id(thing) in parents:  # a cycle: record how many levels up it leads
        return f"<up {len(parents) - parents.index(id(thing))}>"
    kind = next((base for base in (Tensor, type) if isinstance(thing, base)), type(thing))
    return DESCRIBERS.get(kind, _describe_object)(thing, (*parents, id(thing)))


def _describe_container(thing: Any, parents: tuple[int, ...]) -> str:
    if isinstance(thing, dict):
        pairs = [
            f"{_describe(key, parents)}: {_describe(value, parents)}"
            for key, value in thing.items()
        ]
        return f"{{{', '.join(pairs)}}}"
    parts = [_describe(part, parents) for part in thing]
    if isinstance(thing, (set, frozenset)):
        return f"{type(thing).__name__}({', '.join(sorted(parts))})"
    return f"[{', '.join(parts)}]" if isinstance(thing, list) else f"({', '.join(parts)})"


def _describe_tensor(thing: Tensor, parents: tuple[int, ...]) -> str:  # noqa: ARG001 - one signature for all
    return f"{type(thing).__name__} {hash_parts('tensor', thing).hex()}"


def _describe_module(thing: ModuleType, parents: tuple[int, ...]) -> str:  # noqa: ARG001 - one signature for all
    return f"{thing.__name__} {_version(thing.__name__)}"


def _describe_bytecode(thing: CodeType, parents: tuple[int, ...]) -> str:
    return _describe((thing.co_code, thing.co_consts, thing.co_names, thing.co_freevars), parents)


def _describe_code(thing: Any, parents: tuple[int, ...]) -> str:
    """Describe a function or class: by version if it is installed, by its code otherwise."""
    module = getattr(thing, "__module__", None) or "builtins"
    name = f"{module}.{thing.__qualname__}"
    if _is_installed(module):
        return f"{name} {_version(module)}"
    if isinstance(thing, type):
        body = [f"{key} {_describe(value, parents)}" for key, value in _class_body(thing)]
        bases = [_describe(base, parents) for base in thing.__bases__]
        return f"class {name}({', '.join(bases)}): {'; '.join(body)}"
    cells = [cell.cell_contents for cell in thing.__closure__ or ()]
    used = {key: thing.__globals__[key] for key in _globals(thing.__code__, thing.__globals__)}
    parts = (thing.__code__, thing.__defaults__, thing.__kwdefaults__, cells, used)
    return f"def {name}{_describe(parts, parents)}"


def _describe_object(thing: Any, parents: tuple[int, ...]) -> str:
    """Describe an object by the parts that pickle would rebuild it from."""
    try:
        reduced = thing.__reduce_ex__(4)
    except (TypeError, pickle.PicklingError, AttributeError) as error:
        raise TypeError(f"{type(thing).__name__} cannot be taken apart: {error}") from error
    if isinstance(reduced, str):
        return f"{type(thing).__module__}.{reduced}"
    make, arguments, state, items, pairs = (*reduced, None, None, None)[:5]
    parts = (make, arguments, state, list(items or ()), list(pairs or ()))
    return f"{type(thing).__name__}{_describe(parts, parents)}"


def _class_body(cls: type) -> Iterator[tuple[str, Any]]:
    """Yield the methods, properties and plain values that the body of a class defines."""
    for key, value in vars(cls).items():
        inner = getattr(value, "__func__", getattr(value, "fget", value))
        if getattr(inner, "hooked", False):  # torch wraps the step of an optimiser that was used
            inner = inner.__wrapped__
        is_value = not key.startswith("__") and isinstance(
            inner, (*DESCRIBED_BY_REPR, tuple, list, dict)
        )
        if is_value or isinstance(inner, FunctionType):
            yield key, inner


def _globals(code: CodeType, scope: dict[str, Any]) -> list[str]:
    """List the global names that ``code`` reads, including those of inner functions."""
    names = {at.argval for at in dis.get_instructions(code) if at.opname == "LOAD_GLOBAL"}
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            names.update(_globals(inner, scope))
    return sorted(name for name in names if name in scope)


def _is_installed(module: str) -> bool:
    """Return True if the code of ``module`` changes only with the version of its package."""
    if module == "__main__":  # a script or a notebook, even if an installed program runs it
        return False
    if module.partition(".")[0] == ROOT:  # also when this package runs from its source
        return True
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None:
        return module in sys.stdlib_module_names
    return str(file).startswith(STDLIB) or "site-packages" in file or "dist-packages" in file


def _version(module: str) -> str:
    package = sys.modules.get(module.partition(".")[0])
    return str(getattr(package, "__version__", ""))


DESCRIBERS: dict[type, Callable[[Any, tuple[int, ...]], str]] = {
    **dict.fromkeys((list, tuple, set, frozenset, dict), _describe_container),
    **dict.fromkeys((type, FunctionType, BuiltinFunctionType), _describe_code),
    CodeType: _describe_bytecode,
    ModuleType: _describe_module,
    Tensor: _describe_tensor,
}
