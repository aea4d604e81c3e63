"""The proof table, printed."""

from __future__ import annotations

from io import StringIO
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from rich.console import Console, Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from mmkd.files import finite
from mmkd.reporting import facts
from mmkd.reporting.facts import ABSENT, Result, Scale

if TYPE_CHECKING:
    from rich.console import RenderableType

WIDTH = 120
_STYLES = {"better": "bold green", "worse": "bold red", "within margin": "cyan"}


class Consoles(Protocol):
    """Something that knows how to print, such as the module `mmkd.cli.console`."""

    def rich_console(self) -> Console: ...


class Column(NamedTuple):
    """A column of the printed table; of the optional ones the highest `drop` goes first where the table is too wide."""

    head: str
    cells: list[str]
    drop: int = 0

    @property
    def width(self) -> int:
        return max(len(line) for cell in [self.head, *self.cells] for line in cell.split("\n"))


def as_text(result: Result, width: int = WIDTH) -> str:
    """The proof table and what belongs to it, as plain text of at most `width` columns."""
    console = Console(file=StringIO(), width=width, no_color=True, force_terminal=False, legacy_windows=False)
    with console.capture() as captured:
        console.print(rich_table(result, width))
    return "\n".join(line.rstrip() for line in captured.get().splitlines()) + "\n"


def print_result(result: Result, console: Consoles) -> None:
    """Print the proof table: to a terminal in its width and colours, elsewhere as `as_text`."""
    target = console.rich_console()
    if target.is_terminal:
        target.print(rich_table(result, min(target.width, WIDTH)))
    else:
        target.file.write(as_text(result))


def rich_table(result: Result, width: int = WIDTH) -> Group:
    """The proof table and what belongs to it, for a rich console of `width` columns."""
    result = finite(dict(result))
    columns = _fit(_columns(result), width)
    body: list[RenderableType] = [
        Text(f"{result['recipe']} on {result['dataset']['name']}", style="bold"),
        Text(),
        _table(columns),
        Text(_legend(result, {column.head for column in columns}), style="dim"),
        Text(),
        _heading("What was shown"),
    ]
    for verdict, sentence in facts.sentences(result):
        line = Text()
        if verdict:
            word = facts.WORDS[verdict]
            line.append(f"{word}: ", style=_STYLES.get(word, "bold"))
        line.append(sentence)
        body.append(Padding(line, (0, 0, 0, 2)))
    for curve in facts.traced(result):
        body += [Text(), _heading(f"Gain over {curve['key']} (descriptive, no verdicts)"), _curve(result, curve)]
    body += [Text(), _pairs(facts.key_facts(result))]
    if result["warnings"]:
        body += [Text(), _heading("Warnings", "bold yellow")]
        body += [Padding(Text(warning), (0, 0, 0, 2)) for warning in result["warnings"]]
    if missing := facts.not_applicable(result):
        body += [Text(), _heading("Not applicable"), _pairs(missing, indent=2)]
    return Group(*body)


def _table(columns: list[Column]) -> Table:
    table = Table(box=None, padding=(0, 1), pad_edge=False, header_style="bold")
    for number, column in enumerate(columns):
        table.add_column(Text(column.head), justify="right" if number > 0 and column.head != "verdict" else "left")
    for row in zip(*(column.cells for column in columns), strict=True):
        table.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in row))
    return table


def _curve(result: Result, curve: Any) -> Padding:
    """One line per value: the arms, and the gain with its interval over seeds."""
    scale, lines = Scale.of(result), {}
    for point in curve["points"]:
        if point["status"] != "done":
            lines[str(point["value"])] = f"none: {point['reason']}"
            continue
        arms = [f"{name} {scale.number(arm['mean'])}" for name, arm in point["arms"].items()]
        gain = f"gain {scale.number(point['gain']['difference'], '+')} {scale.interval(point['gain']['seeds'])}"
        lines[str(point["value"])] = ", ".join([*arms, gain])
    return _pairs(lines, indent=2)


