"""Items become the inputs of a network: checks, decoding, presets, augmentation, folders."""

from .augmentation import Views, check_augment, resolve_augment
from .digests import digest, digest_or_none, file_key
from .folders import TEST, TRAIN, image_table, load_image_folder
from .image_check import check_images
from .image_sizes import ImageSizes
from .presets import ImagePreset, Preset, adapt
from .tables import fitting

__all__ = [
    "TEST",
    "TRAIN",
    "ImagePreset",
    "ImageSizes",
    "Preset",
    "Views",
    "adapt",
    "check_augment",
    "check_images",
    "digest",
    "digest_or_none",
    "file_key",
    "fitting",
    "image_table",
    "load_image_folder",
    "resolve_augment",
]
