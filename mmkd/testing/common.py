"""Checks of every component, and of a distribution as a whole."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from mmkd import registry
from mmkd.components import configuration, plain, validate
from mmkd.data.cards import card_of
from mmkd.registry import Entry
from mmkd.testing.checks import NotApplicable
from mmkd.testing.stage import Stages


def loads(entry: Entry, stages: Stages) -> None:
    """Its import gives a class or a function; a recipe is a file."""
    registry.load(entry)


def documented(entry: Entry, stages: Stages) -> None:
    """A docstring of its own: `mmkd show` prints it."""
    component: Any = registry.load(entry)
    own = component.__dict__.get("__doc__") if isinstance(component, type) else inspect.getdoc(component)
    assert (own or "").strip(), f"{component.__qualname__} has no docstring"


def round_trip(entry: Entry, stages: Stages) -> None:
    """Its configuration, written out with all defaults, checks and gives the same again."""
    model = configuration(registry.load(entry))
    given = stages.settings(entry)
    if missing := [name for name, field in model.model_fields.items() if field.is_required() and name not in given]:
        raise NotApplicable(f"it needs '{missing[0]}', which no recipe and no checks.toml gives")
    once = validate(model, given, entry.name)
    written = {name: plain(value) for name, value in once.items() if value is not None}
    again = validate(model, written, entry.name)
    assert written == {name: plain(value) for name, value in again.items() if value is not None}


def light_listing(entries: Sequence[Entry]) -> None:
    """`mmkd list` with this distribution imports neither torch nor the distribution's own packages."""
    packages = sorted({re.split("[.:]", entry.target)[0] for entry in entries} - {registry.CORE})
    code = (
        "import sys\nfrom mmkd.cli.main import main\nmain(['list', '--json'])\n"
        f"print([name for name in ['torch', *{packages!r}] if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    imported = done.stderr.strip().splitlines()[-1:]
    assert done.returncode == 0, done.stderr
    assert imported == ["[]"], f"listing imported {imported[0].strip('[]')}"


def complete(entries: Sequence[Entry]) -> None:
    """What the installed package must hold besides code: the TOML of each recipe, the card of each data set."""
    for entry in entries:
        if entry.kind == "recipes":
            registry.load(entry)
        if entry.kind == "datasets" and not reads_users_files(entry):
            card_of(entry.name)


def reads_users_files(entry: Entry) -> bool:
    """Whether a data set is a reader of files that the user brings: it has a required setting, such as a path."""
    fields = configuration(registry.load(entry)).model_fields
    return any(field.is_required() for field in fields.values())
