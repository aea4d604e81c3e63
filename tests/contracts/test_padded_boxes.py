"""Samples of varying size, read one by one and padded: each scene holds one to four boxes that a sensor blurs."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mmkd.data import Field, LazyDataset, Split
from mmkd.distributed import share_of
from mmkd.errors import DataError
from mmkd.evaluation.scores import eval_batches
from mmkd.methods.base import Method
from mmkd.sources.stored import cached, tabulate, varies
from mmkd.tasks import Task
from mmkd.training.loader import batches, example
from tests.contracts.passage import TRAINING, bring_through, experiment_of

# --- the fake ---------------------------------------------------------------------------------------------------------


class Scenes(LazyDataset):
    """The camera sees boxes less sharply than the lidar does. `seen` says which boxes of a padded scene are real."""

    rows_at_once = 8

    def __init__(self):
        fields = {
            "camera": Field((None, 4)),
            "lidar": Field((None, 4)),
            "seen": Field((None,), "bool"),
            "boxes": Field((None, 4), target=True),
        }
        super().__init__(fields, {}, groups=torch.arange(90) // 3, unit="drive")
        self.reads: list[int] = []

    def __len__(self):
        return 90

    def __getitem__(self, row):
        self.reads.append(row)
        draws = torch.Generator().manual_seed(row)
        boxes = torch.rand(1 + row % 4, 4, generator=draws)
        noise = torch.randn(2, *boxes.shape, generator=draws)
        skewed = boxes @ torch.tensor([[1.0, 0, 0, 0], [0, 1, 0, 0], [1, 0, 1, 0], [0, 1, 0, 1]])
        return {"camera": skewed + 0.2 * noise[0], "lidar": skewed + 0.05 * noise[1], "boxes": boxes}

    def augment(self, sample, generator):
        return {**sample, "camera": sample["camera"] + 0.05 * torch.randn(sample["camera"].shape, generator=generator)}

    def collate(self, samples):
        padded = {name: nn.utils.rnn.pad_sequence([s[name] for s in samples], True) for name in samples[0]}
        counts = torch.tensor([len(sample["boxes"]) for sample in samples])
        return {**padded, "seen": torch.arange(counts.max()) < counts[:, None]}

    def split(self, seed):
        drives = torch.randperm(30, generator=torch.Generator().manual_seed(seed))
        a, b, c, d = ((3 * part[:, None] + torch.arange(3)).flatten() for part in drives.split([8, 6, 6, 10]))
        return Split(a, b, c, {"test": d})


class Still(Scenes):
    augment = LazyDataset.augment


class Refine(nn.Module):
    """Boxes from measured boxes, and how crowded the scene is; nothing it says of a scene depends on the padding."""

    def __init__(self, inputs, outputs, /, *, hidden: int = 16):
        super().__init__()
        assert outputs == {"boxes": (None, 4), "crowd": (1,)}
        self.lift, self.box, self.crowd = nn.Linear(4, hidden), nn.Linear(hidden, 4), nn.Linear(hidden, 1)

    def forward(self, measured, seen):
        hidden = self.lift(measured).relu() * seen[:, :, None]
        return {"boxes": self.box(hidden), "crowd": self.crowd(hidden.sum(1))}


class Detection(Task):
    """Boxes by least absolute difference; a scene's score is its worst box's."""

    primary, higher_is_better = "error", False

    def __init__(self, fields, /, *, target: str = "boxes", mask: str = "seen"):
        super().__init__(fields, target=target)
        self.mask = mask
        self.outputs = {"boxes": (None, 4), "crowd": (1,)}

    def loss(self, signals, batch):
        counted = batch[self.mask] & batch.labelled[:, None]
        apart = (signals.outputs["boxes"] - batch[self.target]).abs().sum(2)
        return share_of(apart.masked_fill(~counted, 0).sum(), counted.sum())

    def record(self, prediction, batch):
        apart = (prediction["boxes"] - batch[self.target]).abs().sum(2).masked_fill(~batch[self.mask], 0)
        return {"worst": apart.amax(1), "boxes": batch[self.mask].sum(1)}

    def metrics(self, records, groups=None):
        return {"error": float(records["worst"].mean()), "boxes": float(records["boxes"].sum())}

    def unit_scores(self, records):
        return records["worst"].astype(np.float64)


class Imitate(Method):
    """Squared difference to the teacher's boxes, where there are boxes."""

    def forward(self, student, sources, batch):
        apart = F.mse_loss(student.outputs["boxes"], sources["teacher"].outputs["boxes"], reduction="none").sum(2)
        return {"boxes": apart[batch["seen"]].mean()}


