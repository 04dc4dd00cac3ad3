"""An image preset decodes, resizes, crops and normalises one item."""

import pickle
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image, features
from torchvision import transforms

from sktransfer import ImagePreset
from sktransfer.data import Preset, example_batch, input_info
from sktransfer.data.decoding import decoded

some = settings(max_examples=40, deadline=None, derandomize=True)

TORCHVISION = {
    "nearest": transforms.InterpolationMode.NEAREST,
    "bilinear": transforms.InterpolationMode.BILINEAR,
    "bicubic": transforms.InterpolationMode.BICUBIC,
    "lanczos": transforms.InterpolationMode.LANCZOS,
}


def encoded(image, filetype, **options):
    file = BytesIO()
    image.save(file, filetype, **options)
    return file.getvalue()


def reference(preset, image):
    """Apply the transforms of torchvision to a PIL image."""
    steps = [
        transforms.Resize(preset.short_side, TORCHVISION[preset.interpolation]),
        transforms.CenterCrop(preset.size),
        transforms.ToTensor(),
        transforms.Normalize(preset.mean, preset.std),
    ]
    return transforms.Compose(steps)(image.convert("RGB"))


def floats(row):
    """A row of the preset in [0, 1], whatever its depth."""
    return row / 255 if row.dtype == torch.uint8 else row


@pytest.fixture
def photo():
    """Something like a photo, 640 x 480: soft shapes, edges and grain."""
    rng = np.random.default_rng(0)
    soft = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    edges = rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)
    layers = [
        Image.fromarray(soft).resize((640, 480), Image.Resampling.BICUBIC),
        Image.fromarray(edges).resize((640, 480), Image.Resampling.NEAREST),
    ]
    grain = rng.normal(0, 6, (480, 640, 1))
    pixels = 0.7 * np.asarray(layers[0]) + 0.3 * np.asarray(layers[1]) + grain
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


# As torchvision


