"""`sktransfer extract -o FOLDER`: a table is read in pieces, and a file is written for each."""

import json
import os
import weakref
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from helpers.tokens import dead_token, temporary
from PIL import Image

from sktransfer import PretrainedFeatureExtractor
from sktransfer.cli import pieces

SMALL = ("--weights", "none", "--image-size", 32)


@pytest.fixture
def photos(tmp_path, rng):
    """A table of seven photos, whose paths are relative to its folder."""
    (tmp_path / "photos").mkdir()
    names = [f"photos/{index}.png" for index in range(7)]
    for name in names:
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)).save(tmp_path / name)
    return pd.DataFrame({"photo": names, "label": [*"abcabca"], "age": [1, 2, 3, 4, 5, 6, 7.5]})


@pytest.fixture(params=["csv", "parquet"])
def table(request, photos, tmp_path):
    """The table as a file."""
    path = tmp_path / f"list.{request.param}"
    if request.param == "csv":
        photos.to_csv(path, index=False)
    else:
        photos.to_parquet(path, row_group_size=2)
    return path


@pytest.fixture
def source(photos, tmp_path):
    """The table as a CSV file."""
    photos.to_csv(tmp_path / "list.csv", index=False)
    return tmp_path / "list.csv"


@pytest.fixture
def extract(run, tmp_path):
    """A function that writes the features of a table in files of three rows."""

    def extracted(source, *options, output="out", n_rows=3):
        column = () if Path(source).is_dir() else ("--path-column", "photo")
        arguments = ("-o", tmp_path / output, "--rows-per-file", n_rows, *column, *SMALL)
        return run("extract", source, *arguments, *options)

    return extracted


@pytest.fixture
def expected(photos, tmp_path):
    """The features of the photos."""
    paths = [str(tmp_path / name) for name in photos["photo"]]
    return PretrainedFeatureExtractor(weights=None, image_size=32).fit_transform(paths)


@pytest.fixture
def computed(monkeypatch):
    """The numbers of items of all calls of ``transform``."""
    counts = []
    transform = PretrainedFeatureExtractor.transform

    def counted(self, X, *args):
        counts.append(len(X))
        return transform(self, X, *args)

    monkeypatch.setattr(PretrainedFeatureExtractor, "transform", counted)
    return counts


def parts(folder):
    return sorted(path.name for path in folder.iterdir())


def rewrite(path, change):
    """Write a CSV file again, with a changed text."""
    path.write_text(change(path.read_text()))


def test_each_file_has_the_rows_of_a_piece_with_their_features(
    extract, table, photos, expected, tmp_path
):
    code, out, err = extract(table)
    files = [str(tmp_path / f"out/part-0000{number}.parquet") for number in range(3)]
    lines = [f"{path}: {n} rows" for path, n in zip(files, (3, 3, 1), strict=True)]
    last = f"{tmp_path / 'out'}: 7 rows of {expected.shape[1]} features in 3 files"
    assert (code, out.splitlines(), err) == (0, [*lines, last], "")
    assert [len(pd.read_parquet(path)) for path in files] == [3, 3, 1]
    whole = pd.read_parquet(tmp_path / "out")
    assert whole["path"].tolist() == [str(tmp_path / name) for name in photos["photo"]]
    assert whole[["label", "age"]].to_numpy().tolist() == photos.iloc[:, 1:].to_numpy().tolist()
    np.testing.assert_array_equal(whole.iloc[:, 3:], expected)


def test_a_folder_of_photos_is_divided_too(extract, source, expected, tmp_path):
    assert extract(tmp_path / "photos")[0] == 0
    found = pd.read_parquet(tmp_path / "out")
    assert list(found)[:2] == ["path", "last_0"]
    np.testing.assert_array_equal(found.iloc[:, 1:], expected)


def test_class_folders_give_labels(extract, folder, tmp_path):
    assert extract(folder)[0] == 0
    assert pd.read_parquet(tmp_path / "out")["label"].tolist() == ["ants"] * 3 + ["bees"] * 3


def test_a_parquet_table_can_go_to_a_single_file(run, photos, expected, tmp_path):
    photos.to_parquet(tmp_path / "list.parquet")
    output = tmp_path / "all.parquet"
    options = ("--path-column", "photo", *SMALL)
    assert run("extract", tmp_path / "list.parquet", "-o", output, *options)[0] == 0
    np.testing.assert_array_equal(pd.read_parquet(output).iloc[:, 3:], expected)


def test_the_files_of_other_batches_of_the_table_are_the_same(
    extract, table, tmp_path, monkeypatch
):
    extract(table)
    monkeypatch.setattr(pieces, "BATCH_ROWS", 2)
    monkeypatch.setattr(pieces, "BLOCK_BYTES", 60)  # two or three rows of text
    code, out, _ = extract(table)
    assert code == 0
    assert len(out.splitlines()) == 1  # nothing is new
    extract(table, output="again")
    for name in parts(tmp_path / "out"):
        again = pd.read_parquet(tmp_path / "again" / name)
        pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "out" / name), again)


