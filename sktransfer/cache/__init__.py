"""The activations of frozen stages, kept on disk."""

from .activations import ActivationCache, check_cache
from .blobs import Blobs
from .folder import describe_temporary
from .table import SHARD_BYTES, Table

__all__ = [
    "SHARD_BYTES",
    "ActivationCache",
    "Blobs",
    "Table",
    "check_cache",
    "describe_temporary",
]
