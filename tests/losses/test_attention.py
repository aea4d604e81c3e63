import pytest
import torch

from mmkd.losses import attention_transfer

from . import reference
from .tester import LossTester, draw, gradient


class TestAttentionTransfer(LossTester):
    loss = staticmethod(attention_transfer)
    reference = staticmethod(reference.attention_transfer)
    golden_pair = staticmethod(lambda g: (g.student_map, g.teacher_map))
    golden_value = 0.017609
    shapes = (((3, 2, 2, 3), (3, 4, 2, 3)), ((2, 3, 7), (2, 2, 7)), ((2, 3, 2, 3, 2), (2, 3, 2, 3, 2)))
    wrong_shapes = (
        ((4, 3, 2, 2), (4, 3, 4, 4)),
        ((4, 3, 2, 3), (4, 3, 3, 2)),
        ((4, 3, 2, 2), (5, 3, 2, 2)),
        ((4, 3, 4), (4, 3, 2, 2)),
        ((4, 3, 1), (4, 3, 5)),
        ((4, 3), (4, 3)),
    )

    def degenerate(self):
        yield from super().degenerate()
        student, teacher = draw(*self.shapes[0])
        student[0], teacher[1], student[:, 0] = 0, 0, 0
        yield "zero maps of some samples, a dead channel", student, teacher
        student[1, :, 0, 1] = 0
        yield "a dead position", student, teacher


@pytest.mark.parametrize("power", [1, 1.5, 2, 4])
def test_power(power):
    student, teacher = draw((3, 2, 2, 3), (3, 4, 2, 3))
    expected = reference.attention_transfer(student.numpy(), teacher.numpy(), power)
    assert attention_transfer(student, teacher, power=power).item() == pytest.approx(expected, rel=1e-10)
    assert torch.autograd.gradcheck(lambda s: attention_transfer(s, teacher, power=power), student.requires_grad_())
    student = student.detach()
    student[:, 0] = 0
    _, slope = gradient(lambda s, t: attention_transfer(s, t, power=power), student, teacher)
    assert slope.isfinite().all()


@pytest.mark.parametrize("power", [2, 4])
def test_scale_of_a_sample(power):
    """Also where the powers alone would leave the range of float32."""
    student, teacher = draw((3, 2, 2, 3), (3, 4, 2, 3), dtype=torch.float32)
    student[:, 0, 0, 0] = teacher[:, 0, 0, 0] = 0
    value, slope = gradient(lambda s, t: attention_transfer(s, t, power=power), student, teacher)
    scale = torch.tensor([1e-8, 3.0, 1e12]).reshape(3, 1, 1, 1)
    again, slope_again = gradient(
        lambda s, t: attention_transfer(s, t, power=power), student * scale, teacher * scale.flip(0)
    )
    torch.testing.assert_close(again, value)
    torch.testing.assert_close(slope_again * scale, slope)


def test_channels_and_signs_do_not_matter():
    student, teacher = draw((3, 4, 2, 3), (3, 4, 2, 3))
    value = attention_transfer(student, teacher)
    signs = torch.tensor([1.0, -1.0, -1.0, 1.0]).reshape(1, 4, 1, 1)
    torch.testing.assert_close(attention_transfer(student.flip(1) * signs, teacher.repeat(1, 3, 1, 1)), value)
    assert attention_transfer(student, -student.flip(1)).item() == pytest.approx(0, abs=1e-30)


def test_positions_matter():
    student, _ = draw((3, 4, 2, 3), (3, 4, 2, 3))
    assert attention_transfer(student, student.flip(-1)) > 1e-3


@pytest.mark.parametrize("power", [0, 0.5, -2, float("nan")])
def test_wrong_power(power):
    with pytest.raises(ValueError, match="power"):
        attention_transfer(torch.ones(2, 3, 4), torch.ones(2, 3, 4), power=power)