def _columns(result: Result) -> list[Column]:
    """The columns that decide, then those that explain."""
    scale, arms, compared = Scale.of(result), facts.done(result), facts.compared(result)
    pairs = [compared.get(name) for name in arms]
    columns = [
        Column("arm", [facts.title(result, name) for name in arms]),
        Column(scale.label, [scale.spread(arm) for arm in arms.values()]),
    ]
    for part in facts.parts(result):
        means = [arm.get("parts", {}).get(part, {}).get("mean") for arm in arms.values()]
        columns.append(Column(part, [scale.number(mean) for mean in means], drop=1))
    if compared:
        columns += [
            Column("- alone", [scale.number(c["difference"], "+") if c else ABSENT for c in pairs]),
            Column("over seeds", [scale.interval(c["seeds"]) if c else ABSENT for c in pairs]),
            Column("over units", [scale.interval(c["units"]) if c else ABSENT for c in pairs]),
            Column("verdict", [facts.WORDS[c["verdict"]] if c else "" for c in pairs]),
        ]
    if any("fidelity" in arm for arm in arms.values()):
        agreement = [facts.percent(arm.get("fidelity", {}).get("agreement")) for arm in arms.values()]
        columns.append(Column("agree", agreement, drop=2))
    if any("calibration" in arm for arm in arms.values()):
        columns.append(Column("ECE", [_ece(arm) for arm in arms.values()], drop=3))
    columns.append(Column("steps", [facts.steps(arm) for arm in arms.values()], drop=4))
    parameters = [facts.short(arm["cost"].get("parameters")) for arm in arms.values()]
    if set(parameters) != {ABSENT}:
        columns.append(Column("weights", parameters, drop=5))
    columns.append(Column("train s", [_seconds(arm) for arm in arms.values()], drop=6))
    return columns


def _fit(columns: list[Column], width: int) -> list[Column]:
    """Leave out optional columns until the rest fits."""
    while sum(column.width + 2 for column in columns) - 2 > width and any(column.drop for column in columns):
        columns.remove(max(columns, key=lambda column: column.drop))
    return columns


def _legend(result: Result, heads: set[str]) -> str:
    """What the columns under these headings are."""
    seeds = len(result["seeds"])
    said = [f"mean ± standard deviation over {seeds} seeds" if seeds > 1 else "one seed"]
    if "- alone" in heads:
        level, unit = result["comparisons"][0]["seeds"]["interval"]["level"], result["dataset"]["unit"]
        others = any(found["baseline"] != "alone" for found in result["comparisons"])
        named = " to it, or to the arm in brackets" if others else ""
        said.append(f"- alone: difference{named}, positive is better")
        said.append(f"its {100 * level:g} % intervals over seeds and over test units ({unit})")
    if "agree" in heads:
        said.append(f"agree: % of answers shared with {facts.sources(result)[0]}")
    if "ECE" in heads:
        said.append("ECE: calibration error in %, raw / after temperature scaling")
    if "weights" in heads:
        said.append("weights: parameters")
    return "; ".join(said) + "."


def _ece(arm: Any) -> str:
    found = arm.get("calibration")
    if not found:
        return ABSENT
    return f"{facts.percent(found['ece'])} / {facts.percent(found.get('ece_scaled'))}"


def _seconds(arm: Any) -> str:
    seconds = arm["cost"].get("training_seconds")
    return ABSENT if not seconds else f"{seconds:.1f}" if seconds < 100 else f"{seconds:,.0f}"


def _heading(text: str, style: str = "bold") -> Text:
    return Text(text, style=style)


def _pairs(pairs: dict[str, str], indent: int = 0) -> Padding:
    """Names on the left, text on the right."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold")
    grid.add_column(overflow="fold")
    for name, text in pairs.items():
        grid.add_row(Text(name), Text(text))
    return Padding(grid, (0, 0, 0, indent))
