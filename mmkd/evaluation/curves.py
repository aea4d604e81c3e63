"""Gain curves: the arms `alone`, `distilled` and the sources over the values of one key of a recipe.

A recipe declares them as `[curves]`, `"dataset.labels" = [5, 10, 20]`. Each value is a run of its own inside the run
directory, `curves/<key>/<value>/`, so it resumes as any run does. They describe and decide nothing: no verdict is drawn
at a point, because a report's verdicts are declared before the run and adjusted together.
"""

from __future__ import annotations

import copy
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmkd import recipes
from mmkd.errors import ConfigError
from mmkd.evaluation.arms import plans
from mmkd.recipes import Recipe

Resolved = Mapping[str, Any]


@dataclass(frozen=True)
class Point:
    """One value of one curve.

    Arguments:
        key: dotted, as `--set` takes it.
        value: of the key.
        recipe: with that value, and without controls and further arms.
        directory: of its run, below the main run's.
        own: the main run has this value already.
    """

    key: str
    value: int | float | str
    recipe: Recipe
    directory: Path
    own: bool


def points(recipe: Recipe) -> list[Point]:
    """Every point of every curve of a recipe, checked before anything is trained.

    Raises `ConfigError` where the recipe declares no curve, distils nothing, or cannot take a value.
    """
    if not recipe.curves:
        raise ConfigError(
            f"recipe '{recipe.name}' declares no curve",
            "add a table [curves], or e.g. --set 'curves.\"dataset.labels\"=[5, 10, 20]'",
        )
    if "distilled" not in {plan.name for plan in plans(recipe)}:
        raise ConfigError(f"recipe '{recipe.name}' distils nothing, so there is no gain to trace")
    own = _core(recipes.resolve(recipe))
    found = []
    for key, values in recipe.curves.items():
        for value in values:
            table = copy.deepcopy(recipe.model_dump(exclude_unset=True))
            recipes.change(table, key, value, f"curves: {key}")
            table |= {"curves": {}, "arms": {}, "evaluation": {**table.get("evaluation", {}), "controls": []}}
            changed = recipes.check(table)
            same = _core(recipes.resolve(changed)) == own
            found.append(Point(key, value, changed, Path("curves", _folder(key), _folder(value)), same))
    return found


def reuse(main: Recipe, point: Point, root: Path) -> None:
    """Copy the finished arms of the main run that the point's key does not touch: it trains only what may differ."""
    before, after = recipes.resolve(main), recipes.resolve(point.recipe)
    same = [name for name in main.sources if _source_reads(before, name) == _source_reads(after, name)]
    if _alone_reads(before) == _alone_reads(after):
        same.append("alone")
    for seed in main.seed_list:
        for arm in same:
            made, wanted = (top / "seeds" / str(seed) / arm for top in (root, root / point.directory))
            if not wanted.exists() and (made / "job.json").exists():
                partial = wanted.with_name(f".{arm}.partial")
                shutil.rmtree(partial, ignore_errors=True)
                shutil.copytree(made, partial)
                partial.rename(wanted)  # whole or absent, whenever the run is cut off


def summary(point: Point, result: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of a point from its run's (or the main run's) result."""
    arms = {
        name: {key: arm[key] for key in ("mean", "sd", "per_seed")}
        for name, arm in result["arms"].items()
        if arm["status"] == "done" and (arm["kind"] == "source" or name in ("alone", "distilled"))
    }
    compared = next(c for c in result["comparisons"] if (c["candidate"], c["baseline"]) == ("distilled", "alone"))
    return {"status": "done", "arms": arms, "gain": {key: compared[key] for key in ("difference", "seeds", "units")}}


def joined(points: Sequence[Point], figures: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What `result.json` holds: one entry per key, `{key, points}`, with its points in the recipe's order."""
    traced: dict[str, list[dict[str, Any]]] = {}
    for point, found in zip(points, figures, strict=True):
        where = "" if point.own else point.directory.as_posix()
        traced.setdefault(point.key, []).append({"value": point.value, "directory": where, **found})
    return [{"key": key, "points": entries} for key, entries in traced.items()]


def _core(resolved: Resolved) -> dict[str, Any]:
    """What the arms of a curve depend on."""
    keys = ("vary", "dataset", "task", "student", "sources", "methods", "scheme", "training")
    return {key: resolved[key] for key in keys}


def _source_reads(resolved: Resolved, name: str) -> list[Any]:
    source = resolved["sources"].get(name)
    training = None if source and "training" in source else resolved["training"]
    return [resolved["vary"], resolved["dataset"], resolved["task"], source, training]


def _alone_reads(resolved: Resolved) -> list[Any]:
    return [resolved[key] for key in ("vary", "dataset", "task", "student", "training")]


def _folder(name: Any) -> str:
    return "".join(letter if letter.isalnum() or letter in "-._+" else "-" for letter in str(name)).lstrip(".") or "-"
