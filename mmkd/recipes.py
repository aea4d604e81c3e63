"""Recipes: what to run, as data. A recipe names components; it can import nothing and call nothing.

`load` reads a registered name or a TOML file, `Recipe` checks it, `resolve` completes it with every default, and the
completed recipe runs again.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Literal, get_args

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from mmkd import registry
from mmkd.components import Component, Model, config_error, plain
from mmkd.errors import ConfigError
from mmkd.schemes.base import Weight
from mmkd.training.settings import Training

Control = Literal[
    "hard-teacher",
    "shuffled-teacher",
    "permuted-teacher",
    "labelled-only",
    "self-training",
    "label-smoothing",
    "restricted-teacher",
]
Varied = Literal["split", "teacher", "student"]
RESERVED_ARMS = {"teacher", "alone", "distilled", "oracle-labels", *get_args(Control)}
_TRACED = ("dataset", "task", "student", "sources", "methods", "scheme", "training")
_STRICT = ConfigDict(strict=True, extra="forbid", frozen=True, protected_namespaces=())


class TaskTable(Component):
    """The task and the weight of its supervised loss."""

    weight: Weight = 1.0


class MethodTable(Component):
    """A method, its weight, and its name in logs (default: the component's)."""

    weight: Weight = 1.0
    name: str | None = None


class SourceTable(Component):
    """Where knowledge comes from.

    Arguments:
        use: the source component; `live` runs one model, `ensemble` several.
        model, models: what the engine trains for it, on the student's label ids unless `labels` says otherwise.
        training: its own `[training]`, else the recipe's.
        labels: `student` or `all`: labels of the unlabelled training rows too, which the report then says.
        data: `labelled`, or `train`: what it trains learns from unlabelled rows too, whose labels stay hidden; for a
            task that asks for no label, such as a contrastive one.
        cache: keep its signals on disk.
    """

    use: str = "live"
    model: Model | None = None
    models: list[Model] = Field(default_factory=list)
    training: Training | None = None
    labels: Literal["student", "all"] = "student"
    data: Literal["labelled", "train"] = "labelled"
    cache: bool = True

    @property
    def all_models(self) -> list[Model]:
        return [self.model, *self.models] if self.model else self.models


class Evaluation(BaseModel):
    """What the run has to show; declared before running.

    Arguments:
        controls: control arms.
        margin: largest difference of the primary metric that does not matter; None: no equivalence test.
        budget: `matched` gives `alone` the student's budget; `published` keeps a paper's own and marks the verdict.
        require_stronger_teacher: a teacher that is weaker than `alone` is an error and not a warning.
        latency: time the models.
    """

    model_config = _STRICT

    controls: list[Control] = Field(default_factory=list)
    margin: float | None = Field(None, gt=0)
    budget: Literal["matched", "published"] = "matched"
    require_stronger_teacher: bool = False
    latency: bool = True


class Arm(BaseModel):
    """A further arm `[arms.NAME]`: the recipe with these tables in place of its own.

    Arguments:
        student, methods, task, training, scheme: in place of the recipe's.
        distil: False: labels alone.
        choose: other student arms; this one trains nothing and is, for each seed, the best of them on validation rows.
        baseline: the student arm that it is compared with, e.g. `alone` of the same architecture.
    """

    model_config = _STRICT

    student: Model | None = None
    methods: list[MethodTable] | None = None
    task: TaskTable | None = None
    training: Training | None = None
    scheme: Component | None = None
    distil: bool = True
    choose: list[str] = Field(default_factory=list)
    baseline: str = "alone"


class Recipe(BaseModel):
    """A checked recipe.

    Arguments:
        seeds: how many (0 .. n-1), or which.
        vary: what a seed changes; the rest stays at seed 0.
        dataset, task, student, sources, methods, scheme, training: the experiment.
        arms: further arms in the same report.
        evaluation: arms and rules of the proof.
        curves: values of dotted keys over which `--curves` traces the gain, e.g. `"dataset.labels" = [5, 10, 20]`.
        about: paper, command, hardware, time and expected result, for people.
    """

    model_config = _STRICT

    name: str = "recipe"
    about: dict[str, str] = Field(default_factory=dict)
    seeds: int | list[int] = 5
    vary: list[Varied] = ["split", "teacher", "student"]
    dataset: Component
    task: TaskTable
    student: Model
    sources: dict[str, SourceTable] = Field(default_factory=dict)
    methods: list[MethodTable] = Field(default_factory=list)
    scheme: Component = Component(use="offline")
    training: Training = Training()
    evaluation: Evaluation = Evaluation()
    arms: dict[str, Arm] = Field(default_factory=dict)
    curves: dict[str, list[int | float | str]] = Field(default_factory=dict)

    @field_validator("seeds")
    @classmethod
    def _some_seeds(cls, seeds: int | list[int]) -> int | list[int]:
        chosen = list(range(seeds)) if isinstance(seeds, int) else seeds
        if not chosen or min(chosen) < 0 or len(set(chosen)) < len(chosen):
            raise ValueError("seeds must be a positive count or a list of distinct non-negative integers")
        return seeds

    @field_validator("curves")
    @classmethod
    def _some_values(cls, curves: dict[str, list[int | float | str]]) -> dict[str, list[int | float | str]]:
        for key, values in curves.items():
            if key.split(".")[0] not in _TRACED:
                raise ValueError(f"'{key}' is no key of {', '.join(_TRACED)}")
            if not values or len(set(values)) < len(values):
                raise ValueError(f"'{key}' needs values that differ")
        return curves

    @model_validator(mode="after")
    def _arms_have_new_names(self) -> Recipe:
        if taken := RESERVED_ARMS & set(self.arms):
            raise ValueError(f"arms.{sorted(taken)[0]} is a name of mmkd's own arms")
        if any("/" in name or name.startswith(".") for name in [*self.arms, *self.sources]):
            raise ValueError("names of arms and sources must not hold '/' or start with '.'")
        for name, arm in self.arms.items():
            if arm.baseline not in {"alone", "distilled", *self.arms} - {name}:
                raise ValueError(f"arms.{name}.baseline is '{arm.baseline}', which is no other student arm")
            trained = {"alone", "distilled", *(other for other, table in self.arms.items() if not table.choose)}
            if unknown := [other for other in arm.choose if other not in trained]:
                raise ValueError(f"arms.{name}.choose names '{unknown[0]}', which is no arm that trains a student")
            if arm.choose and (len(arm.choose) < 2 or arm.model_fields_set - {"choose", "baseline"}):
                raise ValueError(f"arms.{name}.choose takes two arms or more, and no table beside it but `baseline`")
        return self

    @property
    def seed_list(self) -> list[int]:
        return list(range(self.seeds)) if isinstance(self.seeds, int) else list(self.seeds)

    def seed(self, purpose: str, seed: int) -> int:
        """The seed that a purpose uses in run `seed`: itself if the recipe varies it, else 0."""
        return seed if purpose in self.vary else 0

    def with_arm(self, name: str) -> Recipe:
        """The recipe with the tables of one of its further arms."""
        arm = self.arms[name]
        changes = {key: getattr(arm, key) for key in ("student", "methods", "task", "training", "scheme")}
        return self.model_copy(update={key: value for key, value in changes.items() if value is not None})


def load(recipe: str | Path | Mapping[str, Any], changes: Sequence[str] = ()) -> tuple[Recipe, str]:
    """Read and check a recipe.

    Arguments:
        recipe: a registered name (`graph/glnn`), the path of a TOML file, or a mapping.
        changes: `--set` assignments, `key.path=value`.

    Returns:
        The recipe and its TOML text as given (changes not applied).

    Raises `ConfigError` (unreadable TOML, unknown key, wrong type) and `RegistryError` (unknown recipe).
    """
    if isinstance(recipe, Mapping):
        table, text = plain(recipe), tomli_w.dumps(plain(recipe))
    else:
        place = _locate(str(recipe))
        text = place.read_text(encoding="utf-8")
        try:
            table = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"recipe {place} is no valid TOML: {error}") from error
        table.setdefault("name", Path(str(recipe)).stem if str(recipe).endswith(".toml") else str(recipe))
    for assignment in changes:
        assign(table, assignment)
    return check(table), text


