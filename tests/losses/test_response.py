import pytest
import torch

from mmkd.losses import soft_targets

from . import reference
from .tester import LossTester, draw, golden, gradient


class TestSoftTargets(LossTester):
    loss = staticmethod(soft_targets)
    reference = staticmethod(reference.soft_targets)
    golden_pair = staticmethod(lambda g: (g.student_logits, g.teacher_logits))
    golden_value = 0.798467
    shapes = tuple((shape, shape) for shape in ((5, 4), (3, 4, 6), (2, 3, 4, 5), (2, 3, 2, 3, 2), (1, 2)))
    wrong_shapes = (((4, 3), (4, 2)), ((4, 3), (5, 3)), ((4, 1), (4, 3)), ((4, 3), (4, 3, 2)), ((1, 3), (4, 3)))

    def degenerate(self):
        yield from super().degenerate()
        for size in (1e4, 1e6):
            one_hot = torch.full((4, 3), -size)
            one_hot[range(4), [0, 1, 2, 0]] = size
            yield "one-hot teacher", draw((4, 3))[0], one_hot
            yield "one-hot student", one_hot, draw((4, 3))[0]
            yield "one-hot pair", one_hot, one_hot.roll(1, 1)


def test_one_hot_teacher_is_cross_entropy():
    (student,) = draw((4, 3), dtype=torch.float32)
    labels = torch.tensor([0, 1, 2, 0])
    teacher = torch.full((4, 3), -1e4).scatter(1, labels[:, None], 1e4)
    value, slope = gradient(lambda s, t: soft_targets(s, t, temperature=2.0), student, teacher)
    expected, expected_slope = gradient(lambda s, t: 4 * torch.nn.functional.cross_entropy(s / 2, t), student, labels)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(slope, expected_slope)


def test_class_excluded_on_both_sides():
    student, teacher = draw((4, 3), (4, 3))
    absent = torch.full((4, 1), float("-inf"), dtype=torch.float64)
    value, slope = gradient(soft_targets, torch.cat([student, absent], 1), torch.cat([teacher, absent], 1))
    expected, expected_slope = gradient(soft_targets, student, teacher)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(slope, torch.cat([expected_slope, torch.zeros_like(absent)], 1))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0, 20.0])
def test_reference_at_temperature(temperature):
    student, teacher = draw((3, 4, 2), (3, 4, 2))
    expected = reference.soft_targets(student.numpy(), teacher.numpy(), temperature)
    assert soft_targets(student, teacher, temperature=temperature).item() == pytest.approx(expected, rel=1e-9)


def test_temperature_squared():
    """At high temperature: half the variance over classes of the difference of logits. Without a factor T it is 0."""
    student, teacher = draw((6, 5), (6, 5))
    limit = (student - teacher).var(dim=1, correction=0).mean() / 2
    torch.testing.assert_close(soft_targets(student, teacher, temperature=1e4), limit, rtol=1e-3, atol=0)


def test_gradient_formula():
    student, teacher = draw((6, 5), (6, 5))
    for temperature in (1.0, 4.0):
        _, slope = gradient(lambda s, t, T=temperature: soft_targets(s, t, temperature=T), student, teacher)
        difference = (student / temperature).softmax(1) - (teacher / temperature).softmax(1)
        torch.testing.assert_close(slope, temperature * difference / 6)


def test_direction_is_teacher_to_student():
    student, teacher = golden()[:2]
    assert soft_targets(teacher, student).item() == pytest.approx(0.805144, abs=1e-6)


def test_shift_of_logits():
    student, teacher, shift = draw((4, 3, 5), (4, 3, 5), (4, 1, 5))
    torch.testing.assert_close(
        soft_targets(student + 10 * shift, teacher - 7 * shift.flip(0)), soft_targets(student, teacher)
    )


def test_pixels_are_averaged_not_summed():
    student, teacher = draw((2, 3, 4, 5), (2, 3, 4, 5))
    value = soft_targets(student, teacher)
    larger = [side.repeat(1, 1, 2, 3) for side in (student, teacher)]
    torch.testing.assert_close(soft_targets(*larger), value)
    flat = [side.movedim(1, -1).reshape(-1, 3) for side in (student, teacher)]
    torch.testing.assert_close(soft_targets(*flat), value)


