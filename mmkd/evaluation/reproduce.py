"""Run a finished run again from its resolved recipe, and tell whether it comes out bit for bit equal.

Equal means: every weight, every stored prediction and every estimator's state of every arm and seed. Where it is not,
what the figures depend on is compared, so that the input that differs is named.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file

from mmkd import recipes
from mmkd.errors import ConfigError
from mmkd.evaluation.experiment import Experiment
from mmkd.evaluation.run import Run, Watcher, environment_of, run
from mmkd.evaluation.saved import load_records
from mmkd.files import read_json


@dataclass(frozen=True)
class Reproduction:
    """What came of it.

    Arguments:
        directory: of the new run.
        checked: files that were compared.
        outputs: those that differ, and how.
        inputs: what the runs depend on and differ in; may be empty though outputs differ, and the other way round.
    """

    directory: Path
    checked: int
    outputs: dict[str, str]
    inputs: dict[str, str]

    @property
    def equal(self) -> bool:
        return not self.outputs


def reproduce(
    directory: str | Path,
    *,
    out: str | Path | None = None,
    seeds: int | None = None,
    jobs: int | None = None,
    watcher: Watcher | None = None,
) -> Reproduction:
    """Run again what stands in a run directory, with its threads per process.

    Arguments:
        directory: of a finished run.
        out: the new run's directory; default `<directory>/reproduction`. An interrupted one is resumed.
        seeds: the first so many alone; default: all.
        jobs: processes; default: as many as then. Threads per process stay those of the run.
        watcher: told how it goes on.

    Raises `ConfigError` where there is no finished run, and all that `run` raises.
    """
    old = Path(directory)
    if not all((old / name).is_file() for name in ("resolved.toml", "result.json", "run.json")):
        raise ConfigError(f"{old} holds no finished run", "give the directory that `mmkd run` printed")
    before, result = read_json(old / "run.json"), read_json(old / "result.json")
    share = max(before["threads"] // before["jobs"], 1)
    processes = jobs or before["jobs"]
    device = "cpu" if before["device"] == "cpu" else "auto"
    with _threads(share * processes):
        new = run(
            (old / "resolved.toml").as_posix(),
            seeds=result["seeds"][:seeds],
            directory=out or old / "reproduction",
            jobs=processes,
            device=device,
            sealed=result["evaluated"] == "valid",
            watcher=watcher,
        )
    checked, outputs = _outputs(old, new.directory, new.result["seeds"])
    return Reproduction(new.directory, checked, outputs, _inputs(old, before, result, new))


def check_inputs(directory: str | Path) -> dict[str, str]:
    """What a run depends on and is otherwise here and now, without running anything; threads are not compared."""
    old = Path(directory)
    now = {**environment_of("cpu", 1), "device": read_json(old / "run.json")["device"]}
    result = read_json(old / "result.json")
    content = Experiment(recipes.load((old / "resolved.toml").as_posix())[0]).data_hash
    return _differences(old, read_json(old / "run.json"), result["dataset"]["content"], now, content)


def _inputs(old: Path, before: Mapping[str, Any], result: Mapping[str, Any], new: Run) -> dict[str, str]:
    now = read_json(new.directory / "run.json")
    found = _differences(old, before, result["dataset"]["content"], now, new.result["dataset"]["content"])
    then, here = (max(run_["threads"] // run_["jobs"], 1) for run_ in (before, now))
    return found | ({"threads": f"{then} then, {here} now"} if then != here else {})


def _differences(
    old: Path, before: Mapping[str, Any], data: str, now: Mapping[str, Any], content: str
) -> dict[str, str]:
    """Recipe, data, versions, device and platform, where they differ."""
    found = {}
    table = tomllib.loads((old / "resolved.toml").read_text(encoding="utf-8"))
    resolved = recipes.resolve(recipes.load((old / "resolved.toml").as_posix())[0])
    if keys := sorted(key for key in {*table, *resolved} if table.get(key, {}) != resolved.get(key, {})):
        found["recipe"] = f"resolves differently now: {', '.join(keys)}"
    if data != content:
        found["data"] = f"content {data[:12]} then, {content[:12]} now"
    for name, then in before["versions"].items():
        here = now["versions"].get(name, "absent")
        if then != here:
            found[f"version of {name}"] = f"{then} then, {here} now"
    for name in ("device", "platform"):
        if before[name] != now[name]:
            found[name] = f"{before[name]} then, {now[name]} now"
    return found


def _outputs(old: Path, new: Path, seeds: list[int]) -> tuple[int, dict[str, str]]:
    """How many files were compared, and those that differ."""
    checked, different = 0, {}
    for seed in seeds:
        top = old / "seeds" / str(seed)
        for path in sorted(top.rglob("*")):
            if path.suffix not in (".safetensors", ".npz") and path.name != "estimator.json":
                continue
            checked += 1
            again = new / path.relative_to(old)
            if not again.is_file():
                different[str(path.relative_to(old))] = "not there the second time"
            elif path.read_bytes() != again.read_bytes() and (how := _how(path, again)):
                different[str(path.relative_to(old))] = how
    return checked, different


def _how(path: Path, again: Path) -> str:
    """In what two files differ; nothing where all their arrays are equal, bit for bit."""
    if path.suffix == ".json":
        return "another state"
    read: Any = load_file if path.suffix == ".safetensors" else load_records
    mine, theirs = read(path), read(again)
    if {name: (v.shape, v.dtype) for name, v in mine.items()} != {n: (v.shape, v.dtype) for n, v in theirs.items()}:
        return "other arrays"
    apart = [name for name in mine if mine[name].tobytes() != theirs[name].tobytes()]
    if not apart:
        return ""
    largest = max(float(np.abs(mine[n].astype(np.float64) - theirs[n].astype(np.float64)).max()) for n in apart)
    return f"{', '.join(apart[:3])}{' and others' if len(apart) > 3 else ''}, by up to {largest:.3g}"


@contextmanager
def _threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
