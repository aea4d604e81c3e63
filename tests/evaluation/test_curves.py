"""Gain curves: runs of their own inside the run, with what the key leaves alone taken from the main run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file

from mmkd import recipes
from mmkd.errors import ConfigError
from mmkd.evaluation.curves import points, reuse
from mmkd.evaluation.run import run
from tests.moons import moons, recipe

__all__ = ["moons"]


@pytest.fixture
def _no_report(monkeypatch):
    """Drawing takes longer than training here."""
    monkeypatch.setattr("mmkd.reporting.html.write_report", lambda result, path: None)


def weights(path):
    return load_file(path / "weights.safetensors")


@pytest.mark.usefixtures("_no_report")
def test_each_value_is_a_run_with_its_key_changed_and_the_recipes_own_value_is_the_main_run(moons):
    done = run(recipe(curves={"student.hidden": [4, 8]}), directory="run", curves=True)
    (curve,) = done.result["curves"]
    four, own = curve["points"]
    assert (curve["key"], four["value"], own["value"]) == ("student.hidden", 4, 8)
    assert own["directory"] == ""
    assert not Path("run/curves/student.hidden/8").exists()
    for arm in ("teacher", "alone", "distilled"):
        assert own["arms"][arm]["per_seed"] == done.result["arms"][arm]["per_seed"]
    (main,) = done.result["comparisons"]
    assert own["gain"] == {key: main[key] for key in ("difference", "seeds", "units")}
    # the point's run, made from a recipe that says so by itself
    table = recipe()
    table["student"]["hidden"] = 4
    alike = run(table, directory="alike")
    there = Path("run") / four["directory"]
    for arm in ("alone", "distilled"):
        assert four["arms"][arm]["per_seed"] == alike.result["arms"][arm]["per_seed"]
        mine, theirs = weights(there / "seeds/1" / arm), weights(Path("alike/seeds/1") / arm)
        assert all((mine[name] == theirs[name]).all() for name in theirs)
    assert json.loads(Path("run/result.json").read_text())["curves"] == done.result["curves"]


@pytest.mark.parametrize(
    ("key", "value", "copied"),
    [
        ("student.hidden", 4, {"teacher"}),
        ("methods.0.temperature", 1.0, {"teacher", "alone"}),
        ("dataset.subjects", 2, set()),
        ("training.steps", 31, {"teacher"}),
        ("sources.teacher.training.steps", 31, {"alone"}),
        ("sources.teacher.model.hidden", 4, {"alone"}),
        ("task.weight", 1.0, set()),
    ],
)
@pytest.mark.parametrize("own_training", [True, False])
def test_arms_that_the_key_leaves_alone_are_copied_and_not_trained_again(moons, key, value, copied, own_training):
    table = recipe(seeds=1, curves={key: [value]})
    if not own_training:
        del table["sources"]["teacher"]["training"]
        copied = copied - {"teacher"} if key == "training.steps" else copied
    main = recipes.check(table)
    for arm in ("teacher", "alone", "distilled"):
        folder = Path("run/seeds/0", arm, "inner")
        folder.mkdir(parents=True)
        (folder / "weights").touch()
        (folder.parent / "job.json").touch()
    (point,) = points(main)
    for _ in range(2):  # again, as on a resume
        reuse(main, point, Path("run"))
        made = Path("run") / point.directory / "seeds/0"
        assert {path.name for path in (made.iterdir() if made.exists() else ())} == copied
        assert all((made / arm / "inner" / "weights").is_file() for arm in copied)


@pytest.mark.usefixtures("_no_report")
def test_a_finished_point_is_not_run_again(moons):
    stamps = []
    for _ in range(2):
        run(recipe(curves={"student.hidden": [4]}, seeds=1), directory="run", curves=True)
        stamps.append({path: path.stat().st_mtime_ns for path in Path("run/curves").rglob("weights.safetensors")})
    assert stamps[0] == stamps[1]
    assert len(stamps[0]) == 3


@pytest.mark.usefixtures("_no_report")
def test_curves_are_no_part_of_what_tells_runs_apart_and_count_no_further_look_at_the_test_data(moons):
    run(recipe(), directory="run")
    done = run(recipe(curves={"student.hidden": [4]}), directory="run", curves=True)
    assert [point["status"] for point in done.result["curves"][0]["points"]] == ["done"]
    assert not done.result["extended"]
    assert done.result["unsealings"] == 1


def test_a_point_that_cannot_be_trained_says_why_and_the_others_go_on(moons):
    done = run(recipe(curves={"training.lr": [1e30, 0.01]}, seeds=1), directory="run", curves=True)
    bad, good = done.result["curves"][0]["points"]
    assert bad["status"] == "failed"
    assert "non-finite" in bad["reason"]
    assert good["status"] == "done"
    page = Path("run/report.html").read_text()
    assert "Gain curves" in page
    assert "no verdict is drawn from them" in page
    assert "evaluation gave a non-finite" in page
    assert "accuracy (%) and gain over training.lr: at 0.01 alone" in page
    assert "Gain over training.lr (descriptive, no verdicts)" in done.table()


@pytest.mark.usefixtures("_no_report")
def test_sealed_curves_read_no_test_data(moons):
    run(recipe(curves={"student.hidden": [4]}, seeds=1), directory="run", curves=True, sealed=True)
    assert not list(Path("run").rglob("test.npz"))


@pytest.mark.parametrize(
    ("curves", "message"),
    [
        ({}, "declares no curve"),
        ({"student.hiden": [4]}, "hiden"),
        ({"seeds": [4]}, "no key of dataset"),
        ({"student.hidden": []}, "values that differ"),
        ({"student.hidden": [4, 4]}, "values that differ"),
        ({"methods.1.weight": [1]}, "no position"),
    ],
)
def test_bad_curves_are_told_before_anything_is_trained(moons, curves, message):
    with pytest.raises(ConfigError, match=message):
        run(recipe(curves=curves), directory="run", curves=True)
    assert not Path("run").exists()


def test_a_recipe_that_distils_nothing_has_no_gain(moons):
    with pytest.raises(ConfigError, match="distils nothing"):
        points(recipes.check(recipe(methods=[], curves={"student.hidden": [4]})))


def test_curves_can_be_set_from_outside_and_resolve():
    change = "curves.\"student.hidden\"=[4, 'x']"
    loaded, _ = recipes.load("graph/glnn", [change])
    assert recipes.resolve(loaded)["curves"] == {"student.hidden": [4, "x"]}
