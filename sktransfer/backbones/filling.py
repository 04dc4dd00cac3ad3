"""Copying of weights into a network, if they fit."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import chain, zip_longest
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from .._support.threads import computing_threads
from .._support.validation import first_ten
from .weights import bare

REMEDY = "Use weights of this network, or the network that the weights were made for."


# The functions that draw the initial values of a layer.
DRAW = frozenset(
    [
        *(Tensor.normal_, Tensor.uniform_),
        *(nn.init.normal_, nn.init.uniform_, nn.init.trunc_normal_),
        *(nn.init.kaiming_normal_, nn.init.kaiming_uniform_),
        *(nn.init.xavier_normal_, nn.init.xavier_uniform_),
    ]
)


class Undrawn(TorchFunctionMode):
    """Within this context manager, this thread builds layers without drawing their initial values.

    They hold whatever is in their memory, until :func:`fill` replaces it.  To draw the values takes
    most of the time in which a small network is built.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call a function of torch, or return the tensor that it would fill."""
        kwargs = kwargs or {}
        if func in DRAW:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


class MisfitError(ValueError):
    """Weights do not fit a network.

    Parameters
    ----------
    source : str
        The name of the file.
    network : str
    differences : collection of str
        A description of each tensor that differs.
    state : mapping of str to Tensor
        The weights.
    remedy : str, default=REMEDY
        The last sentence of the message.
    """

    def __init__(
        self,
        source: str,
        network: str,
        differences: Collection[str],
        state: Mapping[str, Tensor],
        remedy: str = REMEDY,
    ):
        super().__init__(
            f"weights {source!r} do not fit {network}; {len(differences)} tensors differ:\n"
            f"{first_ten(differences)}\n{remedy}"
        )
        self.source = source
        self.differences = differences
        self.state = state


def fill(
    net: nn.Module, state: Mapping[str, Tensor], source: str, optional: Sequence[str] = ()
) -> list[str]:
    """Copy a state dict into a network, and return which tensors of the classifier were left out.

    Parameters
    ----------
    net : Module
        The network; its tensors keep their dtype and memory.
    state : mapping of str to Tensor
        The tensors by the names of ``net.state_dict()``.  If ``num_batches_tracked`` is missing, it
        becomes 0.
    source : str
        The name of the file, for error messages.
    optional : sequence of str, default=()
        Prefixes of the names of the classifier, such as ``("fc.",)``.  These tensors may be missing
        or differ, because the file was trained for other classes or contains the features only.
        If one of them does not fit, none of them is copied.

    Returns
    -------
    list of str
        The differences of the ``optional`` tensors; empty if all fit.

    Raises
    ------
    ValueError
        If other tensors do not fit.  The message lists the first ten, and ``net`` is not changed.

    Notes
    -----
    A provider drops a classifier that was left out, so that ``layer="logits"`` raises an error
    instead of returning noise::

        left_out = fill(net, file.state, str(path), optional=("fc.",))
        Backbone(
            stages, preset, None if left_out else classifier,
            weights_info=file.info(preset, left_out),
        )

    Examples
    --------
    >>> import torch
    >>> from sktransfer.backbones import fill
    >>> net = torch.nn.Linear(2, 1)
    >>> fill(net, {"weight": torch.ones(1, 2), "bias": torch.zeros(1)}, "mine.pth")
    []
    >>> fill(net, {"weight": torch.ones(1, 2)}, "mine.pth", optional=("bias",))
    ['missing: bias (1,)']
    """
    return fill_tensors(net.state_dict(), state, source, type(net).__name__, optional)


@computing_threads(1)
def fill_tensors(
    own: Mapping[str, Tensor],
    state: Mapping[str, Tensor],
    source: str,
    network: str,
    optional: Sequence[str] = (),
) -> list[str]:
    """Copy a state dict into tensors, as :func:`fill` does.

    Parameters
    ----------
    own : mapping of str to Tensor
        The tensors of the network by the names that they have in files.
    state, source, optional
        See :func:`fill`.
    network : str
        The name of the network, for error messages.
    """
    own, given = bare(own), bare(state)
    differing = _differences(own, given)
    wrong = [line for name, line in differing.items() if not name.startswith(tuple(optional))]
    if wrong:
        raise MisfitError(source, network, wrong, given)
    left_out = list(differing.values())
    with torch.no_grad():
        for name, tensor in own.items():
            if left_out and name.startswith(tuple(optional)):
                continue
            if name in given:
                tensor.copy_(given[name])
            else:
                tensor.zero_()  # num_batches_tracked
    return left_out


def allocate(net: nn.Module, given: Mapping[str, Tensor | None]) -> None:
    """Give a network on the meta device memory: that of given tensors where it can be.

    So :func:`fill_tensors` has less to copy.  ``to_empty`` would import sympy for a second.

    Parameters
    ----------
    net : Module
    given : mapping of str to Tensor or None
        A tensor, or None, for each name of ``net.state_dict()``.  The network owns it afterwards.
    """
    tensors: dict[str, Tensor] = {}
    taken: set[int] = set()
    for name, form in net.state_dict().items():
        tensor = given[name]
        if tensor is None or not _is_alone(tensor, form, taken):
            tensor = torch.empty(form.shape, dtype=form.dtype)
        taken.add(tensor.untyped_storage().data_ptr())
        tensors[name] = tensor
    net.load_state_dict(tensors, assign=True)


def _is_alone(tensor: Tensor, form: Tensor, taken: Collection[int]) -> bool:
    """Return True if a tensor has a form, and shares its memory with no other one."""
    storage = tensor.untyped_storage()
    fits = (tensor.shape, tensor.dtype, tensor.stride()) == (form.shape, form.dtype, form.stride())
    return fits and storage.nbytes() == tensor.nbytes and storage.data_ptr() not in taken


def fits(net: nn.Module, state: Mapping[str, Tensor], optional: Sequence[str] = ()) -> bool:
    """Return True if :func:`fill` accepts a state dict; the network may be on the meta device."""
    differing = _differences(bare(net.state_dict()), bare(state))
    return all(name.startswith(tuple(optional)) for name in differing)


def _differences(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> dict[str, str]:
    """Describe the tensors that differ, by name; the three kinds of difference alternate."""
    missing = [
        (name, f"missing: {name} {tuple(tensor.shape)}")
        for name, tensor in own.items()
        if name not in given and not name.endswith("num_batches_tracked")
    ]
    unexpected = [
        (name, f"unexpected: {name} {tuple(tensor.shape)}")
        for name, tensor in given.items()
        if name not in own
    ]
    unlike = [
        (name, f"{name}: {_form(given[name])} in the file, {_form(tensor)} in the network")
        for name, tensor in own.items()
        if name in given and _form(given[name]) != _form(tensor)
    ]
    turns = chain.from_iterable(zip_longest(unlike, missing, unexpected))
    return dict(filter(None, turns))


def _form(tensor: Tensor) -> str:
    """Describe a tensor by its shape, and by its type if that is not floating point."""
    if tensor.is_floating_point():
        return str(tuple(tensor.shape))
    return f"{tuple(tensor.shape)} {'complex' if tensor.is_complex() else 'integer'}"
