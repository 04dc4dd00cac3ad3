"""Fixtures of the command line: a function that runs it, folders of images, a model."""

import numpy as np
import pytest
from helpers.command_line import brief_demo
from PIL import Image

from sktransfer import FineTuneClassifier, PretrainedFeatureExtractor, cli, load_image_folder
from sktransfer.persistence import save


@pytest.fixture
def run(capsys):
    """A function that runs a command line: its exit status, stdout and stderr."""

    def ran(*arguments):
        with pytest.raises(SystemExit) as done:
            cli.main([*map(str, arguments)])
        captured = capsys.readouterr()
        code = done.value.code
        if isinstance(code, str):  # the interpreter prints it, and exits with 1
            return 1, captured.out, f"{captured.err}{code}\n"
        return code or 0, captured.out, captured.err

    return ran


@pytest.fixture
def folder(tmp_path, rng):
    """Two classes of three images."""
    for name in ("ants", "bees"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for index in range(3):
            pixels = rng.integers(0, 256, (40, 48, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{index}.png")
    return tmp_path / "photos"


@pytest.fixture
def brief():
    """Let the demo train for one epoch, on which the form of its results does not depend."""
    with brief_demo():
        yield


@pytest.fixture
def extractor():
    return PretrainedFeatureExtractor(weights=None)


@pytest.fixture
def coloured(tmp_path, rng):
    """Two classes of six images, each class with its own colour."""
    for name, colour in (("ants", (220, 60, 40)), ("bees", (40, 60, 220))):
        (tmp_path / "coloured" / name).mkdir(parents=True)
        for index in range(6):
            pixels = np.clip(rng.integers(-30, 31, (40, 48, 3)) + colour, 0, 255)
            image = Image.fromarray(pixels.astype(np.uint8))
            image.save(tmp_path / "coloured" / name / f"{index}.png")
    return tmp_path / "coloured"


@pytest.fixture
def classifier(coloured):
    """A model that separates red images from blue ones."""
    photos = load_image_folder(coloured)
    model = FineTuneClassifier(
        weights=None, unfreeze=0, head_init="logistic", image_size=32, max_epochs=0, random_state=0
    )
    return model.fit(photos.data, photos.labels)


@pytest.fixture
def model(classifier, tmp_path):
    """The file of a saved model."""
    save(classifier, tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"
