"""Checks of recipes: they resolve, they say what they are, they resume, and two processes learn what one does."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from mmkd import recipes
from mmkd.errors import DataError
from mmkd.estimators import Estimator
from mmkd.evaluation.job import Job
from mmkd.recipes import Recipe
from mmkd.registry import Entry
from mmkd.testing.checks import NotApplicable
from mmkd.testing.stage import ALONE, DISTILLED, Stages, student_plans

_RANDOM = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.modules.batchnorm._BatchNorm)


class _StopError(Exception):
    """The run is cut off here."""


def resolves(entry: Entry, stages: Stages) -> None:
    """Every key and component is known; the completed recipe checks and resolves to itself."""
    loaded, _ = recipes.load(entry.name)
    table = recipes.resolve(loaded)
    assert recipes.resolve(recipes.check(table)) == table, "the resolved recipe resolves to another one"


def described(entry: Entry, stages: Stages) -> None:
    """`[about]` names the command that runs it and where it comes from, or what to expect."""
    about = recipes.load(entry.name)[0].about
    assert f"mmkd run {entry.name}" in about.get("command", ""), f"about.command does not say `mmkd run {entry.name}`"
    assert {"paper", "source", "expected"} & set(about), "[about] has neither paper, source nor expected"


def resume(entry: Entry, stages: Stages) -> None:
    """Cut off after its first step and run again, an arm ends with the weights of an uninterrupted run."""
    recipe = stages.recipe(entry.name)
    names = {plan.name for plan in student_plans(recipe)}
    plan = DISTILLED if "distilled" in names else ALONE
    experiment = _here(recipe, stages)
    if isinstance(experiment.model(recipe.student, 0, "student-init"), Estimator):
        raise NotApplicable("its student is an estimator, which is fitted in one go")

    def stop(step: int, steps: int, losses: Mapping[str, float]) -> None:
        if step == 1:
            raise _StopError

    with tempfile.TemporaryDirectory() as folder:
        whole, cut = Path(folder, "whole"), Path(folder, "cut")
        Job(experiment, plan, 0, whole, sealed=True).run()
        for name in recipe.sources:  # its sources are trained already: the student is what is cut off
            if (whole / "0" / name).exists():
                (cut / "0").mkdir(parents=True, exist_ok=True)
                (whole / "0" / name).rename(cut / "0" / name)
        try:
            Job(stages.experiment(recipe), plan, 0, cut, sealed=True, progress=stop).run()
        except _StopError:
            pass
        else:
            raise NotApplicable("it takes a single step")
        assert list((cut / "0" / plan.name / "checkpoints").iterdir()), "no checkpoint was written before the cut"
        Job(stages.experiment(recipe), plan, 0, cut, sealed=True).run()
        mine, theirs = (load_file(top / "0" / plan.name / "weights.safetensors") for top in (whole, cut))
        apart = [name for name in mine if not torch.equal(mine[name], theirs[name])]
        assert not apart, f"'{apart[0]}' differs after a resume"


def two_processes(entry: Entry, stages: Stages) -> None:
    """`torchrun` with two processes gives one process's weights to 1e-5, without dropout and BatchNorm, which draw and
    average per process."""
    recipe = stages.recipe(entry.name)
    experiment = _here(recipe, stages)
    models = [experiment.model(table, 0, "teacher", where="model") for table in _tables(recipe)]
    if any(isinstance(model, Estimator) for model in models):
        raise NotApplicable("an estimator is fitted in one process")
    still = _without_dropout(recipe)
    models = [stages.experiment(still).model(table, 0, "teacher", where="model") for table in _tables(still)]
    if any(isinstance(part, _RANDOM) and getattr(part, "p", 1) for model in models for part in model.modules()):
        raise NotApplicable("its models have dropout or BatchNorm, which draw and average per process")
    arm = "distilled" if "distilled" in {plan.name for plan in student_plans(recipe)} else "alone"
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "recipe.toml").write_text(recipes.to_toml(recipes.resolve(still)), encoding="utf-8")
        torchrun = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        for launcher, out in (([], "one"), (torchrun, "two")):
            command = [sys.executable, *launcher, "-m", "mmkd.testing.worker", "recipe.toml", arm, out]
            done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{out}: {(done.stderr.strip().splitlines() or ['no message'])[-1]}"
        for path in sorted(Path(folder, "one").rglob("weights.safetensors")):
            mine, theirs = load_file(path), load_file(Path(folder, "two") / path.relative_to(Path(folder, "one")))
            for name, value in mine.items():
                gap = float((value.double() - theirs[name].double()).abs().max())
                assert gap <= 1e-5, f"'{name}' of {path.parent.name} differs by {gap:.2g} between one process and two"


def _tables(recipe: Recipe) -> list[Any]:
    return [recipe.student, *(model for source in recipe.sources.values() for model in source.all_models)]


def _without_dropout(recipe: Recipe) -> Recipe:
    """Plain gradient steps without dropout: Adam would turn rounding errors of tiny gradients into full steps."""
    table = recipes.resolve(recipe.model_copy(update={"arms": {}}))
    sources = table["sources"].values()
    for model in (
        table["student"],
        *(m for s in sources for m in ([s["model"]] if "model" in s else []) + s["models"]),
    ):
        for key in ("dropout", "input_dropout"):
            if key in model:
                model[key] = 0.0
    for holder in (table, *sources):
        if "training" in holder:
            holder["training"] |= {"optimiser": "sgd", "lr": 0.01}
    table["evaluation"] = {"latency": False}
    return recipes.check(table)


def _here(recipe: Recipe, stages: Stages) -> Any:
    """The experiment, where its data is on this machine."""
    try:
        return stages.experiment(recipe)
    except DataError as error:
        raise NotApplicable(error.cause) from error