def recipe(plugin, *, scenes="Scenes", **training):
    refine = plugin("models", "fake/refine", f"{__name__}:Refine")
    return {
        "name": "fake/boxes",
        "seeds": 2,
        "dataset": {"use": plugin("datasets", f"fake/{scenes.lower()}", f"{__name__}:{scenes}")},
        "task": {"use": plugin("tasks", "fake/detection", f"{__name__}:Detection")},
        "student": {"use": refine, "inputs": {"measured": "camera"}},
        "sources": {"teacher": {"model": {"use": refine, "inputs": {"measured": "lidar"}, "hidden": 32}}},
        "methods": [{"use": plugin("methods", "fake/imitate", f"{__name__}:Imitate")}],
        "training": {**TRAINING, **training},
        "evaluation": {"controls": ["hard-teacher", "permuted-teacher", "self-training", "restricted-teacher"]},
    }


# --- its passage ------------------------------------------------------------------------------------------------------


def test_padded_boxes_pass_through(plugin, tmp_path):
    passage = bring_through(recipe(plugin), tmp_path)
    arms = passage.run.result["arms"]
    assert passage.bundle.reads == ("camera", "seen")
    assert arms["distilled"]["metrics"]["boxes"]["per_seed"] == [
        sum(1 + row % 4 for row in passage.records("alone", seed)["index"]) for seed in (0, 1)
    ]
    assert "no class logits" in arms["hard-teacher"]["reason"]
    assert "differs in size" in arms["permuted-teacher"]["reason"]
    assert all(arms[name]["status"] == "done" for name in ("self-training", "restricted-teacher"))
    comparison = passage.run.result["comparisons"][0]
    assert (comparison["unit"], comparison["higher_is_better"]) == ("drive", False)

    # One scene at a time, unpadded, by the exported student too.
    student, exported, records = passage.student(1), passage.bundle.load(), passage.records("distilled", 1)
    for place, row in enumerate(records["index"]):
        scene = passage.experiment.dataset[int(row)]
        inputs = {"measured": scene["camera"][None], "seen": torch.ones(1, len(scene["boxes"]), dtype=torch.bool)}
        boxes = student.module(**inputs)["boxes"].detach()[0]
        assert np.isclose((boxes - scene["boxes"]).abs().sum(1).max(), records["worst"][place], atol=1e-5)
    assert exported(camera=scene["camera"][None], seen=inputs["seen"])["boxes"].shape == (1, len(boxes), 4)


def test_a_sample_is_augmented_by_seed_epoch_and_row(plugin):
    experiment = experiment_of(recipe(plugin))
    view, data = experiment.training_view(0), experiment.dataset

    def drawn(seed, rows, epoch=0, workers=0):
        found = {}
        order = rows.split(5).__getitem__
        for batch in batches(view, order, lambda step: epoch, 0, len(rows) // 5, seed, workers):
            assert batch["camera"].shape[1] == batch["seen"].sum(1).max()
            assert torch.equal(batch["boxes"].isnan().all((1, 2)), ~torch.isin(batch.index, view.labelled))
            for row, camera, seen in zip(batch.index, batch["camera"], batch["seen"], strict=True):
                found[int(row)] = camera[seen].tolist()
        return json.dumps(found, sort_keys=True)

    forth, back = view.rows[:20], view.rows[:20].flip(0)
    assert drawn(0, forth) == drawn(0, back) == drawn(0, forth, workers=1)
    assert len({drawn(0, forth), drawn(0, forth, epoch=1), drawn(1, forth)}) == 3
    batch = next(batches(view, lambda step: forth[:5], lambda step: 7, 0, 1, 3))
    noise = (batch["camera"] - data.read(forth[:5])["camera"])[:, 0]
    assert len(noise.unique(dim=0)) == 5
    other = batch.others(forth[5:6])
    alone = next(batches(view, lambda step: forth[5:6], lambda step: 7, 0, 1, 3))
    assert torch.equal(other["camera"], alone["camera"])
    assert not torch.equal(other["camera"], data.read(forth[5:6])["camera"])
    assert torch.equal(example(view, 0)["lidar"], data.read(forth[:2])["lidar"])


def test_evaluation_holds_nothing_that_it_has_read(plugin):
    experiment = experiment_of(recipe(plugin))
    valid, data = experiment.view(0, "valid"), experiment.dataset
    data.reads.clear()
    read = eval_batches(valid, False)
    assert data.reads == []
    assert [len(batch.index) for batch in read] == [8, 8, 2]
    assert sorted(data.reads) == sorted(valid.rows)
    assert sum(len(batch.index) for batch in read) == 18


def test_signals_of_varying_size_are_not_stored_by_row(plugin, tmp_path):
    experiment = experiment_of(recipe(plugin, scenes="Still"))
    view = experiment.training_view(0)
    teacher = experiment.model(experiment.recipe.sources["teacher"].model, 0, "teacher")
    source = experiment.source("teacher", experiment.recipe.sources["teacher"], [teacher], {})
    assert varies(source, view, set())
    assert cached(source, view, set(), tmp_path, {}) is source
    large = view.only(view.rows[view.rows % 4 == 3])
    assert cached(source, large, set(), tmp_path, {}) is not source
    with pytest.raises(DataError, match="rows differ in the size of the source's outputs/boxes"):
        tabulate(source, view.only(view.rows[(view.rows % 4).argsort()]), set())
