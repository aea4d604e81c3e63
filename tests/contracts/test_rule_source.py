"""A source that is the student projected onto a rule, for which it runs the student on another input."""

from __future__ import annotations

import torch

from mmkd import recipes
from mmkd.data import Dataset, Field, Split
from mmkd.evaluation.experiment import Experiment
from mmkd.evaluation.explain import explain
from mmkd.signals import Signals
from mmkd.sources.base import Source
from tests.contracts.passage import TRAINING, bring_through

# --- the fake ---------------------------------------------------------------------------------------------------------


class Reviews(Dataset):
    """Sentences as vectors; those of the form "A but B" mean what their clause B means, which `clause` holds."""

    def __init__(self):
        draws = torch.Generator().manual_seed(0)
        label, but = torch.arange(200) % 2, torch.rand(200, generator=draws) < 0.5
        clause = torch.randn(200, 6, generator=draws) + (2 * label - 1)[:, None]
        x = torch.where(but[:, None], clause - torch.randn(200, 6, generator=draws), clause)
        super().__init__(
            {
                "x": Field((6,)),
                "clause": Field((6,)),
                "but": Field((), "bool"),
                "label": Field((), "int64", target=True, classes=("bad", "good")),
            },
            {"x": x, "clause": clause, "but": but, "label": label},
        )

    def split(self, seed):
        rows = torch.randperm(200, generator=torch.Generator().manual_seed(seed))
        return Split(rows[:40], rows[40:120], rows[120:150], {"test": rows[150:]})


class ButRule(Source):
    """q(y|x) ~ p(y|x) exp(-strength (1 - r)) with r = (1 + p(y|B)) / 2, the truth of "A but B means what B means".

    Hu et al. 2016, arXiv 1603.06318, equation 4 and section 4.1; p is the student at this moment.
    """

    per_row = False

    def __init__(self, knowledge, /, *, strength: float = 6.0):
        super().__init__(knowledge)
        self.strength = strength

    def signals(self, batch, student, call):
        with torch.no_grad():
            clause = call(batch.replace(x=batch["clause"])).logits.softmax(1)
            truth = torch.where(batch["but"][:, None], (1 + clause) / 2, 1.0)
            return Signals({"logits": student.logits.log_softmax(1) - self.strength * (1 - truth)})


# --- its passage ------------------------------------------------------------------------------------------------------


def recipe(plugin, **student):
    return {
        "name": "fake/but-rule",
        "seeds": 2,
        "dataset": {"use": plugin("datasets", "fake/reviews", f"{__name__}:Reviews")},
        "task": {"use": "classification"},
        "student": {"use": "mlp", "inputs": {"x": "x"}, "hidden": 8, "dropout": 0.2, **student},
        "sources": {"rule": {"use": plugin("sources", "fake/but-rule", f"{__name__}:ButRule")}},
        "methods": [
            {
                "use": "soft-targets",
                "source": "rule",
                "temperature": 1.0,
                "weight": {"start": 0.0, "end": 1.0, "steps": 5},
            }
        ],
        "training": TRAINING,
    }


def parts(table):
    """Student, rule, the student's update, and a batch of the training rows."""
    experiment = Experiment(recipes.load(table)[0])
    view = experiment.training_view(0)
    student = experiment.model(experiment.recipe.student, 0, "student-init")
    rule = experiment.source("rule", experiment.recipe.sources["rule"], [], {"student": student})
    before = {name: value.clone() for name, value in student.state_dict().items()}
    update = experiment.updater(experiment.recipe, {"student": student}, view, 0, experiment.task(), lambda *a: a[1])(
        "student", {"rule": rule}
    )
    return student, rule, update, view.batch(view.rows), before


def test_the_student_is_projected_onto_the_rule_and_learns_from_that(plugin, tmp_path):
    table = recipe(plugin)
    student, rule, _, batch, _ = parts(table)
    student.eval()
    said = rule.signals(batch, student(batch), lambda other, model=None: student(other)).logits.softmax(1)
    own = student(batch).logits.softmax(1)
    clause = student.module(batch["clause"]).softmax(1)
    weight = own * torch.exp(-6.0 * (1 - (1 + clause) / 2))
    expected = torch.where(batch["but"][:, None], weight / weight.sum(1, keepdim=True), own)
    assert torch.allclose(said, expected, atol=1e-6)
    assert not said.requires_grad

    passage = bring_through(table, tmp_path)
    assert passage.bundle.reads == ("x",)
    arms = passage.run.result["arms"]
    assert arms["rule"]["status"] == "not applicable"
    assert "made from the student" in arms["rule"]["reason"]
    assert [c["candidate"] for c in passage.run.result["comparisons"]] == ["distilled"]
    assert set(passage.records("distilled")) == {"index", "label", "logits"}
    losses = (passage.run.directory / "seeds/0/distilled/metrics.jsonl").read_text()
    assert "soft-targets/kl" in losses


def test_dry_runs_leave_the_student_as_it_was(plugin):
    """A source is measured by running the student: that must not move its BatchNorm statistics or the random stream."""
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    table = recipe(plugin, norm="batch")
    student, _, update, batch, before = parts(table)
    assert torch.equal(torch.rand(3), expected)
    assert all(before[name].equal(value) for name, value in student.state_dict().items())
    assert all(part.training for part in student.modules())
    assert {"task", "soft-targets/kl", "loss"} == set(update(batch, lambda b, m=None: student(b), 3))
    explained = explain(table)
    assert [method["name"] for method in explained["methods"]] == ["soft-targets"]
