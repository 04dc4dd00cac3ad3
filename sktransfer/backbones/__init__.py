"""Pretrained networks as chains of named stages, and their weights."""

from .backbone import Backbone, split
from .export import fetch
from .filling import fill
from .fusion import fast_training, fuse_conv_bn, unpatched
from .network_lock import running
from .pooling import POOLINGS, check_pooling, pool, positions, resolve_pooling
from .registry import Provider, get_backbone, list_backbones, register_provider
from .weights import read_weights

__all__ = [
    "POOLINGS",
    "Backbone",
    "Provider",
    "check_pooling",
    "fast_training",
    "fetch",
    "fill",
    "fuse_conv_bn",
    "get_backbone",
    "list_backbones",
    "pool",
    "positions",
    "read_weights",
    "register_provider",
    "resolve_pooling",
    "running",
    "split",
    "unpatched",
]
