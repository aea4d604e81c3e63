"""A method that asks the student about other inputs than the batch's."""

from typing import ClassVar

import torch
from torch import nn

from mmkd.binding import Bound, bind
from mmkd.data import Dataset, Field, View
from mmkd.methods.base import Method
from mmkd.schemes.base import Update
from mmkd.sources.base import Knowledge
from mmkd.sources.live import Live
from mmkd.training.step import Step


class Tells(Method):
    """Sees what it is given: nobody to ask."""

    def forward(self, student, sources, batch):
        return {"mean": student.logits.mean()}


class Asks(Method):
    """The student's answers should be those of the teacher, where the input is moved by 1."""

    asks: ClassVar[bool] = True

    def forward(self, student, sources, batch, call=None):
        moved = call(batch.replace(x=batch["x"] + 1)).logits
        return {"moved": (moved - sources["teacher"].logits).square().mean(), "still": call(batch).logits.sum() * 0}


class Linear(nn.Linear):
    def forward(self, x):
        return super().forward(x)


def test_the_answer_has_a_gradient_and_the_batch_is_run_once():
    x = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    data = Dataset({"x": Field((3,))}, {"x": x})
    view = View(data, torch.arange(6), torch.arange(0))
    student, teacher = Linear(3, 2), Linear(3, 2)
    runs = []
    student.register_forward_hook(lambda *given: runs.append(given[1]))
    bound = Bound(student, bind(student.forward, data.fields))
    source = Live(Knowledge(data, [Bound(teacher, bind(teacher.forward, data.fields))]))
    methods = {"asks": Asks({}, {}), "tells": Tells({}, {})}
    step = Step({"student": bound}, {"student": Update(methods=methods, sources={"teacher": source})})
    losses = step(view.batch(view.rows))
    assert len(runs) == 2
    expected = (student(x + 1) - teacher(x)).square().mean()
    torch.testing.assert_close(losses["asks/moved"], expected)
    torch.testing.assert_close(losses["tells/mean"], student(x).mean())
    found = torch.autograd.grad(losses["asks/moved"], list(student.parameters()))
    for one, other in zip(found, torch.autograd.grad(expected, list(student.parameters())), strict=True):
        torch.testing.assert_close(one, other)
