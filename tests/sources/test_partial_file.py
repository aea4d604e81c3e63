"""Stored predictions that do not cover all rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mmkd.data import Dataset, Field, View
from mmkd.errors import DataError
from mmkd.sources.base import Knowledge
from mmkd.sources.file import File


def test_rows_without_predictions(tmp_path):
    dataset = Dataset({"x": Field((1,))}, {"x": torch.zeros(4, 1)})
    view = View(dataset, torch.arange(4), torch.arange(4))
    np.savez(tmp_path / "said.npz", id=[3, 1], logits=np.array([[1.0, 2], [3, 4]]))
    place = str(tmp_path / "said.npz")
    batch = view.batch(torch.tensor([0, 1, 3]))
    with pytest.raises(DataError, match="no stored signals for row 0"):
        File(Knowledge(dataset), path=place).signals(batch, None, None)
    source = File(Knowledge(dataset), path=place, partial=True)
    said = source.signals(batch, None, None).outputs
    assert said["logits"].tolist() == [[0, 0], [3, 4], [1, 2]]
    assert said["known"].tolist() == [0, 1, 1]
    assert set(source.measure(batch).outputs) == {"logits", "known"}
