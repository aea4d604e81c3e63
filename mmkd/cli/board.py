"""`mmkd board [RUNS...]`."""

from __future__ import annotations

from pathlib import Path

import click

from mmkd.cli import console


@click.command(
    epilog="\b\nExamples:\n  mmkd board\n  mmkd board runs elsewhere/run --out board.html\n  mmkd board --json"
)
@click.argument("runs", nargs=-1, type=click.Path(path_type=Path, exists=True))
@click.option("--out", type=click.Path(path_type=Path), help="The page; default: board.html in the first of RUNS.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON and write no page.")
def command(runs: tuple[Path, ...], out: Path | None, as_json: bool) -> int:
    """Write one page over all finished runs at or below RUNS (default: the folder `runs`): arms, gains, verdicts, and
    links to the reports."""
    from mmkd.errors import ConfigError
    from mmkd.reporting import board

    places = runs or (Path("runs"),)
    if not places[0].is_dir():
        raise ConfigError(f"there is no folder {places[0]}", "name the folder of your runs: `mmkd board FOLDER`")
    rows, unread = board.find(places)
    for place, reason in unread.items():
        console.warn(f"{place}: {reason}")
    if as_json:
        console.print_json({"runs": [row.to_json() for row in rows], "unread": unread})
        return 0
    page = out or places[0] / "board.html"
    board.write_board(rows, unread, page)
    print(f"{len(rows)} run{'s' if len(rows) != 1 else ''} on {page}")
    return 0
