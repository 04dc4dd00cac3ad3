"""Pretrained networks as chains of named stages, and where their weights come from."""

from .backbone import LAYOUTS, Backbone, split
from .export import fetch
from .fusion import faster, fold_batch_norm, is_near, unpatched
from .fx_lock import running
from .pooling import POOLINGS, check_pooling, pool
from .registry import Provider, get_backbone, list_backbones, register_provider
from .weights import fill, read_weights

__all__ = [
    "LAYOUTS",
    "POOLINGS",
    "Backbone",
    "Provider",
    "check_pooling",
    "faster",
    "fetch",
    "fill",
    "fold_batch_norm",
    "get_backbone",
    "is_near",
    "list_backbones",
    "pool",
    "read_weights",
    "register_provider",
    "running",
    "split",
    "unpatched",
]
