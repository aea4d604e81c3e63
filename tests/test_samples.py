"""Which samples a report shows of a classification, and what it says of them."""

import numpy as np
import pytest
import torch

from mmkd.data import Dataset, Field
from mmkd.tasks.samples import decided, sample_picture, spread

CLASSES = ("a", "b")


def test_every_number_of_arms_that_are_right_has_its_turn():
    truth = np.zeros(12, np.int64)
    one = np.array([0] * 10 + [1, 1])
    two = np.array([0] * 9 + [1, 0, 1])
    chosen = spread({"one": one, "two": two}, truth, 4)
    assert [int(one[p] == 0) + int(two[p] == 0) for p in chosen] == [0, 1, 1, 2]
    assert spread({"one": one}, truth, 40) == [10, 11, *range(10)]


def test_a_tie_decides_nothing():
    assert decided(np.array([[0.0, 1.0], [2.0, 2.0]])).tolist() == [1, -1]


@pytest.mark.parametrize("channels", [("x0", "x1"), ()])
def test_the_picture_names_what_is_right(channels):
    """None where the data set draws nothing."""
    label = torch.tensor([0, 1, 1, 0])
    fields = {
        "x": Field((2,), layout="vector", channels=channels),
        "label": Field((), "int64", target=True, classes=CLASSES),
    }
    dataset = Dataset(fields, {"x": torch.rand(4, 2), "label": label})
    kept = {"index": np.array([3, 1]), "label": np.array([0, 1])}
    records = {
        "alone": {**kept, "logits": np.array([[0.0, 1.0], [0.0, 1.0]])},
        "distilled": {**kept, "logits": np.array([[1.0, 0.0], [0.5, 0.5]])},
    }
    found = sample_picture(dataset, records, "logits", "label", CLASSES)
    if not channels:
        assert found == []
        return
    (picture,) = found
    assert picture.alt == "2 samples, columns of x that stand out: a (right: distilled); b (right: alone)."
    assert picture.content[:4] == b"\x89PNG"
