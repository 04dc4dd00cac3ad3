"""Exported graphs compute the predictions of the estimator without this package."""

import json
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.masks import masked_images
from helpers.text_folders import write_folder
from sklearn.exceptions import NotFittedError

from sktransfer import (
    FineTuneClassifier,
    FineTuneMultiTask,
    FineTuneRegressor,
    FineTuneSegmenter,
    PretrainedFeatureExtractor,
    SnapshotEnsemble,
    export,
    ids_of,
    load,
    load_textures,
    pixels_of,
    save,
)
from sktransfer.cli import main
from sktransfer.persistence import exporting

LABELS = np.array(["a", "b", "c"] * 4)


def run_program(path, x):
    graph = torch.export.load(path).module()
    return graph(torch.from_numpy(x)).detach().numpy()


def run_onnx(path, x):
    runtime = pytest.importorskip("onnxruntime", reason="needs the extra 'onnx'")
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})[0]


@pytest.fixture(scope="module")
def photos():
    """Twelve photos of three materials; the features of noise hardly differ from item to item."""
    found = load_textures("train", n_per_class=4)
    return [
        x for x, y in zip(found.data, found.labels, strict=True) if y in {"brick", "fur", "grass"}
    ]


@pytest.fixture
def program(tmp_path):
    return tmp_path / "model.pt2"


def test_a_classifier_is_exported_with_its_probabilities(make, images, program):
    model = make()
    export(model, program)
    pixels = pixels_of(model, images)
    assert pixels.dtype == np.uint8
    for n in (1, 12):
        found = run_program(program, pixels[:n])
        np.testing.assert_allclose(found, model.predict_proba(images[:n]), atol=1e-5)


def test_an_onnx_file_has_the_same_probabilities_and_describes_itself(photos, tmp_path):
    onnx = pytest.importorskip("onnx", reason="needs the extra 'onnx'")
    model = FineTuneClassifier(image_size=32, max_epochs=0, random_state=0).fit(photos, LABELS)
    path = tmp_path / "model.onnx"
    export(model, path)
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]
    pixels = pixels_of(model, photos)
    for n in (1, 12):
        expected = model.predict_proba(photos[:n])
        np.testing.assert_allclose(run_onnx(path, pixels[:n]), expected, atol=1e-5)
    loaded = onnx.load(path)
    for values, shape in ((loaded.graph.input, [32, 32, 3]), (loaded.graph.output, [3])):
        n, *axes = values[0].type.tensor_type.shape.dim
        assert n.dim_param  # any number of items; versions of torch name it differently
        assert [axis.dim_value for axis in axes] == shape
    metadata = {entry.key: entry.value for entry in loaded.metadata_props}
    described = json.loads(metadata["sktransfer"])
    assert described["labels"] == [["a", "b", "c"]]
    assert described["address"] == "builtin/mini"
    assert described["preset"]["input_size"] == 32
    assert described["weights"]["licence"].startswith("BSD-3-Clause")
    assert (described["input"], described["output"]) == ("pixels", "probabilities")
    assert "torch" in described["versions"]


def test_a_loaded_model_is_exported_too(make, images, path, program):
    model = make()
    save(model, path)
    export(load(path), program)
    found = run_program(program, pixels_of(model, images))
    np.testing.assert_allclose(found, model.predict_proba(images), atol=1e-5)


@pytest.mark.parametrize(
    "y",
    [
        np.eye(12, 4, dtype=int),
        np.array([["a", "x"], ["b", "y"], ["c", "x"]] * 4),
    ],
    ids=["labels", "columns"],
)
def test_several_labels_are_exported_with_all_probabilities(make, images, program, y):
    model = make(y)
    export(model, program)
    expected = model.predict_proba(images)
    expected = np.concatenate(expected, 1) if isinstance(expected, list) else expected
    found = run_program(program, pixels_of(model, images))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_regressor_is_exported_with_numbers_in_the_units_of_y(images, program):
    y = np.column_stack([np.arange(12.0), 1000 + np.arange(12.0) ** 2])
    model = FineTuneRegressor("tiny/net", max_epochs=1, random_state=0).fit(images, y)
    export(model, program)
    found = run_program(program, pixels_of(model, images))
    np.testing.assert_allclose(found, model.predict(images), rtol=1e-5)


