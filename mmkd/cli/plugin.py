"""`mmkd plugin new|check`."""

from __future__ import annotations

from pathlib import Path

import click

from mmkd.cli import console


@click.group(
    epilog="\b\nExamples:\n  mmkd plugin new acoustics\n  mmkd plugin check mmkd-acoustics --quick\n"
    "  mmkd plugin check dist/mmkd_acoustics-0.1.0-py3-none-any.whl"
)
def command() -> None:
    """Start a plugin, or check one."""


@command.command(
    "new",
    epilog="\b\nExamples:\n  mmkd plugin new acoustics\n"
    "  mmkd plugin new acoustics --kinds model,method --into elsewhere",
)
@click.argument("name")
@click.option("--kinds", default="model,method,adapter,dataset,recipe", show_default=True, help="What to write.")
@click.option("--into", type=click.Path(path_type=Path), help="The folder; default: mmkd-NAME.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def new(name: str, kinds: str, into: Path | None, as_json: bool) -> int:
    """Write a distribution mmkd-NAME, whose tests pass at once, with one component of each of KINDS."""
    from mmkd.testing.new import new_plugin

    written = new_plugin(name, [kind.strip() for kind in kinds.split(",") if kind.strip()], into)
    if as_json:
        console.print_json({"files": [str(path) for path in written]})
        return 0
    for path in written:
        print(path)
    root = written[0].parent
    print(f"\nnext: pip install -e {root}, then pytest {root} and mmkd plugin check mmkd-{name.removeprefix('mmkd-')}")
    return 0


@command.command(
    "check", epilog="\b\nExamples:\n  mmkd plugin check mmkd-graph --quick\n  mmkd plugin check my.whl --json"
)
@click.argument("name")
@click.option("--quick", is_flag=True, help="Leave out exports, resumes and second processes.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, all checks.")
def check(name: str, quick: bool, as_json: bool) -> int:
    """Run the conformance checks on NAME: an installed distribution, or a wheel. Exit code 1 if one fails.

    Checks that cannot pass are declared in the package's checks.toml, with the reason; checks whose data is absent do
    not apply.
    """
    from mmkd.testing.checks import Outcome, Report

    skipped: dict[str, int] = {}

    def told(outcome: Outcome) -> None:
        if as_json or outcome.status == "passed":
            return
        if outcome.status == "not applicable":
            skipped[outcome.reason] = skipped.get(outcome.reason, 0) + 1
        else:
            print(f"{outcome.status}: {outcome.name}\n    {console.one_line(outcome.reason)}", flush=True)

    report: Report
    if name.endswith(".whl"):
        from mmkd.testing.wheel import check_wheel

        report = check_wheel(Path(name), slow=not quick, told=told)
    else:
        from mmkd.testing import checks_of, run_checks

        report = run_checks([each for each in checks_of(name) if not (quick and each.slow)], told)
    if as_json:
        console.print_json(report.to_json())
        return 0 if report.ok else 1
    for reason, count in skipped.items():
        print(f"not applicable ({count}): {console.one_line(reason)}")
    print(report.summary())
    return 0 if report.ok else 1
