"""One page over many runs: what each gained, with links to its report. It needs nothing else and no network."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from mmkd.errors import MmkdError
from mmkd.files import finite, read_json, write_atomic
from mmkd.reporting import facts
from mmkd.reporting.facts import ABSENT, WORDS, Scale
from mmkd.reporting.html import verdict_class


@dataclass(frozen=True)
class Row:
    """One run on the board.

    Arguments:
        directory: of the run.
        result: of the run.
        changed: when its result was written.
    """

    directory: Path
    result: dict[str, Any]
    changed: str

    @property
    def gain(self) -> dict[str, Any] | None:
        """The comparison of `distilled` with `alone`, else the first one."""
        found = facts.against_alone(self.result)
        return found.get("distilled") or next(iter(found.values()), None)

    @property
    def group(self) -> tuple[str, str]:
        """Runs whose figures may stand on one scale."""
        return self.result["dataset"]["name"], self.result["metric"]["name"]

    def to_json(self) -> dict[str, Any]:
        """What `mmkd board --json` prints of it."""
        arms = {name: arm["mean"] for name, arm in facts.done(self.result).items() if not arm["control"]}
        gain = self.gain
        return {
            "directory": str(self.directory),
            "recipe": self.result["recipe"],
            "dataset": self.result["dataset"]["name"],
            "metric": self.result["metric"]["name"],
            "evaluated": self.result["evaluated"],
            "seeds": len(self.result["seeds"]),
            "arms": arms,
            "gain": None if gain is None else gain["difference"],
            "verdict": None if gain is None else gain["verdict"],
            "warnings": len(self.result["warnings"]),
            "changed": self.changed,
        }


def find(places: Sequence[Path]) -> tuple[list[Row], dict[str, str]]:
    """Every finished run at or below `places`, by recipe and then the newest first; and what could not be read."""
    rows, unread = [], {}
    for directory in dict.fromkeys(run.resolve() for place in places for run in _runs(place)):
        path = directory / "result.json"
        try:
            result = finite(read_json(path))
            changed = datetime.fromtimestamp(path.stat().st_mtime).strftime("%Y-%m-%d %H:%M")
            row = Row(directory, result, changed)
            row.to_json()
        except (MmkdError, OSError, KeyError, TypeError, AttributeError) as error:
            reason = error.cause if isinstance(error, MmkdError) else f"its result.json is none of a run ({error!r})"
            unread[str(directory)] = reason
            continue
        rows.append(row)
    rows.sort(key=lambda row: row.changed, reverse=True)
    return sorted(rows, key=lambda row: row.result["recipe"]), unread


def _runs(place: Path) -> Iterator[Path]:
    """Run directories; what lies inside one (points of curves, reproductions) belongs to it."""
    for top, folders, files in os.walk(place):
        if "result.json" in files:
            folders.clear()
            yield Path(top)
        folders[:] = sorted(folder for folder in folders if not folder.startswith("."))


def write_board(rows: Sequence[Row], unread: Mapping[str, str], path: Path) -> None:
    """Write the page; links in it are relative to where it stands. Raises `StorageError` where the disk refuses."""
    write_atomic(path, render(rows, unread, path.resolve().parent))


def render(rows: Sequence[Row], unread: Mapping[str, str], root: Path) -> str:
    """The page as text, for a file in the folder `root`."""
    environment = Environment(
        loader=PackageLoader("mmkd.reporting", ""),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault(row.group, []).append(row)
    lines = [_line(row, groups[row.group], root) for row in rows]
    return environment.get_template("board.html.j2").render(lines=lines, unread=dict(unread), runs=len(rows))


def _line(row: Row, group: Sequence[Row], root: Path) -> dict[str, Any]:
    """What the template shows of one run; bars share the scale of their data set and metric."""
    result, scale, gain = row.result, Scale.of(row.result), row.gain
    arms = {name: arm for name, arm in facts.done(result).items() if not arm["control"]}
    largest = max((abs(arm["mean"]) for each in group for arm in facts.done(each.result).values()), default=0) or 1
    report = row.directory / "report.html"
    line = {
        "name": Path(os.path.relpath(row.directory, root)).as_posix(),
        "link": Path(os.path.relpath(report, root)).as_posix() if report.is_file() else "",
        "recipe": result["recipe"],
        "data": result["dataset"]["name"],
        "metric": scale.label,
        "seeds": len(result["seeds"]),
        "sealed": result["evaluated"] != "test",
        "warnings": len(result["warnings"]),
        "changed": row.changed,
        "bars": [
            {"arm": name, "value": scale.spread(arm), "width": round(100 * max(arm["mean"], 0) / largest, 1)}
            for name, arm in arms.items()
        ],
        "gain": ABSENT,
        "verdict": "",
    }
    if gain is not None:
        line |= {
            "gain": scale.number(gain["difference"], "+"),
            "interval": scale.interval(gain["seeds"]),
            "whisker": _whisker(gain, group),
            "verdict": WORDS[gain["verdict"]],
            "kind": verdict_class(gain["verdict"]),
            "reason": facts.in_points(gain["reason"], scale),
        }
    return line


def _whisker(gain: Mapping[str, Any], group: Sequence[Row]) -> dict[str, float]:
    """Places of the difference and of its interval over seeds, in percent of a strip whose middle is 0."""
    found = [row.gain for row in group]
    size = max((abs(end) for each in found if each is not None for end in _ends(each)), default=0) or 1
    low, high = min(_ends(gain)), max(_ends(gain))
    places = [50 + 48 * value / size for value in (low, gain["difference"], high)]
    return dict(zip(("low", "mean", "high"), (round(place, 1) for place in places), strict=True))


def _ends(gain: Mapping[str, Any]) -> list[float]:
    """The difference and, where it has one, the ends of its interval over seeds."""
    ends = [gain["seeds"]["interval"][end] for end in ("low", "high")]
    return [gain["difference"], *(ends if None not in ends else ())]
