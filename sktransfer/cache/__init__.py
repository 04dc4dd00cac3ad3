"""The activations of frozen stages, kept on disk."""

from .activations import ActivationCache, check_cache, compute_digests
from .blobs import Blobs
from .folder import describe_temporary
from .table import SHARD_BYTES, Table

__all__ = [
    "SHARD_BYTES",
    "ActivationCache",
    "Blobs",
    "Table",
    "check_cache",
    "compute_digests",
    "describe_temporary",
]
