import pytest
import torch

from mmkd.losses import relation, relational, rkd_angle, rkd_distance

from . import reference
from .tester import LossTester, draw, golden, gradient

PARTS = [rkd_distance, rkd_angle, relational]


class RelationTester(LossTester):
    golden_pair = staticmethod(lambda g: (g.student_emb, g.teacher_emb))
    shapes = (((5, 3), (5, 4)), ((4, 2, 3), (4, 5)), ((2, 3), (2, 1)))
    wrong_shapes = (((4, 3), (5, 3)), ((1, 3), (4, 3)), ((4,), (4,)), ((4, 3), (4,)))

    def degenerate(self):
        yield from super().degenerate()
        student, teacher = draw(*self.shapes[0])
        yield "identical embeddings", student[:1].expand(5, -1), teacher
        yield "identical embeddings on both sides", student[:1].expand(5, -1), teacher[:1].expand(5, -1)
        yield "identical embeddings of the teacher", student, teacher[:1].expand(5, -1)
        yield "collinear embeddings", student[:1] * torch.arange(5.0)[:, None], teacher


class TestDistance(RelationTester):
    loss = staticmethod(rkd_distance)
    reference = staticmethod(reference.rkd_distance)
    golden_value = 0.04169691


class TestAngle(RelationTester):
    loss = staticmethod(rkd_angle)
    reference = staticmethod(reference.rkd_angle)
    golden_value = 0.05475957
    shapes = (((5, 3), (5, 4)), ((4, 2, 3), (4, 5)), ((3, 2), (3, 7)))


class TestRelational(RelationTester):
    loss = staticmethod(relational)
    reference = staticmethod(reference.relational)
    golden_value = 3.780401


@pytest.mark.parametrize("loss", PARTS)
def test_rotation_translation_and_scale(loss):
    student, teacher, frame, shift = draw((6, 4), (6, 5), (4, 4), (4,))
    rotation = torch.linalg.qr(frame).Q
    value = loss(student, teacher)
    for moved in (student @ rotation, student + 3 * shift, student * 17.0, student * 1e-3 @ rotation + shift):
        torch.testing.assert_close(loss(moved, teacher), value, rtol=1e-8, atol=0)
        torch.testing.assert_close(loss(student, moved), torch.zeros_like(value), rtol=0, atol=1e-12)


def test_weights():
    student, teacher = draw((6, 4), (6, 5))
    value = relational(student, teacher, distance_weight=2.0, angle_weight=3.0)
    torch.testing.assert_close(value, 2 * rkd_distance(student, teacher) + 3 * rkd_angle(student, teacher))


@pytest.mark.parametrize("loss", PARTS)
def test_identical_embeddings_give_zero(loss):
    student, teacher = (side[:1].expand(5, -1) for side in draw((5, 3), (5, 4)))
    value, slope = gradient(loss, student, teacher)
    assert value == 0
    assert torch.equal(slope, torch.zeros_like(student))


def test_collapsed_student_has_relations_zero():
    student, teacher = draw((5, 3), (5, 4))
    expected = sum(reference.huber(d, 0) for row in reference.relative_distances(teacher.tolist()) for d in row) / 25
    assert rkd_distance(student[:1].expand(5, -1), teacher).item() == pytest.approx(expected)


@pytest.mark.parametrize("loss", PARTS)
def test_samples_equal_for_the_student_alone(loss):
    """The gradient at a difference of zero keeps an ordinary size instead of being divided by a tiny epsilon."""
    student, teacher = draw((6, 4), (6, 5))
    student[3] = student[0]
    value, slope = gradient(loss, student, teacher)
    assert slope.abs().max() < 100
    assert value.item() == pytest.approx(getattr(reference, loss.__name__)(student.numpy(), teacher.numpy()))


def test_angle_in_blocks(monkeypatch):
    student, teacher = golden()[-2:]
    whole, slope = gradient(rkd_angle, student, teacher)
    for entries in (1, 16 * 16 * 3, 16 * 16 * 5 + 1):
        monkeypatch.setattr(relation, "_BLOCK_ENTRIES", entries)
        value, slope_in_blocks = gradient(rkd_angle, student, teacher)
        torch.testing.assert_close(value, whole)
        torch.testing.assert_close(slope_in_blocks, slope)


def test_angle_keeps_one_pair_of_cubes(monkeypatch):
    size = 48
    monkeypatch.setattr(relation, "_BLOCK_ENTRIES", size * size * 4)
    student, teacher = draw((size, 2), (size, 2), dtype=torch.float32)
    kept, largest = {}, []

    def pack(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor  # holding it keeps the address its own
        largest.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = rkd_angle(student.requires_grad_(), teacher)
    assert loss.requires_grad
    assert max(largest) <= size * size * 4
    assert sum(tensor.untyped_storage().nbytes() for tensor in kept.values()) < 4 * size**3 * 2.5
