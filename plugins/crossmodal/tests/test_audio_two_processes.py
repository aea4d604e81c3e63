"""Two processes must learn from captions what one learns from both their batches.

Run as a script this file is one of the processes; pytest starts two.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mmkd.binding import Bound, bind
from mmkd.data import Dataset, Field, View
from mmkd.schemes.base import Update
from mmkd.sources.base import Knowledge
from mmkd.sources.live import Live
from mmkd.testing import two_processes
from mmkd.training.step import Step
from mmkd_crossmodal.methods.clip_kd import ClipKD
from mmkd_crossmodal.methods.contrastive_mapping import ContrastiveMapping
from mmkd_crossmodal.tasks.captioned_clips import CaptionedClips

ROWS = 8
CASES = ("affinity", "interactive", "contrastive-mapping", "task")


class Encoder(nn.Module):
    """A linear dual encoder, without the dropout and BatchNorm that would differ between processes."""

    def __init__(self):
        super().__init__()
        self.heard, self.read = nn.Linear(5, 4), nn.Linear(3, 4)
        self.embedding, self.caption = nn.Identity(), nn.Identity()
        self.taps = {"embedding": "embedding", "caption": "caption"}

    def forward(self, x, text):
        heard = self.embedding(F.normalize(self.heard(x), dim=1))
        return {"logits": heard, "audio": heard, "caption": self.caption(6 * F.normalize(self.read(text), dim=1))}


def step_of(case):
    """A step on `ROWS` rows, of which two are one sample, the same in every process; and its view."""
    torch.manual_seed(0)
    samples = {"x": torch.randn(ROWS, 5), "text": torch.randn(ROWS, 3)}
    samples = {name: value.double() for name, value in samples.items()} | {"label": torch.arange(ROWS) % 4}
    fields = {"x": Field((5,), "float64"), "text": Field((3,), "float64")}
    fields["label"] = Field((), "int64", target=True, classes=("a", "b", "c", "d"))
    view = View(
        Dataset(fields, samples), torch.arange(ROWS), torch.arange(3)
    )  # a process has more labels than the other
    student, teacher = (Bound(Encoder().double(), bind(Encoder.forward, fields)) for _ in range(2))
    source = Live(Knowledge(view.dataset, [teacher]))
    batch = view.batch(view.rows)
    measured = student.measure(batch), {"teacher": source.measure(batch)}
    if case == "task":
        return Step({"student": student}, {"main": Update(task=CaptionedClips(fields))}), view
    if case == "contrastive-mapping":
        method = ContrastiveMapping(*measured).double()
    else:
        method = ClipKD(*measured, **{"matching": 0.3, "affinity": 0.0, "interactive": 0.0, case: 1.0})
    return Step({"student": student}, {"main": Update(methods={"m": method}, sources={"teacher": source})}), view


def gradients(case):
    """Gradients of one step on rows of which row 0 comes twice, once in each process."""
    return two_processes.gradients(*step_of(case), torch.tensor([0, 1, 2, 3, 4, 5, 6, 0]))


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    return two_processes.gradients_of_two(__file__, tmp_path_factory.mktemp("two"))


@pytest.mark.parametrize("case", CASES)
def test_two_processes_learn_what_one_does(shared, case):
    two_processes.assert_alike(shared[case], gradients(case))


if __name__ == "__main__":
    two_processes.serve({case: lambda case=case: gradients(case) for case in CASES})
