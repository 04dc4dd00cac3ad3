"""Fine-tune pretrained networks for images and texts with the scikit-learn API."""

from importlib import import_module

from ._version import __version__

# Each public name, and the package that defines it.  Names are imported on first use, so that
# `import sktransfer` is quick and does not import torch.  Type checkers read __init__.pyi.
_HOMES = {
    "ActivationCache": "cache",
    "Backbone": "backbones",
    "DomainSelfTrainingClassifier": "estimators",
    "FineTuneClassifier": "estimators",
    "FPNHead": "tasks",
    "FineTuneMultiTask": "estimators",
    "FineTuneRegressor": "estimators",
    "FineTuneSegmenter": "estimators",
    "ImagePreset": "data",
    "LanguageModelTuner": "estimators",
    "MLPHead": "tasks",
    "PretrainedFeatureExtractor": "estimators",
    "SnapshotEnsemble": "estimators",
    "TextPreset": "data",
    "Views": "data",
    "check_images": "data",
    "check_texts": "data",
    "domain_shift": "estimators",
    "export": "persistence",
    "feature_pyramid": "backbones",
    "find_lr": "estimators",
    "get_backbone": "backbones",
    "ids_of": "persistence",
    "list_backbones": "backbones",
    "load": "persistence",
    "load_docstrings": "data",
    "load_image_folder": "data",
    "load_text_folder": "data",
    "load_textures": "data",
    "pixels_of": "persistence",
    "rank_backbones": "estimators",
    "register_provider": "backbones",
    "save": "persistence",
    "split": "backbones",
}

# Public modules with further names, such as `sktransfer.schedules.Cosine`.
_MODULES = (
    "backbones",
    "callbacks",
    "data",
    "display",
    "estimators",
    "exceptions",
    "schedules",
    "testing",
    "training",
)

__all__ = ["__version__", *_HOMES]  # noqa: PLE0604 - the names are the keys of one table


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return import_module(f".{name}", __name__)
    if name not in _HOMES:
        raise AttributeError(f"module 'sktransfer' has no attribute {name!r}")
    value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, *_MODULES])