def test_the_description_of_an_export_has_the_names_of_columns(images, program):
    y = pd.DataFrame({"age": np.arange(12.0), "price": np.arange(12.0) ** 2})
    export(FineTuneRegressor("tiny/net", max_epochs=0).fit(images, y), program)
    extra = {"sktransfer.json": ""}
    torch.export.load(program, extra_files=extra)
    assert json.loads(extra["sktransfer.json"])["columns"] == ["age", "price"]


def test_all_columns_of_several_tasks_are_exported_side_by_side(photos, program):
    light = np.array([photo.mean() for photo in photos])
    y = {"light": [*light[:-1].tolist(), None], "label": LABELS.tolist(), "tags": [["x"], []] * 6}
    model = FineTuneMultiTask(image_size=32, max_epochs=0).fit(photos, y)
    export(model, program)
    found = run_program(program, pixels_of(model, photos))
    probabilities = model.predict_proba(photos)
    assert found.shape == (12, 1 + 3 + 1)
    np.testing.assert_allclose(found[:, 0], model.predict(photos)["light"], rtol=1e-5)
    np.testing.assert_allclose(found[:, 1:4], probabilities["label"], atol=1e-5)
    np.testing.assert_allclose(found[:, 4:], probabilities["tags"], atol=1e-5)
    extra = {"sktransfer.json": ""}
    torch.export.load(program, extra_files=extra)
    described = json.loads(extra["sktransfer.json"])
    assert described["columns"] == ["light", "label", "tags"]
    assert described["labels"] == [[], ["a", "b", "c"], ["x"]]


def test_points_are_exported_in_pixels_of_the_input(program, rng):
    images = rng.integers(0, 256, (12, 32, 32, 3), dtype=np.uint8)
    points = rng.uniform(2, 30, (12, 2, 2))
    model = FineTuneRegressor(
        points=True, pooling="flatten", image_size=32, preset={"crop": None}, max_epochs=0
    ).fit(images, points)
    export(model, program)
    found = run_program(program, pixels_of(model, images))
    np.testing.assert_allclose(found.reshape(12, 2, 2), model.predict(images), atol=1e-3)


@pytest.mark.parametrize("suffix", [".pt2", ".onnx"])
def test_masks_are_exported_as_probabilities_of_pixels(tmp_path, suffix):
    images, masks = masked_images(6)
    images, masks = [np.stack([each[:32, :32] for each in part]) for part in (images, masks)]
    model = FineTuneSegmenter(image_size=32, max_epochs=1, random_state=0).fit(images, masks)
    path = tmp_path / f"model{suffix}"
    export(model, path)
    run = run_program if suffix == ".pt2" else run_onnx
    found = run(path, pixels_of(model, images))
    assert found.shape == (6, 2, 32, 32)
    expected = np.stack(list(model.predict_proba(images)))
    np.testing.assert_allclose(found.transpose(0, 2, 3, 1), expected, atol=1e-4)


@pytest.mark.parametrize("batch_norm", ["stored", "both"])
def test_an_extractor_is_exported_with_its_features(images, program, batch_norm):
    model = PretrainedFeatureExtractor(
        image_size=32, layer=["layer1", "layer2"], batch_norm=batch_norm
    ).fit(images)
    export(model, program)
    found = run_program(program, pixels_of(model, images))
    np.testing.assert_allclose(found, model.transform(images), atol=1e-4)


def test_an_export_does_not_change_the_extractor(images, program):
    model = PretrainedFeatureExtractor(image_size=32, layer="stem").fit(images)
    weights = list(model.backbone_.requires_grad_(True).parameters())
    export(model, program)
    assert all(weight.requires_grad for weight in weights)


def test_an_extractor_of_texts_takes_texts_of_any_length(program, tmp_path):
    model = PretrainedFeatureExtractor(f"transformers/{write_folder(tmp_path / 'tiny')}")
    texts = ["a film", "", "good " * 8]
    export(model.fit(texts), program)
    for some in (texts, texts[:1], texts[1:]):
        found = run_program(program, ids_of(model, some))
        np.testing.assert_allclose(found, model.transform(some), atol=1e-5)


def test_pixels_of_more_than_eight_bits_are_rounded(images):
    images = images.repeat(2, axis=1).repeat(2, axis=2)  # of the size of the network
    model = PretrainedFeatureExtractor(image_size=32).fit(images)
    deep = images.astype(np.uint16) * 257
    assert np.array_equal(pixels_of(model, deep + (deep < 65_000)), images)
    assert np.array_equal(pixels_of(model, images), images)


