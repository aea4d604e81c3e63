"""Finished runs side by side, and run again."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from mmkd.cli.main import main
from mmkd.errors import ConfigError
from mmkd.evaluation import statistics
from mmkd.evaluation.compare import compare_runs
from mmkd.evaluation.reproduce import check_inputs, reproduce
from mmkd.evaluation.run import run
from mmkd.evaluation.verdicts import Comparison
from mmkd.tasks.classification import Classification
from tests.moons import moons, recipe

__all__ = ["moons"]
pytestmark = pytest.mark.usefixtures("_no_report")
SHORT = {"steps": 8, "batch_size": 32, "lr": 0.02}


@pytest.fixture
def _no_report(monkeypatch):
    """Drawing takes longer than training here."""
    monkeypatch.setattr("mmkd.reporting.html.write_report", lambda result, path: None)


def small(**changes):
    table = recipe(training=SHORT, **changes)
    table["student"]["dropout"] = 0.0
    return table


def test_runs_are_compared_on_common_seeds_and_rows_with_holm_over_all(moons, monkeypatch):
    a = run(small(seeds=6), directory="a").result
    other = small(seeds=[9, 1, 2, 3, 4, 5])
    other["student"]["hidden"] = 2
    b = run(other, directory="b").result
    run(small(seeds=1, dataset={"use": "moons/moons", "informative": False}, sources={}, methods=[]), directory="c")
    found = compare_runs(["a", "b"])
    within_a, within_b, between = found["comparisons"]
    assert (between["candidate"], between["baseline"]) == ("b:distilled", "a:distilled")
    assert between["n_seeds"] == 5
    shared = np.array(b["arms"]["distilled"]["per_seed"][1:]) - np.array(a["arms"]["distilled"]["per_seed"][1:])
    assert between["difference"] == pytest.approx(shared.mean())
    assert between["seeds"]["interval"]["low"] == pytest.approx(statistics.paired_t(shared).interval.low)
    assert within_a["difference"] == a["comparisons"][0]["difference"]
    assert within_b["units"] == b["comparisons"][0]["units"]
    p = [c["p_value"] for c in found["comparisons"]]
    assert [c["p_adjusted"] for c in found["comparisons"]] == pytest.approx(list(statistics.holm(p)))
    assert {c["family"] for c in found["comparisons"]} == {3}

    monkeypatch.setattr(Classification, "unit_scores", lambda self, records: None)
    resampled = compare_runs(["a", "b"])["comparisons"][2]
    assert resampled["difference"] == pytest.approx(between["difference"])
    assert resampled["units"]["interval"]["low"] == pytest.approx(between["units"]["interval"]["low"], abs=0.02)

    apart = compare_runs(["a", "c"], "alone")
    assert "the data differ" in apart["apart"]["c"]
    with pytest.raises(ConfigError, match="no arm 'distilled'; it has alone"):
        compare_runs(["a", "c"])
    with pytest.raises(ConfigError, match="twice"):
        compare_runs(["a", "./a"])
    with pytest.raises(ConfigError, match="no finished run"):
        compare_runs(["a", "nowhere"])


def test_a_comparison_comes_back_from_json(moons):
    done = run(small(seeds=2), directory="a")
    (held,) = done.result["comparisons"]
    assert Comparison.from_json(held).to_json() == held
    assert Comparison.from_json(json.loads(json.dumps(held))).to_json() == held


def test_a_run_is_reproduced_bit_for_bit_or_what_differs_is_named(moons, capsys):
    run(small(seeds=2), directory="a")
    again = reproduce("a")
    assert again.equal
    assert again.inputs == {}
    assert again.checked == 2 * 3 * 3  # seeds, arms, (weights, valid, test)
    assert reproduce("a", seeds=1, out="one").checked == 9
    assert check_inputs("a") == {}

    record = json.loads(Path("a/run.json").read_text())
    record["versions"]["numpy"] = "1.0"
    Path("a/run.json").write_text(json.dumps(record))
    result = json.loads(Path("a/result.json").read_text())
    result["dataset"]["content"] = "0" * 64
    Path("a/result.json").write_text(json.dumps(result))
    text = Path("a/resolved.toml").read_text()
    Path("a/resolved.toml").write_text(text.replace("select = ", "# select = "))
    weights = load_file("a/seeds/1/alone/weights.safetensors")
    first = next(iter(weights))
    weights[first] = torch.nextafter(weights[first], torch.ones(()))  # the last bit
    save_file(weights, "a/seeds/1/alone/weights.safetensors")
    capsys.readouterr()
    assert main(["reproduce", "a", "--json"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert list(said["outputs"]) == ["seeds/1/alone/weights.safetensors"]
    assert "by up to" in said["outputs"]["seeds/1/alone/weights.safetensors"]
    assert set(said["inputs"]) == {"version of numpy", "data", "recipe"}
    assert said["inputs"]["version of numpy"].startswith("1.0 then")
    assert "training" in said["inputs"]["recipe"]
    assert main(["reproduce", "a", "--inputs"]) == 1
    assert "different input: data: content 000000000000 then" in capsys.readouterr().out


def test_compare_prints_tables(moons, capsys):
    run(small(seeds=1), directory="a")
    run(small(seeds=1, task={"use": "classification", "weight": 0.1}), directory="b")
    capsys.readouterr()
    assert main(["compare", "a", "b"]) == 0
    text = capsys.readouterr().out
    assert "b:distilled - a:distilled" in text
    assert "no verdict" in text
    assert "1 seed, and a verdict needs 5" in text
    assert main(["compare", "a", "b", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["comparisons"]) == 3
