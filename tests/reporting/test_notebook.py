"""What a notebook shows: the proof as HTML, plots as figures, bars without widgets."""

from __future__ import annotations

import copy
import sys
import types
import xml.etree.ElementTree as ElementTree
from typing import Any

import pytest
from matplotlib.figure import Figure

from mmkd.errors import ConfigError
from mmkd.reporting import facts, plots, progress
from mmkd.reporting.notebook import as_html

from .fakes import ODD_CASES

DONE = {"status": "done", "valid": {"accuracy": 0.9}}


def test_the_proof_is_small_html_with_the_verdict_in_words(whole):
    page = as_html(whole)
    text = " ".join(ElementTree.fromstring(page).itertext())
    assert "distilled" in text
    assert "better" in text
    assert "Gap to the teacher recovered" in text
    assert len(ElementTree.fromstring(page).findall(".//tr")) == 1 + len(facts.done(whole))
    assert len(page) < 8000
    assert "<script" not in page
    assert "background: #" not in page  # the page's own colours, light or dark


def test_odd_results_are_shown_as_far_as_they_go(odd):
    before = copy.deepcopy(odd)
    ElementTree.fromstring(as_html(odd))
    assert odd == before


def test_plots_are_figures_that_a_notebook_shows(whole):
    for name in ("intervals", "pairs", "curves", "reliability", "cost", "attribution"):
        made = plots.figure(whole, name)
        assert isinstance(made, Figure)
        assert made._repr_png_().startswith(b"\x89PNG")


def test_a_plot_that_is_none_says_which_there_are(whole):
    with pytest.raises(ConfigError, match=r"no plot 'bars'.*intervals, pairs"):
        plots.figure(whole, "bars")
    with pytest.raises(ConfigError, match="traced no gain curve"):
        plots.figure(whole, "gain")
    with pytest.raises(ConfigError, match="nothing to draw under 'intervals'"):
        plots.figure(ODD_CASES["only alone"](), "intervals")


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """What a made-up notebook was told to show, in order."""
    said: list[dict[str, str]] = []

    class Handle:
        def update(self, data: dict[str, str], raw: bool) -> None:
            said.append(data)

    def display(data: dict[str, str], raw: bool, display_id: bool) -> Handle:
        said.append(data)
        return Handle()

    ipython: Any = types.ModuleType("IPython")
    ipython.get_ipython = lambda: types.SimpleNamespace(kernel=None)
    ipython.display = types.ModuleType("IPython.display")
    ipython.display.display = display
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", ipython.display)
    return said


def test_a_notebook_gets_bars_and_keeps_one_line(shown):
    with progress.fitting() as bars:
        assert isinstance(bars, progress.NotebookBars)
        bars.every = 0.0
        bars.begin(2, 0)
        bars.started("alone", 0)
        bars.stepped(49, 100, {"loss": 0.25})
        bars.finished("alone", 0, DONE)
        bars.started("<b>", 0)
        bars.finished("<b>", 0, DONE)
    pages = [data.get("text/html", "") for data in shown]
    assert any("arms x seeds 0/2 alone, seed 0" in page for page in pages)
    assert any("steps 50/100 loss 0.25" in page and '<progress value="50" max="100"' in page for page in pages)
    assert any("&lt;b&gt;" in page for page in pages)
    assert list(shown[-1]) == ["text/plain"]
    assert shown[-1]["text/plain"].startswith("2 arms x seeds done in ")


def test_a_fast_loop_does_not_flood_the_notebook(shown):
    with progress.NotebookBars(every=60) as bars:
        bars.begin(1, 0)
        bars.started("alone", 0)
        for step in range(1000):
            bars.stepped(step, 1000, {"loss": 1.0})
    assert len(shown) == 2


def test_an_error_stops_the_bars(shown):
    def fail() -> None:
        with progress.fitting() as bars:
            assert bars is not None
            bars.begin(2, 0)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert shown[-1]["text/plain"].startswith("0 arms x seeds stopped after ")


def test_elsewhere_than_in_a_notebook_or_on_a_terminal_nothing_is_drawn(capsys):
    with progress.fitting() as bars:
        assert bars is None
    with progress.fitting(wanted=True) as bars:
        assert type(bars) is progress.Bars
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.26, "0.3 s"), (9.96, "10 s"), (99.4, "99 s"), (119.7, "2 min 0 s"), (3725, "62 min 5 s")]
)
def test_times_are_short(seconds, words):
    assert progress._clock(seconds) == words
