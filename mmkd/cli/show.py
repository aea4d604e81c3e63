"""`mmkd show RECIPE|COMPONENT`."""

from __future__ import annotations

from typing import Any

import click

from mmkd.cli import console
from mmkd.cli.completion import recipes_and_kinds


@click.command(epilog="\b\nExamples:\n  mmkd show graph/glnn\n  mmkd show methods rkd\n  mmkd show graph/glnn --given")
@click.argument("names", nargs=-1, required=True, shell_complete=recipes_and_kinds)
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Change a setting of the recipe first.")
@click.option("--given", is_flag=True, help="Print the recipe as it is written, without defaults.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(names: tuple[str, ...], changes: tuple[str, ...], given: bool, as_json: bool) -> int:
    """Print a recipe as it resolves (complete, it runs again), or a component with its settings: `show KIND NAME`."""
    from mmkd.errors import ConfigError

    if len(names) == 1:
        from mmkd import recipes

        recipe, text = recipes.load(names[0], changes)
        if as_json:
            console.print_json(recipe.model_dump(exclude_unset=True) if given else recipes.resolve(recipe))
        else:
            click.echo(text if given else recipes.to_toml(recipes.resolve(recipe)), nl=False)
        return 0
    if len(names) != 2:
        raise ConfigError("show takes a recipe, or a kind and a name", "e.g. `mmkd show methods rkd`")
    said = _component(*names)
    if as_json:
        console.print_json(said)
        return 0
    click.echo(f"{said['kind']} {said['name']}  ({said['distribution']} {said['version']}, {said['target']})\n")
    click.echo(said["documentation"] or "no documentation")
    if said["citation"]:
        click.echo(f"\nSource: {said['citation']}")
    if said["at_inference"]:
        click.echo(f"\nAt inference: {said['at_inference']}")
    if said["settings"]:
        click.echo("\nSettings:")
    for key, setting in said["settings"].items():
        value = "required" if setting["required"] else f"default {setting['default']}"
        click.echo(f"  {key}: {setting['type']}, {value}")
    return 0


def _component(kind: str, name: str) -> dict[str, Any]:
    """Documentation and settings of one component, read from its signature."""
    import inspect
    from dataclasses import asdict

    from mmkd import registry
    from mmkd.components import configuration

    entry, component = registry.find(kind, name), registry.get(kind, name)
    settings = {}
    fields = {} if kind in ("recipes", "readers") else configuration(component).model_fields
    for key, declared in fields.items():
        type_ = getattr(declared.annotation, "__name__", None) or str(declared.annotation)
        default = None if declared.is_required() else repr(declared.default)
        settings[key] = {"type": type_, "required": declared.is_required(), "default": default}
    return {
        **asdict(entry),
        "documentation": inspect.getdoc(component) or "",
        "citation": getattr(component, "citation", ""),
        "at_inference": getattr(component, "at_inference", ""),
        "settings": settings,
    }