def test_the_same_command_continues_after_it_was_stopped(
    extract, table, expected, computed, tmp_path, monkeypatch
):
    transform = PretrainedFeatureExtractor.transform

    def stop(self, X):
        if len(computed) == 1:
            raise KeyboardInterrupt
        return transform(self, X)

    with monkeypatch.context() as patch:
        patch.setattr(PretrainedFeatureExtractor, "transform", stop)
        assert extract(table)[0] != 0
    assert parts(tmp_path / "out") == ["part-00000.parquet"]
    computed.clear()
    assert extract(table)[0] == 0
    assert computed == [3, 1]
    np.testing.assert_array_equal(pd.read_parquet(tmp_path / "out").iloc[:, 3:], expected)


def test_a_file_that_was_deleted_is_written_again(extract, source, computed, tmp_path):
    extract(source)
    (tmp_path / "out/part-00001.parquet").unlink()
    computed.clear()
    _, out, _ = extract(source)
    assert computed == [3]
    assert out.splitlines()[0] == f"{tmp_path / 'out/part-00001.parquet'}: 3 rows"


def test_temporary_files_of_dead_processes_are_removed(extract, source, tmp_path):
    extract(source)
    left = tmp_path / "out" / temporary(dead_token())
    left.touch()
    extract(source)
    assert not left.exists()


def test_no_more_than_one_piece_is_in_memory(extract, table, monkeypatch):
    alive, most = weakref.WeakSet(), []
    transform = PretrainedFeatureExtractor.transform

    class Features(np.ndarray):
        """An array whose life can be watched."""

        __hash__ = object.__hash__

        def __eq__(self, other):
            return self is other

    def watched(self, X):
        most.append(len(alive))
        features = transform(self, X).view(Features)
        alive.add(features)
        return features

    monkeypatch.setattr(PretrainedFeatureExtractor, "transform", watched)
    assert extract(table, n_rows=1)[0] == 0
    assert most == [0] * 7


