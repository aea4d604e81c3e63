"""`mmkd list`: what is installed, from metadata alone."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict

import click

from mmkd import registry
from mmkd.cli import console


@click.command(epilog="\b\nExamples:\n  mmkd list\n  mmkd list methods\n  mmkd list recipes --json")
@click.argument("kind", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, problems included.")
def command(kind: str | None, as_json: bool) -> None:
    """List the components and recipes that are installed, under the names that recipes use. Imports none of them.

    KIND is one of datasets, models, tasks, adapters, methods, sources, schemes, readers, recipes.
    """
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
