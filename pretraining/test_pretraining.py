"""The pretraining script, end to end on a hundred generated images."""

import csv
import json
import sys
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn
from torchvision.models import mobilenet_v2

sys.path.insert(0, str(Path(__file__).parent))  # the script's modules lie beside it

import numerics
from learning import Recipe, run_epoch
from numerics import Pace, PreciseConv, quicken
from pretrain import Places, parse, train
from probe import SETS
from source import WHOLE, Views, render

from sktransfer.backbones.providers._mini import mini_stages

TINY = Recipe(epochs=2, views=2, teacher_size=32, batch=25, sizes=((0.0, 32),))


def paint(folder: Path, hue: int, count: int, size: int, suffix: str, rng) -> None:
    """Write noisy images of one channel."""
    folder.mkdir(parents=True)
    for index in range(count):
        pixels = rng.integers(0, 120, (size, size, 3), dtype=np.uint8)
        pixels[..., hue] += 120
        Image.fromarray(pixels).save(folder / f"{index}{suffix}")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for hue in range(2):
        paint(root / "train" / f"class{hue}", hue, 50, 64, ".webp", rng)
        paint(root / "val" / f"class{hue}", hue, 5, 64, ".webp", rng)
    return root


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("teacher") / "teacher.safetensors"
    save_file(mobilenet_v2(num_classes=7).state_dict(), path)
    return path


@pytest.fixture
def places(tmp_path, data, teacher):
    return Places(data, tmp_path / "run", tmp_path / "mini.safetensors", teacher, probe_every=1)


@pytest.fixture
def photos(tmp_path):
    rng = np.random.default_rng(1)
    for name in SETS:
        inside = "train" if name == "dogs_vs_cats" else "."
        for hue in range(2):
            paint(tmp_path / "photos" / name / inside / str(hue), hue, 6, 40, ".jpg", rng)
    return tmp_path / "photos"


def test_a_run_leaves_weights_that_load_into_the_stages(places):
    weights = load_file(train(TINY, places))
    network = nn.Sequential(OrderedDict(mini_stages()))
    network.load_state_dict({name: value.float() for name, value in weights.items()})
    assert {value.dtype for value in weights.values()} == {torch.float16}
    assert network.eval()(torch.zeros(1, 3, 64, 64)).isfinite().all()


def test_the_weight_file_is_at_most_6_megabytes(places):
    assert train(replace(TINY, epochs=1), places).stat().st_size <= 6_000_000


def test_the_metadata_says_how_to_use_the_weights(places, photos):
    path = train(replace(TINY, epochs=1), replace(places, photos=photos, image_size=32))
    with safe_open(path, "pt") as weights:
        metadata = weights.metadata()
    assert metadata["image_size"] == "32"
    assert metadata["licence"].startswith("BSD-3-Clause")
    assert metadata["tag"] == "seed 0"
    assert json.loads(metadata["recipe"])["seed"] == 0
    assert 0 <= float(metadata["val_top1"]) <= 1
    assert {f"probe_{name}" for name in SETS} <= metadata.keys()


def test_log_and_curves_cover_every_epoch(places):
    train(TINY, places)
    with (places.run / "log.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert all(float(row["loss_embedding"]) > 0 for row in rows)
    with Image.open(places.run / "curves.png") as picture:
        assert min(picture.size) > 100


def test_a_killed_run_ends_as_if_it_had_not_been_killed(places, tmp_path, monkeypatch):
    whole = load_file(train(TINY, places))
    killed = replace(places, run=tmp_path / "killed", out=tmp_path / "killed.safetensors")

    with monkeypatch.context() as patch:
        patch.setattr("pretrain.run_epoch", killed_in_epoch(1))
        with pytest.raises(KeyboardInterrupt):
            train(TINY, killed)
    resumed = load_file(train(TINY, killed))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def killed_in_epoch(number: int):
    """A stand-in for ``run_epoch`` that is interrupted as the given epoch begins."""

    def run(state, *rest):
        if state.epoch == number:
            raise KeyboardInterrupt
        return run_epoch(state, *rest)

    return run


def test_without_a_teacher_the_labels_alone_teach(places):
    weights = train(replace(TINY, epochs=1), replace(places, teacher=None))
    assert weights.exists()


def test_a_warm_start_begins_from_the_weight_file(places, tmp_path):
    first = load_file(train(TINY, places))
    again = replace(places, run=tmp_path / "again", out=tmp_path / "again.safetensors")
    still = replace(TINY, epochs=1, peak=0.0, average=0.0)
    second = load_file(train(still, replace(again, start=places.out)))
    kernels = [name for name in first if first[name].ndim == 4]
    assert all(torch.equal(first[name], second[name]) for name in kernels)


def test_a_run_of_given_hours_stops_in_time(places):
    train(replace(TINY, hours=1e-6), places)
    with (places.run / "log.csv").open(newline="") as lines:
        assert len(list(csv.DictReader(lines))) <= 2


def test_the_whole_view_is_the_image():
    images = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8)
    pixels = render(images, WHOLE.expand(2, -1), 64).permute(0, 2, 3, 1)
    torch.testing.assert_close((pixels + 1) * 127.5, images.float(), atol=0.01, rtol=0)


