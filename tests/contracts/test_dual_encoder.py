"""A teacher that learns from pairs without labels, reads a constant, and gives the student its classifier."""

from __future__ import annotations

import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

from mmkd.data import Dataset, Field, Split
from mmkd.evaluation.run import run
from mmkd.methods.base import Method
from mmkd.tasks.classification import Classification
from tests.contracts.passage import TRAINING

# --- the fake ---------------------------------------------------------------------------------------------------------


class Signs(Dataset):
    """A picture of a sign and, beside it, what it says; each class has a name to compare with."""

    def __init__(self):
        draws = torch.Generator().manual_seed(0)
        label = torch.arange(90) % 3
        names = torch.randn(3, 4, generator=draws)
        picture = F.one_hot(label, 3).float() + 0.5 * torch.randn(90, 3, generator=draws)
        fields = {
            "picture": Field((3,), layout="vector"),
            "text": Field((4,), layout="vector"),
            "label": Field((), "int64", target=True, classes=("stop", "go", "turn")),
            "names": Field((3, 4), layout="vector", kind="constant"),
        }
        samples = {"picture": picture, "text": names[label], "label": label}
        super().__init__(fields, samples, constants={"names": names})

    def split(self, seed):
        rows = torch.randperm(90, generator=torch.Generator().manual_seed(seed))
        return Split(rows[:6], rows[6:50], rows[50:65], {"test": rows[65:]})


class Dual(nn.Module):
    """Pictures and texts in one space; logits are products with the embedded names."""

    def __init__(self, inputs, outputs, /):
        super().__init__()
        self.see, self.read = nn.Linear(3, 5), nn.Linear(4, 5)
        self.rows = set()

    def forward(self, picture, names, text=None):
        seen = F.normalize(self.see(picture), dim=1)
        said = {"logits": seen @ self.class_vectors(names).T}
        return said if text is None else {**said, "seen": seen, "read": F.normalize(self.read(text), dim=1)}

    def class_vectors(self, names):
        return 5 * F.normalize(self.read(names), dim=1)


class See(nn.Module):
    """The student: a picture against vectors of its own."""

    def __init__(self, inputs, outputs, /):
        super().__init__()
        self.see, self.vectors = nn.Linear(3, 5), nn.Parameter(torch.randn(3, 5))

    def forward(self, picture):
        return self.see(picture) @ self.vectors.T


class Pairs(Classification):
    """Labels where there are any; and pictures are brought to their texts, labelled or not."""

    unlabelled_rows = 0

    def loss(self, signals, batch):
        if "read" not in signals.outputs:
            return super().loss(signals, batch)
        Pairs.unlabelled_rows += int((~batch.labelled).sum())
        assert (batch["label"][~batch.labelled] == -1).all()
        apart = (signals.outputs["seen"] - signals.outputs["read"]).square().sum(1).mean()
        return super().loss(signals, batch) + apart

    def predict(self, call, batch):
        return {"logits": call(batch).outputs["logits"]}


class TakeOver(Method):
    """The classifier of the source becomes the student's, which then learns none."""

    def adopt(self, student, sources):
        source = sources["teacher"]
        with torch.no_grad():
            student.vectors.copy_(source.model.module.class_vectors(source.knowledge.dataset.constants["names"]))
        student.vectors.requires_grad_(False)

    def forward(self, student, sources, batch):
        return {}


def recipe(plugin):
    return {
        "name": "fake/dual",
        "seeds": 1,
        "dataset": {"use": plugin("datasets", "fake/signs", f"{__name__}:Signs")},
        "task": {"use": plugin("tasks", "fake/pairs", f"{__name__}:Pairs")},
        "student": {"use": plugin("models", "fake/see", f"{__name__}:See")},
        "sources": {
            "teacher": {
                "model": {"use": plugin("models", "fake/dual", f"{__name__}:Dual"), "inputs": {"text": "text"}},
                "training": {**TRAINING, "steps": 60, "labelled_batch": 6},
                "data": "train",
            }
        },
        "methods": [{"use": plugin("methods", "fake/take-over", f"{__name__}:TakeOver")}, {"use": "soft-targets"}],
        "training": TRAINING,
        "evaluation": {"controls": ["shuffled-teacher", "restricted-teacher"]},
    }


# --- its passage ------------------------------------------------------------------------------------------------------


def test_a_teacher_of_pairs_gives_its_classifier(plugin, tmp_path):
    Pairs.unlabelled_rows = 0
    done = run(recipe(plugin), directory=tmp_path / "run")
    arms = done.result["arms"]
    assert {name: arm["status"] for name, arm in arms.items()} == dict.fromkeys(arms, "done")
    assert Pairs.unlabelled_rows > 0
    seeds = tmp_path / "run" / "seeds" / "0"
    names = Signs().constants["names"]
    teachers = {"distilled": seeds / "teacher", "shuffled-teacher": seeds / "teacher"}
    teachers["restricted-teacher"] = seeds / "restricted-teacher" / "teacher"
    for arm, folder in teachers.items():
        weights = load_file(folder / "model0" / "weights.safetensors")
        vectors = 5 * F.normalize(F.linear(names, weights["read.weight"], weights["read.bias"]), dim=1)
        torch.testing.assert_close(load_file(seeds / arm / "weights.safetensors")["vectors"], vectors)
    assert arms["teacher"]["inputs"]["labelled"] == arms["alone"]["inputs"]["labelled"] == 6


def test_the_restricted_teacher_keeps_constants_and_leaves_out_what_it_may(plugin, tmp_path):
    table = recipe(plugin)
    table["sources"]["teacher"]["model"]["inputs"] = {}  # the picture and the names alone
    arm = run(table, directory=tmp_path / "run").result["arms"]["restricted-teacher"]
    assert arm["status"] == "not applicable"
    assert "reads no field that the student lacks" in arm["reason"]
