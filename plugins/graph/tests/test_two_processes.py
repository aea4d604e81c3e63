"""Losses that compare the rows of a batch must learn in two processes what one learns from both their batches.

Run as a script this file is one of the processes; pytest starts two.
"""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from mmkd.binding import Bound, bind
from mmkd.data import Dataset, Field, View
from mmkd.distributed import rank, world_size
from mmkd.models.mlp import MLP
from mmkd.schemes.base import Update
from mmkd.sources.base import Knowledge
from mmkd.sources.live import Live
from mmkd.training.step import Step
from mmkd_graph.methods.nosmog import NOSMOG
from mmkd_graph.methods.pgkd import PGKD

ROWS = 12
METHODS = {
    "similarity": (NOSMOG, {"adversarial": 0.0, "similarity": 10.0}),
    "prototypes": (PGKD, {"temperature": 1.0, "intra": 1.0}),
}


def step_of(case):
    """A step on `ROWS` rows, the same in every process, and its view."""
    torch.manual_seed(0)
    fields = {"x": Field((5,), "float32"), "label": Field((), "int64", target=True, classes=("a", "b", "c"))}
    rows = torch.arange(ROWS)
    view = View(Dataset(fields, {"x": 9 * torch.randn(ROWS, 5), "label": rows % 3}), rows, rows)
    outputs = {"logits": (3,)}
    student, teacher = (
        Bound(MLP({"x": fields["x"]}, outputs, hidden=width), bind(MLP.forward, fields)) for width in (4, 6)
    )
    source = Live(Knowledge(view.dataset, [teacher]))
    batch = view.batch(rows)
    method, settings = METHODS[case]
    made = method(student.measure(batch), {"teacher": source.measure(batch)}, **settings)
    return Step({"student": student}, {"main": Update(methods={"m": made}, sources={"teacher": source})}), view


def gradients(case):
    """Gradients of one step, averaged over processes, each of which has its share of the rows."""
    step, view = step_of(case)
    step(view.batch(view.rows[rank() * ROWS // world_size() :][: ROWS // world_size()]))["loss"].backward()
    found = {name: parameter.grad for name, parameter in step.named_parameters() if parameter.grad is not None}
    for gradient in found.values() if world_size() > 1 else ():
        dist.all_reduce(gradient)
        gradient /= world_size()
    return found


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    place = tmp_path_factory.mktemp("two")
    processes = [subprocess.Popen([sys.executable, __file__, str(place), str(number)]) for number in range(2)]
    assert [process.wait(timeout=240) for process in processes] == [0, 0]
    return torch.load(place / "gradients.pt", weights_only=True)


@pytest.mark.parametrize("case", METHODS)
def test_two_processes_learn_what_one_does(shared, case):
    alone = gradients(case)
    assert alone
    assert alone.keys() == shared[case].keys()
    for name, gradient in alone.items():
        assert gradient.abs().max() > 0, name
        torch.testing.assert_close(shared[case][name], gradient, atol=1e-6, rtol=1e-5)


if __name__ == "__main__":
    folder, number = Path(sys.argv[1]), int(sys.argv[2])
    store = dist.FileStore(str(folder / "store"), 2)
    dist.init_process_group("gloo", store=store, rank=number, world_size=2, timeout=timedelta(seconds=200))
    found = {case: gradients(case) for case in METHODS}
    if number == 0:
        torch.save(found, folder / "gradients.pt")
    dist.destroy_process_group()
