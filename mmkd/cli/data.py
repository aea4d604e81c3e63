"""`mmkd data list|card|get|check|make`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mmkd.cli import console
from mmkd.cli.completion import dataset_names

_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_SET = click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="A setting of the data set.")


@click.group(
    epilog="\b\nExamples:\n  mmkd data list\n  mmkd data card graph/cora\n  mmkd data get graph/cora\n"
    "  mmkd data check graph/digits-knn --set setting=production\n  mmkd data make crossmodal/motion motion-files"
)
def command() -> None:
    """Fetch, verify, describe and write data sets. They are looked for in the folder that MMKD_DATA names."""


@command.command("list", epilog="\b\nExamples:\n  mmkd data list\n  mmkd data list --json")
@_JSON
def list_(as_json: bool) -> None:
    """List the registered data sets, and how one comes by each."""
    from mmkd import registry
    from mmkd.data.cards import card_of
    from mmkd.data.root import data_root
    from mmkd.errors import MmkdError

    found = []
    for entry in registry.entries("datasets"):
        row = {"name": entry.name, "distribution": entry.distribution, "version": entry.version}
        try:
            card = card_of(entry.name)
            row |= {"access": card.access, "licence": card.licence, "size": card.size}
        except MmkdError as error:
            row |= {"access": "unknown", "licence": "unknown", "size": "unknown", "problem": error.cause}
        found.append(row)
    if as_json:
        console.print_json({"root": str(data_root()), "datasets": found})
        return
    keys = ("name", "access", "licence", "distribution", "version")
    rows = [[row[key] if len(row[key]) <= 40 else f"{row[key][:39]}…" for key in keys] for row in found]
    if rows:
        console.print_table([key.upper() for key in keys], rows)
    for row in found:
        if "problem" in row:
            console.warn(row["problem"])
    print(f"\ndata root: {data_root()}")


@command.command(
    "card",
    epilog="\b\nExamples:\n  mmkd data card graph/cora\n  mmkd data card graph/cora --json\n"
    "  mmkd data card graph/cora --croissant > croissant.json",
)
@click.argument("name", shell_complete=dataset_names)
@_JSON
@click.option("--croissant", "as_croissant", is_flag=True, help="Print Croissant (JSON-LD), made from the card.")
def card(name: str, as_json: bool, as_croissant: bool) -> None:
    """Print the data card of NAME: licence, source, sensors, splits, leakage notes."""
    from mmkd.data.cards import card_of, card_text
    from mmkd.data.croissant import croissant

    if as_croissant:
        console.print_json(croissant(card_of(name)))
    elif as_json:
        console.print_json(card_of(name).model_dump(mode="json"))
    else:
        click.echo(card_text(name))


@command.command("get", epilog="\b\nExample:\n  mmkd data get graph/cora")
@click.argument("name", shell_complete=dataset_names)
@_JSON
def get(name: str, as_json: bool) -> None:
    """Download NAME into the data root and verify every file's sha256."""
    from mmkd import registry

    dataset: Any = registry.get("datasets", name)
    fetch = getattr(dataset, "get", list)  # a function that builds a data set fetches nothing
    files: list[Path] = fetch()
    if as_json:
        console.print_json({"name": name, "files": [str(path) for path in files]})
        return
    for path in files:
        click.echo(path)
    if not files:
        click.echo(f"{name} is embedded or generated: nothing to download")


@command.command("check", epilog="\b\nExample:\n  mmkd data check graph/digits-knn --set setting=production")
@click.argument("name", shell_complete=dataset_names)
@_SET
@_JSON
def check(name: str, changes: tuple[str, ...], as_json: bool) -> None:
    """Read NAME as it stands in the data root, verify it, and print its fields, rows and split."""
    from mmkd.data.datasets import Dataset

    dataset, setting, rows = _built(name, changes), "none defined", {}
    if type(dataset).split is not Dataset.split:
        split = dataset.split(0)
        parts = {"labelled": split.labelled, "unlabelled": split.unlabelled, "valid": split.valid, **split.test}
        setting, rows = split.setting, {part: len(ids) for part, ids in parts.items()}
    if as_json:
        fields = {field: declared.manifest() for field, declared in dataset.fields.items()}
        said = {"name": name, "rows": len(dataset), "unit": dataset.unit, "content": dataset.content_hash()}
        console.print_json({**said, "fields": fields, "setting": setting, "split": rows})
        return
    click.echo(f"{name}: {len(dataset)} rows, independent unit: {dataset.unit}")
    for field, declared in dataset.fields.items():
        form = f"{declared.kind} {declared.dtype} {list(declared.shape)} {declared.layout} {declared.unit}"
        click.echo(f"  {field}: {' '.join(form.split())}")
    click.echo(f"split of seed 0 ({setting}): {', '.join(f'{part} {count}' for part, count in rows.items())}")
    click.echo(f"content {dataset.content_hash()}")


@command.command(
    "make",
    epilog="\b\nExamples:\n  mmkd data make crossmodal/motion motion-files\n"
    "  mmkd data make medical/phantom phantom-files --set setting=null",
)
@click.argument("name", shell_complete=dataset_names)
@click.argument("folder", type=click.Path(path_type=Path))
@_SET
@_JSON
def make(name: str, folder: Path, changes: tuple[str, ...], as_json: bool) -> None:
    """Write NAME into FOLDER: in the format of its domain where the data set knows one, else as arrays (.npy).

    Where it has a data card, croissant.json beside the data describes both.
    """
    from mmkd.errors import DataError

    dataset = _built(name, changes)
    if folder.is_dir() and any(folder.iterdir()):
        raise DataError(f"{folder} is not empty", "name a new folder")
    written = [*dataset.make(folder)]
    written += _described(name, folder, written)
    if as_json:
        console.print_json({"name": name, "folder": str(folder), "files": [str(path) for path in written]})
        return
    for path in written[:20]:
        click.echo(path)
    if len(written) > 20:
        click.echo(f"and {len(written) - 20} more")


def _described(name: str, folder: Path, written: list[Path]) -> list[Path]:
    """Write the card as Croissant beside the data; nothing where there is no card."""
    from mmkd.data.cards import card_of
    from mmkd.data.croissant import NAME, croissant
    from mmkd.errors import DataError
    from mmkd.files import write_json

    try:
        card = card_of(name)
    except DataError:
        return []
    write_json(folder / NAME, croissant(card, folder, written))
    return [folder / NAME]


def _built(name: str, changes: tuple[str, ...]) -> Any:
    from mmkd.components import Factory
    from mmkd.recipes import assign

    table: dict[str, Any] = {"use": name}
    for change in changes:
        assign(table, change)
    return Factory("datasets", table, where=name)()
