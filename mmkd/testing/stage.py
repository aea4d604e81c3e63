"""Where components are checked: the recipes of their own distribution, made small; else a stage of two moons."""

from __future__ import annotations

import copy
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mmkd import recipes, registry
from mmkd.binding import Bound
from mmkd.components import Factory, Model
from mmkd.data.datasets import Dataset, Split
from mmkd.data.fields import Field
from mmkd.data.views import Batch
from mmkd.errors import BindingError, ConfigError, DataError, LayoutError
from mmkd.estimators import Estimator
from mmkd.evaluation.arms import Plan, plans
from mmkd.evaluation.experiment import Experiment
from mmkd.evaluation.job import Job
from mmkd.evaluation.scores import eval_batches
from mmkd.methods.base import Method
from mmkd.recipes import MethodTable, Recipe, SourceTable
from mmkd.registry import Entry
from mmkd.sources.base import Source
from mmkd.sources.live import weights_hash
from mmkd.tasks.base import Task
from mmkd.testing.checks import NotApplicable
from mmkd.training.loop import Trainer
from mmkd.training.step import Step

STEPS = 2
_ROWS = 16
_EXPORTED_ROWS = 64
ALONE, DISTILLED = Plan("alone", distil=False, labelled_only=True), Plan("distilled")


class TwoViews(Dataset):
    """Three classes that `near` tells in part and `far` in full: the stage of components that no recipe uses."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        label = torch.arange(120) % 3
        near = torch.randn(120, 6, generator=generator) + label[:, None] / 2
        far = nn.functional.one_hot(label, 3) + 0.1 * torch.randn(120, 3, generator=generator)
        vector = {"near": Field((6,), layout="vector"), "far": Field((3,), layout="vector")}
        target = Field((), "int64", target=True, classes=("a", "b", "c"))
        super().__init__({**vector, "label": target}, {"near": near, "far": far, "label": label})

    def split(self, seed: int) -> Split:
        rows = torch.randperm(120, generator=torch.Generator().manual_seed(seed))
        return Split(rows[:30], rows[30:60], rows[60:90], {"test": rows[90:]})


_TAPS = {"penultimate": "hidden.0", "hint": "hidden.0"}
_LAYOUTS = dict.fromkeys(_TAPS, "vector")
_GENERIC: dict[str, Any] = {
    "name": "generic",
    "dataset": {"use": "testing"},
    "task": {"use": "classification"},
    "student": {"use": "mlp", "hidden": 8, "inputs": {"x": "near"}, "taps": _TAPS, "layouts": _LAYOUTS},
    "sources": {
        "teacher": {
            "model": {"use": "mlp", "hidden": 12, "inputs": {"x": ["near", "far"]}, "taps": _TAPS, "layouts": _LAYOUTS}
        }
    },
    "methods": [{"use": "soft-targets"}],
}


class _Watched(Experiment):
    """An experiment that remembers the models behind its sources, and what they were before any student learnt."""

    teachers: list[Bound]
    before: list[str]

    def source(
        self,
        name: str,
        table: SourceTable,
        models: Sequence[Bound],
        students: Mapping[str, Bound],
        seed: int | None = None,
    ) -> Source:
        built = super().source(name, table, models, students, seed)
        for parameter in (parameter for model in models for parameter in model.parameters()):
            parameter.grad = None  # of its own training
        self.teachers = [*getattr(self, "teachers", []), *models]
        self.before = [weights_hash(teacher) for teacher in self.teachers]
        return built


@dataclass
class Taught:
    """What two steps of a method left behind.

    Arguments:
        step: with the gradients of its last update.
        losses: of each step, by name.
        teachers: models behind the sources.
        before, after: hashes of their weights and buffers.
    """

    step: Step
    losses: list[dict[str, float]]
    teachers: list[Bound]
    before: list[str]
    after: list[str] = field(default_factory=list)

    def own_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Trainable parameters of the methods: their adapters."""
        for name, parameter in self.step.updates.named_parameters():
            if parameter.requires_grad:
                yield name, parameter


