"""A finished run: its result, what each arm said of each row, and what each arm learnt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmkd import recipes
from mmkd.binding import Bound
from mmkd.errors import ConfigError, DataError, StorageError
from mmkd.estimators import Estimator
from mmkd.evaluation.arms import Plan, plans
from mmkd.evaluation.experiment import Experiment
from mmkd.evaluation.result import Evidence
from mmkd.evaluation.saved import load_records, load_weights
from mmkd.files import read_json
from mmkd.recipes import Recipe
from mmkd.tasks.base import Records

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from mmkd.deployment.bundle import Bundle


@dataclass(repr=False)
class Run:
    """A finished run. In a notebook it shows its proof table.

        run = mmkd.run("graph/glnn")            # or, later: mmkd.Run.open("runs/graph-glnn-1a2b3c4d")
        run.figure("intervals")                 # a plot of the report as a matplotlib figure
        said = run.records("distilled", seed=0)
        wrong = said["index"][said["logits"].argmax(1) != said["label"]]
        run.experiment.dataset.samples["x"][wrong]
        run.model("distilled", seed=0)          # trained, ready to be called on a batch or looked into
        run.export("bundle")

    Arguments:
        directory: holds everything.
        result: the content of `result.json`.
    """

    directory: Path
    result: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.name = self.directory.name

    @classmethod
    def open(cls, directory: str | Path) -> Run:
        """The run that stands in a directory. Raises `ConfigError` where there is none, or none that is finished."""
        path = Path(directory)
        if not (path / "result.json").is_file() or not (path / "resolved.toml").is_file():
            raise ConfigError(f"{directory} holds no finished run", "give the directory that `mmkd run` printed")
        return cls(path, read_json(path / "result.json"))

    @cached_property
    def recipe(self) -> Recipe:
        """The complete recipe, with the seeds of the result."""
        table, _ = recipes.load((self.directory / "resolved.toml").as_posix())
        return table.model_copy(update={"seeds": list(self.result["seeds"])}) if self.result else table

    @cached_property
    def experiment(self) -> Experiment:
        """The recipe made real on the CPU: its `dataset`, `task()`, `split(seed)` and `view(seed, part)`."""
        return Experiment(self.recipe)

    @cached_property
    def evidence(self) -> Evidence:
        """Records of all arms. Raises `DataError` where the data is no longer what the run saw, or not there."""
        if self.experiment.data_hash != self.result["dataset"]["content"]:
            raise DataError(f"the data of {self.name} has changed since the run")
        jobs = {
            (plan.name, seed): read_json(self._folder(plan.name, seed) / "job.json")
            for plan in plans(self.recipe)
            for seed in self.recipe.seed_list
        }
        sealed = self.result["evaluated"] == "valid"
        return Evidence(self.experiment, plans(self.recipe), jobs, self.directory / "seeds", sealed=sealed)

    def records(self, arm: str = "distilled", seed: int | None = None, part: str = "") -> Records:
        """What one arm said of every evaluated row: its outputs, the target, and `index`, the row ids of the data set.

        Arguments:
            arm: any arm of the run, sources included.
            seed: default: `best_seed(arm)`.
            part: `test` or `valid`; default: test, in a sealed run valid.

        Returns:
            Arrays with one row per evaluated sample, in equal order in all arms of a seed.
        """
        chosen = self.best_seed(arm) if seed is None else seed
        default = "valid" if self.result.get("evaluated") == "valid" else "test"
        return load_records(self._done(arm, chosen) / f"{part or default}.npz")

    def scores(self, arm: str = "distilled") -> np.ndarray:
        """Score of each row under each seed, e.g. 1 where it was classified correctly.

        Returns:
            `[S, rows of the data set]`, NaN where a row was not tested under a seed. With groups whose metric is no
            mean over their rows each row has its group's score.

        Raises `ConfigError` where the metric is no mean over rows or groups (macro-F1): look at `records` then.
        """
        self._plan(arm)
        found = self.evidence.row_scores(arm)
        if found is None:
            metric = self.result["metric"]["name"]
            raise ConfigError(f"{metric} has no score per row", "look at what the arm said: run.records(arm, seed)")
        return found

    def model(self, arm: str = "distilled", seed: int | None = None, number: int = 0) -> Bound | Estimator:
        """The trained student or source of one arm and seed, in eval mode on the CPU.

        `model(batch)` gives its `Signals` (`batch = run.experiment.view(seed, "test").batch(rows)`), and `model.module`
        is the module as its author wrote it.

        Arguments:
            arm: any arm of the run.
            seed: default: `best_seed(arm)`.
            number: which model of a source that has several.

        Raises `ConfigError` where there is no such arm, seed or model, `StorageError` for damaged weights.
        """
        chosen = self.best_seed(arm) if seed is None else seed
        plan, folder, experiment = self.trained(arm, chosen)
        recipe = experiment.recipe
        if plan.source:
            tables = recipe.sources[plan.source].all_models
            if number >= len(tables):
                raise ConfigError(f"source '{arm}' has {len(tables)} models", "they are counted from 0")
            model = experiment.model(tables[number], recipe.seed("teacher", chosen), "teacher", number, where=arm)
            folder /= f"model{number}"
        else:
            model = experiment.model(recipe.student, recipe.seed("student", chosen), "student-init")
        if isinstance(model, Estimator):
            model.load_state(read_json(folder / "estimator.json"))
            return model
        load_weights(model, folder / "weights.safetensors")
        return model.eval()

    def trained(self, arm: str, seed: int) -> tuple[Plan, Path, Experiment]:
        """What trained the model of an arm: where validation chose among arms, that is the chosen one.

        Returns:
            its plan, its folder, and the experiment with the arm's own tables.
        """
        plan, folder = self._plan(arm), self._done(arm, seed)
        if plan.choose:
            plan = self._plan(read_json(folder / "job.json")["chosen"])
            folder = self._done(plan.name, seed)
        return plan, folder, Experiment(self.recipe.with_arm(plan.further)) if plan.further else self.experiment

    def best_seed(self, arm: str = "distilled") -> int:
        """The seed with the best validation score: test scores choose nothing."""
        self._plan(arm)
        task, scores = self.experiment.task(), {}
        for seed in self.recipe.seed_list:
            path = self._folder(arm, seed) / "job.json"
            job: Mapping[str, Any] = read_json(path) if path.is_file() else {}
            if "valid" in job:
                scores[seed] = job["valid"][task.primary] * (1 if task.higher_is_better else -1)
        if not scores:
            raise StorageError(
                f"no finished seed of arm '{arm}' with a validation score in {self.directory}",
                "run the recipe to its end, or name the seed",
            )
        return max(scores, key=lambda seed: scores[seed])

    def export(self, directory: str | Path | None = None, *, arm: str = "distilled", seed: int | None = None) -> Bundle:
        """Write a student as a bundle that runs without torch (`mmkd.deployment.from_run.export_run`).

        Arguments:
            directory: default `<run>/bundle`.
            arm, seed: whose; default: the distilled student of `best_seed`.
        """
        from mmkd.deployment.from_run import export_run

        return export_run(self.directory, arm=arm, seed=seed, directory=Path(directory) if directory else None)

    def table(self) -> str:
        """The proof table as text."""
        from mmkd.reporting.table import as_text

        return as_text(self.result)

    def figure(self, name: str = "intervals", key: str = "") -> Figure:
        """A plot of the report as a matplotlib figure, black on white.

        Arguments:
            name: `intervals` (gains over `alone` with both uncertainties), `pairs` (each seed), `curves` (learning
                curves), `reliability`, `cost`, `attribution` (distilled minus each control), or `gain` (a curve traced
                by `mmkd.run(..., curves=True)`).
            key: which gain curve; default: the first.

        Raises `ConfigError` where the run has nothing to draw under that name.
        """
        from mmkd.reporting.plots import figure

        return figure(self.result, name, key)

    def __repr__(self) -> str:
        recipe, seeds = self.result.get("recipe", "unfinished"), self.result.get("seeds", [])
        return f"<Run of {recipe}, {len(seeds)} seeds, in {self.directory}>"

    def _repr_html_(self) -> str | None:
        from mmkd.reporting.notebook import as_html

        return as_html(self.result) if self.result else None

    def _plan(self, arm: str) -> Plan:
        known = {plan.name: plan for plan in plans(self.recipe)}
        if arm not in known:
            raise ConfigError(f"the run has no arm '{arm}'", f"one of: {', '.join(known)}")
        return known[arm]

    def _folder(self, arm: str, seed: int) -> Path:
        return self.directory / "seeds" / str(seed) / arm

    def _done(self, arm: str, seed: int) -> Path:
        self._plan(arm)
        folder = self._folder(arm, seed)
        if not (folder / "job.json").is_file():
            raise ConfigError(
                f"{self.directory} has no finished arm '{arm}' for seed {seed}", "run it first, or name another seed"
            )
        if (job := read_json(folder / "job.json"))["status"] != "done":
            raise ConfigError(f"arm '{arm}' was not applicable: {job['reason']}")
        return folder
