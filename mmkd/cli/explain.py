"""`mmkd explain RECIPE`."""

from __future__ import annotations

import click

from mmkd.cli.completion import recipe_names


@click.command(
    epilog="\b\nExamples:\n  mmkd explain graph/glnn\n  mmkd explain my-recipe.toml --set methods.0.use=rkd --json"
)
@click.argument("recipe", shell_complete=recipe_names)
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Change a setting first.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(recipe: str, changes: tuple[str, ...], as_json: bool) -> int:
    """Show what RECIPE connects: fields, models, source tap -> adapter -> student tap, losses. Nothing is trained."""
    from mmkd.evaluation.explain import as_text, explain

    explained = explain(recipe, changes)
    if as_json:
        import json

        click.echo(json.dumps(explained))
    else:
        click.echo(as_text(explained))
    return 0
