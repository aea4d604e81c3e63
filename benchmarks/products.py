"""GNN-to-MLP from 100,000 to 2.4 million nodes on one machine: cost per node by phase, and peak memory.

    XDG_CACHE_HOME=folder-with-room python -m benchmarks.products --json products.json

Needs 7 GB of disk and about as much memory for the largest graph, which has 62 million undirected edges. A size has a
process of its own, so that peaks are its own. Peak memory counts the pages of memory-mapped files that were touched,
which the operating system may take back; the anonymous part may not be.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.rows import Row, arguments, show

SIZES = (100_000, 300_000, 1_000_000, 2_400_000)
BATCH = 4096


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--nodes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--one", type=int, help="measure this size in this process and print JSON")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one)))
        return
    rows = []
    for nodes in options.nodes:
        command = [sys.executable, "-m", "benchmarks.products", "--one", str(nodes)]
        answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1]
        rows += as_rows(nodes, json.loads(answer))
    show(rows, options.json)


def measure(nodes: int) -> dict[str, float]:
    """Seconds by phase, sizes, accuracies of one graph."""
    from mmkd_graph.datasets.large_blocks import LargeBlocks

    from mmkd.evaluation.run import run

    begin = time.perf_counter()
    edges = LargeBlocks(nodes=nodes).edges
    found = {"edges": float(edges), "generate and sum hops": time.perf_counter() - begin}
    clock = _Clock()
    with tempfile.TemporaryDirectory() as folder:
        changes = [f"dataset.nodes={nodes}", f"training.steps={max(nodes // BATCH, 1)}"]
        done = run("graph/large-blocks", changes, directory=Path(folder), watcher=clock)
        found["cache"] = sum(file.stat().st_size for file in Path(folder, "cache").rglob("*") if file.is_file()) / 1e6
    found |= clock.seconds
    found |= {f"{arm} accuracy": 100 * done.result["arms"][arm]["mean"] for arm in ("teacher", "alone", "distilled")}
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    found["peak"] = int(status["VmHWM"].split()[0]) / 1e6
    shutil.rmtree(folder, ignore_errors=True)
    return found


class _Clock:
    """Seconds of each arm: training, filling the cache where it learns from one, evaluation."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.begun = 0.0

    def begin(self, jobs: int, done: int, what: str) -> None: ...

    def started(self, arm: str, seed: int) -> None:
        self.begun = time.perf_counter()

    def finished(self, arm: str, seed: int, result: Mapping[str, Any]) -> None:
        self.seconds[arm] = time.perf_counter() - self.begun

    def stepped(self, step: int, steps: int, losses: Mapping[str, float]) -> None: ...


def as_rows(nodes: int, found: Mapping[str, float]) -> list[Row]:
    name = f"{nodes:,} nodes"
    phases = ("generate and sum hops", "teacher", "alone", "distilled")
    rows = [Row(f"{name}, {phase}", 1e6 * found[phase] / nodes, "us a node") for phase in phases]
    rows.append(Row(f"{name}, undirected edges", found["edges"] / 1e6, "million"))
    rows.append(Row(f"{name}, cached soft labels", found["cache"], "MB"))
    rows.append(Row(f"{name}, peak memory", found["peak"], "GB"))
    rows += [Row(f"{name}, {arm}", found[f"{arm} accuracy"], "%") for arm in ("teacher", "alone", "distilled")]
    return rows


if __name__ == "__main__":
    main()
