"""InfGraND against the full matrix of similarities and loops over edges."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mmkd.data import Dataset, Field, View
from mmkd.errors import ConfigError
from mmkd.layouts import Spec, Specs
from mmkd.signals import Signals
from mmkd_graph.methods.infgrand import InfGraND, influence

SPECS = Specs({"logits": Spec(None, (3,))}, {})


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def data(edge_index):
    fields = {
        "x": Field((4,)),
        "edge_index": Field((2, None), "int64", "edges", kind="relation"),
        "label": Field((), "int64", target=True, classes=("a", "b", "c")),
    }
    samples = {"x": draw(7, 4, seed=5), "label": torch.arange(7) % 3}
    return Dataset(fields, samples, relations={"edge_index": edge_index})


def written_out(x, gathered):
    alike = F.cosine_similarity(x[:, None], gathered[None], dim=2)
    alike = (alike - alike.min()) / (alike.max() - alike.min())
    total = alike.sum(1)
    return total / total.max()


@pytest.mark.parametrize("block", [3, 4096])
def test_influence(block, monkeypatch):
    monkeypatch.setattr("mmkd_graph.methods.infgrand._BLOCK", block)
    x, gathered = draw(8, 5), draw(8, 5, seed=1)
    found = influence(x, gathered)
    torch.testing.assert_close(found, written_out(x, gathered))
    assert found.max() == 1
    torch.testing.assert_close(influence(3 * x, gathered), found)
    assert torch.equal(influence(torch.ones(3, 2), torch.ones(3, 2)), torch.ones(3))


@pytest.mark.parametrize("hidden", [[], [2]])
def test_influence_of_what_is_seen(data, edge_index, hidden):
    rows = torch.tensor([i for i in range(7) if i not in hidden])
    view = View(data, rows, torch.arange(2), torch.tensor(hidden, dtype=torch.long))
    kept = edge_index[:, ~torch.isin(edge_index, torch.tensor(hidden, dtype=torch.long)).any(0)]
    loops = torch.eye(7).index_put_((kept[0], kept[1]), torch.tensor(1.0))
    scale = torch.diag(loops.sum(1).rsqrt())
    x = data.samples["x"]
    gathered = torch.linalg.matrix_power(scale @ loops @ scale, 2) @ x
    found = InfGraND(SPECS, {"teacher": SPECS}).prepare(view, {})["infgrand/influence"]
    torch.testing.assert_close(found[rows], written_out(x[rows], gathered[rows]))
    assert not found[hidden].any()


def test_losses(data):
    view = View(data, torch.arange(7), torch.tensor([0, 4]))
    method = InfGraND(
        SPECS,
        {"teacher": SPECS},
        temperature=1.7,
        labels=0.3,
        plain=0.9,
        influenced=0.5,
        plain_label=0.7,
        influenced_label=0.2,
    )
    view.extra |= method.prepare(view, {})
    batch = view.batch(torch.tensor([3, 1, 6, 0, 5, 2, 4]))
    weight = view.extra["infgrand/influence"][batch.index]
    said, taught = draw(7, 3).requires_grad_(), draw(7, 3, seed=1)
    found = method(Signals({"logits": said}), {"teacher": Signals({"logits": taught})}, batch)
    edges = {tuple(edge) for edge in view.relations["edge_index"].t().tolist()}
    divergences = []
    for i, one in enumerate(batch.index.tolist()):
        for j, other in enumerate(batch.index.tolist()):
            if one == other or (one, other) in edges:
                target = (taught[j] / 1.7).softmax(0)
                kl = (target * (target.log() - (said[i].detach() / 1.7).log_softmax(0))).sum()
                divergences.append(float((0.9 + 0.5 * weight[j]) * kl))
    assert found["kl"].item() == pytest.approx(0.7 * np.mean(divergences), rel=1e-5)
    labelled = [place for place, row in enumerate(batch.index.tolist()) if row in (0, 4)]
    entropies = [
        float((0.7 + 0.2 * weight[i]) * F.cross_entropy(said[i].detach(), data.samples["label"][batch.index[i]]))
        for i in labelled
    ]
    assert found["label"].item() == pytest.approx(0.3 * np.mean(entropies), rel=1e-5)
    (slope,) = torch.autograd.grad(found["label"], said, retain_graph=True)
    assert [bool(row.any()) for row in slope] == [i in labelled for i in range(7)]
    assert torch.autograd.grad(found["kl"], said)[0].abs().sum() > 0


def test_without_labels(data):
    view = View(data, torch.arange(7), torch.empty(0, dtype=torch.long))
    signals = Signals({"logits": draw(7, 3)}), {"teacher": Signals({"logits": draw(7, 3, seed=1)})}
    for labels, parts in ((0.5, {"kl", "label"}), (0.0, {"kl"})):
        method = InfGraND(SPECS, {"teacher": SPECS}, labels=labels)
        view.extra |= method.prepare(view, {})
        found = method(*signals, view.batch(view.rows))
        assert set(found) == parts
        assert found.get("label", torch.zeros(())) == 0


def test_classes_must_be_the_same():
    with pytest.raises(ConfigError, match="graph/infgrand: output 'logits'"):
        InfGraND(SPECS, {"teacher": Specs({"logits": Spec(None, (4,))}, {})})