def check(table: Mapping[str, Any]) -> Recipe:
    """Check a table. Raises `ConfigError` naming the first wrong key."""
    try:
        return Recipe.model_validate(table)
    except ValidationError as error:
        raise config_error(error, "", "", sorted(Recipe.model_fields)) from error


def resolve(recipe: Recipe) -> dict[str, Any]:
    """The complete recipe: every default of every component written out; it checks and runs again."""
    table: dict[str, Any] = {
        "name": recipe.name,
        "about": dict(recipe.about),
        "seeds": recipe.seed_list,
        "vary": list(recipe.vary),
        "dataset": recipe.dataset.resolved("datasets", "dataset"),
        "task": recipe.task.resolved("tasks", "task"),
        "student": recipe.student.resolved("models", "student"),
        "sources": {name: source.resolved("sources", f"sources.{name}") for name, source in recipe.sources.items()},
        "methods": [method.resolved("methods", f"methods.{i}") for i, method in enumerate(recipe.methods)],
        "scheme": recipe.scheme.resolved("schemes", "scheme"),
        "training": plain(recipe.training),
        "evaluation": plain(recipe.evaluation),
        "curves": plain(recipe.curves),
        "arms": {},
    }
    kinds = {"student": "models", "task": "tasks", "scheme": "schemes"}
    for name, arm in recipe.arms.items():
        if arm.choose:
            table["arms"][name] = {"choose": arm.choose, "baseline": arm.baseline}
            continue
        entry: dict[str, Any] = {"distil": arm.distil, "baseline": arm.baseline}
        for key, kind in kinds.items():
            if (part := getattr(arm, key)) is not None:
                entry[key] = part.resolved(kind, f"arms.{name}.{key}")
        if arm.methods is not None:
            entry["methods"] = [m.resolved("methods", f"arms.{name}.methods.{i}") for i, m in enumerate(arm.methods)]
        if arm.training is not None:
            entry["training"] = plain(arm.training)
        table["arms"][name] = entry
    return table


