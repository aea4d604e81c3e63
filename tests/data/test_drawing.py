"""Samples drawn by the layouts of their fields."""

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from mmkd.data import Dataset, Field


def drawn(field, value):
    figure = Figure()
    label = Field((), "int64", target=True, classes=("a", "b"))
    dataset = Dataset({"v": field, "label": label}, {"v": value, "label": torch.zeros(len(value), dtype=torch.long)})
    return dataset.draw(1, figure), figure.axes


def test_a_series_is_drawn_over_seconds_without_its_padding():
    value = torch.ones(3, 2, 40)
    value[:, :, 30:] = 0
    said, (axes,) = drawn(Field((2, 40), layout="series", unit="g", rate=10.0), value)
    assert said == "v"
    assert axes.lines[0].get_xdata().max() == pytest.approx(2.9)
    assert axes.get_xlabel() == "s"
    assert axes.get_title(loc="left") == "v, g"


def test_named_columns_stand_where_they_lie_among_all_rows():
    value = torch.tensor([[0.0, 5.0], [3.0, 1.0], [1.0, 9.0], [2.0, 7.0]])
    said, (axes,) = drawn(Field((2,), layout="vector", channels=("first", "second")), value)
    assert said == "columns of v that stand out"
    ranks = dict(zip((t.get_text() for t in axes.get_yticklabels()), axes.lines[0].get_xdata(), strict=True))
    assert ranks == {"first = 3": 87.5, "second = 1": 12.5}  # the largest and the smallest of four


def test_a_picture_is_drawn_in_colour_or_in_grey():
    for channels in (1, 3):
        _, (axes,) = drawn(Field((channels, 4, 4), layout="map"), torch.rand(2, channels, 4, 4))
        assert np.ndim(axes.images[0].get_array()) == (3 if channels == 3 else 2)


def test_numbers_without_names_are_not_drawn():
    assert drawn(Field((5,), layout="vector"), torch.rand(2, 5)) == ("", [])
