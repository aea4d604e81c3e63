import re
from html.parser import HTMLParser

import pytest

from mmkd.reporting import facts, html, plots
from mmkd.reporting.html import render, write_report

from .fakes import ODD_CASES, THREE, make

VOID = {"meta", "br", "hr", "img", "link", "input"}


class Page(HTMLParser):
    """Checks that tags are balanced, and keeps elements and headings."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.headings: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("h1", "h2"):
            self.headings.append(data)

    def every(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def text(whole, drawn) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plots, "all_plots", lambda result: list(drawn.values()))
        return render(whole, 'name = "graph/glnn"\n')


@pytest.fixture(scope="module")
def page(text) -> Page:
    return Page(text)


def test_sections_stand_in_their_order(page, text, whole):
    assert page.headings == [
        "graph/glnn",
        "Proof",
        "Plots",
        "What each arm was given, and what it cost",
        "Controls",
        "Calibration, fidelity, further metrics",
        "Warnings",
        "How it was decided",
        "Environment and recipe",
    ]
    said = facts.in_points(whole["statements"][0], facts.Scale.of(whole))
    assert text.index(said) < text.index("<h2>Proof")
    assert "name = &#34;graph/glnn&#34;" in text


def test_the_page_needs_nothing_else(page, text):
    assert not re.search(r"https?:|@import|src=", text)
    assert {"script", "link", "img", "iframe"}.isdisjoint(tag for tag, _ in page.elements)
    for attributes in page.every("a"):
        assert (attributes["href"] or "").startswith("#")


def test_every_figure_has_its_text(page):
    assert len(page.every("figure")) == len(page.every("svg")) == len(page.every("figcaption")) == 6
    for attributes in page.every("svg"):
        assert attributes["role"] == "img"
        assert len(attributes["aria-label"] or "") > 40


def test_ids_are_unique_and_labels_point_at_them(page):
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in page.elements:
        if "aria-labelledby" in attributes:
            assert attributes["aria-labelledby"] in ids


def test_tables_have_headings_and_can_be_scrolled_by_keyboard(page):
    assert len(page.every("table")) == 6
    assert all(attributes["scope"] in ("col", "row") for attributes in page.every("th"))
    scrolled = [attributes for attributes in page.every("div") if attributes.get("class") == "scroll"]
    assert [attributes["tabindex"] for attributes in scrolled] == ["0"] * 6


def test_the_figures_are_those_of_the_result(text, whole):
    distilled, comparison = whole["arms"]["distilled"], whole["comparisons"][0]
    for number in (
        f"{100 * distilled['mean']:.2f} ± {100 * distilled['sd']:.2f}",
        f"[{100 * comparison['units']['interval']['low']:+.2f}, {100 * comparison['units']['interval']['high']:+.2f}]",
        f"{100 * distilled['calibration']['ece']:.1f}",
        f"{distilled['fidelity']['kl']:.3f}",
        f"{distilled['cost']['latency_ms']['1']:.3g} ms",
        "9,610",
        "1,447",
        "x, edge_index",
        "cannot run without edge_index",
    ):
        assert number in text


def test_colours_have_enough_contrast(text):
    """WCAG AA: 4.5 to 1 for text, on the page and on cards, in both schemes."""
    for scheme in re.findall(r":root \{(.*?)\}", text, flags=re.DOTALL):
        colours = dict(re.findall(r"--(\w+): (#\w{6})", scheme))
        for name in ("ink", "soft", "good", "bad", "same", "warn"):
            for ground in ("page", "card"):
                assert contrast(colours[name], colours[ground]) >= 4.5, (name, ground)


def contrast(one: str, other: str) -> float:
    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_odd_results_give_whole_pages(odd, monkeypatch):
    monkeypatch.setattr(plots, "all_plots", lambda result: [])  # test_plots draws them
    text = render(odd)
    Page(text)
    assert "None" not in text.replace("<p>None.</p>", "")
    assert "nan" not in text


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("only alone", ["Nothing was compared with alone"]),
        ("folds", ["folds of one cross-validation", "No margin was declared"]),
        ("sealed", ["sealed: validation data alone"]),
        ("published and extended", ["the number was then raised", "published"]),
        ("no difference", ["within margin", "TOST"]),
    ],
)
def test_odd_results_are_explained(case, words, monkeypatch):
    monkeypatch.setattr(plots, "all_plots", lambda result: [])
    text = render(ODD_CASES[case]())
    for word in words:
        assert word in text


def test_names_and_texts_are_escaped(monkeypatch):
    monkeypatch.setattr(plots, "all_plots", lambda result: [plots.pairs(result)])
    result = make(THREE)
    evil = "<script>alert('x')</script>"
    result |= {"recipe": evil, "warnings": [f"`{evil}`"]}
    result["dataset"]["name"] = evil
    result["environment"]["command"] = evil
    result["arms"] = {evil if name == "teacher" else name: arm for name, arm in result["arms"].items()}
    text = render(result, evil)
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    Page(text)


def test_the_report_is_written_whole_with_the_recipe_beside_it(tmp_path, monkeypatch):
    monkeypatch.setattr(plots, "all_plots", lambda result: [])
    (tmp_path / "resolved.toml").write_text("[student]\nhidden = 64\n")
    write_report(make(THREE), tmp_path / "report.html")
    assert "hidden = 64" in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["report.html", "resolved.toml"]


def test_a_failing_page_leaves_the_old_one(tmp_path, monkeypatch):
    (tmp_path / "report.html").write_text("old")
    monkeypatch.setattr(html, "proof", lambda result: 1 / 0)
    monkeypatch.setattr(plots, "all_plots", lambda result: [])
    with pytest.raises(ZeroDivisionError):
        write_report(make(THREE), tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text() == "old"


def test_what_is_wide_scrolls_by_itself(page, text, whole):
    """On a phone the page itself is never wider than the screen: tables and pictures scroll inside their boxes."""
    shown = render(whole, pictures=[{"file": "a.png", "caption": "c", "alt": "a", "address": "data:image/png;base64,"}])
    for tag in ("<table", "<img"):
        assert shown.count(tag) == len(re.findall(rf'<div class="scroll" tabindex="0"[^>]*>\s*{tag}', shown)) > 0
    assert "width=device-width" in text