def test_a_file_names_its_rows_its_network_and_the_options(extract, source, tmp_path):
    extract(source, "--batch-size", 4)
    described = [
        json.loads(pq.read_schema(tmp_path / "out" / name).metadata[b"sktransfer"])
        for name in parts(tmp_path / "out")
    ]
    network = PretrainedFeatureExtractor(weights=None, image_size=32).fit([str(source)])
    assert described[0]["fingerprint"] == network.backbone_.fingerprint()
    assert described[0]["source"] == "list.csv"
    assert described[0]["batch_size"] == 4
    assert len({each["rows"] for each in described}) == 3


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--layer", "layer1"), "--layer layer1; it has those with --layer last"),
        (("--pooling", "max"), "--pooling max"),
        (("--precision", "bfloat16"), "--precision bfloat16"),
        (("--batch-size", 2), "--batch-size 2"),
        (("--image-size", 48), "fingerprint='"),
        (("--weights", "default"), "fingerprint='"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_files_of_other_options_are_an_error(
    extract, source, computed, tmp_path, options, expected
):
    extract(source)
    computed.clear()
    code, _, err = extract(source, *options)
    assert code == 1
    path = str(tmp_path / "out/part-00000.parquet")
    assert f"{path!r} must have features with {expected}" in err
    assert err.endswith(" Choose another folder, or delete the file.\n")
    assert computed == []


def test_files_of_another_number_of_rows_are_an_error(extract, source):
    extract(source)
    code, _, err = extract(source, n_rows=2)
    assert code == 1
    assert "must have features with --rows-per-file 2; it has those with --rows-per-file 3." in err


def test_files_of_other_rows_are_an_error(extract, source, tmp_path):
    extract(source)
    rewrite(source, lambda text: text.replace("photos/4.png,b", "photos/4.png,c"))
    code, _, err = extract(source)
    assert code == 1
    assert (
        f"{str(tmp_path / 'out/part-00001.parquet')!r} must have the features of the rows of the "
        "source in this place; it has those of other rows. Choose another folder, or delete the "
        "file." in err
    )


def test_files_after_the_end_of_the_source_are_an_error(extract, source, tmp_path):
    extract(source)
    rewrite(source, lambda text: "\n".join(text.splitlines()[:4]))
    code, _, err = extract(source)
    assert code == 1
    assert "--output must have one file for each of the 1 pieces of the source; these have" in err
    assert all(str(tmp_path / f"out/part-0000{number}.parquet") in err for number in (1, 2))


def test_rows_may_be_added_after_whole_pieces(extract, source, computed, tmp_path):
    rewrite(source, lambda text: "\n".join(text.splitlines()[:7]))
    extract(source)
    rewrite(source, lambda text: f"{text}\nphotos/6.png,a,8")
    computed.clear()
    assert extract(source)[0] == 0
    assert computed == [1]
    assert len(pd.read_parquet(tmp_path / "out")) == 7


@pytest.mark.parametrize("content", ["strange", "damaged"])
def test_a_file_that_the_command_did_not_write_is_an_error(extract, source, tmp_path, content):
    (tmp_path / "out").mkdir()
    path = tmp_path / "out/part-00000.parquet"
    if content == "strange":
        pd.DataFrame({"a": [1]}).to_parquet(path)
    else:
        path.write_bytes(b"PAR1")
    code, _, err = extract(source)
    assert code == 1
    assert f"{str(path)!r} must be a file that `sktransfer extract` wrote; it is not, or" in err


def test_statistics_of_the_data_need_a_single_file(extract, source):
    code, _, err = extract(source, "--batch-norm", "data")
    assert code == 1
    assert "--batch-norm must be stored if output is a folder" in err


def test_rows_per_file_needs_a_folder(extract, source):
    code, _, err = extract(source, output="out.npz")
    assert code == 1
    assert "--rows-per-file must be left out unless output is a folder; got 3." in err


def test_rows_per_file_must_be_positive(extract, source):
    code, _, err = extract(source, n_rows=0)
    assert code == 1
    assert "--rows-per-file must be an integer of at least 1" in err


def test_a_folder_below_a_file_is_an_error(extract, source):
    code, _, err = extract(source, output="list.csv/out")
    assert code == 1
    assert "--output must be the path of a folder, which need not exist" in err


def test_an_unreadable_photo_is_an_error_after_the_files_before_it(extract, source, tmp_path):
    (tmp_path / "photos/5.png").write_text("no image")
    code, _, err = extract(source)
    assert code == 1
    assert str(tmp_path / "photos/5.png") in err
    assert parts(tmp_path / "out") == ["part-00000.parquet"]
    assert extract(source, "--decode-error", "ignore")[0] == 0
    features = pd.read_parquet(tmp_path / "out").iloc[:, 3:]
    assert features.isna().all(axis=1).tolist() == [False] * 5 + [True, False]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["photo,photo", "a,b"], "must have columns with different names; several are called 'pho"),
        (["phoot,label", "a,b"], "must have a column 'photo'; it has 'phoot', 'label'. Did you"),
        (["photo,path", "a,b"], "must not have a column 'path' in addition to 'photo'. Rename it."),
        (
            ["photo,label", "photos/0.png,a", ",b"],
            "hold a path in each row; 1 are missing, in\n  row 2",
        ),
        (["photo,last_3", "photos/0.png,a"], "a column must not be called 'last_3', which out ne"),
        (["photo,label"], "FOLDER_OR_TABLE must hold at least one row; "),
        ([], "must be a whole table whose columns have values of one type each: Empty CSV file"),
        (["photo,a", "photos/0.png,1", "b"], "Expected 2 columns, got 1"),
    ],
    ids=["twice", "missing", "path", "empty", "taken", "no row", "no file", "short row"],
)
def test_a_wrong_table_is_an_error(extract, source, lines, expected):
    source.write_text("".join(f"{line}\n" for line in lines))
    code, _, err = extract(source)
    assert code == 1
    assert expected in err


def test_the_row_of_a_missing_path_is_counted_from_the_beginning(extract, source):
    rewrite(source, lambda text: text.replace("photos/4.png", ""))
    _, _, err = extract(source)
    assert "must hold a path in each row; 1 are missing, in\n  row 5" in err


def test_a_value_of_another_type_after_the_first_block_is_an_error(extract, source, monkeypatch):
    monkeypatch.setattr(pieces, "BLOCK_BYTES", 64)
    rewrite(source, lambda text: text.replace("7.5", "old"))
    code, _, err = extract(source)
    assert code == 1
    assert (
        "must be a whole table whose columns have values of one type each: In CSV column #2" in err
    )


def test_a_column_of_numbers_holds_no_paths(extract, photos, tmp_path):
    photos.assign(photo=range(7)).to_parquet(tmp_path / "list.parquet")
    code, _, err = extract(tmp_path / "list.parquet")
    assert code == 1
    assert "must have a path in each row of its column of paths; they are of the type int64." in err


def test_another_kind_of_file_is_an_error(extract, tmp_path):
    (tmp_path / "list.txt").write_text("a")
    code, _, err = extract(tmp_path / "list.txt")
    assert code == 1
    assert "must be a folder, or a .csv or .parquet file; got" in err


def test_names_need_not_be_utf8(extract, source, photos, tmp_path):
    strange = os.fsencode(tmp_path) + b"/photos/caf\xe9.png"
    os.rename(tmp_path / "photos/0.png", strange)  # noqa: PTH104 - a name in bytes
    source.write_bytes(source.read_bytes().replace(b"photos/0.png", b"photos/caf\xe9.png"))
    assert extract(source)[0] == 0
    names = [Path(path).name for path in pd.read_parquet(tmp_path / "out")["path"]]
    assert names[:2] == [r"caf\udce9.png", "1.png"]
