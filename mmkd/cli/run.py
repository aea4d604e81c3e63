"""`mmkd run RECIPE`."""

from __future__ import annotations

from pathlib import Path

import click

from mmkd.cli.completion import recipe_names

EXAMPLES = """
\b
Examples:
  mmkd run graph/glnn
  mmkd run graph/glnn --set student.hidden=64 --seeds 10 --jobs 2
  mmkd run my-recipe.toml --sealed
  mmkd run graph/glnn --curves --set 'curves."student.hidden"=[16, 64, 256]'
  torchrun --nproc-per-node 2 -m mmkd run my-recipe.toml
"""


@click.command(epilog=EXAMPLES)
@click.argument("recipe", shell_complete=recipe_names)
@click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change a setting: student.hidden=64, methods.0.weight=2; arms.krd= takes one away.",
)
@click.option("--seeds", type=click.IntRange(min=1), help="How many seeds, in place of the recipe's.")
@click.option("--out", type=click.Path(path_type=Path), help="Run directory; one of the same recipe is resumed.")
@click.option(
    "--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Processes for independent arms and seeds."
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 ...")
@click.option("--sealed", is_flag=True, help="Evaluate validation data alone and leave the test data unread.")
@click.option("--curves", is_flag=True, help="Trace the gain over the values in the recipe's [curves] too.")
@click.option("--json", "as_json", is_flag=True, help="Print result.json instead of the table.")
def command(
    recipe: str,
    changes: tuple[str, ...],
    seeds: int | None,
    out: Path | None,
    jobs: int,
    device: str,
    sealed: bool,
    curves: bool,
    as_json: bool,
) -> int:
    """Train every arm of RECIPE (a name or a TOML file) for every seed, and say what the distillation was worth."""
    from mmkd import distributed
    from mmkd.evaluation.run import run
    from mmkd.reporting.progress import Bars

    with distributed.process_group(), Bars() as bars:
        finished = run(
            recipe,
            changes,
            seeds=seeds,
            directory=out,
            jobs=jobs,
            device=device,
            sealed=sealed,
            curves=curves,
            watcher=bars,
        )
    if not finished.result:  # a torchrun process other than the first
        return 0
    if as_json:
        import json

        click.echo(json.dumps(finished.result))
        return 0
    from mmkd.cli import console
    from mmkd.reporting.table import print_result

    print_result(finished.result, console)
    click.echo(f"\nrun directory  {finished.directory}\nreport         {finished.directory / 'report.html'}")
    click.echo(f"next           mmkd export {finished.directory}")
    return 0
