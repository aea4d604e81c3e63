"""A teacher that reads the graph, a student that reads its own row."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from mmkd.data import Dataset, Field, Split
from tests.contracts.passage import TRAINING, bring_through, experiment_of

# --- the fake ---------------------------------------------------------------------------------------------------------


class Neighbours(Dataset):
    """Nodes whose class is the sign of what their neighbours say; every node has three."""

    def __init__(self, *, hide: bool = False):
        draws = torch.Generator().manual_seed(0)
        x, source = torch.randn(90, 5, generator=draws), torch.randint(0, 90, (270,), generator=draws)
        edges = torch.stack([source, torch.arange(90).repeat(3)])
        around = torch.zeros(90).index_add(0, edges[1], x[edges[0], 0]) + 2 * x[:, 1]
        fields = {
            "x": Field((5,), layout="nodes"),
            "edge_index": Field((2, 270), "int64", "edges", kind="relation"),
            "label": Field((), "int64", target=True, classes=("no", "yes")),
        }
        super().__init__(
            fields, {"x": x, "label": (around > 0).long()}, relations={"edge_index": edges}, single_graph=True
        )
        self.hide = hide

    def split(self, seed):
        a, b, c, d = torch.randperm(90, generator=torch.Generator().manual_seed(seed)).split([30, 20, 15, 25])
        if self.hide:
            return Split(a, b, c, {"test": d}, hidden=d)
        return Split(a, torch.cat([b, c, d]), c, {"test": d}, setting="transductive")


class Sum(nn.Module):
    taps = {"penultimate": "hidden"}  # noqa: RUF012

    def __init__(self, inputs, outputs, /, *, hidden: int = 12):
        super().__init__()
        self.hidden = nn.Linear(2 * inputs["x"].shape[0], hidden)
        self.head = nn.Linear(hidden, *outputs["logits"])

    def forward(self, x, edge_index):
        around = torch.zeros_like(x).index_add_(0, edge_index[1], x[edge_index[0]])
        return self.head(self.hidden(torch.cat([x, around], 1)).relu())


def recipe(plugin, *, hide=False):
    return {
        "name": "fake/neighbours",
        "seeds": 2,
        "dataset": {"use": plugin("datasets", "fake/neighbours", f"{__name__}:Neighbours"), "hide": hide},
        "task": {"use": "classification"},
        "student": {"use": "mlp", "hidden": 8, "dropout": 0.3},
        "sources": {
            "teacher": {
                "model": {"use": plugin("models", "fake/sum", f"{__name__}:Sum")},
                "training": {**TRAINING, "steps": 30, "lr": 0.05},
            }
        },
        "methods": [{"use": "soft-targets"}, {"use": "fitnets", "student_role": "penultimate", "weight": 0.1}],
        "training": {**TRAINING, "labelled_batch": 4},
        "evaluation": {"controls": ["hard-teacher", "shuffled-teacher", "permuted-teacher", "restricted-teacher"]},
    }


# --- its passage ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("arm", "hide"), [("distilled", False), ("teacher", True)])
def test_the_graph_stays_with_the_teacher(plugin, tmp_path, arm, hide):
    passage = bring_through(recipe(plugin, hide=hide), tmp_path, arm=arm)
    arms = passage.run.result["arms"]
    assert (arms["teacher"]["inputs"]["fields"], arms["distilled"]["inputs"]["fields"]) == (["x", "edge_index"], ["x"])
    assert arms["distilled"]["inputs"]["test_inputs"] == (0 if hide else 25)
    assert passage.bundle.reads == ("x",)
    assert arms["restricted-teacher"]["status"] == "not applicable"
    assert {name for name in arms if arms[name]["status"] == "done"} == {
        "teacher",
        "alone",
        "distilled",
        "hard-teacher",
        "shuffled-teacher",
        "permuted-teacher",
    }
    assert "on this graph" in passage.run.result["comparisons"][0]["notes"]

    # What was recorded, computed again from the weights and the whole graph.
    data, tested = passage.experiment.dataset, passage.experiment.split(1).test["test"]
    x, label = data.samples["x"], data.samples["label"][tested].numpy()
    records = passage.records("distilled", 1)
    assert np.array_equal(records["index"], tested)
    assert np.allclose(records["logits"], passage.student(1).module(x[tested]).detach(), atol=1e-6)
    assert passage.job("distilled", 1)["test"]["accuracy"] == (records["logits"].argmax(1) == label).mean()
    taught = passage.teacher(1).module(x, data.relations["edge_index"])[tested].detach()
    assert np.allclose(passage.records("teacher", 1)["logits"], taught, atol=1e-5)


def test_a_batch_of_the_teacher_is_that_of_its_rows(plugin):
    experiment = experiment_of(recipe(plugin))
    view, data = experiment.training_view(0), experiment.dataset
    teacher = experiment.model(experiment.recipe.sources["teacher"].model, 0, "teacher")
    index = torch.tensor([40, 3, 77])
    said = teacher(view.batch(index))
    assert torch.equal(said.logits, teacher.module(data.samples["x"], data.relations["edge_index"])[index])
    assert torch.allclose(teacher.module.head(said.features["penultimate"].relu()), said.logits, atol=1e-6)


def test_hidden_nodes_are_in_no_sum_until_they_are_tested(plugin):
    experiment = experiment_of(recipe(plugin, hide=True))
    teacher = experiment.model(experiment.recipe.sources["teacher"].model, 0, "teacher")
    split, before = experiment.split(0), {}
    for loud in (False, True):
        if loud:
            experiment.dataset.samples["x"][split.hidden] += 100
        seen, tested = experiment.training_view(0), experiment.view(0, "test")
        assert not torch.isin(seen.relations["edge_index"], split.hidden).any()
        assert not seen.whole["x"][split.hidden].any()
        assert torch.isin(tested.relations["edge_index"], split.hidden).any()
        said = {"train": teacher(seen.batch(seen.rows)).logits, "test": teacher(tested.batch(seen.rows)).logits}
        before = before or said
    assert torch.equal(said["train"], before["train"])
    assert not torch.equal(said["test"], before["test"])


def test_on_validation_hidden_test_rows_stay_hidden(plugin):
    experiment = experiment_of(recipe(plugin, hide=True))
    split = experiment.split(0)
    both = torch.cat([split.hidden, split.valid])
    experiment.split = lambda seed: replace(split, hidden=both, unlabelled=split.unlabelled[:0])
    selected, tested = experiment.view(0, "valid"), experiment.view(0, "test")
    assert torch.isin(selected.relations["edge_index"], split.valid).any()
    assert not torch.isin(selected.relations["edge_index"], split.test_rows).any()
    assert not selected.whole["x"][split.test_rows].any()
    assert torch.isin(tested.relations["edge_index"], split.test_rows).any()
    assert not torch.isin(experiment.training_view(0).relations["edge_index"], both).any()