def test_pixels_that_interpolation_takes_out_of_range_are_clipped(images):
    model = PretrainedFeatureExtractor(image_size=32).fit(images)
    deep, plain = pixels_of(model, images.astype(np.uint16) * 257), pixels_of(model, images)
    assert np.abs(deep.astype(int) - plain).max() <= 32  # plain pixels are clipped twice


def test_items_of_the_other_kind_are_refused(images, tmp_path):
    model = PretrainedFeatureExtractor(image_size=32).fit(images)
    with pytest.raises(
        TypeError, match=r"a network for texts; its preset is a Ima.* Use pixels_of"
    ):
        ids_of(model, ["a film"])
    model = PretrainedFeatureExtractor(f"transformers/{write_folder(tmp_path / 'tiny')}")
    with pytest.raises(TypeError, match=r"a network for images; its preset is a T.* Use ids_of"):
        pixels_of(model.fit(["a film"]), images)


def test_a_graph_with_other_values_is_refused_and_nothing_is_written(make, program, monkeypatch):
    model = make()
    monkeypatch.setattr(exporting, "TOLERANCE", -1.0)
    with pytest.raises(ValueError, match=r"for 2 items, those of model\.pt2 differ by up to"):
        export(model, program)
    assert list(program.parent.iterdir()) == []


@pytest.mark.parametrize("share", [0.9, 1.1])
def test_a_graph_may_differ_by_a_share_of_the_norm_of_the_features(
    images, program, monkeypatch, share
):
    model = PretrainedFeatureExtractor(image_size=32).fit(images)
    write = exporting._write_program

    def rounded(graph, *how):
        run = write(graph, *how)
        norm = np.linalg.norm(graph.reference(graph.draw(3)), axis=1).min()
        noise = 1e-5 * share * norm / np.sqrt(graph.reference(graph.draw(1)).shape[1])
        return lambda x: run(x) + noise

    monkeypatch.setattr(exporting, "_write_program", rounded)
    if share < 1:
        export(model, program)
    else:
        with pytest.raises(ValueError, match="whose graph computes the same values"):
            export(model, program)
    assert program.exists() == (share < 1)


def test_another_suffix_is_refused(make, tmp_path):
    message = r"path must end in '\.onnx' or '\.pt2', which names the format; got '.*model\.pth'"
    with pytest.raises(ValueError, match=message):
        export(make(), tmp_path / "model.pth")


def test_a_folder_that_does_not_exist_is_refused(make, tmp_path):
    with pytest.raises(OSError, match="path must be a file in an existing folder"):
        export(make(), tmp_path / "none" / "model.pt2")


def test_other_estimators_are_refused(make, program):
    with pytest.raises(
        TypeError, match=r"model must be a fitted FineTuneClassifier or .*SnapshotEns"
    ):
        export(SnapshotEnsemble(FineTuneClassifier()), program)
    with pytest.raises(NotFittedError):
        export(FineTuneClassifier(), program)


def test_statistics_of_several_domains_are_refused(images, program):
    model = PretrainedFeatureExtractor(image_size=32, batch_norm="data")
    model.fit(images, sample_domain=["a", "b"] * 6)
    with pytest.raises(ValueError, match=r"model must have one domain to be exported; .* of 2"):
        export(model, program)


def test_a_network_that_torch_cannot_convert_is_refused(make, tmp_path, monkeypatch):
    pytest.importorskip("onnxscript", reason="needs the extra 'onnx'")

    def fail(*args):
        raise RuntimeError("no such operator\nmore lines")

    monkeypatch.setattr(exporting, "to_onnx", fail)
    message = r"a network that torch can convert to ONNX; it cannot: no such operator$"
    with pytest.raises(ValueError, match=message):
        export(make(), tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_onnx_without_its_packages_is_an_error(make, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ModuleNotFoundError, match="comes with the extra 'onnx'"):
        export(make(), tmp_path / "model.onnx")


def test_the_command_exports_a_saved_model(saved, program, capsys):
    with pytest.raises(SystemExit) as done:
        main(["export", str(saved), "-o", str(program)])
    assert not done.value.code
    assert capsys.readouterr().out == f"{program}: {program.stat().st_size:,} bytes\n"
    assert run_program(program, np.zeros((2, 16, 16, 3), np.uint8)).shape == (2, 3)