@dataclass
class Placed:
    """A model in the place that a recipe gives it."""

    experiment: Experiment
    table: Model
    purpose: str
    plan: Plan

    def model(self) -> Bound | Estimator:
        """A new one."""
        return self.experiment.model(self.table, 0, self.purpose, where=self.purpose)

    @cached_property
    def task(self) -> Task:
        return self.experiment.task()

    def batch(self) -> Batch:
        """Some validation rows; all rows of the view for a model that ties them."""
        view = self.experiment.view(0, "valid")
        relational = self.experiment.binding(self.table.factory("models", "model"), self.table, "model").relational
        return next(iter(eval_batches(view if relational else view.only(view.rows[:_ROWS]), relational)))

    def rows(self) -> Batch:
        """The rows that an export is checked on."""
        view, dataset = self.experiment.view(0, "valid"), self.experiment.dataset
        if self.experiment.binding(self.table.factory("models", "model"), self.table, "model").relational:
            return view.batch(torch.arange(len(dataset)))
        return view.only(view.rows[:_EXPORTED_ROWS]).batch(view.rows[:_EXPORTED_ROWS])

    def fit(self, model: Bound | Estimator) -> None:
        """Fit an estimator as the recipe does; any other model is left alone."""
        if not isinstance(model, Estimator):
            return
        with tempfile.TemporaryDirectory() as folder:
            job = Job(self.experiment, self.plan, 0, Path(folder), sealed=True)
            view = self.experiment.training_view(0, labels=self.plan.labels, labelled_only=self.plan.labelled_only)
            job._fit_estimator(model, view, self.task)


class Stages:
    """Finds and builds the stage of each component of one distribution; what is dear is built once.

    Arguments:
        entries: its components.
        changes: `[changes]` of its `checks.toml`.
        places: `[stages]` of it: for a component a recipe, and what to change in it so that the component is used.
    """

    def __init__(
        self,
        entries: Sequence[Entry],
        changes: Mapping[str, Sequence[str]],
        places: Mapping[str, Sequence[str]],
    ) -> None:
        self.entries, self.changes, self.places = list(entries), changes, places
        self._datasets: dict[str, Dataset] = {}
        self._taught: dict[Entry, Taught] = {}

    def settings(self, entry: Entry) -> dict[str, Any]:
        """Settings that `checks.toml` gives a component."""
        table: dict[str, Any] = {}
        for change in self.changes.get(f"{entry.kind} {entry.name}", ()):
            recipes.assign(table, change)
        return table

    def recipe(self, name: str, *further: str) -> Recipe:
        """A recipe of the distribution, small: its changes, one seed, two steps, no controls."""
        loaded, _ = recipes.load(name, [*self.changes.get(f"recipes {name}", ()), *further])
        return small(loaded)

    def dataset(self, entry: Entry) -> Dataset:
        """A data set with its settings, built once."""
        return self._dataset({"use": entry.name, **self.settings(entry)})

    def new_dataset(self, entry: Entry) -> Dataset:
        """The same, built anew."""
        built: Dataset = Factory("datasets", {"use": entry.name, **self.settings(entry)})()
        return built

    def taught(self, entry: Entry) -> Taught:
        """Two steps by the method alone, in the first recipe that uses it and whose data is here."""
        if entry not in self._taught:
            self._taught[entry] = self.teach(entry)
        return self._taught[entry]

    def teach(self, entry: Entry) -> Taught:
        """The same, run anew."""
        absent = ""
        for recipe in self._recipes_with(entry):
            try:
                return self._teach(recipe)
            except DataError as error:
                absent = error.cause
        if absent:
            raise NotApplicable(absent)
        table = {**copy.deepcopy(_GENERIC), "methods": [{"use": entry.name, **self.settings(entry)}]}
        try:
            return self._teach(alone_by(small(recipes.check(table)), 0))
        except (ConfigError, LayoutError, BindingError) as error:
            raise NotApplicable(f"no recipe of its distribution uses it, and elsewhere: {error.cause}") from error

    def placed(self, entry: Entry) -> Placed:
        """The first place of a model in a recipe whose data is here."""
        absent = ""
        for recipe, table, purpose, plan in self._places(entry):
            try:
                return Placed(self.experiment(recipe), table, purpose, plan)
            except DataError as error:
                absent = error.cause
        if absent:
            raise NotApplicable(absent)
        student = {"use": entry.name, "inputs": {"x": "near"}, **self.settings(entry)}
        generic = small(recipes.check({**copy.deepcopy(_GENERIC), "student": student}))
        placed = Placed(self.experiment(generic), generic.student, "student-init", ALONE)
        try:
            placed.model()
        except (ConfigError, LayoutError, BindingError) as error:
            raise NotApplicable(f"no recipe of its distribution uses it, and elsewhere: {error.cause}") from error
        return placed

    def experiment(self, recipe: Recipe) -> _Watched:
        """A recipe made real, with the data set that is already here. Raises `DataError` where it is not."""
        made = _Watched(recipe)
        table = {"use": recipe.dataset.use, **(recipe.dataset.model_extra or {})}
        made.__dict__["dataset"] = TwoViews() if recipe.dataset.use == "testing" else self._dataset(table)
        return made

    def _dataset(self, table: Mapping[str, Any]) -> Dataset:
        key = json.dumps(table, sort_keys=True)
        if key not in self._datasets:
            self._datasets[key] = Factory("datasets", table)()
        return self._datasets[key]

    def _recipes(self, subject: Entry) -> Iterator[Recipe]:
        """The place that is declared for a component, else every recipe."""
        if place := self.places.get(f"{subject.kind} {subject.name}"):
            yield self.recipe(*place)
            return
        for entry in self.entries:
            if entry.kind == "recipes":
                yield self.recipe(entry.name)

    def _recipes_with(self, entry: Entry) -> Iterator[Recipe]:
        """Recipes, one per arm, whose only method is that one."""
        for recipe in self._recipes(entry):
            for plan in student_plans(recipe):
                arm = recipe.with_arm(plan.further) if plan.further else recipe
                for number, method in enumerate(arm.methods):
                    if plan.distil and method.use == entry.name:
                        yield alone_by(arm, number)

    def _places(self, entry: Entry) -> Iterator[tuple[Recipe, Model, str, Plan]]:
        for recipe in self._recipes(entry):
            for plan in student_plans(recipe):
                arm = recipe.with_arm(plan.further) if plan.further else recipe
                if arm.student.use == entry.name:
                    yield arm, arm.student, "student-init", plan
                for source in arm.sources.values():
                    for model in source.all_models:
                        if model.use == entry.name:
                            yield arm, model, "teacher", plan

    def _teach(self, recipe: Recipe) -> Taught:
        experiment = self.experiment(recipe)
        student = experiment.model(recipe.student, 0, "student-init")
        if isinstance(student, Estimator):
            raise NotApplicable("its student is an estimator, which takes no steps")
        losses: list[dict[str, float]] = []
        with tempfile.TemporaryDirectory() as folder:
            job = Job(experiment, DISTILLED, 0, Path(folder), sealed=True)
            view = experiment.training_view(0)
            models, stages = job._stages(student, view, experiment.task())
            trainer = Trainer(
                models,
                stages,
                view,
                recipe.training,
                seed=0,
                progress=lambda step, steps, logged: losses.append(dict(logged)),
            )
            trainer.run()
        teachers = getattr(experiment, "teachers", [])
        before = getattr(experiment, "before", [])
        return Taught(trainer.steps[-1], losses, teachers, before, [weights_hash(teacher) for teacher in teachers])


