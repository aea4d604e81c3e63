"""Nodes of two types: the teacher reads dicts of fields, the student the row of one paper."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from mmkd.data import Dataset, Field, Split
from mmkd.errors import DataError, LayoutError
from mmkd.evaluation.explain import explain
from tests.contracts.passage import TRAINING, bring_through, experiment_of

# --- the fake ---------------------------------------------------------------------------------------------------------

WRITES, CITES = ("author", "writes", "paper"), ("paper", "cites", "paper")


class Library(Dataset):
    """80 papers, whose class their 30 authors know best. Rows are papers; what ties them to authors is a relation."""

    def __init__(self):
        draws = torch.Generator().manual_seed(0)
        x, author = torch.randn(80, 4, generator=draws), torch.randn(30, 3, generator=draws)
        writer = torch.arange(80) % 30
        edges = {WRITES: torch.stack([writer, torch.arange(80)]), CITES: torch.randint(0, 80, (2, 60), generator=draws)}
        fields = {
            "x": Field((4,), layout="vector"),
            "x_dict": Field(kind="relation"),
            "edge_index_dict": Field(dtype="int64", kind="relation"),
            "label": Field((), "int64", target=True, classes=("A", "B")),
        }
        super().__init__(
            fields,
            {"x": x, "label": (author[writer, 0] + x[:, 0] > 0).long()},
            relations={"x_dict": {"paper": x, "author": author}, "edge_index_dict": edges},
        )

    def cut(self, hidden):
        seen = torch.ones(80, dtype=torch.bool).index_fill(0, hidden, False)
        x, edges = self.relations["x_dict"], self.relations["edge_index_dict"]
        kept = {key: e[:, seen[e[1]] & (seen[e[0]] | (key != CITES))] for key, e in edges.items()}
        return {"x_dict": {**x, "paper": x["paper"] * seen[:, None]}, "edge_index_dict": kept}

    def split(self, seed):
        a, b, c, d = torch.randperm(80, generator=torch.Generator().manual_seed(seed)).split([30, 15, 15, 20])
        return Split(a, b, c, {"test": d}, hidden=d)


class Typed(nn.Module):
    """A sum over both types of edges; its convolution gives a dict."""

    taps = {"penultimate": "conv.paper"}  # noqa: RUF012

    class Conv(nn.Module):
        def __init__(self, hidden):
            super().__init__()
            self.own, self.written, self.cited = nn.Linear(4, hidden), nn.Linear(3, hidden), nn.Linear(4, hidden)

        def forward(self, x, edges):
            paper = self.own(x["paper"])
            for kind, message in ((WRITES, self.written(x["author"])), (CITES, self.cited(x["paper"]))):
                paper = paper.index_add(0, edges[kind][1], message[edges[kind][0]])
            return {"paper": paper, "author": x["author"]}

    def __init__(self, inputs, outputs, /, *, hidden: int = 12):
        super().__init__()
        self.conv, self.head = self.Conv(hidden), nn.Linear(hidden, *outputs["logits"])

    def forward(self, x_dict, edge_index_dict):
        return self.head(self.conv(x_dict, edge_index_dict)["paper"].relu())


def recipe(plugin):
    return {
        "name": "fake/library",
        "seeds": 2,
        "dataset": {"use": plugin("datasets", "fake/library", f"{__name__}:Library")},
        "task": {"use": "classification"},
        "student": {"use": "mlp", "hidden": 8},
        "sources": {
            "teacher": {
                "model": {"use": plugin("models", "fake/typed", f"{__name__}:Typed")},
                "training": {**TRAINING, "steps": 30, "lr": 0.03},
            }
        },
        "methods": [{"use": "soft-targets"}, {"use": "fitnets", "student_role": "penultimate"}],
        "training": TRAINING,
        "evaluation": {"controls": ["shuffled-teacher"]},
    }


# --- its passage ------------------------------------------------------------------------------------------------------


def test_typed_graphs_pass_through(plugin, tmp_path):
    passage = bring_through(recipe(plugin), tmp_path)
    arms = passage.run.result["arms"]
    assert arms["teacher"]["inputs"]["fields"] == ["x_dict", "edge_index_dict"]
    assert passage.bundle.reads == ("x",)
    assert all(arm["status"] == "done" for arm in arms.values())
    assert passage.run.result["comparisons"][0]["n_units"] == len(
        {row for seed in (0, 1) for row in passage.records("alone", seed)["index"]}
    )
    data, tested = passage.experiment.dataset, passage.experiment.split(1).test["test"]
    taught = passage.teacher(1).module(data.relations["x_dict"], data.relations["edge_index_dict"])[tested].detach()
    assert np.allclose(passage.records("teacher", 1)["logits"], taught, atol=1e-5)
    assert np.array_equal(passage.records("teacher", 1)["label"], data.samples["label"][tested])


def test_the_tap_reaches_into_the_dict_of_node_types(plugin):
    explained = explain(recipe(plugin))
    assert explained["sources"]["teacher"]["models"][0]["taps"]["penultimate"] == {
        "path": "conv.paper",
        "form": "nodes [12] (guessed)",
    }
    hint = next(method for method in explained["methods"] if method["name"] == "fitnets")
    assert hint["alignment"][0]["steps"] == ["VectorToNodes", "Nodes"]

    experiment = experiment_of(recipe(plugin))
    view, data = experiment.view(0, "test"), experiment.dataset
    teacher = experiment.model(experiment.recipe.sources["teacher"].model, 0, "teacher")
    index = torch.tensor([70, 2])
    conv = teacher.module.conv(data.relations["x_dict"], data.relations["edge_index_dict"])["paper"]
    assert torch.equal(teacher(view.batch(index)).features["penultimate"], conv[index])


def test_hidden_papers_are_cut_from_dicts_by_the_data_set_alone(plugin):
    experiment = experiment_of(recipe(plugin))
    data, split = experiment.dataset, experiment.split(0)
    teacher = experiment.model(experiment.recipe.sources["teacher"].model, 0, "teacher")
    before = teacher(experiment.training_view(0).batch(split.train)).logits
    data.relations["x_dict"]["paper"][split.hidden] = 100.0
    assert torch.equal(teacher(experiment.training_view(0).batch(split.train)).logits, before)
    with pytest.raises(DataError, match=r"'x_dict' .* cannot be cut .* Library must override `cut`"):
        Dataset.cut(data, split.hidden)


def test_a_tap_of_nodes_of_another_type_is_refused_with_a_way_out(plugin):
    table = recipe(plugin)
    table["sources"]["teacher"]["model"]["taps"] = {"writers": "conv.author"}
    with pytest.raises(LayoutError, match=r"tap 'writers' has shape \(30, 3\) .* no row for each row") as error:
        explain(table)
    assert "row by row" in error.value.way_out


def test_rows_without_a_published_label_are_labelled_for_nobody(plugin):
    experiment = experiment_of(recipe(plugin))
    split = experiment.split(0)
    free = split.unlabelled[~torch.isin(split.unlabelled, torch.cat([split.valid, split.test_rows]))]
    experiment.dataset.samples["label"][free[:5]] = -1
    labelled = experiment.training_view(0, labels="all").labelled
    assert set(labelled.tolist()) == set(split.labelled.tolist()) | set(free[5:].tolist())
