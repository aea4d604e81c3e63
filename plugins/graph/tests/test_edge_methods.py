"""KRD, FF-G2M and HGMD against loops over nodes and edges."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mmkd.data import Dataset, Field, View
from mmkd.errors import ConfigError
from mmkd.layouts import Spec, Specs
from mmkd.signals import Signals
from mmkd.sources.base import Knowledge, Source
from mmkd_graph.methods.edges import edge_divergence, edges_in
from mmkd_graph.methods.ff_g2m import FFG2M
from mmkd_graph.methods.hgmd import HGMDMixup, HGMDWeight
from mmkd_graph.methods.krd import KRD, fitted_power
from mmkd_graph.methods.lsp import LSP

SPECS = Specs({"logits": Spec(None, (3,))}, {})
METHODS = [KRD, FFG2M, HGMDWeight, HGMDMixup]


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Says(Source):
    """A teacher whose logits are the features, so that noise on them is noise on its answers."""

    def signals(self, batch, student, call):
        return Signals({"logits": batch["x"]})


class Student(torch.nn.Linear):
    def forward(self, batch):
        return Signals({"logits": super().forward(batch["x"])})


@pytest.fixture
def view(edge_index):
    fields = {
        "x": Field((3,)),
        "edge_index": Field((2, None), "int64", "edges", kind="relation"),
        "label": Field((), "int64", target=True, classes=("a", "b", "c")),
    }
    samples = {"x": draw(7, 3, seed=5).float(), "label": torch.arange(7) % 3}
    return View(Dataset(fields, samples, relations={"edge_index": edge_index}), torch.arange(7), torch.arange(3))


@pytest.fixture
def teacher(view):
    return Says(Knowledge(view.dataset))


def ready(method, view, teacher, epoch=0):
    """A batch of all rows in mixed order, with the fields that the method adds."""
    view.extra |= method.prepare(view, {"teacher": teacher})
    student = Student(3, 3)
    view.extra |= method.refresh(epoch, view, {"teacher": teacher}, student)
    batch = view.batch(torch.tensor([3, 1, 6, 0, 5, 2, 4]))
    return student, batch


def loss(method, view, teacher, epoch=0):
    student, batch = ready(method, view, teacher, epoch)
    said, taught = student(batch), teacher.signals(batch, None, None)
    return method(said, {"teacher": taught}, batch), said.logits.detach(), taught.logits, batch


def kl(target, log):
    return float((target * (target.log() - log)).sum())


def test_edges_in_a_batch(view, edge_index):
    whole = view.batch(torch.tensor([3, 1, 6, 0, 5, 2, 4]))
    hears, heard = edges_in(whole, loops=False)
    found = set(zip(whole.index[hears].tolist(), whole.index[heard].tolist(), strict=True))
    assert found == set(map(tuple, edge_index.flip(0).t().tolist()))
    some = view.batch(torch.tensor([4, 2, 6]))  # of the path 2 3 4 the middle is missing
    assert edges_in(some, loops=False).shape == (2, 0)
    assert edges_in(some, loops=True).tolist() == [[0, 1, 2], [0, 1, 2]]
    directed = torch.tensor([[0], [1]])
    view.dataset.relations["edge_index"] = directed
    assert edges_in(View(view.dataset, view.rows, view.labelled).batch(torch.arange(3)), loops=False).tolist() == [
        [1],
        [0],
    ]


def test_edge_divergence():
    student, target = draw(4, 3).requires_grad_(), draw(5, 3, seed=1).softmax(1)
    hears, weight = torch.tensor([0, 0, 3, 1, 3]), torch.tensor([1.0, 0.0, 2.0, 0.5, 1.0], dtype=torch.float64)
    each = F.kl_div(student.log_softmax(1)[hears], target, reduction="none").sum(1)
    for given, expected in ((None, each.mean()), (weight, (weight * each).mean())):
        value = edge_divergence(student, hears, target, given)
        torch.testing.assert_close(value, expected)
        torch.testing.assert_close(*(torch.autograd.grad(x, student, retain_graph=True)[0] for x in (value, expected)))
    assert edge_divergence(student, hears[:0], target[:0]) == 0
    certain = torch.eye(3, dtype=torch.float64)
    torch.testing.assert_close(
        edge_divergence(student, torch.arange(3), certain), F.cross_entropy(student[:3], torch.arange(3))
    )


def test_ff_g2m(view, teacher):
    losses, said, taught, batch = loss(FFG2M(SPECS, {"teacher": SPECS}, temperature=1.4), view, teacher)
    low, high = [], []
    edges = {tuple(edge) for edge in view.relations["edge_index"].t().tolist()}
    for i, one in enumerate(batch.index.tolist()):
        for j, other in enumerate(batch.index.tolist()):
            if one == other or (one, other) in edges:
                low.append(kl(taught[j].softmax(0), said[i].log_softmax(0)))
            if (one, other) in edges:
                theirs = ((taught[i] - taught[j]).abs() / 1.4).softmax(0)
                high.append(kl(theirs, ((said[i] - said[j]).abs() / 1.4).log_softmax(0)))
    assert losses["low"].item() == pytest.approx(np.mean(low), rel=1e-5)
    assert losses["high"].item() == pytest.approx(np.mean(high), rel=1e-5)
    assert set(loss(FFG2M(SPECS, {"teacher": SPECS}, high=0.0), view, teacher)[0]) == {"low"}


class TestKRD:
    def test_reliability(self, view, teacher):
        method = KRD(SPECS, {"teacher": SPECS}, noise=0.5)
        torch.manual_seed(3)
        fields = method.prepare(view, {"teacher": teacher})
        torch.manual_seed(3)
        clean = view.dataset.samples["x"]
        noisy = clean + 0.5 * torch.randn_like(clean)
        entropies = [torch.distributions.Categorical(logits=x).entropy() for x in (noisy, clean)]
        change = (entropies[0] - entropies[1]).abs()
        torch.testing.assert_close(fields["krd/change"], change / change.max())
        assert torch.equal(fields["krd/teacher"], clean.argmax(1))

    def test_a_node_learns_from_itself_first(self, view, teacher):
        losses, said, taught, _ = loss(KRD(SPECS, {"teacher": SPECS}, temperature=1.2), view, teacher, epoch=49)
        expected = F.kl_div((said / 1.2).log_softmax(1), (taught / 1.2).softmax(1), reduction="batchmean")
        torch.testing.assert_close(losses["kl"], expected)

    def test_the_reliable_teach(self, view, teacher):
        """With a certain node reliable and the others not, its neighbours learn from it alone."""
        method = KRD(SPECS, {"teacher": SPECS}, momentum=1.0)
        student, batch = ready(method, view, teacher, epoch=50)
        change = torch.ones(7)
        change[2] = 0.0  # neighbours 0, 1 and 3
        view.extra["krd/change"] = change
        batch = view.batch(batch.index)
        said, taught = student(batch), teacher.signals(batch, None, None)
        value = method(said, {"teacher": taught}, batch)["kl"]
        log, target = said.logits.detach().log_softmax(1), taught.logits.softmax(1)
        place = {row: i for i, row in enumerate(batch.index.tolist())}
        pairs = [(i, i) for i in range(7)] + [(place[row], place[2]) for row in (0, 1, 3)]
        assert value.item() == pytest.approx(np.mean([kl(target[j], log[i]) for i, j in pairs]), rel=1e-5)

    def test_power(self):
        """The exponent of the curve that shares of agreement were drawn from is found again."""
        random = np.random.default_rng(0)
        change = random.random(200_000)
        for power in (1.0, 2.0, 4.0):
            agree = random.random(len(change)) < 1 - change**power
            assert fitted_power(change, agree, 1.0) == pytest.approx(power, rel=0.1)
        assert fitted_power(change, np.ones(len(change), bool), 0.7) == 0.7

    def test_power_follows_with_momentum(self, view, teacher, monkeypatch):
        method = KRD(SPECS, {"teacher": SPECS}, momentum=0.9, warm_up=2)
        monkeypatch.setattr("mmkd_graph.methods.krd.fitted_power", lambda change, agree, start: 3.0)
        for epoch, expected in ((0, 1.0), (1, 1.0), (2, 1.2), (3, 1.38)):
            ready(method, view, teacher, epoch)
            assert float(method.power) == pytest.approx(expected)
        assert {"power", "warm"} <= set(method.state_dict())  # a resumed run goes on from there


class TestHGMD:
    def chances(self, student, view, taught, epoch, batch):
        """By the formula, edge by edge; row ids."""
        said = student(view.batch(view.rows)).logits.softmax(1).detach().double()
        taught = taught.double()
        entropies = [-(p * p.log()).sum(1) for p in (said, taught)]
        mine, theirs = (e / e.max() for e in entropies)
        alpha = 2.0 / 100 ** (epoch / 9)
        found = {}
        for j, i in view.relations["edge_index"].t().tolist():
            alike = F.cosine_similarity(taught[i], taught[j], dim=0)
            found[i, j] = float(1 - torch.exp(-alpha * alike * (theirs[i] * mine[i]).sqrt() / theirs[j]))
        return found | {(i, i): 1.0 for i in range(7)}

    @pytest.mark.parametrize("epoch", [0, 4, 9])
    def test_chances(self, view, teacher, epoch, monkeypatch):
        method = HGMDWeight(SPECS, {"teacher": SPECS}, alpha=2.0, epochs=10)
        student, batch = ready(method, view, teacher, epoch)
        monkeypatch.setattr(torch, "rand_like", torch.zeros_like)  # every edge is drawn
        hears, heard, chance = method.drawn(batch["x"].softmax(1), batch)
        found = {
            (i, j): c
            for i, j, c in zip(*(batch.index[e].tolist() for e in (hears, heard)), chance.tolist(), strict=True)
        }
        expected = self.chances(student, view, view.dataset.samples["x"].softmax(1), epoch, batch)
        assert found == pytest.approx(expected, rel=1e-4)

    def test_an_edge_is_drawn_as_often_as_it_says(self, view, teacher):
        method = HGMDWeight(SPECS, {"teacher": SPECS})
        _, batch = ready(method, view, teacher)
        torch.manual_seed(0)
        counts, chances = {}, {}
        for _ in range(2000):
            hears, heard, chance = method.drawn(batch["x"].softmax(1), batch)
            for edge, c in zip(zip(hears.tolist(), heard.tolist(), strict=True), chance.tolist(), strict=True):
                counts[edge], chances[edge] = counts.get(edge, 0) + 1, c
        assert {edge: n / 2000 for edge, n in counts.items()} == pytest.approx(chances, abs=0.05)

    def test_weights(self, view, teacher, monkeypatch):
        """Weights of a node's edges have mean 1; the loss is their mean of divergences."""
        method = HGMDWeight(SPECS, {"teacher": SPECS})
        monkeypatch.setattr(torch, "rand_like", torch.zeros_like)
        student, batch = ready(method, view, teacher)
        said, taught = student(batch).logits.detach(), batch["x"].softmax(1)
        hears, heard, chance = method.drawn(taught, batch)
        raw = chance * F.cosine_similarity(taught[hears], taught[heard])
        total = []
        for i in range(7):
            mine = hears == i
            weight = raw[mine] / raw[mine].mean()
            total += [
                float(w) * kl(taught[j], said[i].log_softmax(0)) for w, j in zip(weight, heard[mine], strict=True)
            ]
        value = method(student(batch), {"teacher": teacher.signals(batch, None, None)}, batch)["kl"]
        assert value.item() == pytest.approx(np.mean(total), rel=1e-5)

    def test_mixup(self, view, teacher, monkeypatch):
        method = HGMDMixup(SPECS, {"teacher": SPECS}, beta=50.0)  # draws close to one half
        monkeypatch.setattr(torch, "rand_like", torch.zeros_like)
        student, batch = ready(method, view, teacher)
        said, taught = student(batch).logits.detach(), batch["x"].softmax(1)
        hears, heard, chance = method.drawn(taught, batch)
        share = (chance / 2)[:, None]
        mixed = (1 - share) * taught[hears] + share * taught[heard]
        expected = np.mean([kl(m, said[i].log_softmax(0)) for m, i in zip(mixed, hears, strict=True)])
        value = method(student(batch), {"teacher": teacher.signals(batch, None, None)}, batch)["kl"]
        assert value.item() == pytest.approx(expected, rel=0.05)