@pytest.mark.parametrize("dim", [-1, 2, 3, 0])
def test_class_dimension(dim):
    student, teacher = draw((2, 3, 4, 5), (2, 3, 4, 5))
    moved = [side.movedim(1, dim) for side in (student, teacher)]
    torch.testing.assert_close(soft_targets(*moved, dim=dim), soft_targets(student, teacher))


@pytest.mark.parametrize("shape", [(4,), (4, 5), (4, 5, 6)])
def test_mask_and_weights(shape):
    student, teacher = draw((4, 3, 5, 6), (4, 3, 5, 6))
    mask = torch.rand(shape, generator=torch.Generator().manual_seed(0)) < 0.6
    assert mask.any()
    assert not mask.all()
    rows = [side.movedim(1, -1)[mask].reshape(-1, 3) for side in (student, teacher)]
    expected = soft_targets(*rows)
    torch.testing.assert_close(soft_targets(student, teacher, mask=mask), expected)
    torch.testing.assert_close(soft_targets(student, teacher, weights=0.3 * mask), expected)
    torch.testing.assert_close(soft_targets(student, teacher, mask=mask, weights=torch.ones(4)), expected)
    tokens = [side.movedim(1, -1) for side in (student, teacher)]
    torch.testing.assert_close(soft_targets(*tokens, dim=-1, mask=mask), expected)


def test_weights_repeat_samples():
    student, teacher = draw((3, 4), (3, 4))
    times = torch.tensor([3, 1, 2])
    repeated = soft_targets(student.repeat_interleave(times, 0), teacher.repeat_interleave(times, 0))
    torch.testing.assert_close(soft_targets(student, teacher, weights=times.double()), repeated)
    weights = times.double().requires_grad_()
    soft_targets(student.requires_grad_(), teacher, weights=weights).backward()
    assert weights.grad is None


def test_masked_positions_have_no_influence():
    student, teacher = draw((4, 3, 5), (4, 3, 5))
    mask = torch.arange(5) < torch.tensor([5, 3, 1, 0])[:, None]
    value, slope = gradient(lambda s, t: soft_targets(s, t, mask=mask), student, teacher)
    for filler in (0.0, 1e30, float("inf"), float("nan")):
        padded = [torch.where(mask[:, None], side, filler) for side in (student, teacher)]
        again, slope_again = gradient(lambda s, t: soft_targets(s, t, mask=mask), *padded)
        assert torch.equal(again, value)
        assert torch.equal(slope_again, slope)
    assert slope.movedim(1, -1)[~mask].abs().max() == 0


def test_nothing_valid():
    student, teacher = draw((4, 3, 5), (4, 3, 5))
    for options in ({"mask": torch.zeros(4, dtype=torch.bool)}, {"weights": torch.zeros(4, 5)}):
        value, slope = gradient(lambda s, t, o=options: soft_targets(s, t, **o), student, teacher)
        assert value == 0
        assert torch.equal(slope, torch.zeros_like(student))


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_wrong_temperature(temperature):
    with pytest.raises(ValueError, match="temperature"):
        soft_targets(torch.zeros(2, 3), torch.zeros(2, 3), temperature=temperature)


def test_wrong_options(annotations_off):
    logits = torch.zeros(4, 3, 5)
    with pytest.raises(ValueError, match=r"dimension 1 .*\(4,\)"):
        soft_targets(torch.zeros(4), torch.zeros(4))
    with pytest.raises(ValueError, match=r"mask .*\(3,\).*\(4, 5\)"):
        soft_targets(logits, logits, mask=torch.ones(3, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"mask .*\(4, 3, 5\).*\(4, 5\)"):
        soft_targets(logits, logits, mask=torch.ones(4, 3, 5, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"weights .*\(4, 1\).*\(4, 5\)"):
        soft_targets(logits, logits, weights=torch.ones(4, 1))
    with pytest.raises(ValueError, match="bool"):
        soft_targets(logits, logits, mask=torch.ones(4))
