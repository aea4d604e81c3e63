"""Speed of a step, an epoch and a graph product, each against a hand-written PyTorch loop in the same run.

    python -m benchmarks.step --json step.json

Both sides are timed in turn, round by round; a figure is the median over rounds of the ratio within a round, so that a
machine that slows down slows both.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.rows import Row, arguments, show
from mmkd.binding import Bound, bind
from mmkd.data import Dataset, Field, View
from mmkd.layouts import Spec, Specs
from mmkd.methods.soft_targets import SoftTargets
from mmkd.schemes.base import Stage, Update
from mmkd.sources.base import Knowledge
from mmkd.sources.live import Live
from mmkd.sources.stored import Stored, tabulate
from mmkd.tasks.classification import Classification
from mmkd.training.loop import Trainer
from mmkd.training.settings import Training

ROWS, WIDTH, CLASSES, BATCH, HIDDEN, TEACHER_HIDDEN = 8192, 128, 10, 256, 256, 384
LEARNING_RATE, TEMPERATURE, EPOCHS = 1e-3, 4.0, 3


class Net(nn.Module):
    """An MLP of the field's usual shape."""

    def __init__(self, hidden: int, layers: int) -> None:
        super().__init__()
        sizes = [WIDTH, *[hidden] * (layers - 1)]
        body = [part for a, b in pairwise(sizes) for part in (nn.Linear(a, b), nn.ReLU())]
        self.body = nn.Sequential(*body, nn.Linear(sizes[-1], CLASSES))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x)


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    x, label = torch.randn(ROWS, WIDTH), torch.randint(0, CLASSES, (ROWS,))
    rows = [*step_rows(x, label, options.rounds), *graph_rows(options.rounds)]
    show(rows, options.json)


def step_rows(x: torch.Tensor, label: torch.Tensor, rounds: int) -> list[Row]:
    """A step with a live teacher, and an epoch with a cached one."""
    fields = {
        "x": Field((WIDTH,), layout="vector"),
        "label": Field((), "int64", target=True, classes=tuple(map(str, range(CLASSES)))),
    }
    dataset = Dataset(fields, {"x": x, "label": label})
    everything = torch.arange(ROWS)
    view = View(dataset, everything, everything)
    task = Classification(fields)
    teacher = Net(TEACHER_HIDDEN, 3)
    binding = bind(Net.forward, fields)
    live = Live(Knowledge(dataset, [Bound(teacher, binding)]))
    table = tabulate(live, view, set())
    specs = Specs({"logits": Spec(None, (CLASSES,))})
    stored = Stored.of(everything, table, specs, ROWS)
    steps = EPOCHS * (ROWS // BATCH)

    def ours(source: object) -> Callable[[], None]:
        student = Bound(Net(HIDDEN, 3), binding)
        method = SoftTargets(specs, {"teacher": specs}, temperature=TEMPERATURE)
        update = Update(["student"], task, 1.0, {"kd": method}, {"kd": 1.0}, {"teacher": source})  # type: ignore[dict-item]
        settings = Training(steps=steps, batch_size=BATCH, optimiser="adam", lr=LEARNING_RATE)
        return lambda: (
            Trainer({"student": student}, [Stage({"student": update})], view, settings, seed=0).run() and None
        )

    def by_hand(batches: Callable[[], object]) -> Callable[[], None]:
        student = Net(HIDDEN, 3)
        optimiser = torch.optim.Adam(student.parameters(), LEARNING_RATE, fused=True)

        def epochs() -> None:
            for part, truth in (pair for _ in range(EPOCHS) for pair in batches()):  # type: ignore[attr-defined]
                optimiser.zero_grad(set_to_none=True)
                with torch.no_grad():
                    said = teacher(part)
                logits = student(part)
                soft = F.kl_div(
                    F.log_softmax(logits / TEMPERATURE, 1), F.softmax(said / TEMPERATURE, 1), reduction="batchmean"
                )
                loss = F.cross_entropy(logits, truth) + TEMPERATURE**2 * soft
                loss.backward()
                optimiser.step()

        return epochs

    def slices() -> object:
        for index in torch.randperm(ROWS).split(BATCH):
            yield x[index], label[index]

    loader = DataLoader(TensorDataset(x, label), BATCH, shuffle=True)
    step_ratio, step_ms = ratio(ours(live), by_hand(slices), rounds)
    epoch_ratio, _ = ratio(ours(stored), by_hand(lambda: loader), rounds)
    hand_loader, _ = ratio(by_hand(slices), by_hand(lambda: loader), rounds)
    return [
        Row("hand-written step, live teacher", step_ms / steps, "ms"),
        Row(
            "our step / hand-written step", step_ratio, "ratio", "<= 1.05; torchdistill 1.10, ModelOpt 1.18", "issue 2"
        ),
        Row(
            "our epoch, cached teacher, in-memory / DataLoader and live teacher",
            epoch_ratio,
            "ratio",
            "<= 0.55",
            "issue 2",
        ),
        Row("of which in-memory slices alone", hand_loader, "ratio"),
    ]


def graph_rows(rounds: int) -> list[Row]:
    """Forward and backward of one mean aggregation: sparse CSR against gather and scatter."""
    from mmkd_graph.propagation import mean_of_both, propagate, scatter

    rows = []
    for nodes, degree, width in ((2485, 4, 128), (7487, 32, 128), (20000, 16, 128)):
        edges = torch.randint(0, nodes, (2, nodes * degree // 2))
        edges = torch.cat([edges, edges.flip(0)], 1)
        x = torch.randn(nodes, width, requires_grad=True)
        messages = mean_of_both(edges, nodes)  # made once on both sides
        value, _ = ratio(
            lambda x=x, e=edges: propagate(x, e, mean_of_both).sum().backward(),
            lambda x=x, m=messages: scatter(x, *m).sum().backward(),
            rounds,
            repeats=5,
        )
        rows.append(Row(f"graph product, {nodes} nodes, degree {degree}: CSR / scatter", value, "ratio"))
    return rows


def ratio(ours: Callable[[], None], theirs: Callable[[], None], rounds: int, repeats: int = 1) -> tuple[float, float]:
    """Median over rounds of time(ours) / time(theirs), and the median time of theirs in ms."""
    times: dict[str, list[float]] = {"ours": [], "theirs": []}
    for number in range(rounds + 1):
        order = [("ours", ours), ("theirs", theirs)]
        for name, work in order if number % 2 else reversed(order):
            start = time.perf_counter()
            for _ in range(repeats):
                work()
            times[name].append(1e3 * (time.perf_counter() - start))
    mine, other = (np.array(times[name][1:]) for name in ("ours", "theirs"))
    return float(np.median(mine / other)), float(np.median(other))


if __name__ == "__main__":
    main()
