"""Transfer learning for people who know scikit-learn."""

from importlib import import_module
from typing import TYPE_CHECKING

# public name -> the module that holds it; resolved on first use, so that the import loads no torch
_HOMES = {
    "ActivationCache": "cache",
    "Backbone": "backbone",
    "FineTuneClassifier": "fine_tune",
    "ImagePreset": "presets",
    "MLPHead": "heads",
    "PretrainedFeatureExtractor": "feature_extractor",
    "Views": "augment",
    "check_images": "inspection",
    "find_lr": "lr_finder",
    "get_backbone": "registry",
    "list_backbones": "registry",
    "load": "persistence",
    "load_image_folder": "datasets",
    "register_provider": "registry",
    "save": "persistence",
    "split": "backbone",
}

__version__ = "0.1.0"
__all__ = ["__version__", *_HOMES]  # noqa: PLE0604 - the names are the keys of one table

if TYPE_CHECKING:
    from .augment import Views
    from .backbone import Backbone, split
    from .cache import ActivationCache
    from .datasets import load_image_folder
    from .feature_extractor import PretrainedFeatureExtractor
    from .fine_tune import FineTuneClassifier
    from .heads import MLPHead
    from .inspection import check_images
    from .lr_finder import find_lr
    from .persistence import load, save
    from .presets import ImagePreset
    from .registry import get_backbone, list_backbones, register_provider


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'sktransfer' has no attribute {name!r}")
    value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
