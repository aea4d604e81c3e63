"""A teacher that is the moving average of a student with BatchNorm (mean teacher; `ema` is the core's own)."""

from __future__ import annotations

import torch

from mmkd import recipes
from mmkd.data import Dataset, Field, Split
from mmkd.evaluation.experiment import Experiment
from mmkd.schemes.base import Parts
from mmkd.training.checkpoints import Checkpoints
from mmkd.training.loop import Trainer
from mmkd.training.optimisers import make_optimiser
from mmkd.training.settings import Training
from tests.contracts.passage import TRAINING, bring_through

# --- the fake ---------------------------------------------------------------------------------------------------------


class Scans(Dataset):
    """Few labels, many scans; the student's BatchNorm sees all of them."""

    def __init__(self):
        label = torch.arange(160) % 2
        x = 3 + torch.randn(160, 5, generator=torch.Generator().manual_seed(0)) + label[:, None]
        fields = {"x": Field((5,)), "label": Field((), "int64", target=True, classes=("well", "ill"))}
        super().__init__(fields, {"x": x, "label": label})

    def split(self, seed):
        rows = torch.randperm(160, generator=torch.Generator().manual_seed(seed))
        return Split(rows[:20], rows[20:100], rows[100:120], {"test": rows[120:]})


def recipe(plugin):
    return {
        "name": "fake/mean-teacher",
        "seeds": 2,
        "dataset": {"use": plugin("datasets", "fake/scans", f"{__name__}:Scans")},
        "task": {"use": "classification"},
        "student": {"use": "mlp", "hidden": 8, "norm": "batch", "dropout": 0.3},
        "sources": {"past": {"use": "ema", "decay": 0.8}},
        "methods": [{"use": "soft-targets", "source": "past", "temperature": 1.0}],
        "training": {**TRAINING, "labelled_batch": 4, "schedule": "cosine", "warmup": 3},
    }


# --- its passage ------------------------------------------------------------------------------------------------------


def test_a_mean_teacher_passes_through(plugin, tmp_path):
    passage = bring_through(recipe(plugin), tmp_path)
    assert passage.bundle.reads == ("x",)
    assert passage.run.result["arms"]["past"]["status"] == "not applicable"
    # The checkpoint keeps the average, buffers and all, apart from what the step learns.
    tensors = Checkpoints(tmp_path / "cut/seeds/0/distilled/checkpoints").latest().tensors()
    kept = {name.removeprefix("source/student/past/") for name in tensors if name.startswith("source/")}
    learnt = {name.removeprefix("step/models.student.") for name in tensors if name.startswith("step/models.")}
    assert kept == learnt
    assert "module.hidden.0.1.running_mean" in kept
    assert not [name for name in tensors if name.startswith("step/") and "past" in name]
    owners = ("source/student/past/", "step/models.student.")
    average, student = (tensors[f"{owner}module.last.weight"] for owner in owners)
    assert not average.equal(student)


def test_the_average_follows_the_student_and_nothing_else_moves_it(plugin):
    experiment = Experiment(recipes.load(recipe(plugin))[0])
    view, scheme = experiment.training_view(0), experiment.recipe.scheme.factory("schemes", "scheme")()
    student = experiment.model(experiment.recipe.student, 0, "student-init")
    models = {"student": student}
    past = experiment.source("past", experiment.recipe.sources["past"], [], models)
    start = {name: value.clone() for name, value in student.state_dict().items()}
    update = experiment.updater(experiment.recipe, models, view, 0, experiment.task(), lambda *given: given[1])
    stages = scheme.stages(Parts(models, {"past": past}, update))

    expected = dict(start)
    parameters = {name for name, _ in student.named_parameters()}

    def follow(now):
        for name, value in now["student"].state_dict().items():
            old = expected[name]
            expected[name] = 0.8 * old + (1 - 0.8) * value if name in parameters else value.clone()
        said = past.model.state_dict()
        for name, value in expected.items():
            same = torch.allclose(said[name], value, atol=1e-6) if name in parameters else said[name].equal(value)
            assert same, name
        assert not any(part.training for part in past.model.modules())
        assert all(not p.requires_grad and p.grad is None for p in past.model.parameters())

    stages[0].after_step = [follow]
    trainer = Trainer(models, stages, view, Training(steps=5, batch_size=16, weight_decay=0.1), seed=0)
    optimiser = make_optimiser(trainer.steps[0].trained_by("student"), trainer.settings)
    held = {id(p) for group in optimiser.param_groups for p in group["params"]}
    assert held == {id(p) for p in student.parameters()}
    assert not [name for name in trainer.steps[0].state_dict() if "past" in name or "source" in name]
    trainer.run()
    assert int(past.model.module.hidden[0][1].num_batches_tracked) == 5
