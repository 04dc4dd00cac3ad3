"""Every small file that Pillow writes, whole or damaged, has its pixels or is an error."""

import sys

import numpy as np
import pytest
from corpus import oracle
from corpus.check import check
from corpus.files import corpus
from corpus.oracle import Expected
from helpers.image_files import encoded
from PIL import Image

child = pytest.importorskip("corpus.child", reason="needs limits on memory", exc_type=ImportError)

N_FILES, N_SHARES = 2000, 2

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs limits on memory")


def written(folder, files):
    """Write files to a folder, and return their paths."""
    for name, data in files:
        (folder / name).write_bytes(data)
    return sorted(map(str, folder.iterdir()))


@pytest.fixture(scope="module")
def files():
    return list(corpus(N_FILES, seed=0))


# The shares are alike: each second file, whole or damaged.
@pytest.mark.parametrize("share", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_every_file_is_decoded_as_pillow_does_or_is_an_error(tmp_path, files, share):
    paths = written(tmp_path, files[share::N_SHARES])
    results, faults = check(paths, n_processes=1)
    assert not faults
    assert results.total() == N_FILES / N_SHARES
    assert results["equal to Pillow's"] > N_FILES / N_SHARES / 3
    assert results["unreadable"] > N_FILES / N_SHARES / 3


def test_the_corpus_holds_every_mode_and_many_formats(files):
    names = [name for name, _ in files if not name[0].isdigit() or name.startswith("1-")]
    assert len({name.partition("-")[0] for name in names}) > 10
    assert len({name.rpartition(".")[2] for name in names}) > 15


def test_the_corpus_is_the_same_each_time(files):
    assert list(corpus(N_FILES, seed=0)) == files


# A process that finds nothing in the files that it examines, except for those with these names
CHILD = """
import json, os, sys
for line in sys.stdin:
    paths = json.loads(line)
    if "fatal" in paths:
        sys.stderr.write("Segmentation fault")
        sys.stderr.flush()
        os._exit(9)
    faults = [(path, "is wrong") for path in paths if path == "bad"]
    faults += [("", "these are wrong together")] if "odd" in paths and len(paths) > 1 else []
    print(json.dumps([{"fine": len(paths) - len(faults)}, faults]), flush=True)
"""


@pytest.mark.parametrize(
    ("name", "faults", "n_fine"),
    [
        ("fatal", [("fatal", "ends the process, status 9: Segmentation fault")], 119),
        ("bad", [("bad", "is wrong")], 119),
        ("odd", [("", "these are wrong together")], 119),
        ("fine", [], 120),
    ],
)
def test_a_fault_has_the_name_of_its_file(name, faults, n_fine):
    paths = [f"{number}.png" for number in range(119)]
    paths.insert(70, name)
    results, found = check(paths, 1, [sys.executable, "-c", CHILD])
    assert (found, results["fine"]) == (faults, n_fine)


@pytest.fixture
def photo(rng):
    return rng.integers(0, 250, (20, 30, 3), np.uint8)


def test_other_pixels_are_a_fault(photo):
    data = encoded(Image.fromarray(photo), "PNG")
    assert child.compared(data, Expected(photo)) == ("", "")
    photo[5, 6, 1] += 1
    assert child.compared(data, Expected(photo)) == ("", "")
    photo[5, 6, 1] += 1
    assert child.compared(data, Expected(photo))[1] == "has other pixels than Pillow's"
    assert child.compared(data, Expected(photo[:19]))[1] == "has other pixels than Pillow's"


def test_an_error_of_one_side_only_is_a_fault(photo):
    data = encoded(Image.fromarray(photo), "PNG")
    assert "although Pillow raises" in child.compared(data, Expected(None, "OSError()"))[1]
    assert "Pillow decodes it: " in child.compared(data[:300], Expected(photo))[1]
    assert child.compared(data[:300], Expected(None, "OSError()"))[1] == ""


def test_pixels_that_pillow_does_not_define_are_not_compared(photo):
    data = encoded(Image.fromarray(photo), "PNG")
    assert child.compared(data, Expected(255 - photo, is_defined=False)) == ("", "")


def test_an_image_that_the_oracle_has_no_memory_for_is_named_and_not_compared(photo, monkeypatch):
    monkeypatch.setattr(oracle, "MOST_PIXELS", 599)
    truth = oracle.expected(encoded(Image.fromarray(photo), "PNG"))
    assert (truth.pixels, truth.is_defined) == (None, False)
    assert child.result(truth, "") == "too large to compare"


def test_calls_that_do_not_agree_with_the_files_are_faults(photo):
    extractors = child.fitted_extractors()
    whole = encoded(Image.fromarray(photo), "PNG")
    items = {"whole": whole, "torn": whole[:300]}
    assert not list(child.calls(items, {"whole": False, "torn": True}, extractors))
    found = list(child.calls(items, {"whole": True, "torn": True}, extractors))
    assert found == [
        "check_images finds 'whole' readable",
        "decode_error='warn' finds 'whole' readable",
        "decode_error='ignore' finds 'whole' readable",
    ]
