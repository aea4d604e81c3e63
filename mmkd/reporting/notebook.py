"""The proof in a notebook's output: a small table and what it shows, readable on light and on dark pages."""

from __future__ import annotations

import re
from html import escape

from mmkd.files import finite
from mmkd.reporting import facts
from mmkd.reporting.facts import ABSENT, WORDS, Result, Scale

# Colours of verdicts that can be read on white and on near black; all else has the page's own colour.
_COLOURS = {"better": "#1f8a53", "worse": "#d04f33", "no difference beyond the margin": "#2f7fc4"}
_CELL = "text-align: {}; white-space: nowrap"


def as_html(result: Result) -> str:
    """The proof table, the verdict in words and the warnings as HTML without scripts, styled inline."""
    result = finite(dict(result))
    parts = [f"<p><b>{escape(result['recipe'])}</b> on {escape(result['dataset']['name'])}</p>", _table(result)]
    parts += [f'<p style="opacity: .8; font-size: .9em">{escape(_legend(result))}</p>', "<ul>"]
    for verdict, sentence in facts.sentences(result):
        parts.append(f"<li>{_tag(verdict) + ': ' if verdict else ''}{_code(sentence)}</li>")
    parts += [f"<li>Warning: {_code(warning)}</li>" for warning in result["warnings"]]
    missing = facts.not_applicable(result)
    parts += [f"<li>Not applicable: {escape(arm)}: {_code(why)}</li>" for arm, why in missing.items()]
    return "\n".join(["<div>", *parts, "</ul>", "</div>"])


def _table(result: Result) -> str:
    scale, compared = Scale.of(result), facts.compared(result)
    heads = ["arm", scale.label, *(["difference", "over seeds", "over units", "verdict"] if compared else [])]
    lines = [_row(heads, "th")]
    for name, arm in facts.done(result).items():
        cells = [escape(facts.title(result, name)), scale.spread(arm)]
        if found := compared.get(name):
            cells += [scale.number(found["difference"], "+"), scale.interval(found["seeds"])]
            cells += [scale.interval(found["units"]), _tag(found["verdict"])]
        elif compared:
            cells += [ABSENT, ABSENT, ABSENT, ""]
        lines.append(_row(cells, "td"))
    return "\n".join(['<table style="color: inherit; font-variant-numeric: tabular-nums">', *lines, "</table>"])


def _row(cells: list[str], kind: str) -> str:
    sides = ["left", *["right"] * (len(cells) - 2), "left" if len(cells) > 2 else "right"]
    made = [f'<{kind} style="{_CELL.format(side)}">{cell}</{kind}>' for cell, side in zip(cells, sides, strict=True)]
    return f"<tr>{''.join(made)}</tr>"


def _tag(verdict: str) -> str:
    word = escape(WORDS[verdict])
    return f'<b style="color: {_COLOURS[verdict]}">{word}</b>' if verdict in _COLOURS else word


def _code(text: str) -> str:
    """Escaped text with `names` set as code."""
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", escape(text))


def _legend(result: Result) -> str:
    """What the columns are."""
    seeds = len(result["seeds"])
    said = f"Mean ± standard deviation over {seeds} seeds" if seeds > 1 else "One seed"
    if result["comparisons"]:
        level, unit = result["comparisons"][0]["seeds"]["interval"]["level"], result["dataset"]["unit"]
        said += "; difference to alone, or to the arm in brackets, positive is better"
        said += f"; its {100 * level:g} % intervals over seeds and over test units ({unit})"
    if recovered := facts.gap(result):
        said += f". Gap to the teacher recovered: {recovered}"
    return f"{said}."
