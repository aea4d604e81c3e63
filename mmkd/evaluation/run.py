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
from contextlib import nullcontext
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Protocol

import torch

from mmkd import distributed, recipes
from mmkd.errors import ConfigError, StorageError, TrainingError
from mmkd.evaluation import ledger
from mmkd.evaluation.arms import Plan, plans
from mmkd.evaluation.experiment import Experiment, versions
from mmkd.evaluation.job import Job
from mmkd.evaluation.result import Evidence, assemble
from mmkd.files import lock, read_json, storage_errors, write_atomic, write_json
from mmkd.training.loop import Progress


class Watcher(Protocol):
    """Told how a run goes on: what draws the progress bars."""

    def begin(self, jobs: int, done: int) -> None: ...
    def started(self, arm: str, seed: int) -> None: ...
    def finished(self, arm: str, seed: int, result: Mapping[str, Any]) -> None: ...
    def stepped(self, step: int, steps: int, losses: Mapping[str, float]) -> None: ...


@dataclass
class Run:
    """A finished run.

    Arguments:
        directory: holds everything.
        result: the content of `result.json`.
    """

    directory: Path
    result: dict[str, Any]

    def table(self) -> str:
        """The proof table as text."""
        from mmkd.reporting.table import as_text

        return as_text(self.result)


def run(
    recipe: str | Path | Mapping[str, Any],
    changes: Sequence[str] = (),
    *,
    seeds: int | Sequence[int] | None = None,
    directory: str | Path | None = None,
    jobs: int = 1,
    device: str = "auto",
    sealed: bool = False,
    watcher: Watcher | None = None,
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
        watcher: told how it goes on.

    Raises `ConfigError`, `RegistryError`, `DataError`, `TrainingError`, `StorageError`: one line each; finished arms
    stay.
    """
    loaded, text = recipes.load(recipe, changes)
    if seeds is not None:
        loaded = recipes.check(
            {**loaded.model_dump(exclude_unset=True), "seeds": seeds if isinstance(seeds, int) else list(seeds)}
        )
    resolved = recipes.resolve(loaded)
    root = Path(directory) if directory else Path("runs") / f"{loaded.name.replace('/', '-')}-{_identity(resolved)[:8]}"
    chosen = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    if jobs > 1 and distributed.world_size() > 1:
        raise ConfigError(
            "--jobs and torchrun exclude each other", "torchrun shares each step; --jobs shares arms and seeds"
        )
    main = distributed.rank() == 0
    with storage_errors(root):
        root.mkdir(parents=True, exist_ok=True)
    with lock(root) if main else nullcontext():
        extended = _claim(root, text, resolved) if main else False
        environment = _environment(chosen, jobs)
        if main:
            write_json(root / "run.json", environment)
        distributed.agree(None)
        experiment = Experiment(loaded, device=chosen, cache=root / "cache")
        done = _train(experiment, root, jobs, sealed, watcher, environment["threads"])
        _require_stronger(experiment, done, sealed)
        if not main:
            return Run(root, {})
        split = json.dumps(resolved["dataset"], sort_keys=True)
        count = 0 if sealed else ledger.unseal(experiment.data_hash, split, str(root.resolve()), loaded.name)
        evidence = Evidence(experiment, plans(loaded), done, root / "seeds", sealed=sealed)
        result = assemble(evidence, extended=extended, environment=environment, unsealings=count)
        write_json(root / "result.json", result)
    from mmkd.reporting.html import write_report

    write_report(result, root / "report.html")
    return Run(root, result)


def _train(
    experiment: Experiment, root: Path, jobs: int, sealed: bool, watcher: Watcher | None, threads: int
) -> dict[tuple[str, int], dict[str, Any]]:
    waiting = [(plan, seed) for seed in experiment.recipe.seed_list for plan in plans(experiment.recipe)]
    done: dict[tuple[str, int], dict[str, Any]] = {}
    if watcher:
        watcher.begin(len(waiting), 0)
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
    share = max(threads // jobs, 1)
    with ProcessPoolExecutor(jobs, get_context("spawn"), _start_worker, (str(root), experiment.device, share)) as pool:
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


def _start_worker(root: str, device: str, threads: int) -> None:
    torch.set_num_threads(threads)
    loaded, _ = recipes.load(Path(root, "resolved.toml").as_posix())
    _worker["experiment"] = Experiment(loaded, device=device, cache=Path(root) / "cache")


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
        changed = sorted(k for k in resolved if k != "seeds" and before.get(k) != resolved[k])
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
    """Hash of everything but the seeds, which may be extended."""
    content = {key: value for key, value in resolved.items() if key not in ("seeds", "about")}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _require_stronger(experiment: Experiment, done: Mapping[tuple[str, int], Mapping[str, Any]], sealed: bool) -> None:
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


def _environment(device: str, jobs: int) -> dict[str, Any]:
    """What the figures depend on besides the recipe."""
    return {
        "command": " ".join(sys.argv),
        "versions": {**versions(), "python": platform.python_version()},
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
