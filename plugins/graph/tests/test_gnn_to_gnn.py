"""Adjacency matching and GraphAKD: losses against loops, who learns what, and a run on the graph."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mmkd.binding import Bound, bind
from mmkd.data import Dataset, Field, View
from mmkd.errors import ConfigError, LayoutError
from mmkd.layouts import Spec, Specs, layout_named
from mmkd.schemes.base import Parts, Stage, Update
from mmkd.signals import Signals
from mmkd.sources.base import Knowledge, Source
from mmkd.tasks.classification import Classification
from mmkd.training.loop import Trainer
from mmkd.training.settings import Training
from mmkd_graph.methods.adjacency import AdjacencyMatching
from mmkd_graph.methods.graphakd import GraphAKD
from mmkd_graph.models.gcn import GCN
from mmkd_graph.schemes.adversarial import Adversarial

NODES = layout_named("nodes")
STUDENT = Specs({"logits": Spec(None, (3,))}, {"penultimate": Spec(NODES, (4,))})
TEACHER = Specs({"logits": Spec(None, (3,))}, {"penultimate": Spec(NODES, (6,))})


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def view(edge_index):
    fields = {
        "x": Field((5,), layout="vector"),
        "edge_index": Field((2, None), "int64", "edges", kind="relation"),
        "label": Field((), "int64", target=True, classes=("a", "b", "c")),
    }
    samples = {"x": draw(7, 5, seed=5), "label": torch.arange(7) % 3}
    return View(Dataset(fields, samples, relations={"edge_index": edge_index}), torch.arange(7), torch.tensor([0, 4]))


@pytest.fixture
def signals():
    student = Signals({"logits": draw(7, 3).requires_grad_()}, {"penultimate": draw(7, 4, seed=1).requires_grad_()})
    teacher = Signals({"logits": draw(7, 3, seed=2)}, {"penultimate": draw(7, 6, seed=3)})
    return student, {"teacher": teacher}


class TestAdjacency:
    @pytest.mark.parametrize("kernel", ["cosine", "rbf"])
    def test_loop(self, signals, kernel):
        method = AdjacencyMatching(STUDENT, {"teacher": TEACHER}, kernel=kernel, width=0.8)
        student, sources = signals

        def close(a, b):
            a, b = a / a.norm(), b / b.norm()
            return float(a @ b) if kernel == "cosine" else math.exp(-float((a - b).square().sum()) / (2 * 0.64))

        mine, theirs = student.features["penultimate"].detach(), sources["teacher"].features["penultimate"]
        each = [(close(mine[i], mine[j]) - close(theirs[i], theirs[j])) ** 2 for i in range(7) for j in range(7)]
        value = method(student, sources, None)["adjacency"]
        assert value.item() == pytest.approx(np.mean(each), rel=1e-4)
        value.backward()
        assert student.features["penultimate"].grad.abs().sum() > 0

    def test_what_it_does_not_see(self, signals):
        """Scales of rows and a common rotation; a copy of the teacher has no loss, whatever its width."""
        theirs = signals[1]["teacher"].features["penultimate"]
        turned = theirs @ torch.linalg.qr(draw(6, 6, seed=4)).Q * torch.rand(7, 1).add(0.5)
        wide = Signals({}, {"penultimate": torch.cat([turned, torch.zeros(7, 3)], 1)})
        assert AdjacencyMatching(STUDENT, {"teacher": TEACHER})(wide, signals[1], None)["adjacency"] < 1e-10

    def test_some_rows(self, signals):
        """The mean over draws of rows is that over all, but for the diagonal, which is 0."""
        torch.manual_seed(0)
        whole = AdjacencyMatching(STUDENT, {"teacher": TEACHER})(*signals, None)["adjacency"].item()
        method = AdjacencyMatching(STUDENT, {"teacher": TEACHER}, rows=3)
        drawn = np.mean([method(*signals, None)["adjacency"].item() for _ in range(3000)])
        assert drawn * 9 / 6 == pytest.approx(whole * 49 / 42, rel=0.03)

    def test_taps(self):
        with pytest.raises(LayoutError, match="the student has no tap 'absent'"):
            AdjacencyMatching(STUDENT, {"teacher": TEACHER}, role="absent")


def bce(logits, value):
    return np.mean([math.log1p(math.exp(-x if value else x)) for x in logits.flatten().tolist()])


def faced(**config):
    method = GraphAKD(STUDENT, {"teacher": TEACHER}, **config)
    method.faced = True
    return method


class TestGraphAKD:
    @pytest.fixture
    def method(self):
        torch.manual_seed(0)
        method = faced()
        for parameter in method.adversary.parameters():
            parameter.data += 0.3 * torch.randn_like(parameter)
        return method

    def by_hand(self, method, signals, view, batch):
        """What the identifiers say, written out."""
        likes, logit = method.adversary, method.adversary["logits"]
        student, teacher = signals[0].map(detached), signals[1]["teacher"]
        sides = {
            "s": (student.logits, method.adapter(student.features["penultimate"]).detach()),
            "t": (teacher.logits, teacher.features["penultimate"]),
        }
        edges = [*map(tuple, view.relations["edge_index"].t().tolist()), *((i, i) for i in range(7))]
        place = {row: i for i, row in enumerate(batch.index.tolist())}
        said = {}
        with torch.no_grad():
            for name, (logits, h) in sides.items():
                scores = logit.last.weight @ F.relu(logits + logit.first(logits)).T
                unit = h / h.norm(dim=1, keepdim=True)
                said[name, "logits"] = scores[-1]
                labels = view.dataset.samples["label"]
                said[name, "classes"] = np.mean(
                    [float(F.cross_entropy(scores[:-1, place[row]], labels[row])) for row in (0, 4)]
                )
                local = likes["local"]
                said[name, "local"] = torch.stack(
                    [local.scale * (unit[place[a]] * local.diagonal * unit[place[b]]).sum() for a, b in edges]
                )
                for other, (_, of) in sides.items():
                    wide = likes["global"]
                    summary = 1 / (1 + (-of.mean(0)).exp())
                    said[name, "global", other] = wide.scale * (unit * wide.diagonal) @ summary
        return said, sides

    def test_losses(self, method, signals, view):
        batch = view.batch(torch.tensor([3, 1, 6, 0, 5, 2, 4]))
        said, sides = self.by_hand(method, signals, view, batch)
        found = {name: value.item() for name, value in method(*signals, batch).items()}
        own = bce(said["s", "global", "s"], 1) + bce(said["t", "global", "s"], 0)
        assert found["logits"] == pytest.approx((bce(said["s", "logits"], 1) + said["s", "classes"]) / 2, rel=1e-4)
        assert found["l1"] == pytest.approx(float((sides["s"][0] - sides["t"][0]).abs().sum() / 7), rel=1e-5)
        assert found["local"] == pytest.approx(bce(said["s", "local"], 1), rel=1e-4)
        assert found["global"] == pytest.approx(bce(said["s", "global", "t"], 1) + own, rel=1e-4)
        found = {name: value.item() for name, value in method.judge(*signals, batch).items()}
        told = bce(said["t", "logits"], 1) + bce(said["s", "logits"], 0) + said["t", "classes"] + said["s", "classes"]
        assert found["logits"] == pytest.approx(told / 2, rel=1e-4)
        assert found["local"] == pytest.approx(bce(said["t", "local"], 1) + bce(said["s", "local"], 0), rel=1e-4)
        apart = bce(said["t", "global", "t"], 1) + bce(said["s", "global", "t"], 0)
        assert found["global"] == pytest.approx(apart + own, rel=1e-4)

    def test_parts_can_be_left_out(self, signals, view):
        batch = view.batch(view.rows)
        plain = faced(embeddings=0.0, l1=0.0)
        assert set(plain(*signals, batch)) == set(plain.judge(*signals, batch)) == {"logits"}
        assert plain.reads == {}
        inner = faced(logits=0.0)
        assert set(inner(*signals, batch)) == {"l1", "local", "global"}
        assert set(inner.judge(*signals, batch)) == {"local", "global"}
        with pytest.raises(ConfigError, match="nothing to identify"):
            GraphAKD(STUDENT, {"teacher": TEACHER}, logits=0.0, embeddings=0.0)

    def test_who_gets_a_gradient(self, method, signals, view):
        """A judgement moves identifiers alone; deceiving moves the student and its adapter."""
        batch, student = view.batch(view.rows), signals[0]
        judging = method.judge(student.detach(), signals[1], batch)
        sum(judging.values()).backward()
        assert all(p.grad.abs().sum() > 0 for p in method.adversary.parameters())
        assert all(p.grad is None for p in method.parameters())
        for loss in method(*signals, batch).values():
            found = torch.autograd.grad(
                loss, [student.logits, student.features["penultimate"]], retain_graph=True, allow_unused=True
            )
            assert any(slope is not None and slope.abs().sum() > 0 for slope in found)

    def test_the_adversary_is_no_part_of_the_method(self, method):
        assert not any("adversary" in name for name, _ in method.named_parameters())
        assert list(method.state_dict()) == [name for name in method.state_dict() if name.startswith("adapter")]


def detached(value):
    return value.detach()


class Says(Source):
    def signals(self, batch, student, call):
        return Signals({"logits": 3 * batch["x"][:, :3]}, {"penultimate": batch["x"].repeat(1, 2)[:, :6]})


@pytest.fixture
def adversarial(view):
    """A step's models and the scheme's stages."""
    torch.manual_seed(0)
    fields = {"x": view.fields["x"], "edge_index": view.fields["edge_index"]}
    model = GCN(fields, {"logits": (3,)}, hidden=4)
    student = Bound(model, bind(model.forward, view.dataset.fields))
    task = Classification(view.dataset.fields)

    def update(name, sources, method=GraphAKD):
        built = method(student.measure(view.batch(view.rows)), {"teacher": TEACHER})
        return Update([name], task, 1.0, {"graphakd": built}, None, sources)

    def stages(method=GraphAKD):
        sources = {"teacher": Says(Knowledge(view.dataset))}
        parts = Parts({"student": student}, sources, lambda name, sources: update(name, sources, method))
        return Adversarial().stages(parts)

    return student, stages


@pytest.mark.parametrize("trained", ["adversary", "student"])
def test_an_update_moves_what_it_trains_and_nothing_else(adversarial, view, trained):
    student, stages = adversarial
    (stage,) = stages()
    assert list(stage.updates) == ["adversary", "student"]
    held = {"adversary": stage.updates["adversary"], "student": student, "method": stage.updates["student"]}
    before = {name: [p.detach().clone() for p in module.parameters()] for name, module in held.items()}
    settings = Training(steps=3, batch_size=7, lr=0.05)
    trainer = Trainer({"student": student}, [Stage({trained: stage.updates[trained]})], view, settings, seed=0)
    trainer.run()
    mine = {
        "adversary": held["adversary"].parameters(),
        "student": [*student.parameters(), *held["method"].parameters()],
    }
    assert {*map(id, trainer.steps[0].trained_by(trained))} == {*map(id, mine[trained])}
    moved = {
        name: [not p.equal(q) for p, q in zip(before[name], module.parameters(), strict=True)]
        for name, module in held.items()
    }
    assert any(moved["adversary"]) is (trained == "adversary")
    assert all(moved["student"]) is (trained == "student")
    assert all(moved["method"]) is (trained == "student")  # its adapter


def test_a_cut_off_duel_goes_on_bit_for_bit(adversarial, view, tmp_path):
    student, stages = adversarial
    start = {name: value.clone() for name, value in student.state_dict().items()}

    def run(directory, cut=None):
        student.load_state_dict(start)
        torch.manual_seed(3)
        settings = Training(steps=8, batch_size=7, lr=0.02, select="last", checkpoint_seconds=0)
        found = stages()
        trainer = Trainer({"student": student}, found, View(view.dataset, view.rows, view.labelled), settings, seed=1)
        trainer.directory = tmp_path / directory
        if cut:
            save = trainer._save

            def stop(*given):
                save(*given)
                if trainer.fitted.steps == cut:
                    raise KeyboardInterrupt

            trainer._save = stop
            with pytest.raises(KeyboardInterrupt):
                trainer.run()
        else:
            trainer.run()
        values = {**student.state_dict(), **found[0].updates["adversary"].state_dict()}
        return {name: value.clone() for name, value in values.items()}

    whole = run("whole")
    run("cut", cut=3)
    resumed = run("cut")
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())
    assert any(name.startswith("adversaries") for name in whole)


def test_an_adversary_finds_out_and_is_deceived(adversarial, view):
    """Alone it learns to tell the sides apart; then the student learns to be taken for the teacher."""
    student, stages = adversarial
    (stage,) = stages()
    batch = view.batch(view.rows)
    said = {"teacher": stage.updates["student"].sources["teacher"].signals(batch, None, None)}
    method = stage.updates["student"].methods["graphakd"]

    def judgement():
        with torch.no_grad():
            return float(sum(method.judge(student(batch), said, batch).values()))

    def run(*updates):
        chosen = Stage({name: stage.updates[name] for name in updates})
        Trainer({"student": student}, [chosen], view, Training(steps=150, batch_size=7, lr=0.02), seed=0).run()

    first = judgement()
    run("adversary")
    sure = judgement()
    assert sure < 0.8 * first
    run("student")
    assert judgement() > sure


def test_the_method_wants_the_scheme(signals, view):
    with pytest.raises(ConfigError, match=r"GraphAKD: its adversary does not learn.*graph/adversarial"):
        GraphAKD(STUDENT, {"teacher": TEACHER})(*signals, view.batch(view.rows))


def test_the_scheme_wants_an_adversary(adversarial):
    with pytest.raises(ConfigError, match="no method brings an adversary"):
        adversarial[1](AdjacencyMatching)
