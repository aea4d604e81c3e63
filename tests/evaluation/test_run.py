"""A whole run: arms, pairing, what each arm may see, controls, resume, the seal."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from mmkd import recipes
from mmkd.errors import ConfigError, StorageError, TrainingError
from mmkd.evaluation.arms import plans
from mmkd.evaluation.experiment import Experiment
from mmkd.evaluation.job import Job
from mmkd.evaluation.run import run
from mmkd.evaluation.saved import load_records
from mmkd.sources.controls import Hardened, Permuted, class_means, partners
from mmkd.sources.stored import tabulate
from tests.moons import Moons, moons, recipe

__all__ = ["moons"]
CONTROLS = [
    "hard-teacher",
    "shuffled-teacher",
    "permuted-teacher",
    "labelled-only",
    "self-training",
    "label-smoothing",
    "restricted-teacher",
]


def test_every_arm_and_control_runs_and_is_compared(moons):
    done = run(recipe(evaluation={"controls": CONTROLS, "margin": 0.05}), directory="run")
    arms = done.result["arms"]
    assert set(arms) == {"teacher", "alone", "distilled", *CONTROLS}
    assert {arm["status"] for arm in arms.values()} == {"done"}
    assert {c["candidate"] for c in done.result["comparisons"]} == {"distilled", *CONTROLS}
    assert {c["baseline"] for c in done.result["attribution"]} == set(CONTROLS) - {"label-smoothing"}
    assert all(c["verdict"] == "none" for c in done.result["comparisons"])  # two seeds decide nothing
    assert arms["teacher"]["inputs"]["fields"] == ["near", "far"]
    assert arms["distilled"]["inputs"] == {"labelled": 12, "unlabelled": 108, "test_inputs": 0, "fields": ["near"]}
    assert arms["labelled-only"]["inputs"]["unlabelled"] == 0
    assert arms["alone"]["cost"]["steps"] == arms["distilled"]["cost"]["steps"]
    assert (Path("run") / "report.html").stat().st_size > 1000


def test_results_are_the_metric_of_the_stored_records(moons):
    done = run(recipe(), directory="run")
    records = load_records(Path("run/seeds/1/distilled/test.npz"))
    accuracy = (records["logits"].argmax(1) == records["label"]).mean()
    assert done.result["arms"]["distilled"]["per_seed"][1] == pytest.approx(accuracy)
    assert set(records["index"]) == set(Moons().split(1).test_rows.tolist())


def test_jobs_in_parallel_give_the_same_weights_and_result(moons):
    torch.set_num_threads(1)
    one = run(recipe(), directory="one")
    two = run(recipe(), directory="two", jobs=2)
    for arm in ("alone", "distilled"):
        mine, theirs = (load_file(f"{d}/seeds/0/{arm}/weights.safetensors") for d in ("one", "two"))
        assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    assert one.result["comparisons"] == two.result["comparisons"]


def test_a_finished_job_is_not_run_again_and_a_new_seed_marks_the_run_as_extended(moons):
    first = run(recipe(), directory="run")
    stamp = Path("run/seeds/0/distilled/weights.safetensors").stat().st_mtime_ns
    again = run(recipe(), directory="run")
    assert again.result == {**first.result, "environment": again.result["environment"]}
    assert Path("run/seeds/0/distilled/weights.safetensors").stat().st_mtime_ns == stamp
    more = run(recipe(), directory="run", seeds=3)
    assert any("extended" in note for c in more.result["comparisons"] for note in c["notes"])
    assert not any("extended" in note for c in first.result["comparisons"] for note in c["notes"])


def test_another_recipe_is_refused_and_foreign_files_stay(moons):
    run(recipe(), directory="run")
    with pytest.raises(ConfigError, match="training"):
        run(recipe(training={"steps": 31}), directory="run")
    Path("mine").mkdir()
    Path("mine/thesis.txt").write_text("x", encoding="utf-8")
    with pytest.raises(StorageError, match="no run"):
        run(recipe(), directory="mine")
    assert Path("mine/thesis.txt").read_text(encoding="utf-8") == "x"


def test_a_sealed_run_reads_no_test_data_and_the_ledger_counts_unsealings(moons):
    sealed = run(recipe(), directory="run", sealed=True)
    assert sealed.result["evaluated"] == "valid"
    assert not list(Path("run").rglob("test.npz"))
    assert not Path("state/unsealings.jsonl").exists()
    opened = run(recipe(), directory="run")
    assert opened.result["evaluated"] == "test"
    assert opened.result["unsealings"] == 1
    assert run(recipe(), directory="run").result["unsealings"] == 1  # the same run
    assert run(recipe(), directory="other").result["unsealings"] == 2
    assert run(recipe(), directory="third", sealed=True).result["unsealings"] == 0


def test_a_teacher_that_learnt_nothing_stops_the_run(moons):
    table = recipe(dataset={"use": "moons/moons", "informative": False})
    table["sources"]["teacher"]["training"] = {"steps": 1, "lr": 1e-9, "select": "last"}
    with pytest.raises(TrainingError, match="does not beat the constant predictor"):
        run(table, directory="run", seeds=[0, 1, 2, 3, 4, 5])


def test_require_stronger_teacher(moons):
    table = recipe(evaluation={"require_stronger_teacher": True, "latency": False})
    table["sources"]["teacher"]["model"]["inputs"] = {"x": "near"}
    table["sources"]["teacher"]["model"]["hidden"] = 1
    table["sources"]["teacher"]["training"] = {"steps": 2, "lr": 1e-2}
    with pytest.raises(TrainingError, match=r"not stronger|constant predictor"):
        run(table, directory="run")


def test_extra_labels_of_a_teacher_are_told_and_bring_the_oracle_arm(moons):
    table = recipe()
    table["sources"]["teacher"]["labels"] = "all"
    done = run(table, directory="run")
    assert done.result["arms"]["oracle-labels"]["inputs"]["labelled"] == 120
    assert any("108 labels that the student did not" in warning for warning in done.result["warnings"])


def test_training_sees_neither_hidden_labels_nor_test_labels(moons):
    experiment = Experiment(recipes.check(recipe()))
    view = experiment.training_view(0)
    batch = view.batch(view.rows)
    assert batch["label"][~batch.labelled].unique().tolist() == [-1]
    assert int(batch.labelled.sum()) == 12
    assert not torch.isin(view.rows, experiment.split(0).test_rows).any()


def _job(control: str) -> tuple[Experiment, Job]:
    experiment = Experiment(recipes.check(recipe(evaluation={"controls": CONTROLS})))
    plan = next(plan for plan in plans(experiment.recipe) if plan.name == control)
    return experiment, Job(experiment, plan, 0, Path("seeds"))


def _teacher(experiment: Experiment, job: Job):
    Job(experiment, plans(experiment.recipe)[0], 0, Path("seeds")).run()
    return job._sources({})["teacher"]


@pytest.mark.parametrize("control", ["shuffled-teacher", "permuted-teacher"])
def test_a_permuted_teacher_keeps_its_signals_but_not_their_owners(moons, control):
    experiment, job = _job(control)
    source, view = _teacher(experiment, job), experiment.training_view(0)
    changed = job.control.apply("teacher", source, view, set())
    assert isinstance(changed, Permuted)
    before, after = (tabulate(s, view, set())["outputs/logits"] for s in (source, changed))
    # Not bit by bit: a matrix product may round a row by its place among the others.
    torch.testing.assert_close(before.sort(0).values, after.sort(0).values)
    assert not torch.equal(before, after)
    same_class = torch.equal(before.argmax(1), after.argmax(1))
    assert same_class == (control == "shuffled-teacher")
    assert torch.equal(changed.partner, job.control.apply("teacher", source, view, set()).partner)  # fixed per seed
    outside = torch.ones(len(changed.partner), dtype=torch.bool)
    outside[view.rows] = False
    assert torch.equal(changed.partner[outside], torch.arange(len(outside))[outside])


def test_a_hard_teacher_says_its_argmax_alone(moons):
    experiment, job = _job("hard-teacher")
    source, view = _teacher(experiment, job), experiment.training_view(0)
    changed = job.control.apply("teacher", source, view, {"penultimate"})
    assert isinstance(changed, Hardened)
    batch = view.batch(view.rows)
    before, after = source.signals(batch, None, None), changed.signals(batch, None, None)
    assert torch.equal(before.logits.argmax(1), after.logits.argmax(1))
    assert torch.equal(after.logits.softmax(1), torch.nn.functional.one_hot(before.logits.argmax(1), 2).float())
    assert len(after.features["penultimate"].unique(dim=0)) <= 2


def test_partners_are_a_permutation_within_groups():
    rows, groups = torch.tensor([1, 3, 5, 7, 9, 11]), torch.tensor([0, 1, 0, 1, 0, 1])
    partner = partners(rows, torch.Generator().manual_seed(0), 12, groups)
    assert sorted(partner[rows].tolist()) == rows.tolist()
    lookup = dict(zip(rows.tolist(), groups.tolist(), strict=True))
    assert all(lookup[int(partner[row])] == lookup[int(row)] for row in rows)


def test_class_means_of_a_class_that_is_never_predicted_are_finite():
    means = class_means({"f": torch.tensor([[1.0], [3.0]])}, torch.tensor([0, 0]), 2)["f"]
    assert means.tolist() == [[2.0], [2.0]]


def test_units_are_subjects_where_the_data_has_groups(moons):
    done = run(recipe(dataset={"use": "moons/moons", "subjects": 6}, seeds=5), directory="run")
    comparison = done.result["comparisons"][0]
    assert comparison["unit"] == "subject"
    assert comparison["n_units"] <= 40


def test_the_resolved_recipe_of_a_run_runs_again_to_the_same_weights(moons):
    run(recipe(), directory="one")
    run("one/resolved.toml", directory="two")
    mine, theirs = (load_file(f"{d}/seeds/0/distilled/weights.safetensors") for d in ("one", "two"))
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_a_control_that_cannot_run_says_why(moons):
    table = recipe(evaluation={"controls": ["restricted-teacher"]})
    table["sources"]["teacher"]["model"]["inputs"] = {"x": "near"}
    arm = run(table, directory="run").result["arms"]["restricted-teacher"]
    assert arm["status"] == "not applicable"
    assert "reads no field that the student lacks" in arm["reason"]


def test_result_json_is_strict_json(moons):
    run(recipe(), directory="run", seeds=1)

    def refuse(name: str) -> float:
        raise AssertionError(name)

    json.loads(Path("run/result.json").read_text(encoding="utf-8"), parse_constant=refuse)
    assert np.isfinite(json.loads(Path("run/result.json").read_text())["arms"]["alone"]["mean"])
