"""A run: all arms and seeds of a recipe, from the recipe to `result.json`; resumable at any point."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Protocol

import torch

from mmkd import distributed, recipes, registry
from mmkd.errors import ConfigError, DataError, StorageError, TrainingError
from mmkd.evaluation import ledger
from mmkd.evaluation.arms import Plan, plans
from mmkd.evaluation.curves import Point, joined, points, reuse, summary
from mmkd.evaluation.experiment import Experiment, versions
from mmkd.evaluation.finished import Run
from mmkd.evaluation.job import Job
from mmkd.evaluation.pictures import draw
from mmkd.evaluation.result import Evidence, assemble
from mmkd.files import lock, read_json, storage_errors, write_atomic, write_json
from mmkd.recipes import Recipe
from mmkd.training.loop import Progress

__all__ = ["Run", "Watcher", "run"]


class Watcher(Protocol):
    """Told how a run goes on: what draws the progress bars."""

    def begin(self, jobs: int, done: int, what: str = "") -> None: ...
    def started(self, arm: str, seed: int) -> None: ...
    def finished(self, arm: str, seed: int, result: Mapping[str, Any]) -> None: ...
    def stepped(self, step: int, steps: int, losses: Mapping[str, float]) -> None: ...


def run(
    recipe: str | Path | Mapping[str, Any],
    changes: Sequence[str] = (),
    *,
    seeds: int | Sequence[int] | None = None,
    directory: str | Path | None = None,
    jobs: int = 1,
    device: str = "auto",
    sealed: bool = False,
    curves: bool = False,
    watcher: Watcher | None = None,
    progress: bool | None = None,
) -> Run:
    """Run a recipe: train every arm for every seed, evaluate, decide, report.

    Arguments:
        recipe: a registered name, a TOML path, or a mapping.
        changes: `key.path=value` assignments.
        seeds: how many, or which; in place of the recipe's.
        directory: where the run lives; default `runs/<recipe>-<hash>`. A directory of the same recipe is resumed.
        jobs: processes for independent arms and seeds.
        device: `auto`, `cpu`, `cuda` ...
        sealed: evaluate no test data.
        curves: trace the recipe's gain curves too (see `mmkd.evaluation.curves`).
        watcher: told how it goes on, in place of the progress bars.
        progress: draw bars; default: where somebody looks on, in a notebook or on a terminal.

    Raises `ConfigError`, `RegistryError`, `DataError`, `TrainingError`, `StorageError`: one line each; finished arms
    stay.
    """
    loaded, text = recipes.load(recipe, changes)
    if seeds is not None:
        loaded = recipes.check(
            {**loaded.model_dump(exclude_unset=True), "seeds": seeds if isinstance(seeds, int) else list(seeds)}
        )
    resolved = recipes.resolve(loaded)
    traced = points(loaded) if curves else []
    root = Path(directory) if directory else Path("runs") / f"{loaded.name.replace('/', '-')}-{_identity(resolved)[:8]}"
    chosen = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    if jobs > 1 and distributed.world_size() > 1:
        raise ConfigError(
            "--jobs and torchrun exclude each other", "torchrun shares each step; --jobs shares arms and seeds"
        )
    main = distributed.rank() == 0
    with storage_errors(root):
        root.mkdir(parents=True, exist_ok=True)
    with lock(root) if main else nullcontext(), _watched(watcher, progress if main else False) as watching:
        way = _Way(root, chosen, jobs, sealed, watching, environment_of(chosen, jobs))
        result = _prove(loaded, text, root, way)
        if traced:
            figures = [_trace(loaded, point, result, way) for point in traced]
            if main:
                result["curves"] = joined(traced, figures)
                write_json(root / "result.json", result)
    if not main:
        return Run(root, {})
    from mmkd.reporting.html import write_report

    write_report(result, root / "report.html")
    return Run(root, result)


def _watched(watcher: Watcher | None, progress: bool | None) -> AbstractContextManager[Watcher | None]:
    """Whom a run tells how it goes on: the given watcher, else the bars that suit the place, if any do."""
    if watcher is not None or progress is False:
        return nullcontext(watcher)
    from mmkd.reporting import progress as bars

    return bars.fitting(wanted=bool(progress))


@dataclass(frozen=True)
class _Way:
    """How a run and the points of its curves are carried out; `root` is the run's own directory."""

    root: Path
    device: str
    jobs: int
    sealed: bool
    watcher: Watcher | None
    environment: dict[str, Any]

    @property
    def cache(self) -> Path:
        return self.root / "cache"


def _prove(loaded: Recipe, text: str, root: Path, way: _Way, what: str = "") -> dict[str, Any]:
    """Train, evaluate, decide and write `result.json` into `root`; nothing in processes other than the first.

    Arguments:
        what: how the progress bars call it.
    """
    main, resolved = distributed.rank() == 0, recipes.resolve(loaded)
    extended = _claim(root, text, resolved) if main else False
    if main:
        write_json(root / "run.json", way.environment)
    distributed.agree(None)
    experiment = Experiment(loaded, device=way.device, cache=way.cache)
    done = _train(experiment, root, way, what)
    _require_stronger(experiment, done)
    if not main:
        return {}
    split = json.dumps(resolved["dataset"], sort_keys=True)
    count = 0 if way.sealed else ledger.unseal(experiment.data_hash, split, str(way.root.resolve()), loaded.name)
    evidence = Evidence(experiment, plans(loaded), done, root / "seeds", sealed=way.sealed)
    result = assemble(evidence, extended=extended, environment=way.environment, unsealings=count)
    result["pictures"] = draw(evidence, root) if root == way.root else []
    write_json(root / "result.json", result)
    return result


