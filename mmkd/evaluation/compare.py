"""Finished runs side by side: what each gained, and whether one's student beats another's.

Two runs are compared where they were evaluated on the same data by the same metric: on the seeds and the test rows that
both have, paired. Holm's adjustment covers every comparison that is printed, within runs and between them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mmkd.errors import ConfigError, DataError, MmkdError
from mmkd.evaluation import statistics, verdicts
from mmkd.evaluation.finished import Run
from mmkd.evaluation.verdicts import Comparison
from mmkd.tasks.base import Records


def compare_runs(directories: Sequence[str | Path], arm: str = "distilled") -> dict[str, Any]:
    """Compare finished runs: `arm` of each with its own `alone`, and with `arm` of the first run.

    Returns:
        `{runs, comparisons, apart}` as JSON values: the arms of each run, `Comparison.to_json` with names
        `<run>:<arm>`, and for each run that cannot be compared with the first one the reason.

    Raises `ConfigError` where a directory holds no finished run, or a run has no such arm.
    """
    finished = [Run.open(directory) for directory in directories]
    if len({run.directory.resolve() for run in finished}) < len(finished):
        raise ConfigError("the same run is given twice")
    if len({run.name for run in finished}) < len(finished):
        for run in finished:
            run.name = run.directory.as_posix()
    for run in finished:
        if run.result["arms"].get(arm, {}).get("status") != "done":
            raise ConfigError(f"run {run.name} has no arm '{arm}'", f"it has {', '.join(_done(run))}")
    made, apart = [], {}
    for run in finished:
        for found in run.result["comparisons"]:
            if (found["candidate"], found["baseline"]) == (arm, "alone"):
                own = Comparison.from_json(found)
                made.append(replace(own, candidate=f"{run.name}:{arm}", baseline=f"{run.name}:alone"))
    for run in finished[1:]:
        try:
            made.append(_between(run, finished[0], arm))
        except MmkdError as error:
            apart[run.name] = error.cause
    return {
        "arm": arm,
        "runs": [{"run": run.name, "directory": str(run.directory), **_brief(run)} for run in finished],
        "comparisons": [comparison.to_json() for comparison in verdicts.adjust(made)],
        "apart": apart,
    }


def _between(run: Run, first: Run, arm: str) -> Comparison:
    """`arm` of two runs, on common seeds and test rows. Raises `DataError` where these do not agree."""
    mine, theirs = run.result, first.result
    for what, path in _AGREE.items():
        here, there = (_at(result, path) for result in (mine, theirs))
        if here != there:
            raise DataError(f"{what} differ: {run.name} {here}, {first.name} {there}")
    seeds = [seed for seed in theirs["seeds"] if seed in mine["seeds"]]
    if not seeds:
        raise DataError("no seed in common")
    left, right = run.evidence, first.evidence
    pairs = [_paired(left.records(arm, seed), right.records(arm, seed)) for seed in seeds]
    if not all(len(ours["index"]) for ours, _ in pairs):
        raise DataError("no test row in common under some seed")
    rules = [each.recipe.evaluation for each in (run, first)]
    folds = left.experiment.split(seeds[0]).folds
    common: dict[str, Any] = {
        "metric": left.task.primary,
        "higher_is_better": left.task.higher_is_better,
        "unit": left.experiment.dataset.unit,
        "margin": rules[0].margin if rules[0].margin == rules[1].margin else None,
        "folds": folds,
        "single_graph": left.experiment.dataset.single_graph,
        "budget": "published" if any(rule.budget == "published" for rule in rules) else "matched",
        "extended": bool(mine["extended"] or theirs["extended"]),
    }
    names = f"{run.name}:{arm}", f"{first.name}:{arm}"
    ours, others = left.row_scores(arm), right.row_scores(arm)
    if ours is not None and others is not None:
        ours = ours[[left.seeds.index(seed) for seed in seeds]]
        others = others[[right.seeds.index(seed) for seed in seeds]]
        lost = np.isnan(ours) | np.isnan(others)
        tested = ~lost.all(0)
        by_unit = [
            statistics.average_by_unit(np.where(lost, np.nan, matrix)[:, tested], left.units[tested])
            for matrix in (ours, others)
        ]
        return verdicts.compare(*names, candidate_scores=by_unit[0], baseline_scores=by_unit[1], **common)
    values = [[left.score(records) for records in side] for side in zip(*pairs, strict=True)]
    units = None if folds else left.resampled(pairs)
    return verdicts.compare(*names, candidate_scores=values[0], baseline_scores=values[1], units=units, **common)


_AGREE = {
    "the metrics": "metric.name",
    "the data": "dataset.content",
    "the test units": "dataset.unit",
    "the evaluated parts": "evaluated",
}


def _at(result: Any, path: str) -> Any:
    for key in path.split("."):
        result = result[key]
    return result[:12] if path == "dataset.content" else result


def _paired(mine: Records, theirs: Records) -> tuple[Records, Records]:
    """Records of the rows that both hold, in one order."""
    _, left, right = np.intersect1d(mine["index"], theirs["index"], return_indices=True)
    return {name: value[left] for name, value in mine.items()}, {name: value[right] for name, value in theirs.items()}


def _done(run: Run) -> list[str]:
    return [name for name, arm in run.result["arms"].items() if arm["status"] == "done"]


def _brief(run: Run) -> dict[str, Any]:
    """What stands in one row of the table."""
    result = run.result
    arms = {name: result["arms"][name] for name in _done(run) if not result["arms"][name]["control"]}
    return {
        "recipe": result["recipe"],
        "dataset": result["dataset"]["name"],
        "metric": result["metric"],
        "seeds": result["seeds"],
        "arms": {name: {key: arm[key] for key in ("mean", "sd", "per_seed")} for name, arm in arms.items()},
    }
