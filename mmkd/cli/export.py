"""`mmkd export RUN`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(
    epilog="\b\nExamples:\n  mmkd export runs/graph-glnn-1a2b3c4d\n"
    "  mmkd export runs/graph-glnn-1a2b3c4d --arm alone --seed 3 --out student"
)
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--arm", default="distilled", show_default=True, help="Which arm's student.")
@click.option("--seed", type=int, help="Which seed; default: the one with the best validation score.")
@click.option("--out", type=click.Path(path_type=Path), help="Bundle directory; default: RUN/bundle.")
@click.option("--json", "as_json", is_flag=True, help="Print the manifest.")
def command(run: Path, arm: str, seed: int | None, out: Path | None, as_json: bool) -> int:
    """Write the student of RUN as an ONNX bundle that reads its own inputs alone, and check it against onnxruntime."""
    from mmkd.deployment.from_run import export_run

    bundle = export_run(run, arm=arm, seed=seed, directory=out)
    if as_json:
        import json

        click.echo(json.dumps(bundle.manifest))
        return 0
    click.echo(bundle.describe())
    click.echo(f"next     mmkd predict {bundle.path} FILE")
    return 0
