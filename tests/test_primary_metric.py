"""A classification that is judged by macro-F1, a metric that is no mean over rows."""

import numpy as np
import pytest
from sklearn.metrics import f1_score

from mmkd.data import Field
from mmkd.errors import ConfigError
from mmkd.evaluation.run import run
from mmkd.tasks.classification import Classification, macro_f1
from tests.moons import moons, recipe  # noqa: F401

FIELDS = {"label": Field((), "int64", target=True, classes=("a", "b", "c", "d"))}


@pytest.mark.parametrize("classes", [(0, 1, 2, 3), (0, 2), (1,)])
def test_macro_f1_is_that_of_scikit_learn(classes):
    random = np.random.default_rng(0)
    labels, predicted = random.choice(classes, 60), random.choice([0, 1, 3], 60)
    assert macro_f1(labels, predicted) == pytest.approx(f1_score(labels, predicted, average="macro"))
    assert macro_f1(labels, labels) == 1


def test_the_primary_metric_is_scored_alone_and_shown_first():
    random = np.random.default_rng(0)
    records = {"logits": random.normal(size=(50, 4)), "label": random.integers(4, size=50)}
    for primary in ("accuracy", "macro_f1"):
        task = Classification(FIELDS, primary=primary)
        metrics = task.metrics(records)
        assert next(iter(metrics)) == primary == task.primary
        assert task.score(records) == pytest.approx(metrics[primary])
    assert task.unit_scores(records) is None
    assert Classification(FIELDS).unit_scores(records).mean() == pytest.approx(metrics["accuracy"])


def test_the_best_constant_predictor_by_macro_f1():
    train, test = {"label": np.array([1, 1, 0])}, {"label": np.array([1, 1, 0, 2])}
    assert Classification(FIELDS, primary="macro_f1").constant(train, test) == pytest.approx(2 / 3 / 3)


def test_a_run_is_selected_and_judged_by_it(moons):  # noqa: F811
    task = {"use": "classification", "primary": "macro_f1"}
    arms = {"again": {"baseline": "distilled"}, "plain": {"distil": False}}
    done = run(recipe(task=task, arms=arms), directory=moons / "run")
    assert done.result["metric"]["name"] == "macro_f1"
    pairs = [(c["candidate"], c["baseline"]) for c in done.result["comparisons"]]
    assert pairs == [("distilled", "alone"), ("again", "distilled"), ("plain", "alone")]
    first, again, plain = done.result["comparisons"]
    assert again["difference"] == plain["difference"] == 0  # the same tables, trained anew
    assert first["units"]["standard_error"] > 0
    assert all(c["n_units"] > 80 for c in done.result["comparisons"])  # 80 of each seed's split
    assert "again against distilled" in done.table()


def test_a_baseline_that_is_no_arm_is_refused(moons):  # noqa: F811
    with pytest.raises(ConfigError, match=r"arms\.again\.baseline is 'other', which is no other student arm"):
        run(recipe(arms={"again": {"baseline": "other"}}), directory=moons / "run")
