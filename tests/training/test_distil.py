"""Own models, own loop."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import mmkd


class Student(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x)


class Teacher(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 3)

    def forward(self, x: Tensor, neighbours: Tensor) -> Tensor:
        return self.linear(torch.cat([x, neighbours], 1))


def test_five_lines_teach_a_student_that_reads_less():
    torch.manual_seed(0)
    x = torch.randn(200, 4)
    data = {"x": x, "neighbours": x[:, :2] * 2}  # what the teacher reads besides follows from x, so all can be learnt
    teacher = Teacher()
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    step, view = mmkd.distil(Student(), teacher, data, [{"use": "soft-targets", "temperature": 2.0, "weight": 3.0}])
    optimiser = torch.optim.AdamW(step.parameters(), 0.02)
    losses = []
    for _ in range(60):
        for batch in view.batches(50):
            optimiser.zero_grad()
            loss = step(batch)["loss"]
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
    assert losses[-1] < losses[0] / 100
    assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())
    assert list(step.state_dict()) == ["models.student.module.linear.weight", "models.student.module.linear.bias"]


def test_the_weight_of_a_method_scales_its_loss():
    torch.manual_seed(0)
    data = {"x": torch.randn(8, 4), "neighbours": torch.randn(8, 2)}
    student, teacher = Student(), Teacher()
    values = []
    for weight in (1.0, 3.0):
        step, view = mmkd.distil(student, teacher, data, [{"use": "soft-targets", "weight": weight}])
        values.append(step(next(view.batches(8)))["loss"].item())
    assert abs(values[1] - 3 * values[0]) < 1e-5
