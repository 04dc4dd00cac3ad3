"""Segmentation: encoded masks, losses of pixels, and the score."""

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from sktransfer._support.geometry import Place, mirrored, scaled, shifted
from sktransfer.data import check_masks
from sktransfer.tasks import Placing, Segmentation, find_segmentation, make_targets

MASK = np.array([[3, 3, 7], [7, 7, 255]])


def task_of(weights=(1.0, 1.0)):
    return Segmentation(np.array([3, 7]), (255,), np.array(weights))


def test_the_classes_are_the_values_of_the_masks():
    task = find_segmentation(check_masks([MASK, MASK], "y"), (255,), None)
    assert task.classes.tolist() == [3, 7]
    assert task.n_outputs == 2
    assert isinstance(task, Placing)
    assert task.flips


def test_balanced_weights_are_inverse_to_the_pixels_of_a_class():
    task = find_segmentation(check_masks([MASK], "y"), (255,), "balanced")
    np.testing.assert_allclose(task.weights, [5 / 4, 5 / 6])
    assert find_segmentation(check_masks([MASK], "y"), (255,), {7: 4}).weights.tolist() == [1, 4]


def test_a_mask_follows_the_map_of_its_place():
    masks = check_masks([MASK, MASK, MASK, MASK], "y")
    places = [
        Place(np.eye(3), (3, 2)),
        Place(mirrored(3), (3, 2), True),
        Place(shifted(1, 0), (3, 2)),
        Place(scaled(2, 2), (3, 2)),
    ]
    same, flipped, moved, larger = np.asarray(task_of().place(masks, places, 3))
    assert same.tolist() == [[0, 0, 1], [1, 1, -1], [-1, -1, -1]]
    assert flipped.tolist() == [[1, 0, 0], [-1, 1, 1], [-1, -1, -1]]
    assert moved.tolist() == [[-1, 0, 0], [-1, 1, 1], [-1, -1, -1]]
    assert larger.tolist() == [[0, 0, 0], [0, 0, 0], [1, 1, 1]]


def test_some_placed_masks_are_the_rows_of_all():
    masks = check_masks([MASK, MASK[:, ::-1]], "y")
    placed = task_of().place(masks, [Place(np.eye(3), (3, 2))] * 2, 2)
    assert np.array_equal(np.asarray(placed[np.array([1])]), np.asarray(placed)[1:])
    assert len(placed[1]) == 1
    assert np.asarray(placed).dtype == np.int16


def test_the_loss_is_the_weighted_mean_over_the_pixels_of_an_item():
    outputs = torch.randn(2, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    target = torch.tensor([[[0, 1, -1]] * 3, [[-1, -1, -1]] * 3])
    losses = task_of((1.0, 3.0)).loss(outputs, target)
    expected = cross_entropy(outputs[:1], target[:1], torch.tensor([1.0, 3.0]), ignore_index=-1)
    torch.testing.assert_close(losses, torch.stack([expected, torch.zeros(())]))


def test_outputs_are_resized_to_the_row():
    outputs = torch.zeros(1, 2, 2, 2)
    outputs[0, 1, :, 1] = 9
    outputs[0, 0, :, 0] = 9
    target = torch.tensor([[[0, 0, 1, 1]] * 4])
    assert task_of().correct(outputs, target).tolist() == [1.0]
    assert task_of().decide(outputs.numpy()).tolist() == [[[3, 7], [3, 7]]]


def test_the_initial_bias_is_the_share_of_the_classes():
    masks = check_masks([np.full((10, 10), 3), np.full((10, 10), 7)], "y")
    placed = task_of().place(masks, [Place(np.eye(3), (10, 10))] * 2, 4)
    bias = task_of().initial_bias(make_targets(placed, [1, 3]))
    np.testing.assert_allclose(np.exp(bias), [101 / 402, 301 / 402])


def test_the_score_counts_the_pixels_of_all_items_together():
    true = [np.array([[3, 3, 7]]), np.array([[7, 255]])]
    found = [np.array([[3, 7, 7]]), np.array([[3, 3]])]
    np.testing.assert_allclose(task_of().score_columns(found, true), [1 / 3, 1 / 3])
    np.testing.assert_allclose(task_of().score_columns(found, true, [1, 0]), [1 / 2, 1 / 2])
    assert task_of().score(found[:1], [np.array([[3, 255, 7]])]) == 1
    only = task_of().score_columns([np.array([[3]])], [np.array([[3]])])
    assert only[0] == 1
    assert np.isnan(only[1])


def test_a_mask_of_another_size_is_named():
    masks = check_masks([MASK, MASK], "y")
    with pytest.raises(
        ValueError, match=r"1 have others:\n  y\[1\] has 3 x 2 pixels, and its item 2 x 3"
    ):
        task_of().check_sizes(masks, [(3, 2), (2, 3)], "y[{}]".format)
    with pytest.raises(
        ValueError, match=r"y\[0\] is of shape \(2, 3\), and its prediction of shape"
    ):
        task_of().score([np.zeros((3, 2), int)], [MASK])


def test_pixels_of_unknown_classes_count_as_wrong():
    true, found = [np.array([[3, 3, 7, 9, 255]])], [np.array([[3, 3, 7, 7, 7]])]
    with pytest.warns(UserWarning, match=r"does not know.*as wrong: \[9\]\. It knows \[3, 7\]"):
        np.testing.assert_allclose(task_of().score_columns(found, true), [1, 1 / 2])
    with pytest.warns(UserWarning, match="does not know"):
        assert task_of().score(found, true) == 1 / 2  # the IoU of 9 is 0
    assert task_of().score([*found, *found], [true[0] * 0 + 3, *true], [1, 0]) == 1 / 5
    many = [np.array([[3, *range(100, 120)]])]
    with pytest.warns(UserWarning, match=r"108, 109\] and 10 more\."):
        task_of().score([np.full((1, 21), 3)], many)


@pytest.mark.parametrize(
    ("values", "got"), [([8, 255], r"got \[8\]"), ([255], "all pixels are ignored")]
)
def test_masks_without_a_known_class_have_no_score(values, got):
    message = rf"y must have masks of classes that the model knows, \[3, 7\]; {got}\."
    with pytest.raises(ValueError, match=message):
        task_of().score([np.full((1, len(values)), 3)], [np.array([values])])


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        ([1, 1], "sample_weight must have a number for each of 1 items; got 2"),
        ([np.nan], "contains NaN"),
        ([-1], "Negative values"),
        ([0], "at least one non-zero number"),
    ],
)
def test_weights_of_a_score_are_checked(weight, message):
    with pytest.raises(ValueError, match=message):
        task_of().score([np.array([[3, 7]])], [np.array([[3, 7]])], weight)


