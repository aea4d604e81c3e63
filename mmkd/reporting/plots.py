"""The plots of a report, as SVG text to stand inside a page.

Text and axes take the page's own text colour (`currentColor`), so a plot can be read on light and on dark; an arm has the
same colour (Okabe & Ito 2008, safe for colour-blind readers) and the same marker in every plot.
"""

from __future__ import annotations

import html
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from io import StringIO
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from mmkd.files import finite
from mmkd.reporting import facts
from mmkd.reporting.facts import Result, Scale

_INK = "#010203"  # stands for the page's text colour until the SVG is written
_ALONE, _DISTILLED = "#D55E00", "#0072B2"
_OTHERS = ("#009E73", "#CC79A7", "#56B4E9", "#858585", "#E69F00")  # without yellow, which no light page shows
_MARKERS = "sD^vP*X<>"
_WIDTH = 4.8
_SEEDS: dict[str, Any] = {"linewidth": 3.0}
_UNITS: dict[str, Any] = {"linewidth": 1.3, "linestyle": "--"}
_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "axes.formatter.use_mathtext": False,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "figure.titlesize": 10,
    "figure.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.alpha": 0.15,
    "legend.frameon": False,
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color", "grid.color"), _INK),
}


@dataclass(frozen=True)
class Plot:
    """One figure.

    Arguments:
        name: a word for it, used in the ids of the SVG.
        svg: to be put into a page as it is; carries `alt` as its label.
        alt: what it shows, in words and figures.
        caption: how to read it.
    """

    name: str
    svg: str
    alt: str
    caption: str


@dataclass(frozen=True)
class Look:
    colour: str
    marker: str


