"""`mmkd verify BUNDLE`. Imports no torch."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from mmkd.cli import console


@click.command(epilog="\b\nExamples:\n  mmkd verify runs/graph-glnn-1a2b3c4d/bundle\n  mmkd verify student --json")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--tolerance", type=click.FloatRange(min=0), help="Largest difference allowed; default: the export's.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(bundle: Path, tolerance: float | None, as_json: bool) -> int:
    """Check BUNDLE: its files' sha256, that its graph reads exactly the fields that it declares, and its predictions on
    the example rows that it stores."""
    from mmkd.deployment.verify import verify

    found = verify(bundle, tolerance=tolerance)
    if as_json:
        console.print_json({"bundle": str(bundle), "ok": True, **asdict(found)})
        return 0
    print(f"files    every sha256 is the manifest's\nreads    {', '.join(found.reads)}, and nothing else")
    if found.rows:
        differences = ", ".join(f"{name} {value:.3g}" for name, value in found.max_abs_difference.items())
        print(f"parity   {found.rows} stored rows predicted again; largest difference: {differences}")
    else:
        print("parity   not checked: the bundle stores no example rows (the data's licence keeps them back)")
    return 0
