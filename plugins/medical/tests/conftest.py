"""Small patients for every test."""

import numpy as np
import pytest
import torch

from mmkd.data import Dataset, Field, View
from mmkd_medical.datasets.phantom import write


@pytest.fixture(scope="session")
def written(tmp_path_factory):
    """Five generated patients as a BraTS-style folder, which must not be changed."""
    folder = tmp_path_factory.mktemp("brats")
    write(folder, 5)
    return folder


@pytest.fixture
def folder(tmp_path):
    """Two patients that a test may damage."""
    write(tmp_path / "patients", 2)
    return tmp_path / "patients"


@pytest.fixture
def packed(tmp_path):
    """A function that writes packed slices of two patients, with some keys changed."""

    def make(**changed):
        random = np.random.default_rng(0)
        arrays = {}
        for patient in ("a", "b"):
            x = random.integers(1, 255, (3, 4, 8, 8)).astype(np.uint8)
            x[..., 0, :] = 0
            arrays |= {f"{patient}_x": x, f"{patient}_y": random.integers(0, 4, (3, 8, 8)).astype(np.uint8)}
            arrays[f"{patient}_z"] = np.array([2, 4, 6], np.int16)
        kept = {key: value for key, value in (arrays | changed).items() if value is not None}
        np.savez_compressed(tmp_path / "slices.npz", **kept)
        return tmp_path / "slices.npz"

    return make


@pytest.fixture
def batch():
    """A function that makes a batch of slices with some rows labelled."""

    def make(label, labelled=None, classes=("background", "core", "rim"), **images):
        rows = torch.arange(len(label))
        samples = images or {"t1ce": torch.zeros(len(label), 1, 8, 8)}
        fields = {name: Field((1, None, None), layout="map") for name in samples}
        fields["label"] = Field((None, None), "int64", target=True, classes=classes)
        dataset = Dataset(fields, {**samples, "label": label})
        return View(dataset, rows, rows if labelled is None else torch.tensor(labelled, dtype=torch.long)).batch(rows)

    return make
