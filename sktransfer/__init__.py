"""Transfer learning for people who know scikit-learn."""

from importlib import import_module
from typing import TYPE_CHECKING

from ._version import __version__

# public name -> the package that holds it; resolved on first use, so that the import loads no torch
_HOMES = {
    "ActivationCache": "cache",
    "Backbone": "backbones",
    "FineTuneClassifier": "estimators",
    "ImagePreset": "data",
    "MLPHead": "tasks",
    "PretrainedFeatureExtractor": "estimators",
    "Views": "data",
    "check_images": "data",
    "find_lr": "estimators",
    "get_backbone": "backbones",
    "list_backbones": "backbones",
    "load": "persistence",
    "load_image_folder": "data",
    "register_provider": "backbones",
    "save": "persistence",
    "split": "backbones",
}

__all__ = ["__version__", *_HOMES]  # noqa: PLE0604 - the names are the keys of one table

if TYPE_CHECKING:
    from .backbones import Backbone, get_backbone, list_backbones, register_provider, split
    from .cache import ActivationCache
    from .data import ImagePreset, Views, check_images, load_image_folder
    from .estimators import FineTuneClassifier, PretrainedFeatureExtractor, find_lr
    from .persistence import load, save
    from .tasks import MLPHead


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'sktransfer' has no attribute {name!r}")
    value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