def _trace(loaded: Recipe, point: Point, result: dict[str, Any], way: _Way) -> dict[str, Any]:
    """The figures of one point; one that cannot be trained says why and leaves the rest of the curve alone."""
    if not point.own:
        root, resolved = way.root / point.directory, recipes.resolve(point.recipe)
        text = recipes.to_toml(resolved)
        try:
            if distributed.rank() == 0:
                with storage_errors(root):
                    root.mkdir(parents=True, exist_ok=True)
                    _claim(root, text, resolved)
                    reuse(loaded, point, way.root)
            result = _prove(point.recipe, text, root, way, f"{point.key} = {point.value}")
        except (ConfigError, DataError, TrainingError) as error:
            return {"status": "failed", "reason": error.cause}
    return summary(point, result) if result else {}


def _train(experiment: Experiment, root: Path, way: _Way, what: str) -> dict[tuple[str, int], dict[str, Any]]:
    watcher, jobs, sealed = way.watcher, way.jobs, way.sealed
    waiting = [(plan, seed) for seed in experiment.recipe.seed_list for plan in plans(experiment.recipe)]
    done: dict[tuple[str, int], dict[str, Any]] = {}
    if watcher:
        watcher.begin(len(waiting), 0, what)
    if jobs == 1:
        for plan, seed in waiting:
            if watcher:
                watcher.started(plan.name, seed)
            progress: Progress | None = watcher.stepped if watcher else None
            done[plan.name, seed] = Job(experiment, plan, seed, root / "seeds", sealed=sealed, progress=progress).run()
            if watcher:
                watcher.finished(plan.name, seed, done[plan.name, seed])
        return done
    # Spawned, not forked: torch's threads do not survive a fork. Each worker keeps to its share of the threads.
    share = max(way.environment["threads"] // jobs, 1)
    given = (str(root / "resolved.toml"), str(way.cache), experiment.device, share)
    with ProcessPoolExecutor(jobs, get_context("spawn"), _start_worker, given) as pool:
        running: dict[Future[dict[str, Any]], tuple[Plan, int]] = {}
        while waiting or running:
            for plan, seed in list(waiting):
                if len(running) < jobs and all((name, seed) in done for name in plan.waits):
                    waiting.remove((plan, seed))
                    running[pool.submit(_work, plan, seed, str(root / "seeds"), sealed)] = (plan, seed)
                    if watcher:
                        watcher.started(plan.name, seed)
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                plan, seed = running.pop(future)
                try:
                    done[plan.name, seed] = future.result()
                except BaseException:
                    pool.shutdown(wait=False, cancel_futures=True)
                    raise
                if watcher:
                    watcher.finished(plan.name, seed, done[plan.name, seed])
    return done


_worker: dict[str, Experiment] = {}


def _start_worker(recipe: str, cache: str, device: str, threads: int) -> None:
    torch.set_num_threads(threads)
    _worker["experiment"] = Experiment(recipes.load(recipe)[0], device=device, cache=Path(cache))


def _work(plan: Plan, seed: int, seeds: str, sealed: bool) -> dict[str, Any]:
    return Job(_worker["experiment"], plan, seed, Path(seeds), sealed=sealed).run()


def _claim(root: Path, text: str, resolved: Mapping[str, Any]) -> bool:
    """Write the recipe into a new directory, or check that the directory is of the same recipe.

    Returns True where finished results with fewer seeds stand there: the run is then marked as extended.
    """
    path = root / "resolved.toml"
    if not path.exists():
        if any(entry.name not in (".lock", "run.lock") and not entry.name.startswith(".") for entry in root.iterdir()):
            raise StorageError(f"{root} holds other files and no run", "name a new directory: --out")
        write_atomic(root / "recipe.toml", text)
        write_atomic(path, recipes.to_toml(resolved))
        return False
    before = recipes.resolve(recipes.load(path.as_posix())[0])
    if _identity(before) != _identity(resolved):
        changed = sorted(k for k in resolved if k not in ("seeds", "curves") and before.get(k) != resolved[k])
        raise ConfigError(
            f"{root} holds a run of another recipe (different: {', '.join(changed)})", "name a new directory: --out"
        )
    old = read_json(root / "result.json") if (root / "result.json").exists() else None
    extended = bool(
        old and old["evaluated"] == "test" and (old.get("extended") or set(old["seeds"]) < set(resolved["seeds"]))
    )
    write_atomic(path, recipes.to_toml(resolved))
    return extended


def _identity(resolved: Mapping[str, Any]) -> str:
    """Hash of everything but the seeds and curves, which may be extended."""
    content = {key: value for key, value in resolved.items() if key not in ("seeds", "about", "curves")}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _require_stronger(experiment: Experiment, done: Mapping[tuple[str, int], Mapping[str, Any]]) -> None:
    recipe, task = experiment.recipe, experiment.task()
    if not recipe.evaluation.require_stronger_teacher:
        return
    sign = 1 if task.higher_is_better else -1
    for name in recipe.sources:
        if "valid" not in done[name, recipe.seed_list[0]]:  # made from the student: it stands alone nowhere
            continue
        scores = {arm: [done[arm, seed]["valid"][task.primary] for seed in recipe.seed_list] for arm in (name, "alone")}
        if sign * sum(scores[name]) <= sign * sum(scores["alone"]):
            raise TrainingError(
                f"source '{name}' is not stronger than `alone` on validation rows",
                "train it better, or set evaluation.require_stronger_teacher = false",
            )


def environment_of(device: str, jobs: int) -> dict[str, Any]:
    """What the figures depend on besides the recipe."""
    return {
        "command": " ".join(sys.argv),
        "versions": {**versions(), "python": platform.python_version(), **registry.distributions()},
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else device,
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "jobs": jobs,
        "git": _git(),
    }


def _git() -> str | None:
    try:
        done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
