"""The content of `result.json` as short texts: what the printed table and the page share. Standard library only."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Result = Mapping[str, Any]
ABSENT = "–"
WORDS = {
    "better": "better",
    "worse": "worse",
    "no difference beyond the margin": "within margin",
    "inconclusive": "inconclusive",
    "none": "no verdict",
}
"""Verdicts, short enough for a column."""


@dataclass(frozen=True)
class Scale:
    """How values of the primary metric are shown.

    Arguments:
        name: of the metric.
        higher_is_better: of the metric.
        percent: shown times 100: a higher-is-better metric whose values all lie in [0, 1].
        decimals: shown after the point.
    """

    name: str
    higher_is_better: bool
    percent: bool
    decimals: int

    @classmethod
    def of(cls, result: Result) -> Scale:
        """Percent get two decimals; other metrics as many as show two digits of the smallest spread."""
        name, higher = result["metric"]["name"], bool(result["metric"]["higher_is_better"])
        arms = list(done(result).values())
        values = [value for arm in arms for value in arm["per_seed"] if value is not None]
        if higher and values and all(0 <= value <= 1 for value in values):
            return cls(name, higher, True, 2)
        spreads = [arm["sd"] for arm in arms if arm.get("sd")] or [abs(value) / 10 for value in values if value]
        digits = 1 - math.floor(math.log10(min(spreads))) if spreads else 3
        return cls(name, higher, False, min(max(digits, 0), 6))

    @property
    def label(self) -> str:
        """The metric with its unit."""
        return f"{self.name} (%)" if self.percent else self.name

    @property
    def unit(self) -> str:
        """Of a difference, to stand behind a number."""
        return " percentage points" if self.percent else f" {self.name}"

    def value(self, value: float) -> float:
        return 100 * value if self.percent else value

    def number(self, value: float | None, sign: str = "") -> str:
        """A value, or with sign "+" a difference, without its unit."""
        if value is None:
            return ABSENT
        shown = round(self.value(value), self.decimals) + 0.0  # no negative zero
        return f"{shown:{sign}.{self.decimals}f}"

    def spread(self, summary: Mapping[str, Any]) -> str:
        """Mean ± standard deviation over seeds; the mean alone where there is one seed."""
        mean, sd = self.number(summary["mean"]), summary.get("sd")
        return mean if sd is None else f"{mean} ± {self.number(sd)}"

    def interval(self, estimate: Mapping[str, Any] | None) -> str:
        """The interval of a difference."""
        if estimate is None or estimate["standard_error"] is None:
            return ABSENT
        low, high = estimate["interval"]["low"], estimate["interval"]["high"]
        if low is None or high is None:
            return "unbounded"
        return f"[{self.number(low, '+')}, {self.number(high, '+')}]"


def done(result: Result) -> dict[str, Any]:
    """The arms that have figures, in order."""
    return {name: arm for name, arm in result["arms"].items() if arm["status"] == "done"}


def not_applicable(result: Result) -> dict[str, str]:
    """Arms without figures, and why."""
    return {name: arm["reason"] for name, arm in result["arms"].items() if arm["status"] != "done"}


def sources(result: Result) -> list[str]:
    """The arms that are sources, the first being the teacher of fidelity and gap."""
    return [name for name, arm in done(result).items() if arm["kind"] == "source"]


def against_alone(result: Result) -> dict[str, Any]:
    """Comparisons with `alone`, by candidate."""
    return {found["candidate"]: found for found in result["comparisons"] if found["baseline"] == "alone"}


def compared(result: Result) -> dict[str, Any]:
    """Comparisons by candidate: with `alone`, or with the baseline that a further arm has of its own."""
    return {found["candidate"]: found for found in result["comparisons"]}


def title(result: Result, arm: str) -> str:
    """Name of an arm, and its baseline where that is not `alone`."""
    found = compared(result).get(arm)
    return arm if found is None or found["baseline"] == "alone" else f"{arm} (- {found['baseline']})"


def parts(result: Result) -> list[str]:
    """Names of the parts of the test rows, where there are several."""
    return list(dict.fromkeys(part for arm in done(result).values() for part in arm.get("parts", {})))


def is_extended(result: Result) -> bool:
    """Whether seeds were added after a first look."""
    notes = [note for comparison in result["comparisons"] for note in comparison["notes"]]
    return bool(result.get("extended")) or any(note.startswith("extended") for note in notes)


def sentences(result: Result) -> Iterator[tuple[str, str]]:
    """What was shown: (verdict, sentence). The verdict is empty for sentences that are no verdict against `alone`."""
    if not result["statements"]:
        what = "No arm but controls is" if result["comparisons"] else "No arm is"
        yield "", f"{what} compared with `alone`, so there is nothing to say of distillation."
    scale = Scale.of(result)
    waiting = [c for c in result["comparisons"] if not result["arms"][c["candidate"]]["control"]]
    for said in result["statements"]:
        comparison = next((c for c in waiting if c["reason"] == said), None)
        said = in_points(said, scale)
        if comparison is None:
            yield "", said
            continue
        waiting.remove(comparison)
        names = f"{comparison['candidate']} against {comparison['baseline']}"
        named = said.startswith(comparison["candidate"])
        yield comparison["verdict"], said if named else f"{names}: {said}"


def in_points(text: str, scale: Scale) -> str:
    """A sentence with its differences in percentage points, where the tables have them so."""
    if not scale.percent:
        return text
    number = r"(?<![\w.])([+-]?\d+(?:\.\d+)?(?:e-?\d+)?)(?!\w|\.\d)"

    def points(match: re.Match[str]) -> str:
        before, figure, after = match.groups(default="")
        sign = "+" if figure.startswith("+") else ""
        return f"{before}{100 * float(figure):{sign}.3g} percentage points" if before or after else match[0]

    return re.sub(rf"(difference of |margin of )?{number}( {re.escape(scale.name)}\b)?", points, text)


def gap(result: Result) -> str:
    """How much of the gap to the teacher was closed, with its interval or why there is none; empty without a gap."""
    found = result["gap_recovered"]
    if found is None:
        return ""
    if found["value"] is None:
        return f"none: {found['reason']}"
    value = f"{100 * found['value']:.0f} %"
    if found["interval"] is None:
        return f"{value}, no interval: {found['reason']}"
    low, high = found["interval"]
    return f"{value}, [{100 * low:.0f}, {100 * high:.0f}] %"


def traced(result: Result) -> list[Any]:
    """The gain curves, where the run traced any."""
    return list(result.get("curves", []))


def traced_arms(curve: Mapping[str, Any]) -> list[str]:
    """The arms of a gain curve: `alone`, `distilled`, then the sources."""
    names = dict.fromkeys(name for point in curve["points"] if point["status"] == "done" for name in point["arms"])
    return sorted(names, key=lambda name: {"alone": 0, "distilled": 1}.get(name, 2))


def key_facts(result: Result) -> dict[str, str]:
    """What has to be known to read the table, by heading."""
    scale, dataset, seeds = Scale.of(result), result["dataset"], result["seeds"]
    varied = f"; a seed changes {', '.join(result['vary'])}" if result["vary"] else ""
    facts = {
        "data": f"{dataset['name']}, {count(dataset['rows'])} rows, {dataset['setting']} setting",
        "evaluated on": f"{_EVALUATED[result['evaluated']]}; independent unit: {dataset['unit']}",
        "seeds": f"{len(seeds)} ({_ranges(seeds)}){varied}",
    }
    if result["evaluated"] == "test":
        times = result["unsealings"]
        facts["unsealed"] = f"this split's test data {times} time{'s' * (times != 1)} so far, counting this run"
    if recovered := gap(result):
        facts["gap recovered"] = recovered
    distilled = against_alone(result).get("distilled")
    if distilled and distilled["smallest_detectable"] is not None:
        size = scale.number(distilled["smallest_detectable"])
        facts["detectable"] = f"a true difference of {size}{scale.unit} is found with 80 % power, before Holm"
    if result["budget"] == "published":
        facts["budget"] = "published budget: the paper's own, not matched between arms"
    if is_extended(result):
        facts["extended"] = "seeds were added after a first look at the result"
    return facts


_EVALUATED = {"test": "test data", "valid": "validation data (sealed run)"}


def count(number: float | None) -> str:
    """A whole number with thousands set apart."""
    return ABSENT if number is None else f"{number:,.0f}"


def steps(arm: Mapping[str, Any]) -> str:
    """Optimiser steps, as a range where seeds differ."""
    taken = arm["cost"].get("steps") or []
    if not any(taken):
        return ABSENT
    low, high = min(taken), max(taken)
    return count(low) if low == high else f"{count(low)}-{count(high)}"


def short(value: float | None, digits: int = 3) -> str:
    """A positive number in three digits with k, M, G, T."""
    if value is None:
        return ABSENT
    value = float(f"{value:.{digits}g}")
    power = min(int(math.log10(value) / 3 + 1e-9), 4) if value >= 1 else 0
    return f"{value / 1000**power:.{digits}g}{('', ' k', ' M', ' G', ' T')[power]}"


def percent(value: float | None, digits: int = 1) -> str:
    return ABSENT if value is None else f"{100 * value:.{digits}f}"


def _ranges(numbers: Sequence[int]) -> str:
    """0, 1, 2, 5 as "0-2, 5"."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
