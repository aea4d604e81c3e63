"""A finished run, opened again: what each arm said and learnt."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mmkd.errors import ConfigError
from mmkd.evaluation.finished import Run
from mmkd.evaluation.run import run
from mmkd.reporting import progress
from tests.moons import moons, recipe

__all__ = ["moons"]
ARMS = {
    "wider": {"student": {"use": "mlp", "hidden": 16, "inputs": {"x": "near"}}},
    "best": {"choose": ["distilled", "wider"]},
}


@pytest.fixture
def done(moons) -> Run:
    return run(recipe(arms=ARMS, evaluation={"controls": ["restricted-teacher"], "latency": False}), directory="run")


def test_what_an_arm_said_is_at_hand(done):
    said = done.records("distilled", seed=1)
    accuracy = (said["logits"].argmax(1) == said["label"]).mean()
    assert done.result["arms"]["distilled"]["per_seed"][1] == pytest.approx(accuracy)
    scores = done.scores("distilled")
    assert scores.shape == (2, len(done.experiment.dataset))
    assert np.nanmean(scores[1]) == pytest.approx(accuracy)
    assert np.isnan(scores[1]).sum() == scores.shape[1] - len(said["index"])
    assert len(done.records("teacher", 0, "valid")["index"]) == 40


@pytest.mark.parametrize("arm", ["teacher", "alone", "distilled", "restricted-teacher", "wider", "best"])
def test_the_trained_model_says_the_same_again(done, arm):
    model, said = done.model(arm, seed=0), done.records(arm, seed=0)
    rows = torch.from_numpy(said["index"])
    with torch.no_grad():
        logits = model(done.experiment.view(0, "test").batch(rows)).logits
    assert not model.training
    assert torch.allclose(logits, torch.from_numpy(said["logits"]), atol=1e-5)


def test_a_run_is_opened_from_its_directory(done):
    again = Run.open("run")
    assert again.result["arms"] == done.result["arms"]
    assert "moons" in again._repr_html_()
    assert repr(again) == "<Run of moons, 2 seeds, in run>"
    assert again.figure("pairs").axes
    assert again.table() == done.table()
    bundle = again.export("bundle", seed=0)
    assert bundle.manifest["extra"] == {"arm": "distilled", "seed": 0}


def test_the_seed_is_chosen_on_validation(done):
    valid = [
        (said["logits"].argmax(1) == said["label"]).mean()
        for said in (done.records("alone", seed, "valid") for seed in (0, 1))
    ]
    assert valid[done.best_seed("alone")] == max(valid)


def test_what_is_not_there_is_named(done):
    with pytest.raises(ConfigError, match="no arm 'teached'"):
        done.records("teached")
    with pytest.raises(ConfigError, match="no finished arm 'alone' for seed 7"):
        done.model("alone", seed=7)
    with pytest.raises(ConfigError, match="has 1 models"):
        done.model("teacher", seed=0, number=1)
    with pytest.raises(ConfigError, match="holds no finished run"):
        Run.open("nowhere")


def test_a_metric_without_row_scores_says_so(moons):
    done = run(recipe(task={"use": "classification", "primary": "macro_f1"}, seeds=1), directory="run")
    with pytest.raises(ConfigError, match="macro_f1 has no score per row"):
        done.scores("alone")


def test_an_arm_that_was_not_applicable_says_why(moons):
    same = {"teacher": {"model": {"use": "mlp", "hidden": 8, "inputs": {"x": "near"}}}}
    changes = {"evaluation": {"controls": ["restricted-teacher"], "latency": False}, "sources": same, "seeds": 1}
    done = run(recipe(**changes), directory="run")
    with pytest.raises(ConfigError, match="not applicable: source 'teacher' reads no field"):
        done.model("restricted-teacher", seed=0)


def test_bars_are_drawn_on_demand_and_a_watcher_stands_in_their_place(moons, monkeypatch, capsys):
    class Watch(progress.Bars):
        def finished(self, arm, seed, result):
            seen.append(arm)

    seen: list[str] = []
    run(recipe(seeds=1), directory="quiet")
    assert capsys.readouterr().err == ""
    run(recipe(seeds=1), directory="loud", progress=True)
    assert "[1/3] teacher, seed 0" in capsys.readouterr().err
    with Watch() as watcher:
        run(recipe(seeds=1), directory="watched", watcher=watcher)
    assert seen == ["teacher", "alone", "distilled"]
