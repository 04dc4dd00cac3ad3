"""The errors that this package raises."""


class FreezeError(RuntimeError):
    """A stage did not learn as it was asked to: a frozen one moved, or a trainable one did not."""


class DecodeError(ValueError):
    """An item that cannot be decoded; the message says which file, and why."""


class TrainingDivergedError(ValueError):
    """The loss is not finite; the message names the epoch and the rates."""


class NotAChainError(ValueError):
    """Why a network is no chain of stages."""
