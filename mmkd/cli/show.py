"""`mmkd show RECIPE|COMPONENT`."""

from __future__ import annotations

import click


@click.command(epilog="\b\nExamples:\n  mmkd show graph/glnn\n  mmkd show methods rkd\n  mmkd show graph/glnn --given")
@click.argument("names", nargs=-1, required=True)
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Change a setting of the recipe first.")
@click.option("--given", is_flag=True, help="Print the recipe as it is written, without defaults.")
def command(names: tuple[str, ...], changes: tuple[str, ...], given: bool) -> int:
    """Print a recipe as it resolves (complete, it runs again), or a component with its settings: `show KIND NAME`."""
    from mmkd.errors import ConfigError

    if len(names) == 1:
        from mmkd import recipes

        recipe, text = recipes.load(names[0], changes)
        click.echo(text if given else recipes.to_toml(recipes.resolve(recipe)), nl=False)
        return 0
    if len(names) != 2:
        raise ConfigError("show takes a recipe, or a kind and a name", "e.g. `mmkd show methods rkd`")
    _component(*names)
    return 0


def _component(kind: str, name: str) -> None:
    """Documentation and settings of one component, read from its signature."""
    import inspect

    from mmkd import registry
    from mmkd.components import configuration

    entry, component = registry.find(kind, name), registry.get(kind, name)
    click.echo(f"{entry.kind} {entry.name}  ({entry.distribution} {entry.version}, {entry.target})\n")
    click.echo(inspect.getdoc(component) or "no documentation")
    if kind in ("recipes", "readers"):
        return
    if citation := getattr(component, "citation", ""):
        click.echo(f"\nSource: {citation}")
    fields = configuration(component).model_fields
    if fields:
        click.echo("\nSettings:")
    for key, declared in fields.items():
        value = "required" if declared.is_required() else f"default {declared.default!r}"
        kind_ = getattr(declared.annotation, "__name__", None) or str(declared.annotation)
        click.echo(f"  {key}: {kind_}, {value}")