def small(recipe: Recipe) -> Recipe:
    """Two steps, one seed, no controls, the last weights; models and data as they are."""
    table = copy.deepcopy(recipe.model_dump(exclude_unset=True))
    few = {"steps": STEPS, "log_every": 1, "select": "last", "checkpoint_seconds": 0.0}
    largest = 64
    for holder in (table, *table.get("sources", {}).values(), *table.get("arms", {}).values()):
        if holder is table or holder.get("training"):
            given = holder.get("training") or {}
            holder["training"] = {**given, **few, "batch_size": min(given.get("batch_size", largest), largest)}
    changed = {"seeds": [0], "evaluation": {"latency": False}, "curves": {}}
    return recipes.check({**table, **changed})


def alone_by(recipe: Recipe, number: int) -> Recipe:
    """The recipe with one of its methods, at weight 1, and no supervised loss unless the method has no loss itself."""
    method: MethodTable = recipe.methods[number].model_copy(update={"weight": 1.0})
    weight = 1.0 if hands_over(registry.get("methods", method.use)) else 0.0
    task = recipe.task.model_copy(update={"weight": weight})
    return recipe.model_copy(update={"methods": [method], "task": task, "arms": {}})


def hands_over(component: Any) -> bool:
    """Whether a method gives parts of a source to the student, which may be all that it does."""
    return isinstance(component, type) and getattr(component, "adopt", Method.adopt) is not Method.adopt


def student_plans(recipe: Recipe) -> list[Plan]:
    """The arms that are students and no controls."""
    return [plan for plan in plans(recipe) if not plan.source and not plan.is_control]
