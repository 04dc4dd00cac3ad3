"""A text of what a callable computes, so that results can be named by it.

Neither ``repr`` nor ``pickle`` will do: the first may hide parameters or tell an address, the
second names a function without looking into it, so that an edited one would keep its name.
"""

from __future__ import annotations

import dis
import pickle
import sys
import sysconfig
from collections.abc import Callable, Iterator
from hashlib import blake2b
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any

import torch
from torch import Tensor

PLAIN = (type(None), type(...), bool, int, float, complex, str, bytes, range)

# Installed code is known by name and version.
STDLIB = sysconfig.get_path("stdlib")


def described(thing: Any) -> str:
    """A text that is equal for two things only if they are made alike: type, state and code.

    Of functions and classes that are not installed, the code counts, and the globals that it
    reads.

    Raises
    ------
    TypeError
        If something in it cannot be taken apart, such as an open file or a lock.

    Examples
    --------
    >>> from sktransfer._support.hashing import described
    >>> described([1, "a"])
    "[1, 'a']"
    >>> described(1) == described(1.0)
    False
    """
    return _told(thing, ())


def _told(thing: Any, above: tuple[int, ...]) -> str:
    if type(thing) in PLAIN:
        return repr(thing)
    if id(thing) in above:  # a cycle: how far up it leads
        return f"<up {len(above) - above.index(id(thing))}>"
    kind = next((base for base in (Tensor, type) if isinstance(thing, base)), type(thing))
    return TELLERS.get(kind, _told_object)(thing, (*above, id(thing)))


def _told_container(thing: Any, above: tuple[int, ...]) -> str:
    if isinstance(thing, dict):
        pairs = [f"{_told(key, above)}: {_told(value, above)}" for key, value in thing.items()]
        return f"{{{', '.join(pairs)}}}"
    parts = [_told(part, above) for part in thing]
    if isinstance(thing, (set, frozenset)):
        return f"{type(thing).__name__}({', '.join(sorted(parts))})"
    return f"[{', '.join(parts)}]" if isinstance(thing, list) else f"({', '.join(parts)})"


def _told_tensor(thing: Tensor, above: tuple[int, ...]) -> str:  # noqa: ARG001 - as its like
    values = thing.detach().cpu().reshape(-1).contiguous().view(torch.uint8).numpy()
    name = f"{type(thing).__name__} {thing.dtype} {tuple(thing.shape)}"
    return f"{name} {blake2b(values.tobytes()).hexdigest()}"


def _told_module(thing: ModuleType, above: tuple[int, ...]) -> str:  # noqa: ARG001 - likewise
    return f"{thing.__name__} {_version(thing.__name__)}"


def _told_bytecode(thing: CodeType, above: tuple[int, ...]) -> str:
    return _told((thing.co_code, thing.co_consts, thing.co_names, thing.co_freevars), above)


def _told_code(thing: Any, above: tuple[int, ...]) -> str:
    """A function or class: by name and version where it is installed, else by what it says."""
    module = getattr(thing, "__module__", None) or "builtins"
    name = f"{module}.{thing.__qualname__}"
    if _is_installed(module):
        return f"{name} {_version(module)}"
    if isinstance(thing, type):
        written = [f"{key} {_told(value, above)}" for key, value in _written(thing)]
        bases = [_told(base, above) for base in thing.__bases__]
        return f"class {name}({', '.join(bases)}): {'; '.join(written)}"
    cells = [cell.cell_contents for cell in thing.__closure__ or ()]
    used = {key: thing.__globals__[key] for key in _globals(thing.__code__, thing.__globals__)}
    parts = (thing.__code__, thing.__defaults__, thing.__kwdefaults__, cells, used)
    return f"def {name}{_told(parts, above)}"


def _told_object(thing: Any, above: tuple[int, ...]) -> str:
    """What pickle would rebuild ``thing`` from."""
    try:
        made = thing.__reduce_ex__(4)
    except (TypeError, pickle.PicklingError, AttributeError) as error:
        raise TypeError(f"{type(thing).__name__} cannot be taken apart: {error}") from error
    if isinstance(made, str):
        return f"{type(thing).__module__}.{made}"
    make, arguments, state, items, pairs = (*made, None, None, None)[:5]
    parts = (make, arguments, state, list(items or ()), list(pairs or ()))
    return f"{type(thing).__name__}{_told(parts, above)}"


def _written(cls: type) -> Iterator[tuple[str, Any]]:
    """The methods, properties and plain values that stand in the body of a class."""
    for key, value in vars(cls).items():
        inner = getattr(value, "__func__", getattr(value, "fget", value))
        if getattr(inner, "hooked", False):  # torch wraps the step of an optimiser that was used
            inner = inner.__wrapped__
        is_value = not key.startswith("__") and isinstance(inner, (*PLAIN, tuple, list, dict))
        if is_value or isinstance(inner, FunctionType):
            yield key, inner


def _globals(code: CodeType, scope: dict[str, Any]) -> list[str]:
    """The global names that ``code`` reads, inner functions included."""
    names = {at.argval for at in dis.get_instructions(code) if at.opname == "LOAD_GLOBAL"}
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            names.update(_globals(inner, scope))
    return sorted(name for name in names if name in scope)


def _is_installed(module: str) -> bool:
    file = getattr(sys.modules.get(module), "__file__", None)
    if module == "__main__":  # a notebook's cells, whatever started it
        return False
    if module.partition(".")[0] == __package__:  # also where it runs from its source
        return True
    if file is None:
        return module in sys.stdlib_module_names
    return str(file).startswith(STDLIB) or "site-packages" in file or "dist-packages" in file


def _version(module: str) -> str:
    root = sys.modules.get(module.partition(".")[0])
    return str(getattr(root, "__version__", ""))


TELLERS: dict[type, Callable[[Any, tuple[int, ...]], str]] = {
    **dict.fromkeys((list, tuple, set, frozenset, dict), _told_container),
    **dict.fromkeys((type, FunctionType, BuiltinFunctionType), _told_code),
    CodeType: _told_bytecode,
    ModuleType: _told_module,
    Tensor: _told_tensor,
}


def hashed(kind: str, *parts: Any) -> bytes:
    """16 bytes that stand for ``parts``, of one kind of thing."""
    name = blake2b(digest_size=16, person=kind.encode())
    for part in parts:
        name.update(part)
    return name.digest()
