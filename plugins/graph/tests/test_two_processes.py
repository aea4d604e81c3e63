"""Losses that compare the rows of a batch must learn in two processes what one learns from both their batches.

Run as a script this file is one of the processes; pytest starts two.
"""

from __future__ import annotations

import pytest
import torch

from mmkd.binding import Bound, bind
from mmkd.data import Dataset, Field, View
from mmkd.models.mlp import MLP
from mmkd.schemes.base import Update
from mmkd.sources.base import Knowledge
from mmkd.sources.live import Live
from mmkd.testing import two_processes
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


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    return two_processes.gradients_of_two(__file__, tmp_path_factory.mktemp("two"))


@pytest.mark.parametrize("case", METHODS)
def test_two_processes_learn_what_one_does(shared, case):
    alone = two_processes.gradients(*step_of(case))
    two_processes.assert_alike(shared[case], alone, rtol=1e-5, atol=1e-6)


if __name__ == "__main__":
    two_processes.serve({case: lambda case=case: two_processes.gradients(*step_of(case)) for case in METHODS})
