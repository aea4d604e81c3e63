"""The plots of a report. Each function gives None where the result holds nothing to draw."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter
from matplotlib.transforms import ScaledTranslation

from mmkd.errors import ConfigError
from mmkd.files import finite
from mmkd.reporting import drawing, facts
from mmkd.reporting.drawing import INK, Plot
from mmkd.reporting.facts import Result, Scale

_SEEDS: dict[str, Any] = {"linewidth": 3.0}
_UNITS: dict[str, Any] = {"linewidth": 1.3, "linestyle": "--"}
_OFF_SCALE = " ◀ ▶: off the scale."


def all_plots(result: Result) -> list[Plot]:
    """Every plot that the result has figures for."""
    result = finite(dict(result))
    made = [make(result) for make in _MAKERS.values()]
    return [plot for plot in made if plot is not None]


def figure(result: Result, name: str = "intervals", key: str = "") -> Figure:
    """One plot as a matplotlib figure.

    Arguments:
        name: of a plot in the order of `all_plots`, or `gain` for a gain curve.
        key: whose gain curve; default: the first.

    Raises `ConfigError` for a name that is none, or that the result holds no figures for.
    """
    result = finite(dict(result))
    if name == "gain":
        keys = [curve["key"] for curve in facts.traced(result)]
        if not keys or (key and key not in keys):
            known = f"traced: {', '.join(keys)}" if keys else "mmkd.run(..., curves=True) traces the recipe's [curves]"
            raise ConfigError(f"the run traced no gain curve{f' over {key}' * bool(key)}", known)
        number = keys.index(key) if key else 0
        plot = _gain_curve(result, number, facts.traced(result)[number])
    elif name in _MAKERS:
        plot = _MAKERS[name](result)
    else:
        raise ConfigError(f"there is no plot '{name}'", f"one of: {', '.join(_MAKERS)}, gain")
    if plot is None:
        raise ConfigError(f"the run holds nothing to draw under '{name}'")
    return plot.figure


def intervals(result: Result) -> Plot | None:
    """Difference of every arm to `alone`, with both intervals and the margin."""
    return _intervals(result, "intervals", "Difference to alone", facts.against_alone(result))


def attribution(result: Result) -> Plot | None:
    """Difference of `distilled` to every control."""
    compared = {comparison["baseline"]: comparison for comparison in result["attribution"]}
    return _intervals(result, "attribution", "Distilled minus each control", compared)


def _intervals(result: Result, name: str, title: str, compared: Mapping[str, Any]) -> Plot | None:
    if not compared:
        return None
    scale, look = Scale.of(result), drawing.looks(result)
    off = drawing.off_scale(result, {arm: max(map(abs, _ends(c))) for arm, c in compared.items()})
    margin = next(iter(compared.values()))["margin"]
    ends = [scale.value(end) for arm, c in compared.items() if arm not in off for end in [*_ends(c), margin or 0, 0]]
    room = 0.05 * (max(ends) - min(ends)) or 1
    limits = (min(ends) - room, max(ends) + room)
    said = []
    with drawing.style(name):
        figure, (axes,) = drawing.figure(title, 1.3 + 0.4 * len(compared))
        for row, (arm, comparison) in enumerate(compared.items()):
            difference = scale.number(comparison["difference"], "+")
            over = [scale.interval(comparison["seeds"]), scale.interval(comparison["units"])]
            verdict = facts.WORDS[comparison["verdict"]]
            said.append(f"{arm} {difference}, over seeds {over[0]}, over units {over[1]}, {verdict}")
            if arm in off:
                drawing.note_off_scale(axes, row, difference, comparison["difference"] > 0)
                continue
            for estimate, y, line in ((comparison["seeds"], -0.14, _SEEDS), (comparison["units"], 0.14, _UNITS)):
                if estimate is not None:
                    _interval(axes, scale, estimate, row + y, limits, color=look[arm].colour, **line)
                    axes.plot(scale.value(estimate["mean"]), row + y, look[arm].marker, color=look[arm].colour, ms=5)
        axes.set_xlim(limits)
        axes.axvline(0, color=INK, linewidth=1)
        if margin:
            axes.axvspan(-scale.value(margin), scale.value(margin), color=INK, alpha=0.1, linewidth=0)
        drawing.rows(axes, list(compared))
        unit = ", percentage points" if scale.percent else f" in {drawing.brief(scale.name)}"
        axes.set_xlabel(f"gain{unit} (better →)")
        handles = [Line2D([], [], color=INK, **line) for line in (_SEEDS, _UNITS)]
        figure.legend(handles, ["over seeds", "over test units"], loc="outside lower center", ncols=2)
        caption = "95 % intervals: thick over seeds, dashed over test units. A verdict needs both to leave out 0."
        if margin:
            caption += f" Grey: the margin of ±{scale.number(margin)}{scale.unit} that does not matter."
        return drawing.finish(figure, name, f"{title}: {'; '.join(said)}.", caption + (_OFF_SCALE if off else ""))


def pairs(result: Result) -> Plot | None:
    """From `alone` to each arm, one line per seed."""
    arms = facts.done(result)
    alone = arms.pop("alone", None)
    if alone is None or not arms:
        return None
    scale, look, said = Scale.of(result), drawing.looks(result), []
    before = [scale.value(value) for value in alone["per_seed"]]
    off = drawing.off_scale(result, {name: abs(arm["mean"] - alone["mean"]) for name, arm in arms.items()})
    with drawing.style("pairs"):
        figure, (axes,) = drawing.figure("Each seed: alone (upper dots), arm (lower dots)", 1.1 + 0.45 * len(arms))
        for row, (name, arm) in enumerate(arms.items()):
            after = [scale.value(value) for value in arm["per_seed"]]
            ahead = [b > a if scale.higher_is_better else b < a for a, b in zip(before, after, strict=True)]
            said.append(f"{name} is ahead of alone in {sum(ahead)} of {len(ahead)}")
            if name in off:
                drawing.note_off_scale(axes, row, scale.spread(arm), arm["mean"] > alone["mean"])
                continue
            ys, own = [row - 0.25, row + 0.25], look[name]
            axes.plot([before, after], ys, color=own.colour, alpha=0.45, linewidth=1)
            for values, y, how in ((before, ys[0], look["alone"]), (after, ys[1], own)):
                axes.plot(values, [y] * len(values), how.marker, color=how.colour, markersize=3.5, alpha=0.8)
            means = [scale.value(alone["mean"]), scale.value(arm["mean"])]
            axes.plot(means, ys, color=own.colour, linewidth=2.5, solid_capstyle="round")
        drawing.rows(axes, list(arms))
        axes.set_xlabel(scale.label)
        caption = "A thin line per seed joins `alone` to the arm, the thick line joins the means; a gain leans to the "
        caption += ("right." if scale.higher_is_better else "left.") + (_OFF_SCALE if off else "")
        return drawing.finish(figure, "pairs", f"{scale.label} of each seed: {'; '.join(said)} seeds.", caption)


def curves(result: Result) -> Plot | None:
    """Validation score over training steps: every seed, and the mean where all seeds were still training."""
    arms = {name: arm for name, arm in facts.done(result).items() if any(arm["history"])}
    if not arms:
        return None
    scale, look = Scale.of(result), drawing.looks(result)
    with drawing.style("curves"):
        figure, (axes,) = drawing.figure("Learning curves", 3.4)
        for name, arm in arms.items():
            scored = [[(step, score) for step, score in run if score is not None] for run in arm["history"]]
            runs = [{step: scale.value(score) for step, score in run} for run in scored if run]
            for run in runs:
                axes.plot(list(run), list(run.values()), color=look[name].colour, alpha=0.2, linewidth=0.8)
            steps = sorted(set.intersection(*map(set, runs))) if runs else []
            means = [sum(run[step] for run in runs) / len(runs) for step in steps]
            (mean,) = axes.plot(steps, means, color=look[name].colour, marker=look[name].marker, markersize=4)
            mean.set(markevery=max(len(steps) // 6, 1), linewidth=1.1 if arm["control"] else 1.8)
            mean.set_zorder(2 if arm["control"] else 3)
        axes.set_xlabel("optimiser steps")
        axes.set_ylabel(f"validation {scale.label}")
        drawing.legend(figure, {name: look[name] for name in arms})
        said = "; ".join(f"{name} {scale.spread(arm['valid'])}" for name, arm in arms.items() if "valid" in arm)
        alt = f"Learning curves. Validation {scale.label} of the kept weights: {said}."
        caption = "Validation score while training. Faint: seeds. Strong: their mean, over steps that all of them took."
        return drawing.finish(figure, "curves", alt, caption)


def reliability(result: Result) -> Plot | None:
    """Accuracy against confidence, for the arms that are no controls."""
    arms = {name: arm for name, arm in _main(result).items() if "reliability" in arm}
    if not arms:
        return None
    look, lowest = drawing.looks(result), 90.0
    with drawing.style("reliability"):
        figure, (axes,) = drawing.figure("Reliability, before temperature scaling", 4.0)
        axes.plot([0, 100], [0, 100], color=INK, linewidth=1, linestyle=":")
        for name, arm in arms.items():
            bins = zip(*(arm["reliability"][key] for key in ("confidence", "accuracy", "count")), strict=True)
            filled = [(100 * x, 100 * y, count) for x, y, count in bins if count]
            xs, ys, counts = (list(column) for column in zip(*filled, strict=True))
            lowest = min([lowest, *xs, *ys])
            axes.plot(xs, ys, color=look[name].colour, linewidth=1.3)
            areas = [8 + 150 * count / sum(counts) for count in counts]
            own = look[name]
            axes.scatter(xs, ys, areas, color=own.colour, marker=own.marker, alpha=0.8, linewidths=0, zorder=3)
        axes.set(xlim=(lowest - 3, 103), ylim=(lowest - 3, 103), aspect="equal")
        axes.set_xlabel("confidence: mean top probability (%)")
        axes.set_ylabel("accuracy (%)")
        drawing.legend(figure, {name: look[name] for name in arms})
        said = "; ".join(f"{name} {facts.percent(arm['calibration']['ece'])} %" for name, arm in arms.items())
        alt = f"Reliability diagram. Expected calibration error: {said}."
        caption = "Dotted: perfectly calibrated; below it a model is too sure of itself. Larger marks: more samples."
        return drawing.finish(figure, "reliability", alt, caption)


def against_cost(result: Result) -> Plot | None:
    """The metric against latency, and against parameters where an arm was not timed."""
    arms, costs = _main(result), {name: arm["cost"] for name, arm in _main(result).items()}
    latency = {name: cost["latency_ms"]["1"] for name, cost in costs.items() if cost.get("latency_ms")}
    parameters = {name: cost["parameters"] for name, cost in costs.items() if cost.get("parameters")}
    panels = {"latency of one sample (ms)": latency} if len(latency) > 1 else {}
    if len(parameters) > max(len(latency), 1):
        panels["parameters"] = parameters
    shown = {name: arm for name, arm in arms.items() if any(name in panel for panel in panels.values())}
    if not shown:
        return None
    scale, look = Scale.of(result), drawing.looks(result)
    with drawing.style("cost"):
        title = f"{scale.name.capitalize()} against {' and '.join(label.split()[0] for label in panels)}"
        figure, drawn = drawing.figure(title, 0.8 + 2.2 * len(panels), len(panels))
        for axes, (label, panel) in zip(drawn, panels.items(), strict=True):
            for name, cost in panel.items():
                middle, sd = scale.value(arms[name]["mean"]), scale.value(arms[name]["sd"] or 0.0)
                axes.errorbar(cost, middle, sd, fmt=look[name].marker, color=look[name].colour, ms=7, capsize=3)
            _cost_axis(axes, list(panel.values()))
            axes.set_xlabel(label)
            axes.set_ylabel(scale.label)
        drawing.legend(figure, {name: look[name] for name in shown})
        said = []
        for name, arm in shown.items():
            known = [f"{latency[name]:.3g} ms"] if name in latency else []
            known += [f"{facts.short(parameters[name])} parameters"] if name in parameters else []
            said.append(f"{name} {scale.spread(arm)} at {' and '.join(known)}")
        untimed = [name for name in shown if name not in latency]
        caption = f"{'Up' if scale.higher_is_better else 'Down'} and to the left is better."
        caption += " Bars: standard deviation over seeds."
        caption += f" Not timed: {', '.join(untimed)}." if latency and untimed else ""
        return drawing.finish(figure, "cost", f"{scale.label} against cost: {'; '.join(said)}.", caption)


def gain_curves(result: Result) -> list[Plot | None]:
    """For each traced key: the arms over its values, and below them the gain with both intervals; None where no value
    has figures."""
    result = finite(dict(result))
    return [_gain_curve(result, number, curve) for number, curve in enumerate(facts.traced(result))]


def _gain_curve(result: Result, number: int, curve: Mapping[str, Any]) -> Plot | None:
    points = [point for point in curve["points"] if point["status"] == "done"]
    if not points:
        return None
    scale, look, arms = Scale.of(result), drawing.looks(result), facts.traced_arms(curve)
    numeric = all(isinstance(point["value"], int | float) for point in points)
    if numeric:
        points.sort(key=lambda point: point["value"])
    values = [point["value"] for point in points]
    xs = values if numeric else list(range(len(values)))
    name = f"gain-curve-{number}"
    with drawing.style(name):
        figure, (upper, lower) = drawing.figure(f"Gain over {curve['key']}", 4.6, 2)
        for arm in arms:
            known = [(x, point["arms"][arm]) for x, point in zip(xs, points, strict=True) if arm in point["arms"]]
            middles, sds = ([scale.value(of[key] or 0.0) for _, of in known] for key in ("mean", "sd"))
            own = look[arm]
            upper.errorbar(
                [x for x, _ in known], middles, sds, color=own.colour, marker=own.marker, ms=4, capsize=2, linewidth=1.5
            )
        gains, blue = [point["gain"] for point in points], look["distilled"].colour
        for estimates, points_aside, line in (("seeds", -3, _SEEDS), ("units", 3, _UNITS)):
            beside = lower.transData + ScaledTranslation(points_aside / 72, 0, figure.dpi_scale_trans)
            for x, gain in zip(xs, gains, strict=True):
                _upright(lower, scale, gain[estimates], x, color=blue, transform=beside, **line)
        lower.plot(xs, [scale.value(gain["difference"]) for gain in gains], "o-", color=blue, ms=5, linewidth=1)
        lower.axhline(0, color=INK, linewidth=1)
        for axes in (upper, lower):
            if numeric and 0 < 8 * min(xs) <= max(xs):
                axes.set_xscale("log")
                axes.minorticks_off()
            axes.set_xticks(xs, [drawing.brief(str(value)) for value in values])
        upper.set_ylabel(scale.label)
        lower.set_ylabel("gain (points)" if scale.percent else "gain (up: better)")
        lower.set_xlabel(curve["key"])
        drawing.legend(figure, {arm: look[arm] for arm in arms})
        said = [
            f"at {point['value']} "
            + ", ".join(f"{arm} {scale.spread(point['arms'][arm])}" for arm in arms if arm in point["arms"])
            + f", gain {scale.number(point['gain']['difference'], '+')}"
            for point in points
        ]
        caption = "Above: mean and standard deviation over seeds. Below: distilled minus alone, positive is better, "
        caption += "with 95 % intervals: thick over seeds, dashed over test units. No verdict is drawn at a point."
        alt = f"{scale.label} and gain over {curve['key']}: {'; '.join(said)}."
        return drawing.finish(figure, name, alt, caption)


def _upright(axes: Axes, scale: Scale, estimate: Mapping[str, Any] | None, x: float, **line: Any) -> None:
    """An interval at `x`; nothing where there is none, or where it has an end nowhere."""
    if estimate is not None and estimate["standard_error"] is not None:
        ends = [estimate["interval"][end] for end in ("low", "high")]
        if None not in ends:
            ys = [scale.value(end) for end in ends]
            axes.plot([x, x], ys, **line)
            axes.update_datalim([(x, y) for y in ys])  # a line that is set aside does not count towards the limits


def _main(result: Result) -> dict[str, Any]:
    """The arms that are no controls."""
    return {name: arm for name, arm in facts.done(result).items() if not arm["control"]}


def _ends(comparison: Mapping[str, Any]) -> list[float]:
    """The mean difference and every known end of its intervals."""
    estimates = [estimate for estimate in (comparison["seeds"], comparison["units"]) if estimate]
    ends = [estimate["interval"][end] for estimate in estimates for end in ("low", "high")]
    return [comparison["difference"], *(end for end in ends if end is not None)]


def _interval(
    axes: Axes, scale: Scale, estimate: Mapping[str, Any], y: float, limits: tuple[float, float], **line: Any
) -> None:
    """A line from end to end, to the limit of the axis where there is no end; nothing where there is no interval."""
    if estimate["standard_error"] is not None:
        ends = zip((estimate["interval"]["low"], estimate["interval"]["high"]), limits, strict=True)
        axes.plot([limit if end is None else scale.value(end) for end, limit in ends], [y, y], **line)


_MAKERS: dict[str, Callable[[Result], Plot | None]] = {
    "intervals": intervals,
    "pairs": pairs,
    "curves": curves,
    "reliability": reliability,
    "cost": against_cost,
    "attribution": attribution,
}


def _cost_axis(axes: Axes, costs: Sequence[float]) -> None:
    """From 0 where costs are alike, else logarithmic."""
    if max(costs) > 20 * min(costs) > 0:
        axes.set_xscale("log")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.margins(x=0.15)
    else:
        axes.set_xlim(0, 1.15 * max(costs) or 1)
    axes.xaxis.set_major_formatter(lambda cost, _: facts.short(cost))  # matplotlib's own is TeX on a logarithmic axis
