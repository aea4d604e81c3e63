"""What a control takes away from an arm's sources."""

from __future__ import annotations

import inspect
from typing import Any

from torch import Tensor

from mmkd.data.views import View
from mmkd.errors import MmkdError
from mmkd.evaluation.arms import Plan
from mmkd.evaluation.experiment import Experiment
from mmkd.recipes import Recipe, SourceTable
from mmkd.sources.base import Source
from mmkd.sources.controls import Hardened, Permuted, class_means, partners
from mmkd.sources.stored import tabulate, varies
from mmkd.tasks.base import Task
from mmkd.training.randomness import generator


class NotApplicableError(MmkdError):
    """A control that cannot be run on this recipe; the report says why."""


class Control:
    """The sources of one arm and seed, less what its plan takes away.

    Arguments:
        experiment: the recipe made real.
        recipe: the arm's own.
        plan: the arm.
        seed: the run's seed.
    """

    def __init__(self, experiment: Experiment, recipe: Recipe, plan: Plan, seed: int) -> None:
        self.experiment, self.recipe, self.plan, self.seed = experiment, recipe, plan, seed

    def restrict(self, name: str, table: SourceTable) -> SourceTable:
        """The source with its model bound to the student's fields and to constants, which no sensor gives: a parameter
        keeps those that it reads of them, else reads what the student's parameter of that name does; one that may be
        left out is left out where nothing remains for it."""
        if len(table.all_models) != 1:
            raise NotApplicableError(f"source '{name}' is not one model")
        model = table.all_models[0]
        student = self.recipe.student
        own = self.experiment.binding(student.factory("models", "student"), student, "student")
        factory = model.factory("models", name)
        full = self.experiment.binding(factory, model, name)
        constants = [f for f in full.fields if self.experiment.dataset.fields[f].kind == "constant"]
        reads = [*own.fields, *constants]
        if set(full.fields) <= set(reads):
            raise NotApplicableError(f"source '{name}' reads no field that the student lacks")
        if len(full.inputs) == 1:
            inputs = {next(iter(full.inputs)): list(own.fields)}
        else:
            inputs = {
                parameter: [f for f in fields if f in reads] or list(own.inputs.get(parameter, ()))
                for parameter, fields in full.inputs.items()
            }
        optional = _optional(factory.component)
        inputs = {parameter: fields for parameter, fields in inputs.items() if fields or parameter not in optional}
        if lacking := [parameter for parameter, fields in inputs.items() if not fields]:
            raise NotApplicableError(
                f"source '{name}' cannot run without {', '.join(lacking)}, which the student does not read"
            )
        return table.model_copy(update={"model": model.model_copy(update={"inputs": inputs}), "models": []})

    def apply(self, name: str, source: Source, view: View, roles: set[str]) -> Source:
        """Cache the source, and take away what the control takes away."""
        if not source.per_row:
            if self.plan.control:
                raise NotApplicableError(f"source '{name}' is not a function of the sample alone")
            return source
        base = self.experiment.cached_source(source, view, roles, self.recipe.sources.get(name))
        if self.plan.control not in ("hard", "shuffled", "permuted"):
            return base
        if self.plan.control != "hard" and varies(base, view, roles):
            raise NotApplicableError(f"what source '{name}' says differs in size from row to row")
        if self.plan.control == "permuted":
            return self._permuted(base, view, None)
        task = self.experiment.task()
        if self.plan.control == "shuffled" and type(task).alike is not Task.alike:
            kept = tabulate(base, view, roles)
            outputs = {name.removeprefix("outputs/"): value for name, value in kept.items() if "outputs/" in name}
            return self._permuted(base, view, task.alike(outputs))
        output = task.class_output
        said = base.measure(view.batch(view.rows[:2])).outputs
        if output is None or output not in said:
            raise NotApplicableError(f"source '{name}' gives no class logits")
        dense = len(said[output].shape) > 1
        if self.plan.control == "hard" and not roles:
            return Hardened(base, output, {})
        if dense:
            raise NotApplicableError(
                "features of dense predictions have no class mean"
                if self.plan.control == "hard"
                else "a sample of a dense prediction has no single argmax"
            )
        table = tabulate(base, view, roles)
        winner = table[f"outputs/{output}"].argmax(1)
        if self.plan.control == "shuffled":
            return self._permuted(base, view, winner)
        features = {role: table[f"features/{role}"] for role in roles}
        means = class_means(features, winner, said[output].shape[0])
        return Hardened(base, output, {role: mean.to(self.experiment.device) for role, mean in means.items()})

    def _permuted(self, source: Source, view: View, groups: Tensor | None) -> Source:
        """The source about other rows: one fixed permutation per seed, within groups where given."""
        partner = partners(view.rows, generator(self.seed, "control", 0), len(view.dataset), groups)
        return Permuted(source, partner.to(view.rows.device))


def _optional(component: Any) -> set[str]:
    """Parameters of a model's `forward` that may be left out."""
    parameters = inspect.signature(component.forward).parameters.values() if hasattr(component, "forward") else ()
    return {p.name for p in parameters if p.default is not p.empty}