def to_toml(table: Mapping[str, Any]) -> str:
    return tomli_w.dumps(plain(table))


def _locate(name: str) -> Path | Traversable:
    if not name.endswith(".toml"):
        place: Any = registry.get("recipes", name)
        return place
    path = Path(name)
    if not path.is_file():
        raise ConfigError(
            f"there is no recipe file {path}", "give a path that exists, or a name from `mmkd list recipes`"
        )
    return path


def assign(table: dict[str, Any], assignment: str) -> None:
    """Set one dotted key from `key.path=value`. The value is TOML, or else a string; `key.path=` takes the key away."""
    path, separator, text = assignment.partition("=")
    if not separator or not path.strip():
        raise ConfigError(f"--set {assignment}: expected key.path=value", "e.g. --set student.hidden=64")
    if not text.strip():
        remove(table, path.strip(), f"--set {assignment}")
        return
    try:
        value = tomllib.loads(f"value = {text.strip()}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    change(table, path.strip(), value, f"--set {assignment}")


def change(table: dict[str, Any], path: str, value: Any, where: str) -> None:
    """Set one dotted key of a table in place: list elements by number, a part that holds a dot in quotes.

    Raises `ConfigError`, which begins with `where`, for a key below a value and a position that a list has not.
    """
    here, last = _holder(table, path, where)
    here[_position(here, last, where) if isinstance(here, list) else last] = value


def remove(table: dict[str, Any], path: str, where: str) -> None:
    """Take a dotted key out of a table in place, so that its default holds. Raises `ConfigError` for an absent key."""
    here, last = _holder(table, path, where)
    if isinstance(here, dict) and last not in here:
        raise ConfigError(f"{where}: there is no '{path}' to take away", f"given there: {', '.join(here) or 'nothing'}")
    del here[_position(here, last, where) if isinstance(here, list) else last]


def _holder(table: dict[str, Any], path: str, where: str) -> tuple[Any, str]:
    """The table or list that a dotted key stands in, and its last part."""
    parts = [part.strip('"') for part in re.findall(r'"[^"]*"|[^."]+', path)]
    if not parts:
        raise ConfigError(f"{where}: '{path}' is no key", "e.g. student.hidden")
    *parents, last = parts
    here: Any = table
    for key in parents:
        here = _step_into(here, key, where)
    return here, last


def _step_into(here: Any, key: str, where: str) -> Any:
    if isinstance(here, list):
        return here[_position(here, key, where)]
    if not isinstance(here.setdefault(key, {}), dict | list):
        raise ConfigError(f"{where}: '{key}' is a value and has no keys")
    return here[key]


def _position(here: list[Any], key: str, where: str) -> int:
    if not key.isdigit() or int(key) >= len(here):
        raise ConfigError(f"{where}: '{key}' is no position in a list of {len(here)}", "count from 0")
    return int(key)
