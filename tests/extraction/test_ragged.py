"""Rows of several lengths are one sequence, whose rows are filled up with zeros."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from sktransfer.extraction.ragged import RowsByLength, parts_of


@pytest.fixture
def rows():
    """Four rows of lengths 3, 1, 3, 2 and width 2, whose values are their positions + 1."""
    one, two = np.full((1, 1, 2), 2.0), np.full((1, 2, 2), 4.0)
    three = np.stack([np.full((3, 2), 1.0), np.full((3, 2), 3.0)])
    return RowsByLength(
        [(3, np.array([0, 2]), three), (1, np.array([1]), one), (2, np.array([3]), two)]
    )


def test_rows_are_as_long_as_the_longest_one_that_is_asked_for(rows):
    assert rows[np.array([3, 1])][:, :, 0].tolist() == [[4, 4], [2, 0]]
    assert rows[np.array([1])].shape == (1, 1, 2)
    assert rows[np.array([0, 1, 0])][:, :, 1].tolist() == [[1, 1, 1], [2, 0, 0], [1, 1, 1]]


def test_rows_are_indexed_by_slices_and_masks(rows):
    assert len(rows) == 4
    assert_array_equal(rows[:2], rows[np.array([0, 1])])
    assert_array_equal(rows[rows.lengths == 3], rows[np.array([0, 2])])
    assert rows.lengths.tolist() == [3, 1, 3, 2]


def test_vectors_of_items_of_several_lengths_are_not_filled_up():
    vectors = np.arange(6.0).reshape(3, 2)
    rows = RowsByLength([(8, np.array([1]), vectors[1:2]), (16, np.array([0, 2]), vectors[::2])])
    assert_array_equal(rows[np.array([0, 1, 2])], vectors)


def test_parts_have_rows_of_one_length(rows):
    assert [(n, at.tolist(), len(part)) for n, at, part in parts_of(rows)] == [
        (3, [0, 2], 2),
        (1, [1], 1),
        (2, [3], 1),
    ]
    array = np.zeros((3, 2))
    ((length, positions, part),) = parts_of(array)
    assert length is None
    assert positions.tolist() == [0, 1, 2]
    assert part is array