@pytest.mark.parametrize("size", [24, 96])
def test_a_view_is_resampled_as_pillow_does_it(size):
    row, column = np.indices((64, 64)) / 64
    waves = np.stack([np.sin(9 * row), np.cos(7 * column), np.sin(8 * row * column)], axis=-1)
    image = (127.5 + 90 * waves).astype(np.uint8)
    pixels = render(torch.from_numpy(image)[None], WHOLE[None], size)[0].permute(1, 2, 0)
    wanted = Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC)
    torch.testing.assert_close(
        (pixels + 1) * 127.5, torch.from_numpy(np.array(wanted)).float(), atol=1.1, rtol=0
    )


def test_a_flipped_view_is_the_mirror_image():
    views = WHOLE.repeat(2, 1)
    views[1, 4] = -1
    images = torch.randint(0, 256, (1, 64, 64, 3), dtype=torch.uint8).expand(2, -1, -1, -1)
    straight, mirrored = render(images, views, 48)
    torch.testing.assert_close(mirrored, straight.flip(2), atol=1e-5, rtol=0)


def test_strided_depthwise_convolutions_compute_in_float32():
    network = nn.Sequential(nn.Conv2d(4, 4, 3, 2, 1, groups=4), nn.Conv2d(4, 4, 3, 1, 1, groups=4))
    quicken(network, torch.device("cpu"))
    assert [type(layer) for layer in network] == [PreciseConv, nn.Conv2d]
    maps = torch.randn(1, 4, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        assert network[0](maps).dtype == torch.float32
        assert network[0](maps.bfloat16()).dtype == torch.bfloat16


# Of two cores, what others use in ten seconds, and the threads that are left to a run.
@pytest.mark.parametrize(("others", "threads"), [(0.0, 2), (10.0, 1), (20.0, 1)])
def test_a_run_leaves_the_cores_that_others_use(others, threads, monkeypatch):
    readings = iter([(0.0, 0.0, 0.0), (10.0, 12.0 + others, 12.0)])
    monkeypatch.setattr(numerics, "machine_seconds", lambda: next(readings))
    chosen = []
    monkeypatch.setattr(torch, "get_num_threads", lambda: 0)
    monkeypatch.setattr(torch, "set_num_threads", chosen.append)
    Pace(2).adjust()
    assert chosen == [threads]


def test_views_are_the_same_for_the_same_seed():
    assert torch.equal(Views.draw(5, 3).table, Views.draw(5, 3).table)
    assert not torch.equal(Views.draw(5, 3).table, Views.draw(5, 4).table)


def test_views_lie_inside_the_image():
    width, height, x, y = Views.draw(1000, 0).table[:, :4].unbind(1)
    assert (x.abs() + width <= 1 + 1e-6).all()
    assert (y.abs() + height <= 1 + 1e-6).all()


def test_the_command_line_becomes_a_recipe():
    recipe, places = parse(["in", "out.safetensors", "--hours", "2", "--sizes", "0:32,0.5:64"])
    assert recipe.hours == 2
    assert (recipe.size(0.4), recipe.size(0.6)) == (32, 64)
    assert places.data == Path("in")
