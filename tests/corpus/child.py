"""Examine image files in a process with limits on time and memory.

It reads lists of paths from standard input, and answers each with counts and faults.  A crash, or
a limit, ends the process.
"""

import faulthandler
import json
import resource
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from corpus.oracle import TOO_LARGE, Expected, expected
from helpers.tiny import tiny_backbone
from PIL import Image

from sktransfer import ImagePreset, PretrainedFeatureExtractor, check_images
from sktransfer.exceptions import DecodeError

# Bytes for the largest images, see docs/inputs.md, and for two copies of all their pixels
MEMORY = 5 * 2**30
SECONDS, SECONDS_PER_MEGAPIXEL = 120, 5

# Words of errors for files that Pillow decodes
REFUSALS = ("decompression bomb", "must have pixels from", "JPEG 2000 file of", "has no pixels")

# Pillow distorts some TIFF files that it opens by their path: their oracle is that of their bytes.
FORMS = {
    "a path": str,
    "bytes": lambda path: Path(path).read_bytes(),
    "a PIL image": lambda path: Image.open(BytesIO(Path(path).read_bytes())),
}

# Path of a file, or "" for several, and a description
Fault = tuple[str, str]


def examine(paths: list[str], extractors: dict) -> tuple[Counter, list[Fault]]:
    """Return the number of files with each result, and what is wrong."""
    truths = {path: expected(Path(path).read_bytes()) for path in paths}
    results, faults = Counter(), []
    for form, make in FORMS.items():
        items = dict(made(paths, make))
        errors = dict.fromkeys(paths, "")
        for path, item in items.items():
            errors[path], fault = compared(item, truths[path])
            faults += [(path, f"{fault}, as {form}")] if fault else []
        sure = {path: bool(errors[path]) for path in items if truths[path].is_defined}
        with warnings.catch_warnings(action="ignore"):
            faults += [("", f"{fault}, as {form}") for fault in calls(items, sure, extractors)]
        results.update(result(truths[path], errors[path]) for path in paths if form == "a path")
    return results, faults


def made(paths: list[str], make) -> Iterator[tuple[str, object]]:
    """Iterate over the paths, with the items of one form.

    Pillow opens only some files, and empty bytes are an error because they stand for a missing
    value.
    """
    for path in paths:
        with suppress(Exception), warnings.catch_warnings(action="ignore"):
            item = make(path)
            if item != b"":
                yield path, item


def compared(item, truth: Expected) -> tuple[str, str]:
    """Return the error of one item, and what is wrong with it or with its pixels."""
    side = 16 if truth.pixels is None else max(1, min(truth.pixels.shape[:2]))
    try:
        pixels = ImagePreset(size=side, crop=1.0).whole(item).numpy()
    except DecodeError as error:
        refused = truth.pixels is None or any(words in str(error) for words in REFUSALS)
        return str(error), "" if refused or not truth.is_defined else f"Pillow decodes it: {error}"
    except Exception as error:  # noqa: BLE001 - any other error is a fault
        return repr(error), f"ImagePreset raises {error!r}"
    if not truth.is_defined:
        return "", ""
    if truth.pixels is None:
        return "", f"is decoded, although Pillow raises {truth.error}"
    return "", "" if alike(pixels, truth.pixels) else "has other pixels than Pillow's"


def alike(pixels: np.ndarray, expected: np.ndarray) -> bool:
    """Return True if pixels, (h, w, 3) and (h, w, 1 or 3), differ by at most 1/255."""
    if pixels.shape[:2] != expected.shape[:2]:
        return False
    return all(
        (np.abs(scaled(row) - scaled(other)) <= 1.001 / 255).all()
        for row, other in zip(pixels, expected, strict=True)
    )


def scaled(pixels: np.ndarray) -> np.ndarray:
    """Return pixels as floats in [0, 1]."""
    return pixels / np.float32(255) if pixels.dtype == np.uint8 else pixels


def calls(items: dict, sure: dict[str, bool], extractors: dict) -> Iterator[str]:
    """Iterate over what is wrong with calls on several items.

    ``sure`` states of some paths if their files are unreadable.
    """
    if not items:
        return
    X, paths = list(items.values()), list(items)
    try:
        table = check_images(X, verbose=0)
        found = table["index"][table["problem"].isin(["unreadable", "truncated"])]
        yield from differences("check_images", {paths[index] for index in found}, sure)
        for how, extractor in extractors.items():
            yield from extracted(how, extractor, X, paths, sure)
    except Exception as error:  # noqa: BLE001 - any error here is a fault
        yield f"a call raises {error!r}"


def extracted(how: str, extractor, X: list, paths: list[str], sure: dict) -> Iterator[str]:
    """Iterate over what is wrong with the features of several items."""
    name, some = f"decode_error={how!r}", any(sure.values())
    raises = how == "raise" and some
    with warnings.catch_warnings(record=True, action="always") as shown:
        try:
            rows = extractor.transform(X)
        except DecodeError as error:
            if not raises and len(sure) == len(X):
                yield f"{name} raises {error}"
            return
    if raises:
        yield f"{name} raises nothing"
    blank = {path for path, row in zip(paths, rows, strict=True) if np.isnan(row).any()}
    yield from differences(name, blank, sure)
    n_warnings = sum("these could not" in str(warning.message) for warning in shown)
    if len(sure) == len(X) and (n_warnings > 0) != (how == "warn" and some):
        yield f"{name} warns {n_warnings} times"


def differences(name: str, found: set[str], sure: dict[str, bool]) -> Iterator[str]:
    """Iterate over the files that are found to be unreadable and are not, or the reverse."""
    for path, is_unreadable in sure.items():
        if (path in found) != is_unreadable:
            yield f"{name} finds {path!r} {'readable' if is_unreadable else 'unreadable'}"


def result(truth: Expected, error: str) -> str:
    """Describe the result of one file for the counts."""
    if not truth.is_defined:
        return truth.error if truth.error == TOO_LARGE else "not defined by Pillow"
    return "equal to Pillow's" if not error else "unreadable" if truth.error else "refused"


def megapixels(path: str) -> float:
    """Return the number of pixels that the header of a file names, in millions."""
    with suppress(Exception), warnings.catch_warnings(action="ignore"), Image.open(path) as image:
        return image.width * image.height / 1e6
    return 0


def fitted_extractors() -> dict[str, PretrainedFeatureExtractor]:
    """Return an extractor for each value of ``decode_error``."""
    blank = [np.zeros((8, 8, 3), np.uint8)]
    return {
        how: PretrainedFeatureExtractor(tiny_backbone, decode_error=how, verbose=0).fit(blank)
        for how in ("raise", "warn", "ignore")
    }


def main() -> None:
    torch.set_num_threads(1)
    extractors = fitted_extractors()
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    for line in sys.stdin:
        paths = json.loads(line)
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        more = SECONDS_PER_MEGAPIXEL * sum(map(megapixels, paths))
        faulthandler.dump_traceback_later(SECONDS + more, exit=True)
        sys.stdout.write(json.dumps(examine(paths, extractors)) + "\n")
        sys.stdout.flush()
        faulthandler.cancel_dump_traceback_later()


if __name__ == "__main__":
    main()
