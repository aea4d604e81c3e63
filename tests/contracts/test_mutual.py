"""Two students that read different fields teach each other."""

from __future__ import annotations

import copy

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

from mmkd import recipes
from mmkd.data import Dataset, Field, Split
from mmkd.errors import ConfigError
from mmkd.evaluation.experiment import Experiment
from mmkd.evaluation.explain import as_text, explain
from mmkd.schemes.base import Parts
from mmkd.training.loop import Trainer
from mmkd.training.order import Order
from mmkd.training.settings import Training
from tests.contracts.passage import TRAINING, bring_through

# --- the fake ---------------------------------------------------------------------------------------------------------


class Gestures(Dataset):
    """Each of two sensors sees the gesture through noise of its own."""

    def __init__(self):
        draws = torch.Generator().manual_seed(0)
        label = torch.arange(180) % 3
        seen = {"camera": torch.randn(180, 5, generator=draws), "imu": torch.randn(180, 4, generator=draws)}
        seen = {
            name: noise.index_put((torch.arange(180), label), torch.tensor(1.5), accumulate=True)
            for name, noise in seen.items()
        }
        fields = {"camera": Field((5,), layout="vector"), "imu": Field((4,), layout="vector")}
        target = Field((), "int64", target=True, classes=("wave", "push", "rest"))
        super().__init__({**fields, "label": target}, {**seen, "label": label})

    def split(self, seed):
        rows = torch.randperm(180, generator=torch.Generator().manual_seed(seed))
        return Split(rows[:60], rows[60:100], rows[100:130], {"test": rows[130:]})


def recipe(plugin, *, dropout=0.3, methods=(), **peer):
    """`mutual` is the core's own; what is faked is the data, whose fields differ between the students."""
    return {
        "name": "fake/mutual",
        "seeds": 2,
        "dataset": {"use": plugin("datasets", "fake/gestures", f"{__name__}:Gestures")},
        "task": {"use": "classification"},
        "student": {"use": "mlp", "inputs": {"x": "camera"}, "hidden": 8, "dropout": dropout},
        "scheme": {"use": "mutual", "peer": {"use": "mlp", "inputs": {"x": "imu"}, "hidden": 6, **peer}},
        "methods": [{"use": "soft-targets", "temperature": 1.0}, *methods],
        "training": TRAINING,
    }


# --- its passage ------------------------------------------------------------------------------------------------------


def test_two_students_teach_each_other(plugin, tmp_path):
    table = recipe(plugin)
    passage = bring_through(table, tmp_path)
    assert passage.bundle.reads == ("camera",)
    assert passage.run.result["arms"]["distilled"]["inputs"]["fields"] == ["camera"]
    folder = passage.run.directory / "seeds" / "0" / "distilled"
    assert load_file(folder / "peer.safetensors")["hidden.0.0.weight"].shape == (6, 4)
    assert load_file(folder / "weights.safetensors")["hidden.0.0.weight"].shape == (8, 5)
    losses = (folder / "metrics.jsonl").read_text()
    assert all(f"{name}/{part}" in losses for name in ("student", "peer") for part in ("task", "soft-targets/kl"))
    # What was resolved says all of the peer, its fields and its defaults, and runs again.
    resolved = passage.run.directory / "resolved.toml"
    again, _ = recipes.load(str(resolved))
    assert again.scheme.resolved("schemes", "scheme")["peer"] == {
        "use": "mlp",
        "inputs": {"x": "imu"},
        "taps": {},
        "layouts": {},
        "hidden": 6,
        "layers": 2,
        "dropout": 0.0,
        "input_dropout": 0.0,
        "norm": "none",
    }


def test_each_learns_from_what_the_other_says_at_that_moment(plugin):
    experiment = Experiment(recipes.load(recipe(plugin, dropout=0.0))[0])
    view, scheme = experiment.training_view(0), experiment.recipe.scheme.factory("schemes", "scheme")()
    models = experiment.learners(experiment.model(experiment.recipe.student, 0, "student-init"), scheme, 0)
    update = experiment.updater(experiment.recipe, models, view, 0, experiment.task(), lambda *given: given[1])
    by_hand = {name: copy.deepcopy(model.module) for name, model in models.items()}
    settings = Training(steps=4, batch_size=16, optimiser="sgd", momentum=0.0, lr=0.1)
    Trainer(models, scheme.stages(Parts(models, {}, update)), view, settings, seed=5).run()

    order = Order(view.rows, view.labelled, settings, 5)
    for step in range(4):
        batch = view.batch(order(step))
        fields = {"student": batch["camera"], "peer": batch["imu"]}
        for name, other in (("student", "peer"), ("peer", "student")):
            said, taught = by_hand[name](fields[name]), by_hand[other](fields[other]).detach()
            loss = F.cross_entropy(said[batch.labelled], batch["label"][batch.labelled])
            loss = loss + F.kl_div(said.log_softmax(1), taught.log_softmax(1), reduction="batchmean", log_target=True)
            parameters = list(by_hand[name].parameters())
            for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
                parameter.data -= 0.1 * gradient
    for name, model in models.items():
        for mine, expected in zip(model.module.parameters(), by_hand[name].parameters(), strict=True):
            assert torch.allclose(mine, expected, atol=1e-6), name


def test_students_of_one_form_start_apart(plugin):
    """Two that start alike would say the same, and teach each other nothing."""
    table = recipe(plugin, hidden=8)
    table["student"]["inputs"] = table["scheme"]["peer"]["inputs"]
    experiment = Experiment(recipes.load(table)[0])
    student = experiment.model(experiment.recipe.student, 0, "student-init")
    models = experiment.learners(student, experiment.recipe.scheme.factory("schemes", "scheme")(), 0)
    first, second = (model.module.state_dict() for model in models.values())
    assert first.keys() == second.keys()
    assert not any(first[name].equal(second[name]) for name in first)


def test_the_peer_is_checked_and_explained_like_any_model(plugin):
    fitnets = {"use": "fitnets", "student_role": "penultimate"}
    table = recipe(plugin, methods=[fitnets])
    explained = explain(table)
    assert explained["learners"]["peer"]["reads"] == {"x": ["imu"]}
    adapters = {m["name"]: m["alignment"][0]["parameters"] for m in explained["methods"] if "fitnets" in m["name"]}
    assert adapters == {"student/fitnets": 8 * 6 + 6, "peer/fitnets": 6 * 8 + 8}
    assert "peer   MLP(x = imu)" in as_text(explained)
    with pytest.raises(ConfigError, match=r"unknown key 'scheme\.peer\.hiden' of 'mlp'"):
        recipes.resolve(recipes.load(table, ["scheme.peer.hiden=3"])[0])
    with pytest.raises(ConfigError, match=r"'scheme\.peer\.inputs' of 'mutual'"):
        recipes.resolve(recipes.load(table, ["scheme.peer.inputs=imu"])[0])
