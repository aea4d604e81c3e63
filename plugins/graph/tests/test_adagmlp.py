"""AdaGMLP: boosting against a loop over members and rows, its losses, and a run that is cut off and goes on."""

import math

import pytest
import torch
from torch.nn import functional as F

from mmkd.binding import Bound, bind
from mmkd.data import Dataset, Field, View
from mmkd.errors import ConfigError
from mmkd.layouts import Spec, Specs
from mmkd.schemes.base import Stage, Update
from mmkd.signals import Signals
from mmkd.sources.base import Knowledge, Source
from mmkd.training.loop import Trainer
from mmkd.training.settings import Training
from mmkd_graph.methods.adagmlp import AdaGMLP, boosted
from mmkd_graph.models.adagmlp import AdaGMLP as Student

FIELDS = {"x": Field((5,), layout="vector"), "label": Field((), "int64", target=True, classes=("a", "b", "c"))}
TEACHER = Specs({"logits": Spec(None, (3,))}, {})


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


class Says(Source):
    """Twice the first three features."""

    def signals(self, batch, student, call):
        return Signals({"logits": 2 * batch["x"][:, :3]})


@pytest.fixture
def view():
    data = Dataset(FIELDS, {"x": draw(20, 5), "label": torch.arange(20) % 3})
    return View(data, torch.arange(20), torch.arange(9))


@pytest.fixture
def teacher(view):
    return Says(Knowledge(view.dataset))


def student(members=2, **config):
    torch.manual_seed(0)
    model = Student({"x": FIELDS["x"]}, {"logits": (3,)}, members=members, hidden=6, layers=3, **config)
    return Bound(model, bind(model.forward, FIELDS))


def ready(view, teacher, bound, **config):
    method = AdaGMLP(bound.measure(view.batch(view.rows)), {"teacher": TEACHER}, **config)
    view.extra |= method.prepare(view, {"teacher": teacher})
    view.extra |= method.refresh(0, view, {"teacher": teacher}, bound)
    return method, view.batch(view.rows)


class TestStudent:
    def test_it_mixes_probabilities(self):
        bound = student(3)
        bound.module.shares.copy_(torch.tensor([0.2, 0.5, 0.3]))
        x = draw(4, 5)
        bound.eval()
        mixed = sum(a * m(x).softmax(1) for a, m in zip((0.2, 0.5, 0.3), bound.module.members, strict=True))
        torch.testing.assert_close(bound.module(x).exp(), mixed)
        one = student(1)
        one.eval()
        torch.testing.assert_close(one.module(x), one.module.members[0](x).log_softmax(1))

    def test_shares_are_kept_and_not_learnt(self):
        module = student(3).module
        assert torch.equal(module.shares, torch.full((3,), 1 / 3))
        assert "shares" in module.state_dict()
        assert "shares" not in dict(module.named_parameters())
        with pytest.raises(ConfigError, match="graph/adagmlp gives `logits`"):
            Student({"x": FIELDS["x"]}, {"box": (4,)})


def test_boosted():
    """A member that is right has a great share and leaves the weights; one that errs on a row makes it heavier."""
    errors, weights = torch.tensor([0.0, 0.9, 0.0, 0.1]), torch.ones(4)
    share, after = boosted(errors, weights)
    assert share.item() == pytest.approx(math.log(0.75 / 0.25))
    grown = [math.exp(math.log(3) * e) for e in errors.tolist()]
    assert after.tolist() == pytest.approx([4 * g / sum(grown) for g in grown])
    share, after = boosted(torch.full((4,), 0.7), weights)
    assert share.item() == pytest.approx(1e-16)  # worse than chance: as good as no share
    assert torch.equal(after, weights)
    assert boosted(torch.zeros(4), weights)[0] > 30


def test_refresh(view, teacher):
    """Three epochs against a loop; the last member's weights are the first's of the next epoch."""
    bound = student(3)
    method = AdaGMLP(bound.measure(view.batch(view.rows)), {"teacher": TEACHER}, beta=0.7)
    sources = {"teacher": teacher}
    view.extra |= method.prepare(view, sources)
    bound.train()
    x = view.dataset.samples["x"]
    weight, taught = torch.ones(20), (2 * x[:, :3]).softmax(1)
    for epoch in range(3):
        view.extra |= method.refresh(epoch, view, sources, bound)
        assert bound.training
        shares = []
        for k, member in enumerate(bound.module.members):
            torch.testing.assert_close(view.extra["adagmlp/weights"][:, k], weight)
            member.eval()
            log = member(x).detach().log_softmax(1)
            member.train()
            errors = 1 - (-0.7 * (taught * (taught.log() - log)).sum(1)).exp()
            error = float((weight * errors).sum() / weight.sum())
            shares.append(max(math.log((1 - error) / error), 1e-16))
            weight = weight * (shares[-1] * errors).exp()
            weight = weight / weight.mean()
        expected = [share / sum(shares) for share in shares]
        assert bound.module.shares.tolist() == pytest.approx(expected, rel=1e-4)
    assert weight.std() > 0.1


