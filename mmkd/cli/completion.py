"""`mmkd completion SHELL`, and what completes the arguments of other commands. Names come from metadata alone."""

from __future__ import annotations

import click


@click.command(
    epilog='\b\nExamples:\n  eval "$(mmkd completion bash)"     # in ~/.bashrc\n'
    '  eval "$(mmkd completion zsh)"      # in ~/.zshrc\n'
    "  mmkd completion fish > ~/.config/fish/completions/mmkd.fish"
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> int:
    """Print the script that makes SHELL complete commands, options, recipes and components."""
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    assert found is not None, shell
    # The script depends on names alone; the command to be completed is asked for when it runs.
    click.echo(found(click.Group("mmkd"), {}, "mmkd", "_MMKD_COMPLETE").source())
    return 0


def recipe_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Registered recipes."""
    return _names("recipes", incomplete)


def dataset_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Registered data sets."""
    return _names("datasets", incomplete)


def recipes_and_kinds(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """A recipe or a kind; after a kind, its components."""
    from mmkd import registry

    given = ctx.params.get("names") or ()
    if given:
        return _names(given[0], incomplete) if given[0] in registry.KINDS else []
    return _names("recipes", incomplete) + [kind for kind in registry.KINDS if kind.startswith(incomplete)]


def _names(kind: str, incomplete: str) -> list[str]:
    from mmkd import registry

    return [entry.name for entry in registry.entries(kind) if entry.name.startswith(incomplete)]
