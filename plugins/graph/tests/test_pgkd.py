"""PGKD against loops over rows and classes."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mmkd.errors import ConfigError, LayoutError
from mmkd.layouts import Spec, Specs
from mmkd.signals import Signals
from mmkd_graph.methods.pgkd import PGKD, arrangement, prototypes

SPECS = Specs({"logits": Spec(None, (4,))}, {"penultimate": Spec(None, (5,))})
TEACHER = Specs({"logits": Spec(None, (4,))}, {"hidden": Spec(None, (6,))})


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def signals():
    taught = draw(12, 4, seed=1)
    taught[:, 2] = -9  # a class that no row of the batch is given
    student = Signals({"logits": draw(12, 4)}, {"penultimate": draw(12, 5, seed=2).requires_grad_()})
    return student, {"teacher": Signals({"logits": taught}, {"hidden": draw(12, 6, seed=3).requires_grad_()})}


def cosine(a, b):
    return float(a @ b / (a.norm() * b.norm()))


def test_losses(signals):
    student, sources = signals
    method = PGKD(SPECS, {"teacher": TEACHER}, teacher_role="hidden", intra=0.3, inter=2.0, temperature=0.7)
    found = method(student, sources, None)
    features, theirs = student.features["penultimate"].detach(), sources["teacher"].features["hidden"].detach()
    classes = sources["teacher"].logits.argmax(1)
    kinds = sorted(set(classes.tolist()))
    assert kinds == [0, 1, 3]
    mine = {k: features[classes == k].mean(0) for k in kinds}
    taught = {k: theirs[classes == k].mean(0) for k in kinds}
    rows = []
    for feature, kind in zip(features, classes.tolist(), strict=True):
        scores = np.exp([cosine(feature, mine[k]) / 0.7 for k in kinds])
        rows.append(-np.log(scores[kinds.index(kind)] / scores.sum()))
    assert found["intra"].item() == pytest.approx(0.3 * np.mean(rows), rel=1e-5)
    pairs = [(cosine(mine[a], mine[b]) - cosine(taught[a], taught[b])) ** 2 for a in kinds for b in kinds if a < b]
    assert found["inter"].item() == pytest.approx(2 * np.mean(pairs), rel=1e-5)
    expected = F.kl_div(student.logits.log_softmax(1), sources["teacher"].logits.softmax(1), reduction="batchmean")
    torch.testing.assert_close(found["kl"], expected)


def test_a_prototype_is_a_mean():
    features = draw(5, 3)
    found = prototypes(features, torch.tensor([1, 0, 1, 1, 0]))
    torch.testing.assert_close(found, torch.stack([features[[1, 4]].mean(0), features[[0, 2, 3]].mean(0)]))


def test_what_they_do_not_see(signals):
    """Scaling a side, and a rotation common to all its rows, change nothing."""
    _, sources = signals
    theirs = sources["teacher"].features["hidden"].detach()
    classes = torch.arange(12) % 3
    turned = 3 * theirs @ torch.linalg.qr(draw(6, 6, seed=4)).Q
    assert arrangement(prototypes(turned, classes), prototypes(theirs, classes)) < 1e-10
    assert arrangement(prototypes(draw(12, 6, seed=5), classes), prototypes(theirs, classes)) > 1e-3


def test_one_class_and_gathered_rows():
    single = draw(1, 4).requires_grad_()
    value = arrangement(single, draw(1, 4, seed=1))
    value.backward()
    assert value == 0
    assert single.grad is not None
    corners = torch.eye(4)[torch.arange(12) % 4]
    student = Signals({"logits": corners}, {"penultimate": corners})
    method = PGKD(
        Specs({"logits": Spec(None, (4,))}, {"penultimate": Spec(None, (4,))}),
        {"teacher": Specs({"logits": Spec(None, (4,))}, {"penultimate": Spec(None, (4,))})},
        intra=1.0,
        temperature=0.01,
    )
    found = method(student, {"teacher": Signals({"logits": 9 * corners}, {"penultimate": corners})}, None)
    assert found["intra"] < 1e-6
    assert found["inter"] == 0


def test_gradients_reach_the_student_alone(signals):
    student, sources = signals
    method = PGKD(SPECS, {"teacher": TEACHER}, teacher_role="hidden")
    found = method(student, sources, None)
    for name in ("intra", "inter"):
        (slope,) = torch.autograd.grad(found[name], student.features["penultimate"], retain_graph=True)
        assert slope.abs().sum() > 0
    assert not any(value.requires_grad for value in (found["kl"],))  # the logits of this student are constants
    sum(found.values()).backward()
    assert sources["teacher"].features["hidden"].grad is None


def test_gradcheck():
    features, teacher = draw(6, 3).double().requires_grad_(), draw(6, 4, seed=1).double()
    classes = torch.tensor([0, 1, 2, 0, 1, 2])
    assert torch.autograd.gradcheck(
        lambda x: arrangement(prototypes(x, classes), prototypes(teacher, classes)), features
    )


def test_configuration():
    with pytest.raises(ConfigError, match="intra and inter are both 0"):
        PGKD(SPECS, {"teacher": SPECS}, intra=0.0, inter=0.0)
    with pytest.raises(LayoutError, match="source 'teacher' has no tap 'penultimate'"):
        PGKD(SPECS, {"teacher": TEACHER})
    other = Specs({"logits": Spec(None, (3,))}, SPECS.features)
    with pytest.raises(ConfigError, match="graph/pgkd: output 'logits'"):
        PGKD(SPECS, {"teacher": other})
