"""Learnt on random patches, predicted by a sliding window, judged by patient."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from mmkd.data import Field, LazyDataset, Split
from mmkd.distributed import share_of
from mmkd.evaluation.explain import explain
from mmkd.evaluation.result import _drawn
from mmkd.evaluation.scores import collect
from mmkd.signals import Signals
from mmkd.tasks import Task
from tests.contracts.passage import TRAINING, bring_through

# --- the fake ---------------------------------------------------------------------------------------------------------

SIDE, PATCH = 21, 16
PATIENT = torch.arange(24).repeat_interleave(torch.arange(24) % 3 + 1)  # patients have one to three slices


class Slices(LazyDataset):
    """A bright square, which one sequence shows less clearly than the other; training sees random patches."""

    def __init__(self):
        fields = {
            "t1": Field((1, None, None), layout="map"),
            "flair": Field((1, None, None), layout="map"),
            "tumour": Field((None, None), "int64", target=True, classes=("none", "tumour")),
        }
        super().__init__(fields, {}, groups=PATIENT, unit="patient")

    def __len__(self):
        return len(PATIENT)

    def __getitem__(self, row):
        draws = torch.Generator().manual_seed(row)
        (top, left), side = torch.randint(0, 8, (2,), generator=draws), 9 + int(PATIENT[row]) % 5
        tumour = torch.zeros(SIDE, SIDE, dtype=torch.long)
        tumour[top : top + side, left : left + side] = 1
        noise = torch.randn(2, 1, SIDE, SIDE, generator=draws)
        return {"t1": tumour + noise[0], "flair": tumour + 0.3 * noise[1], "tumour": tumour}

    def augment(self, sample, generator):
        top, left = torch.randint(0, SIDE - PATCH + 1, (2,), generator=generator)
        return {name: value[..., top : top + PATCH, left : left + PATCH] for name, value in sample.items()}

    def split(self, seed):
        parts = torch.arange(24).split([6, 4, 4, 10])
        a, b, c, d = (torch.isin(PATIENT, part).nonzero()[:, 0] for part in parts)
        return Split(a, b, c, {"test": d})


class Net(nn.Module):
    """Convolutions and a head; `depth` of them halve the map."""

    taps = {"map": "body"}  # noqa: RUF012

    def __init__(self, inputs, outputs, /, *, width: int = 4, depth: int = 0):
        super().__init__()
        self.body = nn.Conv2d(1, width, 3, padding=1)
        if depth:
            self.body = nn.Sequential(nn.Conv2d(1, width, 3, 2, 1), nn.ReLU(), nn.Conv2d(width, width, 3, 2, 1))
        self.head = nn.Conv2d(width, outputs["logits"][0], 1)

    def forward(self, image):
        return F.interpolate(self.head(self.body(image).relu()), image.shape[2:], mode="bilinear")


class Patches(Task):
    """Overlapping windows are averaged; Dice of each patient's slices together, averaged over patients."""

    primary, class_output = "dice", "logits"

    def __init__(self, fields, /, *, target: str = "tumour", window: int = PATCH):
        super().__init__(fields, target=target)
        self.window = window
        self.images = [name for name, field in fields.items() if field.layout == "map" and not field.target]
        self.outputs = {"logits": (len(self.field.classes), None, None)}

    def loss(self, signals, batch):
        labels = batch[self.target].masked_fill(~batch.labelled[:, None, None], -100)
        total = F.cross_entropy(signals.logits, labels, reduction="sum", ignore_index=-100)
        return share_of(total, (labels >= 0).sum())

    def predict(self, call, batch):
        images = {name: batch[name] for name in self.images}
        rows, height, width = (next(iter(images.values())).shape[axis] for axis in (0, 2, 3))
        total, count = torch.zeros(rows, len(self.field.classes), height, width), torch.zeros(height, width)
        for top, left in itertools.product(*(range(0, size - self.window + 1, 5) for size in (height, width))):
            here = (..., slice(top, top + self.window), slice(left, left + self.window))
            total[here] += call(batch.replace(**{name: image[here] for name, image in images.items()})).logits
            count[here] += 1
        return {"logits": total / count}

    def record(self, prediction, batch):
        said, truth = prediction["logits"].argmax(1).flatten(1), batch[self.target].flatten(1)
        return {"overlap": (said * truth).sum(1), "total": (said + truth).sum(1)}

    def metrics(self, records, groups=None):
        of = np.arange(len(records["total"])) if groups is None else np.unique(groups, return_inverse=True)[1]
        overlap, total = (np.bincount(of, records[name]) for name in ("overlap", "total"))
        return {"dice": float((2 * overlap / total.clip(1)).mean()), "patients": len(total)}

    def describe(self):
        return {**super().describe(), "window": self.window, "stride": 5}


