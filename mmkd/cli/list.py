"""`mmkd list`: what is installed, from metadata alone."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import Annotated

import typer

from mmkd import registry
from mmkd.cli import console


def command(
    kind: Annotated[str | None, typer.Argument(metavar="KIND", help=f"One of {', '.join(registry.KINDS)}.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, problems included.")] = False,
) -> None:
    """List the components and recipes that are installed, under the names that recipes use. Imports none of them."""
    found = registry.entries(kind)
    if as_json:
        console.print_json({"components": [asdict(entry) for entry in found], "problems": registry.problems()})
        return
    providers = Counter((entry.kind, entry.name) for entry in found)
    rows = []
    for entry in found:
        shared = providers[entry.kind, entry.name] > 1
        name = f"{entry.distribution}:{entry.name}" if shared else entry.name
        rows.append((entry.kind, name, entry.distribution, entry.version))
    if rows:
        console.print_table(("KIND", "NAME", "DISTRIBUTION", "VERSION"), rows)
    else:
        console.warn(f"no {kind or 'components'} are installed")
    for line in registry.problems():
        console.warn(line)