def test_masks_of_one_class_besides_ignored_pixels_are_a_warning():
    with pytest.warns(UserWarning, match=r"one class, 3, besides the ignored \[255\].*\[3, 7\]"):
        task_of().score([np.array([[3, 7]])], [np.array([[3, 255]])])


def test_masks_of_one_class_are_an_error():
    masks = [MASK * 0 + 3] * 12
    with pytest.raises(ValueError, match=r"at least 2 classes; got \[3\], besides") as caught:
        find_segmentation(check_masks(masks, "y"), (255,), None)
    lines = str(caught.value).splitlines()[1:]
    assert lines == [*(f"  y[{at}]: [3]" for at in range(10)), "  ... and 2 more"]


def test_items_whose_masks_have_one_class_are_named_if_those_of_others_have_no_weight():
    masks = check_masks([MASK, MASK * 0 + 3, MASK * 0 + 3], "y")
    task = find_segmentation(masks, (), None)
    targets = make_targets(masks, [0, 1, 1])
    with pytest.raises(ValueError, match=r"got \[3\].* weight are\n  y\[1\]\n  y\[2\]$"):
        task.narrow(targets)


@pytest.mark.parametrize(
    ("ignored", "advice"),
    [
        ((255,), r"If pixels of 255 have a class, pass ignore_label=None\.$"),
        ((7, 9, 255), r"If pixels of 7 and 255 have a class, pass ignore_label=\[9\]\.$"),
    ],
)
def test_one_class_besides_ignored_pixels_names_the_parameter(ignored, advice):
    mask = np.where(MASK == 3, 255, MASK) if len(ignored) == 1 else MASK
    with pytest.raises(ValueError, match=advice):
        find_segmentation(check_masks([mask], "y"), ignored, None)


def test_negative_classes_name_the_parameter_that_ignores_them():
    masks = check_masks([MASK - 4], "y")
    message = r"of at least 0; got -1\..*ignore_label=\[255, -1\]"
    with pytest.raises(ValueError, match=message):
        find_segmentation(masks, (255,), None)


def strata(*classes, n_most=10):
    """The strata of masks of some classes."""
    masks = [np.resize(np.array(each), (2, 3)) for each in classes]
    targets = make_targets(check_masks(masks, "y"), None)
    task = Segmentation(np.arange(4), (255,), np.ones(4))
    return task.strata(targets, n_most)


def test_the_stratum_of_a_mask_is_its_rarest_class():
    found = strata([0], [0, 1], [0, 1], [0], [0, 1, 2], [0, 2])
    assert found[0] == found[3] != found[1] == found[2]
    assert found[4] == found[5] not in (found[0], found[1])


def test_each_stratum_has_two_masks():
    found = strata([0], [0, 1], [0, 1], [0], [0, 1, 2])
    assert found[4] == found[1] == found[2] != found[0] == found[3]
    assert strata([0], [0, 1]) is None


def test_there_are_no_more_strata_than_asked_for():
    classes = [[0, each] for each in (0, 0, 0, 1, 1, 2, 2, 3, 3)]
    assert len(np.unique(strata(*classes))) == 4
    assert len(np.unique(strata(*classes, n_most=2))) == 2
    assert strata(*classes, n_most=1) is None


def test_no_head_of_maps_is_exact():
    with pytest.raises(NotImplementedError, match="must start from the shares"):
        task_of().exact_head(None, np.zeros((1, 1)), make_targets(np.zeros((1, 1)), None))