def recipe(plugin):
    net = plugin("models", "fake/net", f"{__name__}:Net")
    return {
        "name": "fake/patches",
        "seeds": 2,
        "vary": ["teacher", "student"],
        "dataset": {"use": plugin("datasets", "fake/slices", f"{__name__}:Slices")},
        "task": {"use": plugin("tasks", "fake/patches", f"{__name__}:Patches")},
        "student": {"use": net, "inputs": {"image": "t1"}},
        "sources": {
            "teacher": {
                "model": {"use": net, "inputs": {"image": "flair"}, "width": 8, "depth": 2, "layouts": {"map": "map"}}
            }
        },
        "methods": [{"use": "soft-targets"}, {"use": "fitnets", "student_role": "map", "weight": 0.1}],
        "training": {**TRAINING, "lr": 0.1, "batch_size": 8},
        "evaluation": {"controls": ["hard-teacher", "shuffled-teacher", "permuted-teacher"]},
    }


# --- its passage ------------------------------------------------------------------------------------------------------


def test_patches_pass_through(plugin, tmp_path):
    passage = bring_through(recipe(plugin), tmp_path)
    result, arms = passage.run.result, passage.run.result["arms"]
    assert passage.bundle.reads == ("t1",)
    assert passage.bundle.manifest["task"]["window"] == PATCH
    assert "dense" in arms["hard-teacher"]["reason"]
    assert "dense" in arms["shuffled-teacher"]["reason"]
    assert arms["permuted-teacher"]["status"] == "done"
    assert arms["distilled"]["metrics"]["patients"]["mean"] == 10
    # The metric that chose the weights is the one that is reported: by patient.
    for name in ("teacher", "alone", "distilled"):
        job = passage.job(name, 1)
        assert job["fitted"][0]["best_score"] == job["valid"]["dice"]

    # The exported student slides as the student did.
    exported = passage.bundle.load()

    def call(batch):
        return Signals({"logits": torch.from_numpy(exported(t1=batch["t1"].numpy())["logits"])})

    task, view = passage.experiment.task(), passage.experiment.view(0, "test")
    records = collect(task, call, list(view.batches(32)))
    assert task.metrics(records, PATIENT[records["index"]].numpy())["dice"] == arms["distilled"]["per_seed"][0]

    # The interval over patients is that of their mean, as if each patient's Dice had been recorded.
    comparison = next(c for c in result["comparisons"] if c["candidate"] == "distilled")
    assert (comparison["unit"], comparison["n_units"]) == ("patient", 10)
    dice = {}
    for name, seed in itertools.product(("distilled", "alone"), (0, 1)):
        records = passage.records(name, seed)
        of = PATIENT[records["index"]].numpy()
        parts = [{key: value[of == patient] for key, value in records.items()} for patient in range(14, 24)]
        dice[name, seed] = np.array([task.metrics(part, np.zeros(len(part["total"])))["dice"] for part in parts])
    assert min(of_patient.std() for of_patient in dice.values()) > 0.01
    apart = np.mean([dice["distilled", seed] - dice["alone", seed] for seed in (0, 1)], axis=0)
    assert np.isclose(comparison["difference"], apart.mean())
    assert np.isclose(comparison["units"]["standard_error"], apart.std(ddof=1) / np.sqrt(10), rtol=0.1)


def test_models_are_measured_on_patches(plugin):
    explained = explain(recipe(plugin))
    assert explained["student"]["taps"]["map"]["form"] == f"map [4, {PATCH}, {PATCH}] (guessed)"
    assert explained["methods"][1]["alignment"][0]["into"] == "map [8, 4, 4]"


def test_a_group_that_is_drawn_twice_counts_twice():
    groups, rows = np.array([5, 5, 9, 5, 5, 9, 9]), np.array([0, 1, 2, 0, 1, 2, 2])
    drawn = _drawn(groups, rows)
    assert [sorted(np.flatnonzero(drawn == one)) for one in np.unique(drawn)] == [[0, 1], [3, 4], [2], [5], [6]]
    assert len(np.unique(_drawn(groups[:3], rows[:3]))) == 2
