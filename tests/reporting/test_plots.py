import copy
import xml.etree.ElementTree as ElementTree

import matplotlib as mpl
import pytest

from mmkd.reporting import drawing, plots

from .fakes import ODD_CASES


def text_of(plot: drawing.Plot) -> str:
    return " ".join("".join(ElementTree.fromstring(plot.svg).itertext()).split())


def test_every_plot_is_there_and_settings_are_put_back(drawn):
    assert mpl.rcParams["svg.fonttype"] == mpl.rcParamsDefault["svg.fonttype"]
    assert list(drawn) == ["intervals", "pairs", "curves", "reliability", "cost", "attribution"]


def test_plots_are_inline_and_need_nothing_else(drawn):
    ids = []
    for plot in drawn.values():
        assert plot.svg.startswith("<svg ")
        assert "http" not in plot.svg
        assert "xmlns" not in plot.svg
        assert "<style" not in plot.svg  # it would style the whole page
        ids += [element.get("id") for element in ElementTree.fromstring(plot.svg).iter() if element.get("id")]
        for element in ElementTree.fromstring(plot.svg).iter("use"):
            assert element.get("href", "")[1:] in ids
    assert len(ids) == len(set(ids))


def test_plots_speak_for_themselves(drawn, whole):
    for plot in drawn.values():
        root = ElementTree.fromstring(plot.svg)
        assert root.get("role") == "img"
        assert root.get("aria-label") == plot.alt
        assert len(plot.alt) > 40
        assert plot.caption.endswith(".")
    assert "distilled is ahead of alone in 5 of 5" in drawn["pairs"].alt
    assert f"distilled {100 * whole['comparisons'][0]['difference']:+.2f}" in drawn["intervals"].alt


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("intervals", ["Difference to alone", "gain, percentage points", "over seeds", "over test units", "distilled"]),
        ("pairs", ["accuracy (%)", "distilled", "teacher"]),
        ("curves", ["Learning curves", "optimiser steps", "validation accuracy (%)", "alone"]),
        ("reliability", ["Reliability", "confidence: mean top probability (%)", "accuracy (%)"]),
        ("cost", ["Accuracy against latency and parameters", "latency of one sample (ms)", "accuracy (%)"]),
        ("attribution", ["Distilled minus each control", "hard-teacher"]),
    ],
)
def test_titles_axes_and_units_are_labelled(drawn, name, labels):
    text = text_of(drawn[name])
    for label in labels:
        assert label in text


def test_text_takes_the_colour_of_the_page_and_arms_keep_theirs(drawn):
    for name in ("intervals", "pairs", "curves", "reliability", "cost"):
        assert "fill: currentColor" in drawn[name].svg
        assert drawing.INK not in drawn[name].svg
        assert "#0072b2" in drawn[name].svg.lower()  # distilled is blue in every plot


def test_looks_differ_between_arms(whole):
    looks = drawing.looks(whole)
    assert set(looks) == set(whole["arms"])
    assert len({(look.colour, look.marker) for look in looks.values()}) == len(looks)


def test_a_control_far_off_is_named_at_the_edge(drawn, whole):
    permuted = next(c for c in whole["comparisons"] if c["candidate"] == "permuted-teacher")
    assert f"◀ {100 * permuted['difference']:+.2f}" in text_of(drawn["intervals"])
    assert "off the scale" in drawn["pairs"].caption


@pytest.mark.parametrize(
    ("case", "names"),
    [
        ("only alone", ["curves", "reliability"]),
        ("one seed", ["intervals", "pairs", "curves", "reliability", "cost", "attribution"]),
        ("estimators", ["intervals", "pairs", "curves", "reliability"]),
        ("lower is better", ["intervals", "pairs", "curves", "cost"]),
    ],
)
def test_odd_results_are_drawn_as_far_as_they_go(case, names):
    assert [plot.name for plot in plots.all_plots(ODD_CASES[case]())] == names


@pytest.mark.parametrize(("case", "words"), [("folds", "over units –"), ("unbounded", "over units unbounded")])
def test_an_interval_without_ends_is_drawn(case, words):
    plot = plots.intervals(ODD_CASES[case]())
    assert plot is not None
    assert words in plot.alt


def test_odd_names_are_drawn_as_they_are():
    plot = plots.pairs(ODD_CASES["odd names"]())
    assert plot is not None
    assert "_mit $umlaut_ä$ [re…" in text_of(plot)


def test_a_logarithmic_axis_is_labelled_in_plain_figures(whole):
    """matplotlib's own labels are TeX, which a browser shows as it is."""
    far = copy.deepcopy(whole)
    for name, arm in far["arms"].items():
        arm.get("cost", {})["latency_ms"] = {"1": 5.0 if name == "teacher" else 0.04}
    plot = plots.against_cost(far)
    assert plot is not None
    assert plot.figure.axes[0].get_xscale() == "log", plot.alt
    assert "mathdefault" not in plot.svg
    assert ">0.1<" in plot.svg.replace("\n", "")
