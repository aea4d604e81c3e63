"""VSKD's relations, checked against sums written out by hand; and that its teacher cannot be about other clips."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from mmkd.data import Dataset, Field, View
from mmkd.errors import ConfigError, LayoutError
from mmkd.layouts import VECTOR, Spec, Specs
from mmkd.signals import Signals
from mmkd_crossmodal.methods.vskd import VSKD, word_vectors

ROWS, CLASSES = 6, 3
WORDS = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0.6, 0.8]])


def specs(size: int) -> Specs:
    return Specs({"logits": Spec(None, (CLASSES,))}, {"penultimate": Spec(VECTOR, (size,))})


@pytest.fixture
def view():
    fields = {
        "label": Field((), "int64", target=True, classes=("a", "b", "c")),
        "x": Field((1,), layout="vector"),
        "class_words": Field((3, 3), kind="constant"),
    }
    samples = {"label": torch.arange(ROWS) % CLASSES, "x": torch.zeros(ROWS, 1)}
    dataset = Dataset(fields, samples, constants={"class_words": WORDS})
    return View(dataset, torch.arange(ROWS), torch.arange(3))


def signals(size: int, seed: int) -> Signals:
    g = torch.Generator().manual_seed(seed)
    features = {"penultimate": torch.randn(ROWS, size, generator=g)}
    return Signals({"logits": torch.randn(ROWS, CLASSES, generator=g)}, features)


def huber(a: float, b: float) -> float:
    gap = abs(a - b)
    return gap**2 / 2 if gap < 1 else gap - 0.5


def by_hand(mine: Tensor, theirs: Tensor, distance: float, angle: float) -> float:
    """Distances over their mean, and cosines of every triplet, one by one."""
    sides = []
    for rows in (mine.tolist(), theirs.tolist()):
        pairs = {(i, j): math.dist(rows[i], rows[j]) for i in range(ROWS) for j in range(ROWS)}
        positive = [value for value in pairs.values() if value > 1e-12]
        far = {pair: value / (sum(positive) / len(positive)) for pair, value in pairs.items()}
        bends = {}
        for i, j, k in itertools.product(range(ROWS), repeat=3):
            one = [a - b for a, b in zip(rows[j], rows[i], strict=True)]
            two = [a - b for a, b in zip(rows[k], rows[i], strict=True)]
            size = math.hypot(*one) * math.hypot(*two)
            bends[i, j, k] = sum(a * b for a, b in zip(one, two, strict=True)) / size if size > 1e-12 else 0.0
        sides.append((far, bends))
    (far, bends), (wanted_far, wanted_bends) = sides
    return distance * sum(huber(far[p], wanted_far[p]) for p in far) / ROWS**2 + angle * sum(
        huber(bends[t], wanted_bends[t]) for t in bends
    ) / len(bends)


def test_against_sums_by_hand(view):
    student, teacher = signals(4, 0), signals(7, 1)
    method = VSKD(specs(4), {"teacher": specs(7)}, distance=2.0, angle=3.0, semantic=0.5)
    losses = method(student, {"teacher": teacher}, view.batch(view.rows))
    mine, theirs = student.features["penultimate"], teacher.features["penultimate"]
    assert float(losses["teacher"]) == pytest.approx(by_hand(mine, theirs, 2, 3), rel=1e-4)
    expected = teacher.outputs["logits"].softmax(1) @ WORDS
    words = torch.cat([WORDS, expected[3:]])  # the labels of the last three rows are hidden
    assert float(losses["words"]) == pytest.approx(0.5 * by_hand(mine, words, 2, 3), rel=1e-4)


def test_hidden_labels_are_not_read():
    labels = torch.tensor([0, -1, 2])
    labelled = torch.tensor([True, False, True])
    vectors = word_vectors(WORDS, labels, labelled, torch.tensor([[0, 0, 9.0], [99.0, 0, 0], [0, 0, 0]]))
    torch.testing.assert_close(vectors, WORDS[[0, 0, 2]])


def test_perfect_students_and_gradients(view):
    teacher = signals(5, 1)
    mine = (teacher.features["penultimate"] * 3 + 1).requires_grad_()  # scale and place are free
    method = VSKD(specs(5), {"teacher": specs(5)}, semantic=0.0)
    losses = method(Signals({}, {"penultimate": mine}), {"teacher": teacher}, view.batch(view.rows))
    assert list(losses) == ["teacher"]
    assert losses["teacher"].item() == pytest.approx(0, abs=1e-4)
    other = torch.randn(ROWS, 5, requires_grad=True)
    whole = VSKD(specs(5), {"teacher": specs(5)})
    sum(whole(Signals({}, {"penultimate": other}), {"teacher": teacher}, view.batch(view.rows)).values()).backward()
    assert torch.isfinite(other.grad).all()
    assert other.grad.abs().sum() > 0


def test_the_order_of_a_batch_does_not_matter_and_mispairing_does(view):
    """Rows permuted together change nothing; the teacher's permuted alone (two shuffled loaders) change the loss."""
    student, teacher = signals(4, 0), signals(7, 1)
    method = VSKD(specs(4), {"teacher": specs(7)})
    order = torch.tensor([3, 1, 5, 0, 2, 4])

    def loss(rows: Tensor, theirs: Tensor) -> float:
        said = student.map(lambda x: x[rows])
        return float(sum(method(said, {"teacher": teacher.map(lambda x: x[theirs])}, view.batch(rows)).values()))

    plain = loss(torch.arange(ROWS), torch.arange(ROWS))
    assert loss(order, order) == pytest.approx(plain, rel=1e-5)
    assert abs(loss(torch.arange(ROWS), order) - plain) > 0.1


@pytest.mark.parametrize("wrong", [{"distance": 0.0, "angle": 0.0}, {"semantic": -1.0}, {"output": "boxes"}])
def test_wrong_configuration(wrong):
    with pytest.raises(ConfigError, match="vskd"):
        VSKD(specs(4), {"teacher": specs(4)}, **wrong)
    with pytest.raises(LayoutError):
        VSKD(specs(4), {"teacher": specs(4)}, role="stem")
