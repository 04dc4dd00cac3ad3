"""The activations of frozen stages, kept on disk."""

from .activations import ActivationCache, cache_here, check_cache
from .table import SHARD_BYTES, Table

__all__ = ["SHARD_BYTES", "ActivationCache", "Table", "cache_here", "check_cache"]