@some
@given(
    height=st.integers(1, 120),
    width=st.integers(1, 120),
    size=st.integers(1, 48),
    crop=st.sampled_from([0.5, 0.875, 0.965, 1.0]),
    interpolation=st.sampled_from(list(TORCHVISION)),
    grey=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_every_image_gets_the_bits_that_torchvision_gives_it(
    height, width, size, crop, interpolation, grey, seed
):
    shape = (height, width) if grey else (height, width, 3)
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    assume(max(height, width) <= 32 * min(height, width))  # longer strips are cut first
    preset = ImagePreset(size=size, crop=crop, interpolation=interpolation, draft=False)
    batch = preset.collate([preset(pixels)], 1)
    assert torch.equal(batch[0], reference(preset, Image.fromarray(pixels)))


@pytest.mark.parametrize("filetype", ["JPEG", "PNG", "WEBP", "BMP", "TIFF"])
def test_a_file_gets_the_bits_that_torchvision_gives_it(photo, filetype, tmp_path):
    path = tmp_path / "photo"
    photo.resize((70, 50)).save(path, filetype)
    preset = ImagePreset(size=32, draft=False)
    expected = reference(preset, Image.open(path))
    for item in (path, str(path), path.read_bytes(), Image.open(path)):
        assert torch.equal(preset.collate([preset(item)], 1)[0], expected)


@pytest.mark.parametrize("shape", [(4, 4000), (4000, 4), (1, 100_000), (100_000, 1)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_a_long_strip_is_cut_to_its_middle(shape, dtype):
    long, short = max(shape), min(shape)
    lit = np.abs(np.arange(long) - long // 2) < 20 * short
    strip = (lit if shape[1] == long else lit[:, None]) * np.ones(shape, dtype)
    assert (ImagePreset(size=8)(strip) == 1).all()


def test_only_the_ends_of_a_strip_are_cut(rng):
    strip = rng.integers(0, 256, (10, 400, 3), dtype=np.uint8)
    preset = ImagePreset(size=8)
    assert torch.equal(preset(strip), preset(strip[:, 40:-40]))
    assert torch.equal(preset(strip.swapaxes(0, 1)), preset(strip.swapaxes(0, 1)[40:-40]))


# Whole


@some
@given(
    height=st.integers(1, 120),
    width=st.integers(1, 120),
    size=st.integers(1, 48),
    crop=st.sampled_from([0.5, 0.875, 0.965, 1.0]),
    grey=st.booleans(),
    dtype=st.sampled_from(["uint8", "float32"]),
)
def test_a_row_is_the_centre_of_the_whole_image(height, width, size, crop, grey, dtype):
    shape = (height, width) if grey else (height, width, 3)
    pixels = np.random.default_rng(0).integers(0, 2, shape).astype(dtype)
    preset = ImagePreset(size=size, crop=crop)
    whole = preset.whole(pixels)
    assert min(whole.shape[:2]) == preset.short_side
    assert torch.equal(preset.crop_centre(whole), preset(pixels))


def test_the_whole_image_is_upright_and_of_the_shape_that_the_photo_has(photo):
    preset = ImagePreset(size=56)  # of 64
    assert preset.whole(photo).shape == (64, 85, 3)
    assert preset.whole(oriented(photo, 6)).shape == (85, 64, 3)


def test_the_whole_of_a_strip_is_its_middle(rng):
    strip = rng.integers(0, 256, (10, 4000), dtype=np.uint8)
    whole = ImagePreset(size=8, crop=0.8).whole(strip)
    assert torch.equal(whole[:, :, 0], torch.from_numpy(strip[:, 1840:2160]))


def test_a_row_keeps_no_more_memory_than_it_needs(photo):
    for item in (photo, np.asarray(photo, np.float32) / 255):
        row = ImagePreset(size=16, crop=0.5)(item)
        assert row.untyped_storage().nbytes() == row.nbytes


# Draft


@pytest.mark.parametrize("size", [24, 64])
def test_a_draft_differs_by_little(photo, size):
    data = encoded(photo, "JPEG", quality=90)
    drafted, whole = ImagePreset(size=size)(data), ImagePreset(size=size, draft=False)(data)
    difference = (drafted.float() - whole.float()).abs()
    assert 0 < difference.mean() < 1  # of 255
    assert difference.max() < 24


@some
@given(width=st.integers(1, 400), height=st.integers(1, 400), least=st.integers(1, 60))
def test_a_draft_keeps_both_sides_as_long_as_asked(width, height, least):
    data = encoded(Image.new("RGB", (width, height)), "JPEG")
    with decoded(data, draft=least) as picture:
        drafted = picture.size
    assert drafted == (width, height) or min(drafted) >= least
    assert abs(drafted[0] / drafted[1] * height / width - 1) < 1 / min(drafted) + 1e-9


def test_a_small_jpeg_is_decoded_whole(photo):
    data = encoded(photo.resize((300, 200)), "JPEG")
    preset = ImagePreset(size=112)  # 128 before the crop, and 200 < 2 * 128
    assert torch.equal(preset(data), replace(preset, draft=False)(data))


def test_an_image_that_the_user_opened_is_not_changed(photo):
    image = Image.open(BytesIO(encoded(photo, "JPEG")))
    before = image.size, image.mode
    ImagePreset(size=16)(image)
    assert (image.size, image.mode) == before


# Orientation


def oriented(image, orientation, filetype="JPEG"):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return encoded(image, filetype, exif=exif)


grey = Image.merge("LA", (Image.new("L", (16, 16), 100), Image.new("L", (16, 16), 51)))


# Batches


@pytest.fixture
def preset():
    return ImagePreset(size=8, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))


def test_a_batch_is_channels_last_in_memory(preset, rng):
    rows = [preset(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8)) for _ in range(3)]
    batch = preset.collate(rows, 5)
    assert batch.shape == (5, 3, 8, 8)
    assert batch.dtype == torch.float32
    assert batch.is_contiguous(memory_format=torch.channels_last)


def test_missing_rows_of_a_batch_are_zero(preset, rng):
    batch = preset.collate([preset(rng.random((9, 9)))], 4)
    assert batch[0].abs().sum() > 0
    assert not batch[1:].any()


def test_a_batch_without_rows_is_zero(preset):
    assert not preset.collate([], 2).any()


def test_a_batch_may_mix_rows_of_eight_bits_and_of_floats(preset, rng):
    rows = [preset(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8)), preset(rng.random((9, 9)))]
    batch = preset.collate(rows, 2)
    for position, row in enumerate(rows):
        normalised = (floats(row) - torch.tensor(preset.mean)) / torch.tensor(preset.std)
        assert torch.equal(batch[position], normalised.permute(2, 0, 1))


def test_a_row_has_the_same_bits_whatever_its_neighbours(preset, rng):
    rows = [preset(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8)) for _ in range(4)]
    batch = preset.collate(rows, 4)
    for position, row in enumerate(rows):
        assert torch.equal(preset.collate([row], 4)[0], batch[position])


def test_collate_does_not_change_the_rows(preset, rng):
    rows = [preset(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8)), preset(rng.random((9, 9)))]
    before = [row.clone() for row in rows]
    preset.collate(rows, 2)
    assert all(map(torch.equal, rows, before))


# The preset itself

OTHER = {
    "size": 200,
    "resize": 250,
    "crop": 0.9,
    "mean": (0.5, 0.5, 0.5),
    "std": (0.5, 0.5, 0.5),
    "interpolation": "bicubic",
    "draft": False,
}


@pytest.mark.parametrize("field", OTHER)
def test_every_field_that_changes_bits_is_in_the_fingerprint(field):
    preset = ImagePreset()
    assert replace(preset, **{field: OTHER[field]}).fingerprint() != preset.fingerprint()


def test_an_image_preset_keeps_the_protocol():
    assert isinstance(ImagePreset(), Preset)


