"""Targets as training sees them, where they are not the true ones."""

import torch

from mmkd.data import Dataset, Field, Split, View
from mmkd.evaluation.experiment import Experiment
from mmkd.recipes import check
from tests.registry.fakes import install


class Guessed(Dataset):
    """Ten rows whose training labels are the opposite of the true ones."""

    def __init__(self) -> None:
        label = torch.arange(10) % 2
        fields = {"x": Field((1,)), "label": Field((), "int64", target=True, classes=("a", "b"))}
        super().__init__(fields, {"x": torch.zeros(10, 1), "label": label})

    def split(self, seed: int) -> Split:
        rows = torch.arange(10)
        observed = {"label": 1 - self.samples["label"]}
        return Split(rows[:4], rows[4:6], rows[6:8], {"test": rows[8:]}, observed=observed)


def test_a_view_shows_observed_targets_and_still_hides_those_that_are_not_labelled():
    data = Guessed()
    true, observed = data.samples["label"], data.split(0).observed
    view = View(data, torch.arange(6), torch.arange(4), observed=observed)
    expected = [1 - int(true[row]) for row in range(4)] + [-1, -1]
    assert view.batch(view.rows)["label"].tolist() == expected
    assert view.only(torch.arange(2)).batch(torch.arange(2))["label"].tolist() == expected[:2]
    assert torch.equal(data.samples["label"], torch.arange(10) % 2)


def test_training_alone_sees_them(tmp_path, monkeypatch):
    install(tmp_path, "fake-guessed", {"datasets": {"fake/guessed": f"{__name__}:Guessed"}})
    monkeypatch.syspath_prepend(tmp_path)
    from mmkd import registry

    registry.refresh()
    table = {"dataset": {"use": "fake/guessed"}, "task": {"use": "classification"}, "student": {"use": "mlp"}}
    experiment = Experiment(check(table))
    true = experiment.dataset.samples["label"]
    view = experiment.training_view(0)
    assert torch.equal(view.batch(view.labelled)["label"], 1 - true[view.labelled])
    for part in ("valid", "test"):
        rows = experiment.view(0, part).rows
        assert torch.equal(experiment.view(0, part).batch(rows)["label"], true[rows])
    monkeypatch.undo()
    registry.refresh()
