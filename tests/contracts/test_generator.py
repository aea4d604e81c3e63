"""A generator and a student in alternating updates: one seeks where student and teacher differ, the other gives way."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from mmkd import recipes
from mmkd.components import Model
from mmkd.data import Dataset, Field, Split
from mmkd.errors import BindingError, ConfigError, DataError
from mmkd.evaluation.experiment import Experiment
from mmkd.evaluation.explain import explain
from mmkd.schemes.base import Parts, Scheme, Stage, Update
from mmkd.sources.live import Live
from mmkd.sources.stored import Stored, cached
from mmkd.training.loop import Trainer
from mmkd.training.settings import Training
from tests.contracts.passage import TRAINING, bring_through

# --- the fake ---------------------------------------------------------------------------------------------------------


class Blobs(Dataset):
    def __init__(self):
        label = torch.arange(150) % 3
        x = torch.randn(150, 4, generator=torch.Generator().manual_seed(0)) + 2 * torch.eye(3, 4)[label]
        fields = {"x": Field((4,)), "label": Field((), "int64", target=True, classes=("a", "b", "c"))}
        super().__init__(fields, {"x": x, "label": label})

    def split(self, seed):
        rows = torch.randperm(150, generator=torch.Generator().manual_seed(seed))
        return Split(rows[:60], rows[60:90], rows[90:110], {"test": rows[110:]})


class Generator(nn.Module):
    """Noise to inputs; of the field `x` it takes the shape alone."""

    def __init__(self, inputs, outputs, /, *, noise: int = 3):
        super().__init__()
        self.noise = noise
        self.net = nn.Sequential(nn.Linear(noise, 8), nn.ReLU(), nn.Linear(8, inputs["x"].shape[0]))

    def forward(self, x):
        return {"x": self.net(torch.randn(len(x), self.noise, device=x.device))}


class Duel(Update):
    """KL(teacher || student) on generated inputs: what the student makes small, the generator makes large.

    Micaelli & Storkey 2019, arXiv 1905.09768, algorithm 1.
    """

    def forward(self, batch, call, step):
        made = batch.replace(x=call(batch, "generator").outputs["x"])
        said = call(made, "student").logits.log_softmax(1)
        taught = self.sources["teacher"].signals(made, None, call).logits.log_softmax(1)
        kl = (taught.exp() * (taught - said)).sum(1).mean()
        return {"kl": kl, "loss": kl if "student" in self.trains else -kl}


class DataFree(Scheme):
    def __init__(self, *, generator: Model):
        self.generator = generator

    def extra_models(self):
        return {"generator": self.generator}

    def stages(self, parts, /):
        return [Stage({name: Duel([name], sources=parts.sources) for name in ("generator", "student")})]


# --- its passage ------------------------------------------------------------------------------------------------------


def recipe(plugin):
    here = f"{__name__}:"
    generator = {"use": plugin("models", "fake/generator", here + "Generator"), "noise": 5}
    return {
        "name": "fake/data-free",
        "seeds": 2,
        "dataset": {"use": plugin("datasets", "fake/blobs", here + "Blobs")},
        "task": {"use": "classification"},
        "student": {"use": "mlp", "hidden": 8, "norm": "batch"},
        "sources": {"teacher": {"model": {"use": "mlp", "hidden": 12, "norm": "batch"}, "gradients": "inputs"}},
        "scheme": {"use": plugin("schemes", "fake/data-free", here + "DataFree"), "generator": generator},
        "training": {**TRAINING, "weight_decay": 0.01, "clip_norm": 1.0},
    }


def parts(table):
    """The stage's models by name, the teacher, the stage and the view of a new duel."""
    experiment = Experiment(recipes.load(table)[0])
    scheme = experiment.recipe.scheme.factory("schemes", "scheme")()
    models = experiment.learners(experiment.model(experiment.recipe.student, 0, "student-init"), scheme, 0)
    source = experiment.recipe.sources["teacher"]
    teacher = experiment.source("teacher", source, [experiment.model(source.model, 0, "teacher")], models)
    view = experiment.training_view(0)
    update = experiment.updater(experiment.recipe, models, view, 0, experiment.task(), lambda *given: given[1])
    return models, teacher, scheme.stages(Parts(models, {"teacher": teacher}, update))[0], view


def test_a_generator_and_a_student_pass_through(plugin, tmp_path):
    table = recipe(plugin)
    assert explain(table)["learners"]["generator"]["outputs"] == {"x": [4]}
    passage = bring_through(table, tmp_path)
    assert passage.bundle.reads == ("x",)
    assert (passage.run.directory / "seeds/1/distilled/generator.safetensors").exists()
    losses = (passage.run.directory / "seeds/1/distilled/metrics.jsonl").read_text()
    assert '"generator/kl"' in losses
    assert '"student/kl"' in losses
    arms = passage.run.result["arms"]
    assert set(arms) == {"teacher", "alone", "distilled"}
    assert passage.run.result["comparisons"][0]["candidate"] == "distilled"