def test_an_image_preset_records_its_size_mean_and_std():
    expected = {"input_size": 32, "mean": (0.5,) * 3, "std": (0.25,) * 3}
    assert input_info(ImagePreset(size=32, mean=[0.5] * 3, std=[0.25] * 3)) == expected


def test_an_example_batch_of_images_is_the_same_noise_each_time():
    batch = example_batch(ImagePreset(size=32), 2)
    assert batch.shape == (2, 3, 32, 32)
    assert batch.std() > 0.5
    assert torch.equal(batch, example_batch(ImagePreset(size=32), 2))


def test_equal_presets_have_equal_fingerprints():
    spelt = ImagePreset(resize=256, mean=[0.485, 0.456, 0.406], image_shape=[8, 8])
    assert spelt.fingerprint() == ImagePreset().fingerprint()


@pytest.mark.parametrize("library", ["libjpeg_turbo", "jpg_2000", "webp", "avif"])
def test_the_versions_of_the_decoders_are_in_the_fingerprint(library):
    fingerprint = ImagePreset().fingerprint()
    assert f"pillow {Image.__version__}" in fingerprint
    assert f"{library} {features.version(library)}" in fingerprint


def test_a_preset_is_hashable_and_survives_pickling():
    preset = ImagePreset(mean=[0, 0, 0], image_shape=[8, 8, 3])
    assert pickle.loads(pickle.dumps(preset)) == preset
    assert hash(preset) == hash(ImagePreset(mean=(0.0, 0.0, 0.0), image_shape=(8, 8, 3)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 0}, "size must be an integer of at least 1; got 0"),
        ({"size": 8.5}, r"size must be an integer of at least 1; got 8\.5"),
        ({"resize": 100}, "resize must be at least size, 224; got 100"),
        ({"crop": 0}, r"crop must be in \(0, 1\], or None; got 0"),
        ({"crop": 1.1}, r"crop must be in \(0, 1\], or None; got 1\.1"),
        ({"mean": (1, 2)}, r"mean must be three numbers; got \(1, 2\)"),
        ({"mean": (1, 2, float("nan"))}, "mean must be three numbers"),
        ({"std": (1, 0, 1)}, r"std must be three positive numbers; got \(1, 0, 1\)"),
        ({"interpolation": "bilinea"}, "interpolation must be one of .* Did you mean 'bilinear'"),
        ({"image_shape": (8,)}, r"image_shape must be \(h, w\), .* got \(8,\)"),
        ({"image_shape": (8, 0)}, r"image_shape must be .* got \(8, 0\)"),
        ({"image_shape": (8, 8, 5)}, r"image_shape must be .* got \(8, 8, 5\)"),
        ({"image_shape": 8}, r"image_shape must be .* got 8"),
    ],
)
def test_a_wrong_field_is_an_error_that_names_the_right_values(arguments, message):
    with pytest.raises(ValueError, match=message):
        ImagePreset(**arguments)


def test_a_preset_at_another_size_scales_its_short_side():
    assert ImagePreset(resize=232).at(112) == ImagePreset(size=112, resize=116)
    assert ImagePreset().at(112).short_side == 128


# Metadata of a weights file


def test_metadata_override_the_preset():
    metadata = {
        "input_size": "3,160,160",
        "crop_pct": "0.8",
        "mean": "0.5,0.4,0.3",
        "std": "[0.1, 0.2, 0.3]",
        "interpolation": "bicubic",
        "source": "a paper",
    }
    preset = ImagePreset(resize=256, draft=False).with_metadata(metadata)
    assert preset == ImagePreset(
        size=160,
        crop=0.8,
        mean=(0.5, 0.4, 0.3),
        std=(0.1, 0.2, 0.3),
        interpolation="bicubic",
        draft=False,
    )
    assert preset.short_side == 200


def test_metadata_may_name_the_short_side():
    assert ImagePreset().with_metadata({"crop": "0.5", "resize": "300"}).short_side == 300


def test_metadata_without_known_keys_change_nothing():
    assert ImagePreset().with_metadata({"source": "a paper"}) == ImagePreset()


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"mean": "grey"}, "metadata 'mean' must be .* got 'grey'"),
        ({"input_size": "large"}, "metadata 'input_size' must be .* got 'large'"),
        ({"std": "1,1"}, "std must be three positive numbers"),
        ({"input_size": "16"}, "image_size must be at least 32; got 16"),
    ],
)
def test_unreadable_metadata_are_an_error_that_names_the_key(metadata, message):
    with pytest.raises(ValueError, match=message):
        ImagePreset().with_metadata(metadata)


def test_the_metadata_of_a_real_weights_file_make_its_preset(shared):
    from safetensors import safe_open

    with safe_open(shared / "weights" / "mobilenet_v2_imagenet.safetensors", "pt") as file:
        preset = ImagePreset().with_metadata(file.metadata())
    assert preset == ImagePreset(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
