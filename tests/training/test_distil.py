"""Own models, own loop."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import mmkd
from mmkd.errors import ConfigError


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


class Cosine(mmkd.Method):
    """A method that nobody registered."""

    def __init__(self, student, sources, /, *, source: str = "teacher", scale: float = 1.0):
        super().__init__(student, sources)
        self.source, self.scale = source, scale

    def forward(self, student, sources, batch):
        cosine = torch.cosine_similarity(student.logits, sources[self.source].logits.detach(), dim=1)
        return {"cosine": self.scale * (1 - cosine).mean()}


def test_a_method_class_needs_no_registration():
    data = {"x": torch.randn(10, 4), "neighbours": torch.randn(10, 2)}
    methods = [Cosine, {"use": Cosine, "name": "softer", "scale": 0.5, "weight": 2.0}]
    step, view = mmkd.distil(Student(), Teacher(), data, methods)
    losses = step(next(view.batches(5)))
    own, softer = (losses[f"{name}/cosine"].item() for name in ("Cosine", "softer"))
    assert softer == pytest.approx(own / 2, rel=1e-5)
    assert losses["loss"].item() == pytest.approx(own + 2 * softer, rel=1e-5)
    with pytest.raises(ConfigError, match="two methods are called 'Cosine'"):
        mmkd.distil(Student(), Teacher(), data, [Cosine, Cosine])
    with pytest.raises(ConfigError, match="scale' of 'Cosine'"):
        mmkd.distil(Student(), Teacher(), data, [{"use": Cosine, "scale": "much"}])
