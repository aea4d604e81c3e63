import pytest
import torch

from mmkd.losses import similarity_preserving

from . import reference
from .tester import LossTester, draw, golden, gradient


class TestSimilarityPreserving(LossTester):
    loss = staticmethod(similarity_preserving)
    reference = staticmethod(reference.similarity_preserving)
    golden_pair = staticmethod(lambda g: (g.student_map, g.teacher_map))
    golden_value = 0.010157
    shapes = (((5, 3), (5, 4)), ((4, 2, 3, 2), (4, 5, 1, 1)), ((3, 2, 5), (3, 4)))
    wrong_shapes = (((4, 3), (5, 3)), ((1, 3), (4, 3)), ((4,), (4,)), ((4, 3, 2, 2), (5, 3, 2, 2)))
    repeated_batch = 0.5

    def degenerate(self):
        yield from super().degenerate()
        student, teacher = draw(*self.shapes[0])
        student[0], teacher[1] = 0, 0
        yield "zero features of some samples", student, teacher
        yield "identical features", student[1:2].expand(5, -1), teacher


def test_orthogonal_transform_of_channels():
    student, teacher, frame = draw((5, 4, 2, 3), (5, 6, 2, 2), (4, 4))
    turned = torch.einsum("dc,bchw->bdhw", torch.linalg.qr(frame).Q, student)
    torch.testing.assert_close(similarity_preserving(turned, teacher), similarity_preserving(student, teacher))
    torch.testing.assert_close(similarity_preserving(student, turned).item(), 0.0, rtol=0, atol=1e-20)


def test_scale_of_the_batch():
    student, teacher = draw((5, 4), (5, 6))
    scaled = similarity_preserving(30 * student, teacher / 30)
    torch.testing.assert_close(scaled, similarity_preserving(student, teacher))


def test_rows_have_length_one_in_the_second_norm():
    """A row of ones becomes 1 / sqrt(B), not 1 / B as with the known slip `normalize(x, 1)`: that 1 is p, not dim."""
    one, apart = 1 / 3**0.5, torch.eye(3)
    assert similarity_preserving(torch.diag(torch.tensor([1.0, 2.0, 3.0])), apart) == 0
    expected = (6 * one**2 + 3 * (1 - one) ** 2) / 9
    assert similarity_preserving(torch.ones(3, 1), apart).item() == pytest.approx(expected)
    student, teacher = (side.flatten(1) for side in (golden().student_map, golden().teacher_map))
    slip = [torch.nn.functional.normalize(side @ side.T, 1) for side in (student, teacher)]
    assert (slip[0] - slip[1]).square().mean().item() == pytest.approx(0.003413, abs=1e-6)
    assert abs(similarity_preserving(student, teacher) - 0.003413) > 1e-3


def test_gradient_of_a_zero_sample_has_ordinary_size():
    student, teacher = draw((5, 4), (5, 6))
    student[2] = 0
    _, slope = gradient(similarity_preserving, student, teacher)
    assert slope.abs().max() < 10
