"""`mmkd data list|card|get|check`."""

from __future__ import annotations

import click


@click.group(epilog="\b\nExamples:\n  mmkd data list\n  mmkd data card graph/cora\n  mmkd data get graph/cora")
def command() -> None:
    """Fetch, verify and describe data sets."""


@command.command("list")
def list_() -> None:
    """List the registered data sets."""
    from mmkd import registry
    from mmkd.data.root import data_root

    for entry in registry.entries("datasets"):
        click.echo(f"{entry.name:24} {entry.distribution} {entry.version}")
    click.echo(f"\ndata root: {data_root()}")


@command.command("card")
@click.argument("name")
def card(name: str) -> None:
    """Print the data card of NAME: licence, source, sensors, splits, leakage notes."""
    from mmkd.data.cards import card_text

    click.echo(card_text(name))


@command.command("get")
@click.argument("name")
def get(name: str) -> None:
    """Download NAME into the data root and verify every file's sha256."""
    from typing import Any

    from mmkd import registry

    dataset: Any = registry.get("datasets", name)
    fetch = getattr(dataset, "get", list)  # a function that builds a data set fetches nothing
    for path in fetch() or [f"{name} is embedded or generated: nothing to download"]:
        click.echo(path)


@command.command("check")
@click.argument("name")
def check(name: str) -> None:
    """Read NAME as it stands in the data root, verify it, and print its fields and rows."""
    from typing import Any

    from mmkd.components import Factory

    dataset: Any = Factory("datasets", {"use": name})()
    click.echo(f"{name}: {len(dataset)} rows")
    for field, declared in dataset.fields.items():
        click.echo(
            f"  {field}: {declared.kind} {declared.dtype} {list(declared.shape)} {declared.layout or ''}".rstrip()
        )