@pytest.mark.parametrize("trained", ["student", "generator"])
def test_an_update_moves_what_it_trains_and_nothing_else(plugin, trained):
    models, teacher, stage, view = parts(recipe(plugin))
    models["teacher"] = teacher.model
    before = {name: [p.detach().clone() for p in model.parameters()] for name, model in models.items()}
    buffers = copy.deepcopy(list(teacher.model.buffers()))
    settings = Training(steps=3, batch_size=16, optimiser="adamw", weight_decay=0.1)
    learners = {name: models[name] for name in ("student", "generator")}
    Trainer(learners, [Stage({trained: stage.updates[trained]})], view, settings, seed=0).run()
    moved = {
        name: [not p.equal(q) for p, q in zip(before[name], model.parameters(), strict=True)]
        for name, model in models.items()
    }
    assert all(moved.pop(trained))
    assert not any(any(each) for each in moved.values())
    assert all(p.grad is None and not p.requires_grad for p in teacher.model.parameters())
    assert all(was.equal(now) for was, now in zip(buffers, teacher.model.buffers(), strict=True))


def test_the_gradient_reaches_the_generator_through_teacher_and_student(plugin):
    models, teacher, stage, view = parts(recipe(plugin))
    batch = view.batch(view.rows[:16])
    noise = torch.randn(16, 5, generator=torch.Generator().manual_seed(1))
    net, student, taught_by = (m.module for m in (models["generator"], models["student"], teacher.model))
    models["generator"].module.forward = lambda x: {"x": net.net(noise)}
    loss = stage.updates["generator"](batch, lambda b, m: models[m](b), 0)["loss"]
    found = torch.autograd.grad(loss, list(net.parameters()))

    def by_hand(made, through_teacher):
        taught = taught_by(made if through_teacher else made.detach()).log_softmax(1)
        return -(taught.exp() * (taught - student(made).log_softmax(1))).sum(1).mean()

    for through_teacher in (True, False):
        expected = torch.autograd.grad(by_hand(net.net(noise), through_teacher), list(net.parameters()))
        same = all(torch.allclose(a, b, atol=1e-6) for a, b in zip(found, expected, strict=True))
        assert same is through_teacher


def test_no_answer_to_another_question_is_passed_off_as_the_teachers(plugin, tmp_path):
    """Stored signals, and models that run on all rows, say nothing of generated inputs."""
    models, teacher, stage, view = parts(recipe(plugin))
    batch = view.batch(view.rows[:8])
    assert cached(teacher, view, set(), tmp_path, {}) is teacher  # nothing stored could be differentiated
    stored = cached(Live(teacher.knowledge), view, set(), tmp_path, {})
    assert isinstance(stored, Stored)
    both = [source.signals(batch, None, None).logits for source in (stored, teacher)]
    assert torch.allclose(*both, atol=1e-6)
    stage.updates["student"].sources["teacher"] = stored
    other = batch.replace(x=batch["x"].flip(0))
    assert torch.equal(
        stored.signals(other, None, None).logits, Live(teacher.knowledge).signals(other, None, None).logits
    )
    stored.live = None
    with pytest.raises(DataError, match="whose 'x' is not the data set's; ask a live source"):
        stage.updates["student"](batch, lambda b, m: models[m](b), 0)
    assert stored.signals(batch.replace(other=batch["x"]), None, None).logits.shape == (8, 3)  # of no concern to it
    relational = copy.copy(teacher.model.binding)
    object.__setattr__(relational, "relational", True)
    with pytest.raises(BindingError, match="'x' is replaced in some"):
        relational.gather(batch.replace(x=batch["x"]))
    all_rows = view.batch(view.rows.flip(0))
    gathered = relational.gather(all_rows.replace(x=all_rows["x"] + 1))["x"]
    seen = torch.isin(torch.arange(len(gathered)), view.rows)
    assert torch.equal(gathered[seen], view.whole["x"][seen] + 1)
    assert torch.equal(gathered[~seen], view.whole["x"][~seen])


def test_an_update_that_cannot_learn_says_so(plugin):
    models, _, stage, view = parts(recipe(plugin))
    broken = stage.updates["generator"]
    broken.forward = lambda batch, call, step: {"loss": call(batch, "student").logits.sum()}
    trainer = Trainer(models, [Stage({"generator": broken})], view, Training(steps=1), seed=0)
    with pytest.raises(ConfigError, match="'generator' gives no gradient to what it trains"):
        trainer.run()
