"""The command line calls the public functions, prints their results, and sets the exit status."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from helpers.command_line import rows

import sktransfer
from sktransfer import ActivationCache, PretrainedFeatureExtractor, cli, load_image_folder
from sktransfer.cli.demo import run_demo


@pytest.fixture
def features(extractor, folder):
    return extractor.fit_transform(load_image_folder(folder).data)


# All commands


def test_help_names_every_command(run):
    code, out, _ = run("--help")
    assert code == 0
    names = ("demo", "backbones", "fetch", "extract", "check", "rank", "shift", "cache")
    for name in (*names, "fit", "predict", "evaluate", "find-lr"):
        assert name in out


def test_the_version_is_that_of_the_package(run):
    assert run("--version") == (0, f"sktransfer {sktransfer.__version__}\n", "")


@pytest.mark.parametrize(
    "arguments",
    [
        *(["chekc"], ["check"], ["check", "a", "--min"], ["fetch", "a/b"], ["extract", "a"]),
        *(["fit", "a"], ["predict", "a"], ["evaluate", "a"], ["find-lr"]),
    ],
    ids=" ".join,
)
def test_a_wrong_command_line_exits_with_2(run, arguments):
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert "Error" in err


def test_wrong_input_exits_with_1_and_one_line(run, tmp_path):
    code, out, err = run("check", tmp_path / "nowhere")
    assert (code, out) == (1, "")
    assert err.startswith("sktransfer: FOLDERS must be a folder or a .csv file; got ")
    assert err.count("\n") == 1


def test_a_bug_is_not_hidden(monkeypatch):
    def broken(*_):
        raise ZeroDivisionError

    monkeypatch.setattr("sktransfer.backbones.list_backbones", broken)
    with pytest.raises(ZeroDivisionError):
        cli.main(["backbones"])


def test_the_error_names_the_extra_if_typer_is_missing():
    code = "import sys; sys.modules['typer'] = None; import sktransfer.cli"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "sktransfer: typer is not installed; it comes with the extra 'cli': "
        "pip install 'sktransfer[cli]'.\n"
    )


# backbones


def test_backbones_are_listed(run):
    _, out, _ = run("backbones")
    assert out.splitlines() == sktransfer.list_backbones()


def test_backbones_of_a_provider_that_match_are_listed(run):
    expected = sktransfer.list_backbones("torchvision", "*/resnet1*")
    _, out, _ = run("backbones", "*/resnet1*", "--provider", "torchvision")
    assert out.splitlines() == expected != []


def test_a_pattern_that_matches_nothing_is_an_error(run):
    code, out, err = run("backbones", "resnet")
    assert (code, out) == (1, "")
    assert (
        err == "sktransfer: PATTERN must match an address; got 'resnet', which matches none. "
        "Try '*resnet*'.\n"
    )


# fetch


def test_fetch_prints_where_the_file_is(run, monkeypatch, tmp_path):
    monkeypatch.setattr("sktransfer.backbones.fetch", lambda address, to, tag: to / address / tag)
    assert run("fetch", "a/b", "--to", tmp_path) == (0, f"{tmp_path}/a/b/default\n", "")
    asked = ("fetch", "a/b", "--to", tmp_path, "--weights", "V1")
    assert run(*asked) == (0, f"{tmp_path}/a/b/V1\n", "")


# extract


def test_features_can_have_the_statistics_of_the_data(run, folder, extractor, tmp_path):
    output = tmp_path / "features.npz"
    run("extract", folder, "-o", output, "--weights", "none", "--batch-norm", "both")
    expected = extractor.set_params(batch_norm="both").fit_transform(load_image_folder(folder).data)
    with np.load(output) as found:
        assert np.array_equal(found["features"], expected)


def test_features_go_to_a_parquet_file(run, folder, features, extractor, tmp_path):
    output = tmp_path / "features.parquet"
    code, out, _ = run("extract", folder, "-o", output, "--weights", "none")
    assert (code, out) == (0, f"{output}: 6 rows of {features.shape[1]} features\n")
    table = pd.read_parquet(output)
    assert (
        table.iloc[:, :2].to_numpy().tolist() == load_image_folder(folder).frame.to_numpy().tolist()
    )
    np.testing.assert_array_equal(table.iloc[:, 2:], features)
    assert list(table)[2:] == extractor.get_feature_names_out().tolist()


def test_features_go_to_an_npz_file_that_runs_no_code(run, folder, features, tmp_path):
    run("extract", folder, "-o", tmp_path / "features.npz", "--weights", "none")
    with np.load(tmp_path / "features.npz", allow_pickle=False) as file:
        assert sorted(file) == ["feature_names", "features", "label", "path"]
        np.testing.assert_array_equal(file["features"], features)
        assert file["label"].tolist() == ["ants"] * 3 + ["bees"] * 3
        assert file["path"].tolist() == load_image_folder(folder).data.tolist()


def test_columns_of_a_csv_file_are_kept(run, folder, features, tmp_path):
    lines = ["photo,label,weight", "photos/bees/0.png,b,2", "photos/ants/1.png,a,3"]
    (tmp_path / "list.csv").write_text("\n".join(lines))
    output = tmp_path / "features.parquet"
    run("extract", tmp_path / "list.csv", "--path-column=photo", "-o", output, "--weights", "none")
    table = pd.read_parquet(output)
    assert list(table)[:3] == ["path", "label", "weight"]
    assert table[["label", "weight"]].to_numpy().tolist() == [["b", 2], ["a", 3]]
    np.testing.assert_allclose(table.iloc[:, 3:], features[[3, 1]], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "parameters"),
    [
        (["--layer", "layer1"], {"layer": "layer1"}),
        (["--layer", "layer1", "--layer", "last"], {"layer": ["layer1", "last"]}),
        (["--pooling", "max"], {"pooling": "max"}),
        (["--image-size", "48"], {"image_size": 48}),
        (["--precision", "bfloat16"], {"precision": "bfloat16"}),
        (["--batch-size", "3", "--device", "cpu", "--n-jobs", "2"], {"batch_size": 3}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_options_of_extract_are_those_of_the_extractor(
    run, folder, tmp_path, arguments, parameters
):
    run("extract", folder, "-o", tmp_path / "f.npz", "--weights", "none", *arguments)
    extractor = PretrainedFeatureExtractor(weights=None, **parameters)
    expected = extractor.fit_transform(load_image_folder(folder).data)
    with np.load(tmp_path / "f.npz") as file:
        np.testing.assert_array_equal(file["features"], expected)
        assert file["feature_names"].tolist() == extractor.get_feature_names_out().tolist()


@pytest.mark.parametrize(
    ("column", "output"), [("features", "f.npz"), ("file", "f.npz"), ("last_0", "f.parquet")]
)
def test_a_column_whose_name_the_output_needs_is_refused_before_features_are_computed(
    run, folder, tmp_path, column, output
):
    (tmp_path / "list.csv").write_text(f"path,{column}\nphotos/bees/0.png,b")
    code, _, error = run("extract", tmp_path / "list.csv", "-o", tmp_path / output)
    assert (code, error) == (
        1,
        f"sktransfer: a column must not be called {column!r}, which {output} needs; rename it.\n",
    )


def test_two_columns_of_paths_are_refused(run, folder, tmp_path):
    (tmp_path / "list.csv").write_text("photo,path\na,b")
    arguments = ("--path-column=photo", "-o", tmp_path / "f.npz")
    code, _, error = run("extract", tmp_path / "list.csv", *arguments)
    assert code == 1
    assert "must not have a column 'path' in addition to 'photo'. Rename it." in error


def test_a_batch_size_of_0_is_refused(run, folder, tmp_path):
    code, _, error = run("extract", folder, "-o", tmp_path / "f.npz", "--batch-size", 0)
    assert code == 1
    assert "--batch-size must be an integer of at least 1" in error


def test_the_cache_of_extract_can_be_shown_and_pruned(run, folder, tmp_path):
    cache = tmp_path / "cache"
    run("extract", folder, "-o", tmp_path / "f.npz", "--cache", cache)
    ActivationCache(cache).blobs("heads").put(b"key", b"content")
    tables = ActivationCache(cache).info()
    code, out, error = run("cache", "info", cache)
    head, *table = rows(out)
    n_bytes = sum(stored["bytes"] for stored in tables.values())
    assert error == f"{len(tables)} kinds of content, {n_bytes} bytes\n"
    names = ["network", "weights", "layer", "image size", "max length", "rows", "bytes", "shards"]
    assert (code, head) == (0, [*names, "content"])
    counts = [tuple(map(str, (v["rows"], v["bytes"], v["shards"]))) for v in tables.values()]
    assert sorted(tuple(row[5:8]) for row in table) == sorted(counts)
    features, heads = sorted(table, reverse=True)
    assert features[:5] == ["builtin/mini", "seed 0", "layer4, avg", "80", ""]
    assert next(name for name in tables if name.startswith(features[-1])) != features[-1]
    assert (heads[:5], heads[-1]) == ([""] * 5, "heads")
    code, out, _ = run("cache", "prune", cache, "--max-bytes", 0)
    assert code == 0
    assert int(out.removesuffix(" bytes freed\n")) > 0
    assert ActivationCache(cache).info() == {}


@pytest.mark.parametrize("command", ["info", "prune"])
def test_a_missing_cache_is_an_error(run, tmp_path, command):
    code, _, err = run("cache", command, tmp_path / "nowhere")
    assert code == 1
    assert "nowhere" in err


@pytest.mark.parametrize("output", ["features.csv", "nowhere/features.npz"])
def test_the_output_is_checked_before_features_are_computed(run, tmp_path, output):
    code, _, err = run("extract", tmp_path / "no-photos", "-o", tmp_path / output)
    assert code == 1
    assert "output must be a .parquet or .npz file in an existing folder, or a folder; got " in err


@pytest.mark.parametrize(("decode_error", "code"), [("raise", 1), ("ignore", 0)])
def test_an_unreadable_image_is_an_error_or_a_row_of_nan(run, folder, tmp_path, decode_error, code):
    (folder / "ants/1.png").write_text("no image")
    output = tmp_path / "f.npz"
    done, _, err = run("extract", folder, "-o", output, "--decode-error", decode_error)
    assert done == code
    if code:
        assert str(folder / "ants/1.png") in err
        assert not output.exists()
    else:
        with np.load(output) as file:
            assert np.isnan(file["features"]).all(axis=1).tolist() == [0, 1, 0, 0, 0, 0]


# check


def test_problems_are_listed_and_counted(run, folder):
    (folder / "ants/1.png").write_text("no image")
    (folder / "bees/2.png").write_bytes((folder / "ants/0.png").read_bytes())
    code, out, err = run("check", folder)
    assert (code, err) == (1, "6 images: 1 unreadable, 1 duplicate across classes\n")
    assert rows(out) == [
        ["path", "problem", "detail", "same as"],
        [
            str(folder / "ants/1.png"),
            "unreadable",
            f"{str(folder / 'ants/1.png')!r} is not an image that Pillow can read.",
            "",
        ],
        [
            str(folder / "bees/2.png"),
            "duplicate across classes",
            "equal bytes",
            str(folder / "ants/0.png"),
        ],
    ]


def test_a_folder_without_problems_gives_an_empty_output(run, folder):
    assert run("check", folder) == (0, "", "6 images: no problem\n")


def test_several_folders_are_checked_together(run, folder, tmp_path):
    (tmp_path / "more").mkdir()
    (tmp_path / "more/copy.png").write_bytes((folder / "ants/0.png").read_bytes())
    _, out, err = run("check", folder, tmp_path / "more", "--min-side", 41)
    assert err == "7 images: 7 tiny, 1 duplicate\n"
    assert rows(out)[-1][1:] == ["duplicate", "equal bytes", str(folder / "ants/0.png")]


def test_a_terminal_gets_a_drawn_table(run, folder, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    _, out, _ = run("check", folder, "--min-side", 50)
    assert "\t" not in out
    assert "─" in out
    assert out.count("tiny") == 6


# demo


@pytest.mark.parametrize("out", ["picture.png", "some/where"])
def test_the_demo_prints_a_table_and_draws_a_picture(brief, run, folder, tmp_path, out):
    code, printed, _ = run("demo", "--images", folder, "--out", tmp_path / out, "--weights", "none")
    picture = tmp_path / out / "sktransfer-demo.png" if "/" in out else tmp_path / out
    title, head, *results, last = rows(printed)
    assert code == 0
    assert title[0].endswith("photos: 4 training images, 2 test images")
    assert head == ["method", "accuracy", "seconds"]
    assert [result[0] for result in results] == [
        "raw pixels",
        "network from scratch",
        "features of random weights",
        "new head on a frozen network",
        "fine-tuned network",
    ]
    assert last == [f"picture: {picture}"]
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_the_demo_of_textures_has_a_second_table_of_texts(
    brief, run, folder, tmp_path, monkeypatch
):
    monkeypatch.setattr("sktransfer.cli.demo.run_demo", lambda _, **how: run_demo(folder, **how))
    code, printed, _ = run("demo", "--out", tmp_path, "--weights", "none")
    assert code == 0
    empty, title, head, words, features, last = rows(printed)[7:]
    assert title == [
        "Five fields of Python's library, 10 labels per class: 50 training texts, 200 test texts"
    ]
    assert (empty, head) == ([""], ["method", "accuracy", "seconds"])
    assert (words[0], features[0]) == ("words", "pretrained features")
    assert last[0].startswith("picture: ")


def test_the_demo_runs_without_matplotlib(brief, run, folder, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    code, out, err = run("demo", "--images", folder, "--out", tmp_path, "--weights", "none")
    assert code == 0
    assert "raw pixels" in out
    assert err.startswith("no picture: matplotlib is not installed; it comes with the extra 'plot'")


def test_the_command_runs_as_a_module():
    command = [sys.executable, "-m", "sktransfer", "--version"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"sktransfer {sktransfer.__version__}\n")
