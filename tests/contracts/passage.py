"""Brings a recipe through everything: trained, evaluated, interrupted and resumed, exported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file
from torch import Tensor

from mmkd import recipes
from mmkd.binding import Bound
from mmkd.deployment.bundle import Bundle
from mmkd.deployment.from_run import export_run
from mmkd.evaluation.experiment import Experiment
from mmkd.evaluation.run import Run, run
from mmkd.evaluation.saved import load_records, load_weights
from mmkd.files import read_json

TRAINING = {"steps": 12, "batch_size": 16, "lr": 0.01, "log_every": 1, "checkpoint_seconds": 0.0, "evaluate_every": 5}


class Interruption(BaseException):
    """What a test throws into a run, where a person would press Ctrl-C."""


class Watcher:
    """Notes the steps of one arm in seed 0, and interrupts the run there.

    Arguments:
        arm: whose steps.
        after: how many of them; None: at the end of the arm.
    """

    def __init__(self, arm: str, after: int | None = None) -> None:
        self.arm, self.after = arm, after
        self.here = ""
        self.steps: list[int] = []

    def begin(self, jobs: int, done: int, what: str = "") -> None: ...

    def started(self, arm: str, seed: int) -> None:
        self.here = arm

    def stepped(self, step: int, steps: int, losses: Mapping[str, float]) -> None:
        if self.here == self.arm:
            if len(self.steps) == self.after:
                raise Interruption
            self.steps.append(step)

    def finished(self, arm: str, seed: int, result: Mapping[str, Any]) -> None:
        if arm == self.arm:
            raise Interruption


@dataclass
class Passage:
    """What came out at the other end.

    Arguments:
        run: the finished run.
        experiment: its recipe made real once more.
        bundle: the exported student of seed 0.
    """

    run: Run
    experiment: Experiment
    bundle: Bundle

    def records(self, arm: str, seed: int = 0, part: str = "test") -> Mapping[str, np.ndarray]:
        return load_records(self.run.directory / "seeds" / str(seed) / arm / f"{part}.npz")

    def job(self, arm: str, seed: int = 0) -> dict[str, Any]:
        found: dict[str, Any] = read_json(self.run.directory / "seeds" / str(seed) / arm / "job.json")
        return found

    def student(self, seed: int = 0, arm: str = "distilled") -> Bound:
        """The trained student, read from its weights alone."""
        model = self.experiment.model(self.experiment.recipe.student, seed, "student-init")
        assert isinstance(model, Bound)
        load_weights(model, self.run.directory / "seeds" / str(seed) / arm / "weights.safetensors")
        return model.eval()

    def teacher(self, seed: int = 0, source: str = "teacher") -> Bound:
        """The trained model of a source, read from its weights alone."""
        model = self.experiment.model(self.experiment.recipe.sources[source].all_models[0], seed, "teacher")
        assert isinstance(model, Bound)
        load_weights(model, self.run.directory / "seeds" / str(seed) / source / "model0" / "weights.safetensors")
        return model.eval()


def experiment_of(recipe: Mapping[str, Any]) -> Experiment:
    """A recipe made real, nothing run."""
    return Experiment(recipes.load(recipe)[0])


def bring_through(recipe: Mapping[str, Any], root: Path, *, arm: str = "distilled", after: int = 7) -> Passage:
    """Run a recipe to its end; run it again, interrupt one arm after some steps and resume it; export the student.

    Weights, records and logged losses of both runs are bit-equal, and the resumed arm did not start anew.
    """
    finished = run(recipe, directory=root / "whole")
    interrupting, resuming = Watcher(arm, after), Watcher(arm)
    for watcher in (interrupting, resuming):
        with pytest.raises(Interruption):
            run(recipe, directory=root / "cut", watcher=watcher)
    steps = finished.result["arms"][arm]["cost"]["steps"][0]
    assert interrupting.steps + resuming.steps == list(range(steps))
    assert_equal_files(finished.directory / "seeds" / "0" / arm, root / "cut" / "seeds" / "0" / arm)
    bundle = export_run(finished.directory, seed=0)
    assert bundle.max_abs_difference <= 1e-5
    return Passage(finished, experiment_of(recipe), bundle)


def assert_equal_files(one: Path, other: Path) -> None:
    """Weights, records and logged losses of two arms are the same to the bit."""
    kinds = set()
    for path in sorted(one.rglob("*")):
        twin, kind = other / path.relative_to(one), path.suffix
        if "checkpoints" in path.parts or kind not in (".safetensors", ".npz", ".jsonl"):
            continue
        kinds.add(kind)
        if kind == ".safetensors":
            assert_equal_tensors(load_file(path), load_file(twin), path)
        elif kind == ".npz":
            mine, theirs = load_records(path), load_records(twin)
            assert mine.keys() == theirs.keys()
            assert all(np.array_equal(mine[name], theirs[name], equal_nan=True) for name in mine), path
        else:
            assert path.read_text() == twin.read_text(), path
    assert kinds == {".safetensors", ".npz", ".jsonl"}


def assert_equal_tensors(one: Mapping[str, Tensor], other: Mapping[str, Tensor], where: object) -> None:
    assert one.keys() == other.keys(), where
    assert all(one[name].equal(other[name]) for name in one), where
