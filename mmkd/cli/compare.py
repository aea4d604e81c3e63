"""`mmkd compare RUN RUN...`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mmkd.cli import console


@click.command(
    epilog="\b\nExamples:\n  mmkd compare runs/graph-glnn-1a2b3c4d runs/graph-glnn-5e6f7a8b\n"
    "  mmkd compare runs/a runs/b runs/c --arm alone --json"
)
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--arm", default="distilled", show_default=True, help="Which arm of each run.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(runs: tuple[Path, ...], arm: str, as_json: bool) -> int:
    """Set finished RUNS side by side, and compare an arm of each with `alone` and with the first run's.

    Runs on the same data with the same metric are compared on the seeds and test rows that they share. P-values are
    adjusted by Holm over all comparisons printed.
    """
    from mmkd.evaluation.compare import compare_runs

    found = compare_runs(runs, arm)
    if as_json:
        console.print_json(found)
    else:
        _print(found)
    return 0


def _print(found: dict[str, Any]) -> None:
    from mmkd.reporting.facts import ABSENT, WORDS, Scale, in_points

    names = list(dict.fromkeys(name for run in found["runs"] for name in run["arms"]))
    scales = {}
    rows = []
    for run in found["runs"]:
        done = {name: {**arm, "status": "done"} for name, arm in run["arms"].items()}
        scale = scales[run["run"]] = Scale.of({**run, "arms": done})
        cells = [scale.spread(run["arms"][name]) if name in run["arms"] else ABSENT for name in names]
        rows.append((run["run"], run["recipe"], run["dataset"], scale.label, str(len(run["seeds"])), *cells))
    console.print_table(("RUN", "RECIPE", "DATA", "METRIC", "SEEDS", *names), rows)
    rows = []
    for c in found["comparisons"]:
        scale = scales[c["candidate"].rpartition(":")[0]]
        p = c["p_value"] if c["p_adjusted"] is None else c["p_adjusted"]
        difference = f"{c['candidate']} - {c['baseline']}", scale.number(c["difference"], "+")
        intervals = scale.interval(c["seeds"]), scale.interval(c["units"])
        rows.append((*difference, *intervals, ABSENT if p is None else f"{p:.3f}", WORDS[c["verdict"]]))
    if rows:
        print()
        console.print_table(("ARMS", "DIFFERENCE", "OVER SEEDS", "OVER UNITS", "P (HOLM)", "VERDICT"), rows)
        print()
    for c in found["comparisons"]:
        said = in_points(c["reason"], scales[c["candidate"].rpartition(":")[0]])
        print(f"{c['candidate']} - {c['baseline']}: {console.one_line(said)}")
    for run, reason in found["apart"].items():
        print(f"{run} is not compared with {found['runs'][0]['run']}: {reason}")
