"""Inputs whose values depend on the split: every view of it shows them, and no other."""

import torch
from torch import nn

from mmkd.data import Dataset, Field, Split, View
from mmkd.evaluation.experiment import Experiment
from mmkd.recipes import check
from mmkd.sources.base import Knowledge
from mmkd.sources.live import Live
from mmkd.sources.stored import Stored, cached


class Placed(Dataset):
    """Ten rows with a place that is counted anew in each split."""

    def __init__(self) -> None:
        fields = {
            "x": Field((1,)),
            "place": Field((1,)),
            "edges": Field((2, None), "int64", "edges", kind="relation"),
            "label": Field((), "int64", target=True, classes=("a", "b")),
        }
        samples = {"x": torch.ones(10, 1), "place": torch.zeros(10, 1), "label": torch.arange(10) % 2}
        super().__init__(fields, samples, relations={"edges": torch.tensor([[0], [1]])})

    def split(self, seed: int) -> Split:
        rows, place = torch.arange(10), {"place": 100.0 * seed + torch.arange(10.0)[:, None]}
        return Split(rows[:4], rows[4:6], rows[6:8], {"test": rows[8:]}, hidden=rows[9:], inputs=place)


class Sees(nn.Module):
    """Says where a row stands."""

    def __init__(self, inputs, outputs, /) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))

    def forward(self, place):
        return place * self.weight


def experiment(plugin, **table):
    here = f"{__name__}:"
    dataset = {"use": plugin("datasets", "fake/placed", here + "Placed")}
    student = {"use": plugin("models", "fake/sees", here + "Sees")}
    return Experiment(check({"dataset": dataset, "task": {"use": "classification"}, "student": student, **table}))


def test_every_view_of_a_split_shows_them(plugin):
    made = experiment(plugin)
    for seed in (0, 3):
        for view in (made.training_view(seed), made.view(seed, "valid"), made.view(seed, "test")):
            expected = 100.0 * seed + view.rows[:, None]
            assert torch.equal(view.batch(view.rows)["place"], expected)
            assert torch.equal(view.only(view.rows[:1]).batch(view.rows[:1])["place"], expected[:1])
            assert torch.equal(view.batch(view.rows)["x"], torch.ones(len(view.rows), 1))
    assert not made.dataset.samples["place"].any()


def test_a_model_that_reads_relations_sees_them_too_but_not_of_hidden_rows(plugin):
    made = experiment(plugin)
    training, tested = made.training_view(1), made.view(1, "test")
    assert training.whole["place"].flatten().tolist() == [*range(100, 109), 0]
    assert tested.whole["place"].flatten().tolist() == [*range(100, 110)]


def test_stored_signals_are_those_of_the_split(plugin, tmp_path):
    """Equal weights and data, other inputs: what is cached for one split is not read for another."""
    made = experiment(plugin)
    made.cache = tmp_path
    said = {}
    for seed in (0, 1):
        model = made.model(made.recipe.student, 0, "student-init")
        source = Live(Knowledge(made.dataset, [model]))
        view = made.training_view(seed)
        stored = cached(source, view, set(), tmp_path, {"data": made.data_hash})
        assert isinstance(stored, Stored)
        said[seed] = stored.signals(view.batch(view.rows), None, None).logits[:, 0]
    assert torch.equal(said[1], said[0] + 100)


def test_a_view_without_them_is_as_before():
    data = Placed()
    view = View(data, torch.arange(3), torch.arange(3))
    assert view.inputs == {}
    assert not view.batch(view.rows)["place"].any()
