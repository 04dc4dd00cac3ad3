"""Pretrained networks as chains of named stages, and their weights."""

from .backbone import Backbone, split
from .batch_norm import (
    Statistics,
    average_batches,
    batch_norms,
    freeze_batch_norm,
    get_statistics,
    set_statistics,
    with_statistics,
)
from .cut import find_cut, is_pretrained
from .depthwise import sum_shifts
from .export import fetch, save_weights
from .filling import fill
from .fusion import fast_training, fuse_conv_bn
from .language_head import LanguageHead, check_language_head
from .maps import MapShape, as_map, choose_maps, map_shapes
from .network_lock import running, tracing_alone
from .original import Original
from .patching import unpatched
from .pooling import POOLINGS, check_pooling, pool, positions, resolve_pooling
from .pyramid import FeaturePyramid, feature_pyramid
from .registry import Provider, get_backbone, list_backbones, register_provider
from .weights import is_path, read_weights

__all__ = [
    "POOLINGS",
    "Backbone",
    "FeaturePyramid",
    "LanguageHead",
    "MapShape",
    "Original",
    "Provider",
    "Statistics",
    "as_map",
    "average_batches",
    "batch_norms",
    "check_language_head",
    "check_pooling",
    "choose_maps",
    "fast_training",
    "feature_pyramid",
    "fetch",
    "fill",
    "find_cut",
    "freeze_batch_norm",
    "fuse_conv_bn",
    "get_backbone",
    "get_statistics",
    "is_path",
    "is_pretrained",
    "list_backbones",
    "map_shapes",
    "pool",
    "positions",
    "read_weights",
    "register_provider",
    "resolve_pooling",
    "running",
    "save_weights",
    "set_statistics",
    "split",
    "sum_shifts",
    "tracing_alone",
    "unpatched",
    "with_statistics",
]
