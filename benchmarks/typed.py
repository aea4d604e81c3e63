"""Typed graphs on ACM of HGB: teachers, students of HIRE and HGKD with each term ablated, controls, and what is
shipped.

    MMKD_DATA=... python -m benchmarks.typed --json typed.json

Macro-F1 in % on the 1,059 published test nodes, mean and standard deviation over seeds; the verdict beside it holds on
this graph. Weights are chosen on validation macro-F1; the run directories stay under `--directory`, and finished jobs
are not run again.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.rows import Row, arguments, show
from mmkd.deployment.from_run import export_run
from mmkd.deployment.runtime import Student
from mmkd.evaluation.run import run

EXPLORED = "plain loops, 3 seeds"
WANTED = {
    ("hgkd-acm", "teacher"): "about 92.8",
    ("hgkd-acm", "alone"): "about 86.2",
    ("hgkd-acm", "kl-only"): "about 92.8",
    ("hire-acm", "teacher"): "about 92.8",
    ("hire-acm", "node-only"): "about 92.9",
    ("hire-acm", "type-level"): "about 92.8",
    ("hire-acm", "mlp-alone"): "about 86.2",
    ("hire-acm", "mlp-node"): "about 92.8",
}
SHIPPED = {"hgkd-acm": "distilled", "hire-acm": "mlp-hire"}


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--directory", type=Path, default=Path("runs/benchmarks"))
    parser.add_argument("--recipes", nargs="+", choices=list(SHIPPED), default=list(SHIPPED))
    options = parser.parse_args()
    rows: list[Row] = []
    for recipe in options.recipes:
        directory = options.directory / recipe
        done = run(f"graph/{recipe}", seeds=options.seeds, jobs=options.jobs, directory=directory)
        print(done.table())
        rows += figures(recipe, done.result) + shipped(recipe, done.result, directory)
    show(rows, options.json)


def figures(recipe: str, result: dict[str, Any]) -> list[Row]:
    """Every arm with its verdict, and `distilled` against each control."""
    against = {comparison["candidate"]: comparison for comparison in result["comparisons"]}
    rows = []
    for name, arm in result["arms"].items():
        if arm["status"] != "done":
            rows.append(Row(f"{recipe}, {name}", "not applicable", "", arm["reason"]))
            continue
        said = WANTED.get((recipe, name), "")
        if name in against:
            found = against[name]
            said = f"{found['verdict']} ({100 * found['difference']:+.2f} against {found['baseline']})" + (
                f"; {said}" if said else ""
            )
        value = f"{100 * arm['mean']:.2f}" + ("" if arm["sd"] is None else f"±{100 * arm['sd']:.2f}")
        rows.append(Row(f"{recipe}, {name}", value, "% macro-F1", said, EXPLORED if "about" in said else ""))
    for found in result["attribution"]:
        name = f"{recipe}, distilled against {found['baseline']}"
        rows.append(Row(name, f"{100 * found['difference']:+.2f}", "% macro-F1", found["verdict"]))
    return rows


def shipped(recipe: str, result: dict[str, Any], directory: Path) -> list[Row]:
    """The exported perceptron: inputs, parity, size, and time on one thread beside the teacher's on the whole graph."""
    arm = SHIPPED[recipe]
    bundle = export_run(directory, arm=arm, directory=directory / "bundle")
    student = Student.load(bundle.path, threads=1)
    width = student.fields["x"]["shape"][0]
    name = f"{recipe}, exported {arm}"
    rows = [
        Row(f"{name}: inputs", ", ".join(bundle.reads), "", "x alone"),
        Row(f"{name}: largest difference from the original", f"{bundle.max_abs_difference:.1e}", "", "at most 1e-4"),
        Row(f"{name}: size", sum(file.stat().st_size for file in bundle.path.iterdir()) / 1e6, "MB"),
    ]
    for count in (1, 100):
        x = np.random.default_rng(0).integers(0, 2, (count, width)).astype(np.float32)
        teacher = result["arms"]["teacher"]["cost"]["latency_ms"][str(count)]
        mine = median_ms(student, {"x": x})
        rows.append(Row(f"{name}: {count} papers", mine, "ms", f"teacher, whole graph: {teacher:.1f} ms"))
    return rows


def median_ms(student: Student, inputs: dict[str, np.ndarray], repeats: int = 50) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        student(inputs)
        times.append(1e3 * (time.perf_counter() - start))
    return float(np.median(times))


if __name__ == "__main__":
    main()
