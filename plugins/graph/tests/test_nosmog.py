"""NOSMOG: its losses against loops, its positions against the formula of NetMF, and what it asks the student."""

from typing import ClassVar

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mmkd.binding import Bound, bind
from mmkd.data import Dataset, Field, View
from mmkd.errors import ConfigError, LayoutError
from mmkd.layouts import Spec, Specs
from mmkd.schemes.base import Update
from mmkd.signals import Signals
from mmkd.training.step import Step
from mmkd_graph.methods.nosmog import NOSMOG, ascend, gram_difference

SPECS = Specs({"logits": Spec(None, (3,))}, {"penultimate": Spec(None, (4,))})
WIDE = Specs({"logits": Spec(None, (3,))}, {"penultimate": Spec(None, (6,))})


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


class Net(torch.nn.Module):
    taps: ClassVar = {"penultimate": "first"}

    def __init__(self):
        super().__init__()
        self.first, self.last = torch.nn.Linear(7, 4), torch.nn.Linear(4, 3)

    def forward(self, x):
        return self.last(torch.tanh(self.first(x)))


@pytest.fixture
def view():
    fields = {"x": Field((5,), layout="vector"), "position": Field((2,), layout="vector")}
    return View(Dataset(fields, {"x": draw(9, 5), "position": draw(9, 2, seed=1)}), torch.arange(9), torch.arange(0))


@pytest.fixture
def student(view):
    torch.manual_seed(0)
    net = Net()
    return Bound(net, bind(net.forward, view.dataset.fields, {"x": ["x", "position"]}))


@pytest.fixture
def taught():
    return Signals({"logits": 3 * draw(9, 3, seed=2)}, {"penultimate": draw(9, 6, seed=3)})


def losses(view, student, taught, **config):
    torch.manual_seed(1)
    method = NOSMOG(SPECS, {"teacher": WIDE}, **config)
    batch = view.batch(view.rows)
    return method, method(student(batch), {"teacher": taught}, batch, lambda batch: student(batch))


def kl(target, said):
    return F.kl_div(said.log_softmax(1), target.softmax(1), reduction="batchmean")


def test_gram_difference():
    student, teacher = draw(5, 3), draw(5, 4, seed=1)
    pairs = [(float(student[i] @ student[j]) - float(teacher[i] @ teacher[j])) ** 2 for i in range(5) for j in range(5)]
    assert gram_difference(student, teacher).item() == pytest.approx(np.mean(pairs), rel=1e-5)
    turned = teacher @ torch.linalg.qr(draw(4, 4, seed=2)).Q
    assert gram_difference(turned, teacher) < 1e-8


def test_losses(view, student, taught):
    method, found = losses(view, student, taught, similarity=0.5, adversarial=0.0)
    said = student(view.batch(view.rows))
    projected = F.relu(F.linear(said.features["penultimate"], method.projection[0].weight, method.projection[0].bias))
    torch.testing.assert_close(found["kl"], kl(taught.logits, said.logits))
    torch.testing.assert_close(found["similarity"], 0.5 * gram_difference(projected, taught.features["penultimate"]))
    assert set(found) == {"kl", "similarity"}
    assert set(losses(view, student, taught, similarity=0.0)[1]) == {"kl", "adversarial"}


def test_ascent_finds_the_corner():
    """Of a linear loss the worst inputs are known: the corner of the box along the weights' signs."""
    x, y, w, v = draw(4, 3), draw(4, 2, seed=1), draw(3, seed=2), draw(2, seed=3)
    found = ascend(lambda inputs: (inputs["x"] @ w + inputs["y"] @ v).sum(), {"x": x, "y": y}, radius=0.2, steps=9)
    torch.testing.assert_close(found["x"], x + 0.2 * w.sign())
    torch.testing.assert_close(found["y"], y + 0.2 * v.sign())
    step = ascend(lambda inputs: (inputs["x"] * w).sum(), {"x": torch.zeros(500, 3)}, radius=1.0, steps=1)["x"]
    assert step.abs().max() <= 1
    assert (step * w.sign()).mean().item() == pytest.approx(0.25 - 0.25**2 / 4, abs=0.05)  # less what is cut off at 1
    start = ascend(lambda inputs: inputs["x"].sum(), {"x": torch.zeros(2000, 2)}, radius=0.5, steps=0)["x"]
    assert (start.min().item(), start.max().item()) == pytest.approx((-0.5, 0.5), abs=0.01)


def test_adversarial_inputs_are_worse_and_near(view, student, taught):
    asked = []
    batch = view.batch(view.rows)
    method = NOSMOG(SPECS, {"teacher": WIDE}, similarity=0.0, adversarial=1.0, radius=0.3)
    found = method(student(batch), {"teacher": taught}, batch, lambda given: asked.append(given) or student(given))
    assert len(asked) == 6  # five steps and the loss itself
    assert all(given.replaced == {"x", "position"} for given in asked)
    for name in ("x", "position"):
        assert 0.2 < (asked[-1][name] - batch[name]).abs().max() <= 0.3 + 1e-6
    torch.testing.assert_close(found["adversarial"], kl(taught.logits, student(asked[-1]).logits))
    assert found["adversarial"] > found["kl"]
    torch.manual_seed(4)
    whole = method(student(batch), {"teacher": taught}, batch, student)["adversarial"]
    method.adversarial = 0.25
    torch.manual_seed(4)
    torch.testing.assert_close(method(student(batch), {"teacher": taught}, batch, student)["adversarial"], whole / 4)
    few = NOSMOG(SPECS, {"teacher": WIDE}, similarity=0.0, fields=("x",))
    few(student(batch), {"teacher": taught}, batch, lambda given: asked.append(given) or student(given))
    assert asked[-1].replaced == {"x"}


def test_gradients(view, student, taught):
    """The ascent leaves no gradient in the weights; the losses do, and none reaches inputs or teacher."""
    features = {"penultimate": taught.features["penultimate"].clone().requires_grad_()}
    taught = Signals({"logits": taught.logits.clone().requires_grad_()}, features)
    method, found = losses(view, student, taught)
    assert all(p.grad is None for p in student.parameters())
    for loss in found.values():
        student.zero_grad()
        loss.backward(retain_graph=True)
        assert student.module.first.weight.grad.abs().sum() > 0
    assert method.projection[0].weight.grad.abs().sum() > 0
    assert taught.logits.grad is None
    assert features["penultimate"].grad is None


def test_a_step_lets_it_ask(view, student, taught):
    class Says:
        def signals(self, batch, student, call):
            return taught

    method = NOSMOG(SPECS, {"teacher": WIDE}, similarity=0.0)
    step = Step({"student": student}, {"student": Update(methods={"nosmog": method}, sources={"teacher": Says()})})
    found = step(view.batch(view.rows))
    assert {"nosmog/kl", "nosmog/adversarial", "loss"} == set(found)
    torch.testing.assert_close(found["loss"], found["nosmog/kl"] + found["nosmog/adversarial"])


def test_configuration():
    with pytest.raises(ConfigError, match="no field to move"):
        NOSMOG(SPECS, {"teacher": SPECS}, fields=())
    with pytest.raises(LayoutError, match="no tap 'absent'"):
        NOSMOG(SPECS, {"teacher": SPECS}, role="absent")
    maps = Specs(SPECS.outputs, {"penultimate": Spec(None, (4, 2))})
    with pytest.raises(LayoutError, match="one vector per row"):
        NOSMOG(maps, {"teacher": SPECS})
    assert NOSMOG(maps, {"teacher": SPECS}, similarity=0.0).reads == {}