def test_losses(view, teacher, monkeypatch):
    bound = student(2, dropout=0.0)
    method, batch = ready(view, teacher, bound, labels=0.4, temperature=0.6)
    monkeypatch.setattr(torch, "randperm", lambda n, **given: torch.arange(n).flip(0))
    said = bound(batch)
    found = method(said, {"teacher": teacher.signals(batch, None, None)}, batch)
    taught = (2 * batch["x"][:, :3] / 0.6).softmax(1)
    kl, label = [], []
    for k, rows in enumerate((torch.tensor([8, 7, 6, 5, 4]), torch.tensor([3, 2, 1, 0]))):
        logits = said.features[f"member{k}"].detach()
        weight = batch["adagmlp/weights"][:, k]
        each = (taught * (taught.log() - (logits / 0.6).log_softmax(1))).sum(1)
        kl.append(float((weight * each).sum() / weight.sum()))
        label.append(float(F.cross_entropy(logits[rows], rows % 3)))
    assert set(found) == {"kl", "label"}
    assert found["kl"].item() == pytest.approx(0.6 * sum(kl) / 2, rel=1e-5)
    assert found["label"].item() == pytest.approx(0.4 * sum(label) / 2, rel=1e-5)
    found["label"].backward()
    assert all(member.last.weight.grad.abs().sum() > 0 for member in bound.module.members)


def test_alignment(view, teacher, monkeypatch):
    bound = student(2, dropout=0.0)
    method, batch = ready(view, teacher, bound, masked=0.5, answer=0.25)
    asked = []
    said = bound(batch)

    def call(given):
        asked.append(given)
        return bound(given)

    found = method(said, {"teacher": teacher.signals(batch, None, None)}, batch, call)
    (other,) = asked
    assert other.index.tolist() == list(range(9))
    same = other["x"] == batch["x"][:9]
    assert bool((same | (other["x"] == 0)).all())
    assert 0.2 < same.float().mean() < 0.8
    masked = bound(other)
    answer = [
        F.mse_loss(said.features[r][:9].log_softmax(1), masked.features[r].log_softmax(1)) for r in method.members
    ]
    hidden = [F.mse_loss(said.features[r][:9], masked.features[r]) for r in method.layers]
    assert (len(answer), len(hidden)) == (2, 4)
    torch.testing.assert_close(found["answer"], 0.25 * sum(answer) / 2)
    torch.testing.assert_close(found["hidden"], 0.75 * sum(hidden) / 4)
    assert method.reads["student"] == {*method.members, *method.layers}


def trained(view, teacher, directory, steps):
    view = View(view.dataset, view.rows, view.labelled)
    bound = student(2)
    method = AdaGMLP(bound.measure(view.batch(view.rows)), {"teacher": TEACHER}, beta=0.7)
    update = Update(methods={"adagmlp": method}, sources={"teacher": teacher})
    settings = Training(steps=12, batch_size=8, lr=0.01, select="last", checkpoint_seconds=0)
    trainer = Trainer({"student": bound}, [Stage({"student": update})], view, settings, seed=1, directory=directory)
    if steps:
        save = trainer._save

        def cut(*given):
            save(*given)
            if trainer.fitted.steps == steps:
                raise KeyboardInterrupt

        trainer._save = cut
        with pytest.raises(KeyboardInterrupt):
            trainer.run()
    else:
        trainer.run()
    return bound.module.state_dict(), view.extra


def test_a_run_that_is_cut_off_goes_on_bit_for_bit(view, teacher, tmp_path):
    whole, fields = trained(view, teacher, tmp_path / "whole", 0)
    trained(view, teacher, tmp_path / "cut", 5)
    resumed, again = trained(view, teacher, tmp_path / "cut", 0)
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())
    assert all(torch.equal(value, again[name]) for name, value in fields.items())
    assert not torch.equal(whole["shares"], torch.full((2,), 0.5))


def test_configuration(view):
    with pytest.raises(ConfigError, match="the student has no members"):
        AdaGMLP(TEACHER, {"teacher": TEACHER})
    many = Specs(TEACHER.outputs, {f"member{k}": Spec(None, (3,)) for k in (10, 2, 0)})
    assert AdaGMLP(many, {"teacher": TEACHER}).members == ["member0", "member2", "member10"]
