"""An arm that trains nothing and is, for each seed, the one that validation prefers."""

from pathlib import Path

import pytest

from mmkd import recipes
from mmkd.deployment.from_run import export_run
from mmkd.errors import ConfigError
from mmkd.evaluation.run import run
from mmkd.evaluation.saved import load_records
from mmkd.files import read_json
from tests.moons import moons, recipe

__all__ = ["moons"]
WIDE = {"student": {"use": "mlp", "hidden": 24, "inputs": {"x": "near"}}}
TABLES = {"wide": WIDE, "chosen": {"choose": ["distilled", "wide"], "baseline": "distilled"}}


def test_validation_chooses_for_each_seed(moons):
    done = run(recipe(arms=TABLES), directory="run")
    for seed in (0, 1):
        of = {arm: read_json(Path(f"run/seeds/{seed}/{arm}/job.json")) for arm in ("distilled", "wide", "chosen")}
        best = max(("distilled", "wide"), key=lambda arm: of[arm]["valid"]["accuracy"])
        assert of["chosen"]["chosen"] == best
        assert of["chosen"]["test"] == of[best]["test"]
        spent = sum(of[arm]["cost"]["training_seconds"] for arm in ("distilled", "wide"))
        assert of["chosen"]["cost"]["training_seconds"] == pytest.approx(spent)
        mine, theirs = (load_records(Path(f"run/seeds/{seed}/{arm}/test.npz")) for arm in ("chosen", best))
        assert (mine["logits"] == theirs["logits"]).all()
    arm = done.result["arms"]["chosen"]
    assert arm["notes"][0].startswith("seed 0: '")
    assert {(c["candidate"], c["baseline"]) for c in done.result["comparisons"]} >= {("chosen", "distilled")}


def test_a_sealed_choice_is_made_again_when_the_test_data_is_read(moons):
    run(recipe(arms=TABLES), directory="run", sealed=True)
    assert not Path("run/seeds/0/chosen/test.npz").exists()
    done = run(recipe(arms=TABLES), directory="run")
    assert len(done.result["arms"]["chosen"]["per_seed"]) == 2


def test_the_chosen_arm_is_exported_with_its_own_weights(moons):
    run(recipe(arms={"wide": WIDE, "chosen": {"choose": ["alone", "wide"]}}), directory="run")
    chosen = read_json(Path("run/seeds/1/chosen/job.json"))["chosen"]
    bundle = export_run(Path("run"), arm="chosen", seed=1)
    other = export_run(Path("run"), arm=chosen, seed=1, directory=Path("other"))
    assert (bundle.path / "model.onnx").read_bytes() == (other.path / "model.onnx").read_bytes()


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"choose": ["distilled", "nobody"]}, "names 'nobody'"),
        ({"choose": ["distilled", "self"]}, "names 'self'"),
        ({"choose": ["distilled"]}, "two arms or more"),
        ({"choose": ["distilled", "wide"], "distil": False}, "no table beside it"),
    ],
)
def test_a_choice_among_nothing_is_refused(table, message, moons):
    with pytest.raises(ConfigError, match=message):
        recipes.check(recipe(arms={"wide": WIDE, "self": table}))


def test_a_choice_resolves_to_a_recipe_that_runs_again(moons):
    loaded = recipes.check(recipe(arms=TABLES))
    again = recipes.check(recipes.resolve(loaded))
    assert again.arms["chosen"].choose == ["distilled", "wide"]
    assert recipes.resolve(again) == recipes.resolve(loaded)
