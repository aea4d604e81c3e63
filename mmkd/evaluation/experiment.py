"""A recipe made real for one seed: data, task, split, views, models, sources, updates."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmkd.binding import Binding, Bound, bind, bind_names, input_fields
from mmkd.components import Factory
from mmkd.data.datasets import Dataset, LazyDataset, Split
from mmkd.data.views import Batch, View
from mmkd.errors import ConfigError
from mmkd.estimators import Estimator
from mmkd.layouts import Specs
from mmkd.methods.base import Method
from mmkd.recipes import Model, Recipe, SourceTable
from mmkd.schemes.base import Scheme, Update
from mmkd.signals import Signals
from mmkd.sources.base import Knowledge, Source
from mmkd.sources.stored import cached
from mmkd.tasks.base import Task
from mmkd.training.loader import example
from mmkd.training.randomness import forked, key
from mmkd.training.step import evaluating

Transform = Callable[[str, Source, View, set[str]], Source]
"""What an arm does to a source before its methods read it."""


class Experiment:
    """Builds the parts of a recipe; everything random in them is a function of (seed, purpose).

    Arguments:
        recipe: a checked recipe.
        device: where models and in-memory data live.
        cache: folder of cached signals; None: nothing is cached on disk.
    """

    def __init__(self, recipe: Recipe, *, device: str = "cpu", cache: Path | None = None) -> None:
        self.recipe, self.device, self.cache = recipe, device, cache
        self._splits: dict[int, Split] = {}

    @cached_property
    def dataset(self) -> Dataset:
        dataset: Dataset = self.recipe.dataset.factory("datasets", "dataset")()
        return dataset.to(self.device)

    @cached_property
    def data_hash(self) -> str:
        return self.dataset.content_hash()

    def task(self, **changes: Any) -> Task:
        """The task; `changes` override its configuration (the label-smoothing control)."""
        table = self.recipe.task
        if changes:
            table = table.model_copy(update=changes)
            table.__pydantic_extra__ = {**(self.recipe.task.model_extra or {}), **changes}
        task: Task = table.factory("tasks", "task")(self.dataset.fields)
        return task

    def split(self, seed: int) -> Split:
        """The split of a run's seed (seed 0's where the recipe does not vary it)."""
        chosen = self.recipe.seed("split", seed)
        if chosen not in self._splits:
            self._splits[chosen] = self.dataset.split(chosen)
        return self._splits[chosen]

    def training_view(self, seed: int, *, labels: str = "student", labelled_only: bool = False) -> View:
        """Rows and labels that training may see; `labels = "all"` adds those of the unlabelled training rows that are
        neither validation nor test rows."""
        split = self.split(seed)
        # Sorted as `rows` are: arms that learn from equal rows draw them in equal order.
        labelled = split.labelled.unique()
        if labels == "all":
            held_out = torch.cat([split.valid, split.test_rows])
            others = split.unlabelled[~torch.isin(split.unlabelled, held_out)]
            labelled = torch.cat([labelled, self._with_label(others)]).unique()
        rows = labelled if labelled_only else torch.cat([split.train, labelled]).unique()
        rows, labelled = rows.to(self.device), labelled.to(self.device)
        return View(self.dataset, rows, labelled, split.hidden, split.observed, split.inputs)

    def _with_label(self, rows: Tensor) -> Tensor:
        """Those of `rows` whose class somebody has published: a whole number below 0 says that nobody has."""
        label = self.dataset.samples.get(self.task().target)
        if not isinstance(label, Tensor) or label.dim() != 1 or label.is_floating_point():
            return rows
        return rows[label[rows.to(label.device)].to(rows.device) >= 0]

    def view(self, seed: int, part: str) -> View:
        """`valid`, or a test part by name. Rows that training hid are shown, with their relations, when tested; on
        validation such test rows stay hidden."""
        split = self.split(seed)
        rows, hidden = split.valid if part == "valid" else split.test[part], split.hidden
        if torch.isin(rows, hidden).any():
            hidden = hidden[torch.isin(hidden, split.test_rows)] if part == "valid" else hidden[:0]
        return View(self.dataset, rows.to(self.device), rows.to(self.device), hidden, inputs=split.inputs)

    def model(self, table: Model, seed: int, purpose: str, *counters: int, where: str = "student") -> Bound | Estimator:
        """A new model, bound to its fields; bit-equal for equal (seed, purpose, counters)."""
        factory = table.factory("models", where)
        binding = self.binding(factory, table, where)
        measured = (input_fields(binding, self.dataset.fields), self.task().outputs)
        with forked(seed, purpose, *counters):
            module = factory(*measured)
        if isinstance(module, Estimator):
            module.binding = binding
            return module
        if not isinstance(module, nn.Module):
            raise ConfigError(f"{where}: '{factory.use}' built a {type(module).__name__}, neither Module nor Estimator")
        return Bound(module, binding, table.taps, table.layouts).to(self.device)

    def binding(self, factory: Factory, table: Model, where: str) -> Binding:
        """The fields that a model table reads, from the raw class and its `inputs`."""
        component: Any = factory.component
        owner = f"{where} '{factory.use}'"
        if isinstance(component, type) and issubclass(component, Estimator):
            return bind_names(component.reads, self.dataset.fields, table.inputs, owner, set(component.reads))
        if not hasattr(component, "forward"):
            if not table.inputs:
                raise ConfigError(f"{owner} is no class with a forward", 'bind it: inputs = { x = "field" }')
            return bind_names((), self.dataset.fields, table.inputs, owner)
        return bind(component.forward, self.dataset.fields, table.inputs, owner)

    def learners(self, student: Bound, scheme: Scheme, seed: int) -> dict[str, Bound]:
        """The models that learn under a scheme: the student, and those that the scheme asks for."""
        models = {"student": student}
        for number, (name, table) in enumerate(scheme.extra_models().items(), 1):
            model = self.model(table, seed, "student-init", number, where=f"scheme.{name}")
            if isinstance(model, Estimator):
                raise ConfigError(f"scheme.{name}: an estimator cannot learn step by step")
            models[name] = model
        return models

    def source(
        self,
        name: str,
        table: SourceTable,
        models: Sequence[Bound],
        students: Mapping[str, Bound],
        seed: int | None = None,
    ) -> Source:
        """A source over its models; where these are trained, `seed` says which validation rows it may be fitted on."""
        knowledge = Knowledge(self.dataset, models, students, self.task().outputs)
        built: Source = table.factory("sources", f"sources.{name}")(knowledge)
        if seed is not None:
            built.fit(self.view(seed, "valid"))
        return built

    def updater(
        self,
        recipe: Recipe,
        models: Mapping[str, Bound],
        view: View,
        seed: int,
        task: Task,
        transform: Transform,
    ) -> Callable[[str, Mapping[str, Source]], Update]:
        """What a scheme calls for one model's update: methods measured, taps pruned, sources transformed."""

        def update(name: str, sources: Mapping[str, Source]) -> Update:
            def dry_run(batch: Batch, model: str | None = None) -> Signals:
                """A model of the step, with its BatchNorm statistics and the random stream left alone."""
                with evaluating(models[model or name]):
                    return models[model or name](batch)

            batch = example(view, seed)
            student = models[name].measure(batch)
            specs = {key_: source.measure(batch, dry_run) for key_, source in sources.items()}
            methods, weights = self.methods(recipe, student, specs, seed)
            for method in methods.values():
                method.adopt(models[name].module, sources)
            models[name].taps.keep(roles_read(methods.values(), "student") | _also_read(models, name, sources, methods))
            said = {
                key_: transform(key_, source, view, roles_read(methods.values(), key_))
                for key_, source in sources.items()
            }
            return Update([name], task, recipe.task.weight, methods, weights, said)

        return update

    def methods(
        self, recipe: Recipe, student: Specs, sources: Mapping[str, Specs], seed: int
    ) -> tuple[dict[str, Method], dict[str, Any]]:
        """The recipe's methods with adapters measured between one student and the sources, and their weights."""
        methods: dict[str, Method] = {}
        weights: dict[str, Any] = {}
        for number, table in enumerate(recipe.methods):
            name = (table.name or table.use).split("/")[-1].replace(".", "-")
            if name in methods:
                raise ConfigError(f"two methods are called '{name}'", f'name one: methods.{number}.name = "..."')
            with forked(seed, "adapter", number):
                methods[name] = table.factory("methods", f"methods.{number}")(student, sources)
            weights[name] = table.weight
        return methods, weights

    def cached_source(self, source: Source, view: View, roles: set[str], table: SourceTable | None) -> Source:
        """The source through the disk cache, where the recipe wants it and a row's signals do not change."""
        augments = isinstance(self.dataset, LazyDataset) and self.dataset.augments
        if self.cache is None or table is None or not table.cache or augments:
            source.keep(roles)
            return source
        return cached(
            source, view, roles, self.cache, {"data": self.data_hash, "versions": versions(), "device": self.device}
        )


def roles_read(methods: Iterable[Method], owner: str) -> set[str]:
    return {role for method in methods for role in method.reads.get(owner, set())}


def _also_read(
    models: Mapping[str, Bound], name: str, sources: Mapping[str, Source], methods: Mapping[str, Method]
) -> set[str]:
    """Taps of model `name` that other models' methods read through a peer: with several models, all of them stay."""
    return set(models[name].taps.paths) if len(models) > 1 else set()


@lru_cache
def versions() -> dict[str, str]:
    """Versions of what computes: part of every cache key and of every run's record."""
    found = {}
    for name in ("mmkd", "torch", "numpy"):
        found[name] = importlib.metadata.version(name)
    return found


def model_seed(seed: int, index: int) -> int:
    """Seed of one model of a source, so that an ensemble's members differ."""
    return key(seed, "teacher", index) % (2**31) if index else seed


def as_index(rows: Tensor | Sequence[int]) -> Tensor:
    return rows if isinstance(rows, Tensor) else torch.tensor(list(rows), dtype=torch.long)
