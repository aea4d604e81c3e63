"""Slices of a few patients for the report."""

import numpy as np
import torch

from mmkd.data import Dataset, Field
from mmkd.data.views import View
from mmkd_medical.tasks.segmentation import Segmentation


def test_worst_median_and_best_patient_are_shown():
    truth = torch.zeros(8, 6, 6, dtype=torch.long)
    truth[:, 1:4, 1:4] = 1
    truth[1::2, 1:5, 1:5] = 1  # the second slice of each patient shows more
    fields = {
        "t1": Field((1, 6, 6), layout="map"),
        "label": Field((6, 6), "int64", target=True, classes=("none", "tumour")),
    }
    groups = torch.arange(4).repeat_interleave(2)
    data = Dataset(fields, {"t1": torch.rand(8, 1, 6, 6), "label": truth}, groups=groups, unit="patient")
    task = Segmentation(data.fields, window=(6, 6))
    found = truth.clone()
    for patient in range(4):
        found[2 * patient : 2 * patient + 2, 1, :patient] = 0  # the later, the worse
    index = np.arange(8)
    kept = {"index": index, "classes": (2 * truth + found).to(torch.uint8).numpy()}
    (picture,) = task.pictures({"alone": kept}, lambda rows: View(data, ids := torch.as_tensor(rows), ids).batch(ids))
    shares = [float(part.removesuffix(" %").rpartition(" ")[2]) for part in picture.alt.rstrip(".").split("; ")]
    assert len(shares) == 3
    assert shares == sorted(shares)
    assert shares[-1] == 100
    assert picture.content[:4] == b"\x89PNG"
