"""All checks of a distribution: of the distribution itself, and of each component by its kind."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator
from functools import partial
from importlib.resources import files
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mmkd import registry
from mmkd.components import config_error
from mmkd.errors import ConfigError
from mmkd.registry import Entry
from mmkd.testing import adapters, common, datasets, methods, models, recipes
from mmkd.testing.checks import Check
from mmkd.testing.stage import Stages

Rule = tuple[str, Callable[[Entry, Stages], None], bool]
"""What must hold, the function that checks it, and whether that takes long."""

LOADS: list[Rule] = [("it loads", common.loads, False)]
DOCUMENTED: list[Rule] = [*LOADS, ("it is documented", common.documented, False)]
EVERY: list[Rule] = [*DOCUMENTED, ("configuration round trip", common.round_trip, False)]
FIRST = {"recipes": LOADS, "readers": DOCUMENTED}
BY_KIND: dict[str, list[Rule]] = {
    "adapters": [("form and gradient", adapters.form_and_gradient, False)],
    "datasets": [
        ("card present", datasets.card_present, False),
        ("deterministic", datasets.deterministic, False),
        ("splits are sound", datasets.splits_are_sound, False),
    ],
    "methods": [
        ("source cited", methods.cited, False),
        ("losses are finite scalars", methods.finite_scalars, False),
        ("gradients reach student and adapters alone", methods.gradients, False),
        ("the teacher stays as it is", methods.teacher_untouched, False),
        ("no teacher in the state dict", methods.no_teacher_in_state, False),
        ("deterministic by seed", methods.deterministic, False),
    ],
    "models": [
        ("outputs that the task wants", models.outputs, False),
        ("deterministic by seed", models.deterministic, False),
        ("ONNX parity", models.onnx_parity, True),
    ],
    "recipes": [
        ("its components are there", recipes.resolves, False),
        ("says what it is", recipes.described, False),
        ("resume is bit-equal", recipes.resume, True),
        ("two processes equal one", recipes.two_processes, True),
    ],
}


class _Declared(BaseModel):
    """`checks.toml`."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, populate_by_name=True)

    changes: dict[str, list[str]] = Field(default_factory=dict)
    stages: dict[str, list[str]] = Field(default_factory=dict)
    expected: dict[str, str] = Field(default_factory=dict, alias="expected-failures")


def checks_of(distribution: str) -> list[Check]:
    """Every check of an installed distribution.

    Raises `ConfigError` where it offers no component, or its `checks.toml` names what is not there or gives no reason.
    """
    name = registry.normalise(distribution)
    entries = [entry for entry in registry.entries() if entry.distribution == name]
    if not entries:
        known = ", ".join(registry.distributions())
        raise ConfigError(f"no installed distribution '{distribution}' offers a component", f"installed: {known}")
    declared = _declared(entries)
    stages = Stages(entries, declared.changes, declared.stages)
    made = list(_checks(name, entries, stages, declared))
    if unknown := sorted(set(declared.expected) - {check.name for check in made}):
        raise ConfigError(f"checks.toml of {name} expects '{unknown[0]}' to fail, and there is no such check")
    return made


def _checks(name: str, entries: list[Entry], stages: Stages, declared: _Declared) -> Iterator[Check]:
    def made(subject: str, what: str, run: Callable[[], None], slow: bool) -> Check:
        return Check(subject, what, run, slow, declared.expected.get(f"{subject}: {what}", ""))

    top = f"distribution {name}"
    yield made(top, "listing imports no torch", partial(common.light_listing, entries), False)
    yield made(top, "recipes and cards are in the package", partial(common.complete, entries), False)
    for entry in entries:
        for what, rule, slow in [*FIRST.get(entry.kind, EVERY), *BY_KIND.get(entry.kind, [])]:
            yield made(f"{entry.kind} {entry.name}", what, partial(rule, entry, stages), slow)


def _declared(entries: list[Entry]) -> _Declared:
    """The distribution's `checks.toml`, in the package of its components."""
    merged: dict[str, Any] = {}
    for package in sorted({re.split("[.:]", entry.target)[0] for entry in entries}):
        file = files(package) / "checks.toml"
        if file.is_file():
            merged |= tomllib.loads(file.read_text(encoding="utf-8"))
    try:
        found = _Declared.model_validate(merged)
    except ValidationError as error:
        raise config_error(error, "checks.toml", "", ["changes", "stages", "expected-failures"]) from error
    known = {f"{entry.kind} {entry.name}" for entry in entries}
    if unknown := sorted({*found.changes, *found.stages} - known):
        raise ConfigError(f"checks.toml changes or places '{unknown[0]}', which is no component of the distribution")
    if silent := sorted(name for name, reason in found.expected.items() if len(reason.split()) < 3):
        raise ConfigError(f"checks.toml expects '{silent[0]}' to fail without a reason")
    return found
