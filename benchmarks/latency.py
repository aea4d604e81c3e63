"""What a student that reads one node saves: a GraphSAGE teacher, neighbours fetched, against an MLP of its width.

    MMKD_DATA=... python -m benchmarks.latency --json latency.json --plot latency.png

Median milliseconds on one thread, weights untrained (time does not depend on them), two layers of 128. Nodes are
drawn anew for every repetition; both sides answer about the same ones, in turn. Fetching walks the lists of neighbours,
gathers the features, builds the sparse matrix of the part. `all` runs the network on the whole graph with its matrix at
hand.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from mmkd_graph.blocks import Adjacency, sample_blocks
from mmkd_graph.models.sage import SAGE
from mmkd_graph.neighbours import Fetcher
from torch import Tensor

from benchmarks.rows import Row, arguments, show
from mmkd import registry
from mmkd.data import Field
from mmkd.models.mlp import MLP

REAL = ("cora", "citeseer", "a-photo", "a-computer")
GENERATED = [
    (nodes, degree) for nodes in (10_000, 100_000, 1_000_000) for degree in (5, 25, 100) if nodes * degree <= 1e7
]
FEATURES, CLASSES, FAN_OUT = 128, 10, 15
ASKED = (1, 10, 100)


@dataclass
class Point:
    """One measurement: how long the teacher takes in all, and how many times the student's time that is."""

    graph: str
    nodes: int
    degree: float
    asked: str
    way: str
    milliseconds: float
    ratio: float


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--plot", type=Path, help="draw the ratios there")
    parser.add_argument("--repeats", type=int, default=30)
    options = parser.parse_args()
    torch.set_num_threads(1)
    points = [point for name in REAL for point in measure(name, *real(name), options.repeats)]
    for nodes, degree in GENERATED:
        points += measure(f"blocks {nodes:,} x {degree}", *generated(nodes, degree), options.repeats)
    rows = [
        Row(
            f"{p.graph} (degree {p.degree:.0f}), {p.asked} nodes, {p.way}",
            f"{p.ratio:.1f}",
            "times the MLP",
            f"{p.milliseconds:.2f} ms",
        )
        for p in points
    ]
    show(rows, options.json)
    if options.plot:
        draw(points, options.plot)


def real(name: str) -> tuple[Tensor, Adjacency]:
    dataset = registry.get("datasets", f"graph/{name}")()
    return dataset.samples["x"].float(), from_edges(dataset.relations["edge_index"], len(dataset))


def generated(nodes: int, degree: int) -> tuple[Tensor, Adjacency]:
    random = np.random.default_rng(0)
    labels = random.permutation(np.arange(nodes) % CLASSES)
    return torch.randn(nodes, FEATURES), sample_blocks(labels, nodes * degree // 2, 0.5, 2.0, random)


def from_edges(edge_index: Tensor, nodes: int) -> Adjacency:
    source, target = edge_index.numpy()
    order = np.argsort(target, kind="stable")
    start = np.concatenate([[0], np.cumsum(np.bincount(target, minlength=nodes))])
    return Adjacency(start.astype(np.int64), source[order].astype(np.int32))


def measure(name: str, x: Tensor, graph: Adjacency, repeats: int) -> list[Point]:
    """Both ways of fetching for each number of nodes, and the whole graph."""
    fields = {"x": Field((x.shape[1],)), "edge_index": Field((2, None), "int64", "edges", kind="relation")}
    outputs = {"logits": (CLASSES,)}
    teacher = SAGE(fields, outputs, hidden=128, layers=2).eval()
    student = MLP({"x": fields["x"]}, outputs, hidden=128, layers=2).eval()
    random = np.random.default_rng(1)
    target = np.repeat(np.arange(len(graph)), np.diff(graph.start))
    whole = torch.from_numpy(np.stack([graph.neighbour.astype(np.int64), target]))
    ways = {"all neighbours": Fetcher(graph, 2), f"fan-out {FAN_OUT}": Fetcher(graph, 2, FAN_OUT)}

    def ask(fetch: Fetcher, nodes: np.ndarray) -> Tensor:
        part = fetch(nodes)
        return teacher(x[part.nodes], part.edge_index)[: len(nodes)]

    points = []
    degree = len(graph.neighbour) / len(graph)
    with torch.inference_mode():
        for asked in ASKED:
            spent: dict[str, list[float]] = {way: [] for way in [*ways, "student"]}
            for _ in range(repeats + 2):
                nodes = random.choice(len(graph), asked, replace=False)
                rows = torch.from_numpy(nodes)
                for way, fetch in ways.items():
                    spent[way].append(timed(lambda fetch=fetch, nodes=nodes: ask(fetch, nodes)))
                spent["student"].append(timed(lambda rows=rows: student(x[rows])))
            base = float(np.median(spent["student"][2:]))
            for way in ways:
                took = float(np.median(spent[way][2:]))
                points.append(Point(name, len(graph), degree, str(asked), way, took, took / base))
    with torch.no_grad():  # inference tensors carry no version, so their matrix could not be kept
        both = [(timed(lambda: teacher(x, whole)), timed(lambda: student(x))) for _ in range(min(repeats, 5) + 1)][1:]
    took, base = np.median(np.array(both), axis=0)
    points.append(Point(name, len(graph), degree, "all", "whole graph", float(took), float(took / base)))
    return points


def timed(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return 1e3 * (time.perf_counter() - start)


def draw(points: list[Point], path: Path) -> None:
    """How many times the student's time the teacher takes, over the graph's mean degree; one panel per way."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    panels = list(dict.fromkeys(point.way for point in points))
    figure, axes = pyplot.subplots(1, len(panels), figsize=(4.2 * len(panels), 4), sharey=True, layout="constrained")
    for axis, way in zip(axes, panels, strict=True):
        for marker, asked in zip("osD^", (*map(str, ASKED), "all"), strict=True):
            here = sorted((p for p in points if p.way == way and p.asked == asked), key=lambda point: point.degree)
            if here:
                sizes = [12 * np.log10(p.nodes) for p in here]
                axis.scatter(
                    [p.degree for p in here], [p.ratio for p in here], s=sizes, marker=marker, label=asked, alpha=0.7
                )
        axis.axhline(1, color="grey", linewidth=0.8)
        axis.set(xscale="log", yscale="log", xlabel="mean degree", title=way)
        axis.legend(title="nodes asked about")
    axes[0].set_ylabel("teacher's time / student's")
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
