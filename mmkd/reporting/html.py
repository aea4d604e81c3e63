"""The report page: one HTML file that needs nothing else."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from mmkd.files import finite, write_atomic
from mmkd.pictures import address_of
from mmkd.reporting import facts, plots
from mmkd.reporting.facts import ABSENT, WORDS, Result, Scale


@dataclass(frozen=True)
class Cell:
    """A cell of a table; `kind` is the verdict that colours it, `small` stands under the text."""

    text: str
    small: str = ""
    kind: str = ""


@dataclass(frozen=True)
class Table:
    """A table of the page; the first cell of a row is its heading. `words`: columns of text, aligned left."""

    name: str
    caption: str
    head: list[str]
    rows: list[list[Cell]]
    words: set[int] = field(default_factory=set)


def write_report(result: Result, path: str | os.PathLike[str], recipe: str | None = None) -> None:
    """Write the page.

    Arguments:
        result: the content of `result.json`.
        path: where to; an old page is replaced whole.
        recipe: the resolved recipe as text; default: `resolved.toml` beside `path`, if there is one.

    Raises `StorageError` where the disk refuses.
    """
    beside = Path(path).with_name("resolved.toml")
    if recipe is None and beside.is_file():
        recipe = beside.read_text(encoding="utf-8")
    write_atomic(path, render(result, recipe or "", embedded(result, Path(path).parent)))


def embedded(result: Result, folder: Path) -> list[dict[str, str]]:
    """The task's pictures with their files' content as addresses; a file that has gone leaves its caption."""
    shown = []
    for entry in result.get("pictures", []):
        file = folder / entry["file"]
        there = bool(entry["file"]) and file.is_file()
        shown.append({**entry, "address": address_of(entry["file"], file.read_bytes()) if there else ""})
    return shown


def render(result: Result, recipe: str = "", pictures: Sequence[Mapping[str, str]] = ()) -> str:
    """The page as text; `pictures` as `embedded` gives them."""
    result = finite(dict(result))
    environment = Environment(
        loader=PackageLoader("mmkd.reporting", ""),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters["code"] = _code
    drawn = plots.all_plots(result)
    return environment.get_template("report.html.j2").render(
        result=result,
        recipe=recipe,
        sentences=[(WORDS.get(verdict, ""), verdict_class(verdict), text) for verdict, text in facts.sentences(result)],
        facts=facts.key_facts(result),
        missing=facts.not_applicable(result),
        proof=proof(result),
        pictures=pictures,
        plots=[plot for plot in drawn if plot.name != "attribution"],
        curves=list(zip(curve_tables(result), plots.gain_curves(result), strict=True)),
        given=given(result),
        costs=costs(result),
        controls=controls(result),
        controls_plot=next((plot for plot in drawn if plot.name == "attribution"), None),
        calibration=calibration(result),
        metrics=metrics(result),
        decided=decided(result),
        notes=_notes(result),
        environment=_environment(result["environment"]),
    )


def proof(result: Result) -> Table:
    """Primary metric, differences to alone, verdicts."""
    scale, compared, parts = Scale.of(result), facts.compared(result), facts.parts(result)
    head = ["arm", scale.label, *parts]
    if compared:
        unit = result["dataset"]["unit"]
        head += ["difference to alone", "95 % over seeds", f"95 % over units ({unit})", "p (Holm)", "verdict"]
    rows = []
    for name, arm in facts.done(result).items():
        row = [Cell(facts.title(result, name), arm["explanation"]), Cell(scale.spread(arm))]
        row += [Cell(scale.spread(arm["parts"][part]) if part in arm.get("parts", {}) else ABSENT) for part in parts]
        if compared:
            row += _comparison(scale, compared.get(name))
        rows.append(row)
    what = "mean ± standard deviation over seeds" if len(result["seeds"]) > 1 else "one seed"
    caption = f"{scale.label}: {what}."
    if compared:
        caption += " Differences are paired by seed and test unit; positive is better."
        if any(found["baseline"] != "alone" for found in result["comparisons"]):
            caption += " An arm with a baseline of its own, in brackets, is compared with that one."
    return Table("proof", caption, head, rows, {len(head) - 1} if compared else set())


def given(result: Result) -> Table:
    """What each arm was given: nothing that differs between arms goes unsaid."""
    head = ["arm", "labels", "unlabelled inputs", "test inputs seen", "fields read", "optimiser steps"]
    rows = []
    for name, arm in facts.done(result).items():
        inputs = arm["inputs"]
        seen = [Cell(facts.count(inputs[key])) for key in ("labelled", "unlabelled", "test_inputs")]
        rows.append([Cell(name), *seen, Cell(", ".join(inputs["fields"]) or ABSENT), Cell(facts.steps(arm))])
    return Table("given", f"Inputs in training. Budget: {result['budget']}.", head, rows, {4})


def costs(result: Result) -> Table:
    """What each arm cost."""
    head = ["arm", "parameters", "size", "training", "training FLOPs", "latency, 1 sample", "latency, 100 samples"]
    rows = []
    for name, arm in facts.done(result).items():
        cost, latency = arm["cost"], arm["cost"].get("latency_ms", {})
        rows.append(
            [
                Cell(name),
                Cell(facts.count(cost.get("parameters"))),
                Cell(_unit(cost.get("bytes"), "B")),
                Cell(f"{cost['training_seconds']:,.1f} s"),
                Cell(facts.short(cost.get("training_flops"))),
                *(Cell(ABSENT if rows_ not in latency else f"{latency[rows_]:.3g} ms") for rows_ in ("1", "100")),
            ]
        )
    environment = result["environment"]
    where = f"{environment.get('device', 'unknown device')}, {environment.get('threads', '?')} threads"
    caption = f"Cost, measured on {where}. FLOPs count dense products alone; training seconds are the mean over seeds."
    return Table("costs", caption, head, rows)


def controls(result: Result) -> Table | None:
    """Distilled against each control."""
    if not result["attribution"]:
        return None
    scale, rows = Scale.of(result), []
    for comparison in result["attribution"]:
        name = comparison["baseline"]
        rows.append([Cell(name, result["arms"][name]["explanation"]), *_comparison(scale, comparison)])
    head = ["control", "distilled minus control", "95 % over seeds", "95 % over units", "p (Holm)", "distilled is"]
    caption = "Distilled against its controls: what is lost when something is taken away."
    return Table("controls", caption, head, rows, {5})


def curve_tables(result: Result) -> list[Table]:
    """The figures of each gain curve."""
    scale, tables = Scale.of(result), []
    for number, curve in enumerate(facts.traced(result)):
        arms, rows = facts.traced_arms(curve), []
        for point in curve["points"]:
            if point["status"] != "done":
                rows.append([Cell(str(point["value"]), point["reason"]), *[Cell(ABSENT)] * (len(arms) + 3)])
                continue
            gain = point["gain"]
            row = [Cell(str(point["value"]), "" if point["directory"] else "the recipe's own")]
            row += [Cell(scale.spread(point["arms"][arm]) if arm in point["arms"] else ABSENT) for arm in arms]
            row.append(Cell(scale.number(gain["difference"], "+")))
            rows.append([*row, *(Cell(scale.interval(gain[key])) for key in ("seeds", "units"))])
        head = [curve["key"], *arms, "gain", "95 % over seeds", "95 % over units"]
        tables.append(Table(f"curve-{number}", f"{scale.label} over {curve['key']}.", head, rows))
    return tables


def calibration(result: Result) -> Table | None:
    """Calibration, and fidelity to the first source."""
    arms = {name: arm for name, arm in facts.done(result).items() if "calibration" in arm}
    if not arms:
        return None
    head = ["arm", "ECE %", "ECE % scaled", "NLL", "NLL scaled", "temperature"]
    faithful = any("fidelity" in arm for arm in arms.values())
    if faithful:
        head += ["agreement %", "agreement %, teacher wrong", "KL to teacher", "KL, teacher wrong"]
    rows = []
    for name, arm in arms.items():
        of, near = arm["calibration"], arm.get("fidelity", {})
        row = [name, *(facts.percent(of.get(key)) for key in ("ece", "ece_scaled"))]
        row += [_three(of.get(key)) for key in ("nll", "nll_scaled", "temperature")]
        if faithful:
            row += [facts.percent(near.get(key)) for key in ("agreement", "agreement_teacher_wrong")]
            row += [_three(near.get(key)) for key in ("kl", "kl_teacher_wrong")]
        rows.append([Cell(text) for text in row])
    caption = "Means over seeds. Scaled: after temperature scaling on validation data."
    if faithful:
        teacher = facts.sources(result)[0]
        caption += f" Agreement and KL (nats) are with {teacher}: where it is wrong, to agree is to copy its mistakes."
    return Table("calibration", caption, head, rows)


def metrics(result: Result) -> Table | None:
    """All metrics beside the primary one, and the validation score that selected."""
    scale, arms = Scale.of(result), facts.done(result)
    names = [name for name in dict.fromkeys(m for arm in arms.values() for m in arm["metrics"]) if name != scale.name]
    validated = result["evaluated"] == "test" and any("valid" in arm for arm in arms.values())
    if not names and not validated:
        return None
    rows = []
    for name, arm in arms.items():
        row = [Cell(name), *(Cell(_spread(arm["metrics"].get(metric))) for metric in names)]
        if validated:
            row.append(Cell(scale.spread(arm["valid"]) if "valid" in arm else ABSENT))
        rows.append(row)
    head = ["arm", *names, *([f"validation {scale.label}"] if validated else [])]
    return Table("metrics", "Further metrics: mean ± standard deviation over seeds.", head, rows)


def decided(result: Result) -> dict[str, Any] | None:
    """The figures that the two paragraphs on the decision name."""
    if not result["comparisons"]:
        return None
    scale, first = Scale.of(result), facts.against_alone(result).get("distilled", result["comparisons"][0])
    return {
        "seeds": len(result["seeds"]),
        "unit": first["unit"],
        "units": facts.count(first["n_units"]) if first["n_units"] else "",
        "folds": first["folds"],
        "family": first["family"] if first["p_adjusted"] is not None else 0,
        "margin": f"{scale.number(first['margin'])}{scale.unit}" if first["margin"] else "",
        "metric": scale.name,
    }


def _comparison(scale: Scale, found: Any) -> list[Cell]:
    """Difference, both intervals, p and verdict; dashes for an arm that is not compared."""
    if found is None:
        return [Cell(ABSENT)] * 4 + [Cell("")]
    p = found["p_value"] if found["p_adjusted"] is None else found["p_adjusted"]
    return [
        Cell(scale.number(found["difference"], "+")),
        Cell(scale.interval(found["seeds"])),
        Cell(scale.interval(found["units"])),
        Cell(ABSENT if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"),
        Cell(WORDS[found["verdict"]], kind=verdict_class(found["verdict"])),
    ]


def verdict_class(verdict: str) -> str:
    """The CSS class of a verdict."""
    kinds = {"": "", "better": "good", "worse": "bad", "no difference beyond the margin": "same"}
    return kinds.get(verdict, "open")


def _code(text: str) -> Markup:
    """Escaped text with `names` set as code."""
    return Markup(re.sub(r"`([^`]*)`", r"<code>\1</code>", str(escape(text))))


def _notes(result: Result) -> list[tuple[str, str]]:
    """What the jobs noted, by arm."""
    return [(name, note) for name, arm in facts.done(result).items() for note in arm.get("notes", [])]


def _environment(environment: Any) -> dict[str, str]:
    """Names and versions, flat."""
    versions = ", ".join(f"{name} {version}" for name, version in environment.get("versions", {}).items())
    rest = {name: str(value) for name, value in environment.items() if name != "versions" and value is not None}
    return {**rest, "versions": versions}


def _spread(summary: Any) -> str:
    if summary is None or summary["mean"] is None:
        return ABSENT
    return f"{summary['mean']:.4g}" + ("" if summary["sd"] is None else f" ± {summary['sd']:.2g}")


def _three(value: float | None) -> str:
    return ABSENT if value is None else f"{value:.3f}"


def _unit(value: float | None, unit: str) -> str:
    short = facts.short(value)
    return short if short == ABSENT else f"{short}{unit}" if short[-1].isalpha() else f"{short} {unit}"
