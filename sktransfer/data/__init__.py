"""Turn items into the inputs of a network: checks, decoding, presets, augmentation, folders."""

from .adaptation import adapt, smallest_preset, warn_of_lost_parts
from .augmentation import Augmentation, Views, check_augment, default_augment, resolve_augment
from .csv_files import check_column
from .digests import digest, digest_or_none, file_key, file_state
from .docstrings import load_docstrings
from .folders import (
    EXTENSIONS,
    TEST,
    TRAIN,
    image_table,
    list_images,
    load_image_folder,
)
from .image_check import check_images
from .image_sizes import ImageSizes
from .items import Items
from .lengths import by_length, count_tokens, has_lengths, lengths_of
from .masks import Masks, check_masks, encode_mask
from .presets import ImagePreset, Preset, example_batch, input_info
from .text_check import check_texts
from .text_folders import load_text_folder, text_table
from .text_preset import TextPreset
from .texts import Text
from .textures import load_textures
from .tokenizer_files import read_tokenizer, read_vocabulary
from .tokenizers import JsonTokenizer, Tokenizer, WordPiece
from .word_tokenizer import WordTokenizer

__all__ = [
    "EXTENSIONS",
    "TEST",
    "TRAIN",
    "Augmentation",
    "ImagePreset",
    "ImageSizes",
    "Items",
    "JsonTokenizer",
    "Masks",
    "Preset",
    "Text",
    "TextPreset",
    "Tokenizer",
    "Views",
    "WordPiece",
    "WordTokenizer",
    "adapt",
    "by_length",
    "check_augment",
    "check_column",
    "check_images",
    "check_masks",
    "check_texts",
    "count_tokens",
    "default_augment",
    "digest",
    "digest_or_none",
    "encode_mask",
    "example_batch",
    "file_key",
    "file_state",
    "has_lengths",
    "image_table",
    "input_info",
    "lengths_of",
    "list_images",
    "load_docstrings",
    "load_image_folder",
    "load_text_folder",
    "load_textures",
    "read_tokenizer",
    "read_vocabulary",
    "resolve_augment",
    "smallest_preset",
    "text_table",
    "warn_of_lost_parts",
]
