"""`mmkd reproduce RUN`."""

from __future__ import annotations

from pathlib import Path

import click

from mmkd.cli import console


@click.command(
    epilog="\b\nExamples:\n  mmkd reproduce runs/graph-glnn-1a2b3c4d\n"
    "  mmkd reproduce runs/graph-glnn-1a2b3c4d --seeds 1 --out again\n"
    "  mmkd reproduce runs/graph-glnn-1a2b3c4d --inputs"
)
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--seeds", type=click.IntRange(min=1), help="Only the run's first so many seeds.")
@click.option("--jobs", type=click.IntRange(min=1), help="Processes; default: as many as the run had.")
@click.option("--out", type=click.Path(path_type=Path), help="Directory of the new run; default: RUN/reproduction.")
@click.option("--inputs", is_flag=True, help="Compare recipe, data and versions alone, and train nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(run: Path, seeds: int | None, jobs: int | None, out: Path | None, inputs: bool, as_json: bool) -> int:
    """Run RUN again from its resolved recipe, and say whether all weights and predictions are bit for bit equal, or
    which input differs. Exit code 1 if something differs."""
    from mmkd.evaluation.reproduce import check_inputs, reproduce
    from mmkd.reporting.progress import Bars

    if inputs:
        differ = check_inputs(run)
        if as_json:
            console.print_json({"inputs": differ})
        else:
            _inputs(differ)
        return 1 if differ else 0
    with Bars() as bars:
        found = reproduce(run, out=out, seeds=seeds, jobs=jobs, watcher=bars)
    if as_json:
        said = {"equal": found.equal, "checked": found.checked, "outputs": found.outputs, "inputs": found.inputs}
        console.print_json({**said, "directory": str(found.directory)})
        return 0 if found.equal else 1
    if found.equal:
        print(f"bit for bit equal: {found.checked} files of weights and predictions")
    else:
        print(f"{len(found.outputs)} of {found.checked} files of weights and predictions differ:")
        for name, how in list(found.outputs.items())[:10]:
            print(f"  {name}: {how}")
    _inputs(found.inputs)
    return 0 if found.equal else 1


def _inputs(differ: dict[str, str]) -> None:
    for name, how in differ.items():
        print(f"different input: {name}: {how}")
    if not differ:
        print("inputs: recipe, data, versions, device and platform are the same")
