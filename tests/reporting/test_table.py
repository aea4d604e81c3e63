import subprocess
import sys
from types import SimpleNamespace

import pytest
from rich.console import Console

from mmkd.reporting import facts
from mmkd.reporting.facts import Scale
from mmkd.reporting.html import proof
from mmkd.reporting.table import as_text, print_result

from .fakes import ODD_CASES, ODD_NAME, THREE, make


def row(text: str, arm: str) -> str:
    return next(line for line in text.splitlines() if line.startswith(f"{arm} "))


def test_the_table_holds_what_was_measured(whole):
    text = as_text(whole)
    distilled, comparison = whole["arms"]["distilled"], whole["comparisons"][0]
    line = row(text, "distilled")
    assert f"{100 * distilled['mean']:.2f} ± {100 * distilled['sd']:.2f}" in line
    assert f"{100 * comparison['difference']:+.2f}" in line
    for estimate in (comparison["seeds"], comparison["units"]):
        assert f"[{100 * estimate['interval']['low']:+.2f}, {100 * estimate['interval']['high']:+.2f}]" in line
    assert "better" in line
    assert f"{100 * distilled['fidelity']['agreement']:.1f}" in line
    assert f"{100 * distilled['calibration']['ece']:.1f} / 2.1" in line
    assert "worse" in row(text, "permuted-teacher")
    assert "inconclusive" in row(text, "labelled-only")


def test_what_belongs_to_the_table_stands_below_it(whole):
    text = " ".join(as_text(whole).split())
    gap, comparison = whole["gap_recovered"], whole["comparisons"][0]
    for said in whole["statements"] + whole["warnings"]:
        assert facts.in_points(said, Scale.of(whole)) in text
    low, high = gap["interval"]
    assert f"gap recovered {100 * gap['value']:.0f} %, [{100 * low:.0f}, {100 * high:.0f}] %" in text
    assert f"a true difference of {100 * comparison['smallest_detectable']:.2f} percentage points" in text
    assert "restricted-teacher source 'teacher' cannot run without edge_index" in text
    assert "test data; independent unit: sample" in text
    assert "transductive setting" in text
    assert "seeds 5 (0-4); a seed changes split, teacher, student" in text
    assert "test data 3 times so far" in text


def test_an_odd_result_fits_the_width(odd):
    text = as_text(odd)
    assert max(len(line) for line in text.splitlines()) <= 120
    assert "None" not in text
    assert "nan" not in text


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("only alone", ["No arm is compared with `alone`"]),
        ("no students but alone and a control", ["No arm but controls is compared"]),
        ("sealed", ["validation data (sealed run)", "better"]),
        ("one seed", ["no verdict", "one seed", "no interval: one seed shows no spread"]),
        ("few units", ["no verdict: distilled against alone: 5 independent test units"]),
        ("no difference", ["within margin"]),
        ("parts", ["tran", "ind"]),
        ("published and extended", ["published budget", "seeds were added after a first look"]),
        ("two sources", ["shared with t1"]),
        ("unbounded", ["unbounded", "gap recovered none: the teacher does not score above alone"]),
        ("odd names", [ODD_NAME, "better"]),
    ],
)
def test_an_odd_result_is_named_as_what_it_is(case, words):
    text = " ".join(as_text(ODD_CASES[case]()).split())
    for word in words:
        assert word in text


def test_a_sealed_run_names_no_unsealing():
    assert "unsealed" not in as_text(make(THREE, sealed=True))


def test_a_narrow_table_keeps_the_columns_that_decide(whole):
    text = as_text(whole, 100)
    assert max(len(line) for line in text.splitlines()) <= 100
    assert "verdict" in text
    assert "ECE" not in text  # nor in the legend


def test_metrics_that_fall_are_shown_as_they_are_and_gains_stay_positive():
    result = ODD_CASES["lower is better"]()
    line = row(as_text(result), "distilled")
    assert Scale.of(result) == Scale("mae", False, False, 3)
    assert f"{result['arms']['distilled']['mean']:.3f} ± " in line
    assert f"{result['comparisons'][0]['difference']:+.3f}" in line
    assert result["comparisons"][0]["difference"] > 0


def test_rounding():
    percent = Scale("accuracy", True, True, 2)
    assert percent.spread({"mean": 0.80515, "sd": 0.01349}) == "80.52 ± 1.35"
    assert percent.spread({"mean": 0.5, "sd": None}) == "50.00"
    assert percent.number(-0.00001, "+") == "+0.00"
    assert percent.number(None) == facts.ABSENT
    assert [facts.short(n) for n in (0, 950, 999.9, 9610, 2_000_000, 1e10, 1e16, None)] == [
        "0",
        "950",
        "1 k",
        "9.61 k",
        "2 M",
        "10 G",
        "1e+04 T",
        facts.ABSENT,
    ]
    assert facts.steps({"cost": {"steps": [1600, 2000]}}) == "1,600-2,000"
    assert facts.key_facts(make(THREE) | {"seeds": [0, 1, 2, 5, 7, 8]})["seeds"].startswith("6 (0-2, 5, 7-8)")


def test_not_a_number_is_absent():
    result = make(THREE)
    result["comparisons"][0]["smallest_detectable"] = float("nan")
    assert "detectable" not in as_text(result)


def test_printing_to_a_file_gives_the_plain_table(whole, tmp_path):
    with (tmp_path / "out").open("w", encoding="utf-8") as file:
        print_result(whole, SimpleNamespace(rich_console=lambda: Console(file=file, width=40)))
    assert (tmp_path / "out").read_text(encoding="utf-8") == as_text(whole)


def test_printing_to_a_terminal_follows_its_width(whole, tmp_path):
    with (tmp_path / "out").open("w", encoding="utf-8") as file:
        print_result(whole, SimpleNamespace(rich_console=lambda: Console(file=file, width=104, force_terminal=True)))
    assert "\x1b[1;32mbetter" in (tmp_path / "out").read_text(encoding="utf-8")


def test_the_table_imports_neither_matplotlib_nor_torch():
    code = "import sys, mmkd.reporting.table; assert not {'matplotlib', 'torch', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_arm_with_a_baseline_of_its_own_is_shown_against_it():
    result = make({"teacher": 0.9, "alone": 0.8, "distilled": 0.85, "tree": 0.7, "tree-alone": 0.6})
    (found,) = (c for c in result["comparisons"] if c["candidate"] == "tree")
    assert "in brackets" not in as_text(result)
    found["baseline"] = "tree-alone"
    text = as_text(result)
    assert "tree (- tree-alone)" in text
    assert "to the arm in brackets" in text
    assert "tree (- tree-alone)" in "".join(cell.text for row in proof(result).rows for cell in row)


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("distilled beats alone by 0.0521 accuracy over 5 seeds", "alone by 5.21 percentage points over 5 seeds"),
        ("the gain survives (shuffled-teacher +0.057 accuracy)", "(shuffled-teacher +5.7 percentage points)"),
        ("the mean difference of -0.0319 has p = 0.072", "difference of -3.19 percentage points has p = 0.072"),
        ("by 0.02 accuracy, less than the margin of 0.01", "by 2 percentage points, less than the margin of 1 perc"),
        ("a true difference of 0.0425 accuracy would be", "a true difference of 4.25 percentage points would be"),
        ("by 1.2e-05 accuracy", "by 0.0012 percentage points"),
    ],
)
def test_sentences_and_tables_count_alike(said, shown):
    assert shown in facts.in_points(said, Scale("accuracy", True, True, 2))
    assert facts.in_points(said, Scale("accuracy", True, False, 3)) == said