class TestLSP:
    @pytest.fixture
    def method(self):
        specs = Specs({}, {"penultimate": Spec(None, (4,))})
        return LSP(specs, {"teacher": Specs({}, {"hidden": Spec(None, (6,))})}, teacher_role="hidden", width=2.0)

    def test_loop(self, method, view):
        batch = view.batch(torch.tensor([3, 1, 6, 0, 5, 2, 4]))
        mine, theirs = draw(7, 4).requires_grad_(), draw(7, 6, seed=1)
        divergences = []
        for node in range(6):  # node 6 has no neighbour
            near = view.relations["edge_index"][0][view.relations["edge_index"][1] == node]
            logs = []
            for z in (mine, theirs):
                z = z[batch.index.argsort()]  # by row id
                logs.append(torch.exp(-(z[near] - z[node]).square().sum(1) / 8).log_softmax(0))
            divergences.append((logs[0].exp() * (logs[0] - logs[1])).sum())
        signals = Signals({}, {"penultimate": mine}), {"teacher": Signals({}, {"hidden": theirs})}
        value = method(*signals, batch)["structure"]
        torch.testing.assert_close(value.double(), torch.stack(divergences).mean(), rtol=1e-5, atol=1e-7)
        value.backward()
        assert mine.grad.abs().sum() > 0

    def test_what_it_does_not_see(self, method, view):
        """Shifting and rotating all features changes nothing, and a copy of the teacher has no loss."""
        batch, z = view.batch(view.rows), draw(7, 4).float()
        turned = z @ torch.linalg.qr(draw(4, 4, seed=2).float()).Q + 3
        same = {"teacher": Signals({}, {"hidden": turned})}
        assert method(Signals({}, {"penultimate": z}), same, batch)["structure"].abs() < 1e-6

    def test_no_edges(self, method, view):
        batch = view.batch(torch.tensor([6, 4]))
        z = draw(2, 4).float().requires_grad_()
        value = method(Signals({}, {"penultimate": z}), {"teacher": Signals({}, {"hidden": draw(2, 6).float()})}, batch)
        assert value["structure"].item() == 0


@pytest.mark.parametrize("method", METHODS)
def test_gradients_reach_the_student_alone(method, view, teacher):
    built = method(SPECS, {"teacher": SPECS})
    student, batch = ready(built, view, teacher, epoch=60)
    taught = Signals({"logits": batch["x"].clone().requires_grad_()})
    total = sum(built(student(batch), {"teacher": taught}, batch).values())
    assert total.dim() == 0
    total.backward()
    assert student.weight.grad.abs().sum() > 0
    assert taught.logits.grad is None or method is FFG2M  # sources arrive detached in a step


@pytest.mark.parametrize("method", METHODS)
def test_classes_must_be_the_same(method):
    other = Specs({"logits": Spec(None, (4,))}, {})
    with pytest.raises(ConfigError, match=r"is \[3\] in the student and \[4\] in source 'teacher'"):
        method(SPECS, {"teacher": other})
    with pytest.raises(ConfigError, match="source 'absent'"):
        method(SPECS, {"teacher": SPECS}, source="absent")