def looks(result: Result) -> dict[str, Look]:
    """Colour and marker of each arm: the teacher in the text's colour, `alone` vermilion, `distilled` blue."""
    fixed = {"alone": Look(_ALONE, "o"), "distilled": Look(_DISTILLED, "o")}
    for name in facts.sources(result)[:1]:
        fixed[name] = Look(_INK, "o")
    others = [name for name in result["arms"] if name not in fixed]
    return fixed | {
        name: Look(_OTHERS[i % len(_OTHERS)], _MARKERS[(i + i // len(_OTHERS)) % len(_MARKERS)]) for i, name in enumerate(others)
    }


def all_plots(result: Result) -> list[Plot]:
    """Every plot that the result has figures for."""
    result = finite(dict(result))
    makers: Sequence[Callable[[Result], Plot | None]] = (intervals, pairs, curves, reliability, against_cost, attribution)
    return [plot for make in makers if (plot := make(result)) is not None]


def intervals(result: Result) -> Plot | None:
    """Difference of every arm to `alone`, with both intervals and the margin."""
    title = "Difference to alone"
    rows = {comparison["candidate"]: comparison for comparison in result["comparisons"]}
    return _intervals(result, "intervals", title, rows, "better than alone")


def attribution(result: Result) -> Plot | None:
    """Difference of `distilled` to every control."""
    title = "Distilled minus each control"
    rows = {comparison["baseline"]: comparison for comparison in result["attribution"]}
    return _intervals(result, "attribution", title, rows, "distilled is better")


def _intervals(result: Result, name: str, title: str, rows: Mapping[str, Any], better: str) -> Plot | None:
    if not rows:
        return None
    scale, look = Scale.of(result), looks(result)
    off = _off_scale(result, {arm: max(abs(end) for end in _ends(c)) for arm, c in rows.items()})
    margin = next(iter(rows.values()))["margin"]
    with _style(name):
        figure, axes = _figure(1.3 + 0.4 * len(rows))
        ends = [scale.value(end) for arm, c in rows.items() if arm not in off for end in [*_ends(c), margin or 0, 0]]
        room = 0.05 * (max(ends) - min(ends)) or 1
        left, right = min(ends) - room, max(ends) + room
        for place, (arm, comparison) in enumerate(rows.items()):
            if arm in off:
                _note_off_scale(axes, place, scale.number(comparison["difference"], "+"), comparison["difference"] > 0)
                continue
            for y, estimate, line in ((place - 0.14, comparison["seeds"], _SEEDS), (place + 0.14, comparison["units"], _UNITS)):
                if estimate is None:
                    continue
                axes.plot(scale.value(estimate["mean"]), y, look[arm].marker, color=look[arm].colour, markersize=5)
                if estimate["standard_error"] is not None:
                    low, high = estimate["interval"]["low"], estimate["interval"]["high"]
                    across = [left if low is None else scale.value(low), right if high is None else scale.value(high)]
                    axes.plot(across, [y, y], color=look[arm].colour, solid_capstyle="butt", **line)
        axes.set_xlim(left, right)
        axes.axvline(0, color=_INK, linewidth=1)
        if margin:
            axes.axvspan(-scale.value(margin), scale.value(margin), color=_INK, alpha=0.1, linewidth=0)
        _rows(axes, list(rows))
        axes.set_xlabel(f"{scale.name}{', percentage points' if scale.percent else ''} ({better} →)")
        _title(figure, title)
        handles = [Line2D([], [], color=_INK, **line) for line in (_SEEDS, _UNITS)]
        figure.legend(handles, ["over seeds", "over test units"], loc="outside lower center", ncols=2)
        said = "; ".join(
            f"{arm} {scale.number(c['difference'], '+')}, over seeds {scale.interval(c['seeds'])}, over units "
            f"{scale.interval(c['units'])}, {facts.WORDS[c['verdict']]}"
            for arm, c in rows.items()
        )
        caption = "Means with 95 % intervals, over seeds (thick) and over test units (dashed). A verdict needs both to leave out 0."
        if margin:
            caption += f" Grey: the margin of ±{scale.number(margin)}{scale.unit} that does not matter."
        return _plot(figure, name, f"{title}: {said}.", caption + _off_caption(off))


def pairs(result: Result) -> Plot | None:
    """From `alone` to each arm, one line per seed."""
    arms = facts.done(result)
    alone = arms.pop("alone", None)
    if alone is None or not arms:
        return None
    scale, look, said = Scale.of(result), looks(result), []
    before = [scale.value(value) for value in alone["per_seed"]]
    off = _off_scale(result, {name: abs(arm["mean"] - alone["mean"]) for name, arm in arms.items()})
    with _style("pairs"):
        figure, axes = _figure(1.1 + 0.45 * len(arms))
        for place, (name, arm) in enumerate(arms.items()):
            after = [scale.value(value) for value in arm["per_seed"]]
            gains = [(b - a) * (1 if scale.higher_is_better else -1) for a, b in zip(before, after, strict=True)]
            said.append(f"{name} is ahead of alone in {sum(gain > 0 for gain in gains)} of {len(gains)}")
            if name in off:
                _note_off_scale(axes, place, scale.spread(arm), arm["mean"] > alone["mean"])
                continue
            ys = [place - 0.25, place + 0.25]
            axes.plot([before, after], ys, color=look[name].colour, alpha=0.45, linewidth=1)
            for values, y, how in ((before, ys[0], look["alone"]), (after, ys[1], look[name])):
                axes.plot(values, [y] * len(values), how.marker, color=how.colour, markersize=3.5, alpha=0.8, linestyle="none")
            means = [scale.value(alone["mean"]), scale.value(arm["mean"])]
            axes.plot(means, ys, color=look[name].colour, linewidth=2.5, solid_capstyle="round")
        _rows(axes, list(arms))
        axes.set_xlabel(scale.label)
        _title(figure, "Each seed, from alone (upper dots) to the arm (lower dots)")
        caption = "One thin line per seed joins `alone` to the arm; the thick line joins the means. "
        caption += f"A gain leans to the {'right' if scale.higher_is_better else 'left'}."
        return _plot(figure, "pairs", f"{scale.label} of each seed: {'; '.join(said)} seeds.", caption + _off_caption(off))


def curves(result: Result) -> Plot | None:
    """Validation score over training steps: every seed, and the mean where all seeds were still training."""
    arms = {name: arm for name, arm in facts.done(result).items() if any(arm.get("history") or [])}
    if not arms:
        return None
    scale, look = Scale.of(result), looks(result)
    with _style("curves"):
        figure, axes = _figure(3.4)
        for name, arm in arms.items():
            runs = [{step: scale.value(score) for step, score in run if score is not None} for run in arm["history"] if run]
            for run in runs:
                axes.plot(list(run), list(run.values()), color=look[name].colour, alpha=0.2, linewidth=0.8)
            shared = sorted(set.intersection(*(set(run) for run in runs)))
            means = [sum(run[step] for run in runs) / len(runs) for step in shared]
            front = 3 if not arm["control"] else 2
            axes.plot(shared, means, color=look[name].colour, linewidth=1.8 if front == 3 else 1.1, zorder=front, **_marks(look[name], len(shared)))
        axes.set_xlabel("optimiser steps")
        axes.set_ylabel(f"validation {scale.label}")
        _title(figure, "Learning curves")
        _legend(figure, {name: look[name] for name in arms})
        said = "; ".join(f"{name} {scale.spread(arm['valid'])}" for name, arm in arms.items() if "valid" in arm)
        caption = "Validation score while training: faint lines are seeds, strong lines their mean over the steps that all of them took."
        return _plot(figure, "curves", f"Learning curves. Validation {scale.label} of the kept weights: {said}.", caption)


def reliability(result: Result) -> Plot | None:
    """Accuracy against confidence, for the arms that are no controls."""
    arms = {name: arm for name, arm in facts.done(result).items() if "reliability" in arm and not arm["control"]}
    if not arms:
        return None
    look = looks(result)
    with _style("reliability"):
        figure, axes = _figure(4.0)
        axes.plot([0, 100], [0, 100], color=_INK, linewidth=1, linestyle=":")
        lowest = 100.0
        for name, arm in arms.items():
            bins = arm["reliability"]
            filled = [b for b in zip(bins["confidence"], bins["accuracy"], bins["count"], strict=True) if b[0] is not None and b[2]]
            total = sum(count for _, _, count in filled)
            xs, ys = [100 * x for x, _, _ in filled], [100 * y for _, y, _ in filled]
            lowest = min([lowest, *xs, *ys])
            axes.plot(xs, ys, color=look[name].colour, linewidth=1.3)
            areas = [8 + 150 * count / total for _, _, count in filled]
            axes.scatter(xs, ys, s=areas, color=look[name].colour, marker=look[name].marker, alpha=0.8, linewidths=0, zorder=3)
        axes.set_xlim(min(lowest, 90) - 3, 103)
        axes.set_ylim(min(lowest, 90) - 3, 103)
        axes.set_aspect("equal")
        axes.set_xlabel("confidence: mean top probability (%)")
        axes.set_ylabel("accuracy (%)")
        _title(figure, "Reliability, before temperature scaling")
        _legend(figure, {name: look[name] for name in arms})
        said = "; ".join(f"{name} {facts.percent(arm['calibration']['ece'])} %" for name, arm in arms.items() if "calibration" in arm)
        caption = "Dotted: perfectly calibrated. Below it a model is too sure of itself. Larger marks hold more samples."
        return _plot(figure, "reliability", f"Reliability diagram. Expected calibration error: {said}.", caption)


def against_cost(result: Result) -> Plot | None:
    """The metric against latency, and against parameters where an arm was not timed."""
    arms = {name: arm for name, arm in facts.done(result).items() if not arm["control"]}
    latency = {name: arm["cost"]["latency_ms"]["1"] for name, arm in arms.items() if "1" in arm["cost"].get("latency_ms", {})}
    parameters = {name: arm["cost"]["parameters"] for name, arm in arms.items() if arm["cost"].get("parameters")}
    panels = []
    if latency:
        panels.append((latency, "latency of one sample (ms)"))
    if len(parameters) > len(latency):
        panels.append((parameters, "parameters"))
    if not panels:
        return None
    scale, look = Scale.of(result), looks(result)
    with _style("cost"):
        figure = Figure(figsize=(_WIDTH, 0.6 + 2.3 * len(panels)), layout="constrained")
        for axes, (costs, label) in zip(figure.subplots(len(panels), squeeze=False)[:, 0], panels, strict=True):
            for name, cost in costs.items():
                sd = scale.value(arms[name]["sd"] or 0.0)
                how = {"color": look[name].colour, "fmt": look[name].marker, "markersize": 7, "capsize": 3}
                axes.errorbar(cost, scale.value(arms[name]["mean"]), yerr=sd, **how)
            _cost_axis(axes, list(costs.values()))
            if label == "parameters":
                axes.xaxis.set_major_formatter(lambda cost, _: facts.short(cost))
            axes.set_xlabel(label)
            axes.set_ylabel(scale.label)
        _title(figure, f"{scale.name.capitalize()} against {' and '.join(label.split()[0] for _, label in panels)}")
        _legend(figure, {name: look[name] for name in arms if name in latency or name in parameters})
        said = "; ".join(f"{name} {scale.spread(arm)} at {_cost(name, latency, parameters)}" for name, arm in arms.items())
        untimed = [name for name in arms if name not in latency]
        caption = "Up and to the left is better." if scale.higher_is_better else "Down and to the left is better."
        caption += " Bars: standard deviation over seeds."
        if latency and untimed:
            caption += f" Not timed: {', '.join(untimed)}."
        return _plot(figure, "cost", f"{scale.label} against cost: {said}.", caption)


def _cost_axis(axes: Axes, costs: Sequence[float]) -> None:
    """From 0 where costs are alike, else logarithmic."""
    if max(costs) > 20 * min(costs) > 0:
        axes.set_xscale("log")
        axes.margins(x=0.15)
    else:
        axes.set_xlim(0, 1.15 * max(costs) or 1)


def _cost(name: str, latency: Mapping[str, float], parameters: Mapping[str, float]) -> str:
    known = [f"{latency[name]:.3g} ms"] if name in latency else []
    known += [f"{facts.short(parameters[name])} parameters"] if name in parameters else []
    return " and ".join(known) or "unknown cost"


def _ends(comparison: Mapping[str, Any]) -> list[float]:
    """The mean difference and every known end of its intervals."""
    estimates = [estimate for estimate in (comparison["seeds"], comparison["units"]) if estimate]
    ends = [estimate["interval"][end] for estimate in estimates for end in ("low", "high")]
    return [comparison["difference"], *(end for end in ends if end is not None)]


def _off_scale(result: Result, sizes: Mapping[str, float]) -> set[str]:
    """Controls that went so far off (by `sizes`) that drawing them would flatten all the rest."""
    middle = sorted(sizes.values())[len(sizes) // 2]
    far = 2.5 * max([middle, *(size for arm, size in sizes.items() if not result["arms"][arm]["control"])])
    return {arm for arm, size in sizes.items() if size > far}


def _note_off_scale(axes: Axes, place: int, value: str, right: bool) -> None:
    """The value as text at the edge that it lies beyond."""
    x, side = (0.99, "right") if right else (0.01, "left")
    text = f"{value} ▶" if right else f"◀ {value}"
    axes.text(x, place, text, transform=axes.get_yaxis_transform(), horizontalalignment=side, verticalalignment="center")


def _off_caption(off: set[str]) -> str:
    return " ◀ ▶: off the scale." if off else ""


def _marks(look: Look, points: int) -> dict[str, Any]:
    """A few markers along a line, which tell arms apart without colour."""
    return {"marker": look.marker, "markersize": 4, "markevery": max(points // 6, 1)}


def _rows(axes: Axes, names: Sequence[str]) -> None:
    """One row per arm, the first on top."""
    axes.set_yticks(range(len(names)), [_brief(name) for name in names])
    axes.set_ylim(len(names) - 0.45, -0.55)
    axes.grid(False, axis="y")
    axes.xaxis.set_major_locator(MaxNLocator(6))


def _legend(figure: Figure, arms: Mapping[str, Look]) -> None:
    handles = [Line2D([], [], color=look.colour, marker=look.marker, markersize=5, linewidth=1.5) for look in arms.values()]
    names = [_brief(name) for name in arms]
    columns = max(1, min(len(names), int(62 / (max(map(len, names)) + 7))))
    figure.legend(handles, names, loc="outside lower center", ncols=columns)


def _brief(name: str) -> str:
    """A name short enough for an axis; matplotlib leaves out labels that begin with an underscore."""
    name = name if len(name) <= 24 else name[:23] + "…"
    return f" {name}" if name.startswith("_") else name


def _title(figure: Figure, text: str) -> None:
    figure.suptitle(text, x=0.01, horizontalalignment="left")


def _figure(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    return figure, figure.subplots()


def _style(name: str) -> AbstractContextManager[None]:
    return mpl.rc_context({**_STYLE, "svg.hashsalt": name})


def _plot(figure: Figure, name: str, alt: str, caption: str) -> Plot:
    """Write the SVG and make it part of a page: no namespaces, ids of its own, the page's colour and font."""
    text = StringIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # the browser has the letters
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    svg = text.getvalue()[text.getvalue().index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<!--.*?-->\n?", "", svg, flags=re.DOTALL)
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"', "", svg).replace("xlink:href", "href")
    svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", svg)
    svg = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", svg, count=1, flags=re.DOTALL)  # would style the whole page
    svg = svg.replace("'DejaVu Sans', sans-serif", "system-ui, sans-serif").replace(_INK, "currentColor")
    opening = f'<svg role="img" aria-label="{html.escape(alt)}" style="stroke-linejoin: round" '
    svg = svg.replace("<svg ", opening, 1)
    return Plot(name, svg, alt, caption)
