"""The scheme `mixup`: blended inputs, and losses blended in the same share."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mmkd.binding import Bound, bind
from mmkd.data import Dataset, Field, View
from mmkd.errors import ConfigError
from mmkd.methods.soft_targets import SoftTargets
from mmkd.schemes.base import Parts, Update
from mmkd.schemes.mixup import Mixup, blend
from mmkd.sources.base import Knowledge
from mmkd.sources.live import Live
from mmkd.tasks.classification import Classification
from mmkd.training.step import Step

ROWS = 6


class Linear(nn.Module):
    def __init__(self):
        super().__init__()
        self.last = nn.Linear(4, 3)

    def forward(self, x):
        return self.last(x)


@pytest.fixture
def parts():
    torch.manual_seed(0)
    fields = {"x": Field((4,)), "label": Field((), "int64", target=True, classes=("a", "b", "c"))}
    dataset = Dataset(fields, {"x": torch.randn(ROWS, 4), "label": torch.arange(ROWS) % 3})
    view = View(dataset, torch.arange(ROWS), torch.arange(ROWS))
    student, teacher = (Bound(Linear(), bind(Linear.forward, fields)) for _ in range(2))
    source = Live(Knowledge(dataset, [teacher]))
    batch = view.batch(view.rows)

    def update(name, sources):
        made = SoftTargets(student.measure(batch), {"teacher": source.measure(batch)}, temperature=2.0)
        return Update([name], Classification(fields), 0.5, {"soft": made}, {"soft": 2.0}, sources)

    return Parts({"student": student}, {"teacher": source}, update), view


def test_losses_are_those_against_the_blended_targets(parts):
    made, view = parts
    (stage,) = Mixup(alpha=0.7).stages(made)
    step = Step(made.models, stage.updates)
    batch = view.batch(view.rows)
    torch.manual_seed(5)
    losses = step(batch)
    torch.manual_seed(5)
    share = float(torch.distributions.Beta(0.7, 0.7).sample())
    partner = torch.randperm(ROWS)
    x, student, teacher = batch["x"], made.models["student"].module, made.sources["teacher"].model.module
    said = student(share * x + (1 - share) * x[partner])
    one_hot = F.one_hot(batch["label"], 3).float()
    target = share * one_hot + (1 - share) * one_hot[partner]
    torch.testing.assert_close(losses["task"], F.cross_entropy(said, target))
    soft = (teacher(x) / 2).softmax(1)
    cross = -((share * soft + (1 - share) * soft[partner]) * (said / 2).log_softmax(1)).sum(1).mean()
    entropy = -(soft * soft.log()).sum(1).mean()  # the same for both orders
    torch.testing.assert_close(losses["soft/kl"], 4 * (cross - entropy))
    torch.testing.assert_close(losses["loss"], 0.5 * losses["task"] + 2 * losses["soft/kl"])
    losses["loss"].backward()
    assert student.last.weight.grad.abs().sum() > 0
    assert teacher.last.weight.grad is None


def test_recordings_are_rounded_to_their_type():
    one, other = torch.tensor([100, -3], dtype=torch.int16), torch.tensor([0, 32767], dtype=torch.int16)
    mixed = blend("audio", one, other, 0.75, Field((), "int16"))
    assert mixed.dtype == torch.int16
    assert mixed.tolist() == [75, 8190]


@pytest.mark.parametrize("field", [Field((), "int64"), Field((), "int64", kind="relation")])
def test_ids_cannot_be_blended(field):
    with pytest.raises(ConfigError, match=r"'tokens' .* cannot be blended"):
        blend("tokens", torch.arange(3), torch.arange(3), 0.5, field)
