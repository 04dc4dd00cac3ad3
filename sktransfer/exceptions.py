"""The exceptions of this package."""


class FreezeError(RuntimeError):
    """Raised if a frozen stage changed in training, or a trainable one did not learn."""


class DecodeError(ValueError):
    """Raised if an item cannot be decoded; the message names the item and the cause."""


class TrainingDivergedError(ValueError):
    """Raised if the loss is not finite; the message names the epoch and the learning rates."""


class NotAChainError(ValueError):
    """Raised if a network is not a chain of stages; the message states the reason."""
