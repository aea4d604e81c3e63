"""What every loss must hold, whatever it computes: a test class per loss inherits `LossTester`."""

import re
from typing import NamedTuple

import jaxtyping
import pytest
import torch
from beartype import beartype


class Golden(NamedTuple):
    """The draws of `losses.md`, in its order."""

    student_logits: torch.Tensor
    teacher_logits: torch.Tensor
    student_map: torch.Tensor
    teacher_map: torch.Tensor
    student_emb: torch.Tensor
    teacher_emb: torch.Tensor


def golden() -> Golden:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        student_logits, teacher_logits, _ = torch.randn(16, 10), torch.randn(16, 10), torch.randint(0, 10, (16,))
        student_map, teacher_map = torch.randn(16, 8, 4, 4), torch.randn(16, 12, 4, 4)
        student_emb, teacher_emb = torch.randn(16, 8), torch.randn(16, 12)
    return Golden(student_logits, teacher_logits, student_map, teacher_map, student_emb, teacher_emb)


def draw(*shapes, seed=0, dtype=torch.float64):
    """One normal tensor per shape."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=dtype) for shape in shapes]


def gradient(loss, student, teacher):
    """Value of the loss and its gradient at `student`."""
    student = student.detach().clone().requires_grad_()
    value = loss(student, teacher)
    value.backward()
    return value.detach(), student.grad


class LossTester:
    """Tests of one loss.

    Attributes:
        loss: function of (student, teacher).
        reference: the same by loops, of two NumPy arrays.
        golden_pair: picks the two tensors of the golden draws; `golden_value` is what they give.
        shapes: pairs of shapes to try; the first is the one for gradients and types.
        wrong_shapes: pairs of shapes that the loss must refuse.
        repeated_batch: factor on the loss when each sample is given twice.
        zero_when_equal: whether a student equal to its teacher has loss 0 and no gradient.
    """

    loss = reference = golden_pair = staticmethod(lambda *_: NotImplemented)
    golden_value: float
    shapes: tuple
    wrong_shapes: tuple
    repeated_batch = 1.0
    zero_when_equal = True

    def degenerate(self):
        """(name, student, teacher) at the edges of the domain; subclasses add theirs."""
        student, teacher = draw(*self.shapes[0])
        yield "zero student", torch.zeros_like(student), teacher
        yield "zero teacher", student, torch.zeros_like(teacher)
        yield "both zero", torch.zeros_like(student), torch.zeros_like(teacher)
        yield "constant student", torch.full_like(student, 3.0), teacher
        yield "one sample", student[:1], teacher[:1]
        yield "two equal samples", torch.cat([student[:1], student]), torch.cat([teacher[:1], teacher])
        yield "two samples equal for the student", torch.cat([student[:1], student]), torch.cat([teacher[-1:], teacher])
        yield "large", student * 1e4, teacher * 1e4
        yield "small", student * 1e-4, teacher * 1e-4

    def under_autocast(self, device, dtype):
        def loss(student, teacher):
            with torch.autocast(device, dtype=dtype):
                value = self.loss(student, teacher)
                assert torch.is_autocast_enabled(device)
            return value

        return loss

    def test_golden(self):
        student, teacher = self.golden_pair(golden())
        assert self.loss(student, teacher).item() == pytest.approx(self.golden_value, abs=1e-6)
        assert self.reference(student.double().numpy(), teacher.double().numpy()) == pytest.approx(
            self.golden_value, abs=1e-6
        )

    def test_reference(self):
        for seed, shapes in enumerate(self.shapes):
            student, teacher = draw(*shapes, seed=seed)
            expected = self.reference(student.numpy(), teacher.numpy())
            value = self.loss(student, teacher)
            assert value.shape == ()
            assert value.dtype == torch.float64
            assert value.item() == pytest.approx(expected, rel=1e-10), shapes

    def test_gradient(self):
        student, teacher = draw(*self.shapes[0], seed=1)
        assert torch.autograd.gradcheck(lambda s: self.loss(s, teacher), student.requires_grad_())

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_half_inputs(self, dtype):
        student, teacher = (side.to(dtype) for side in draw(*self.shapes[0]))
        value, slope = gradient(self.loss, student, teacher)
        assert (value.dtype, slope.dtype) == (torch.float32, dtype)
        assert torch.equal(value, self.loss(student.float(), teacher.float()))
        exact, exact_slope = gradient(self.loss, student.double(), teacher.double())
        torch.testing.assert_close(value.double(), exact, rtol=2e-5, atol=1e-7)
        torch.testing.assert_close(slope.double(), exact_slope, rtol=2e-2, atol=float(exact_slope.abs().max()) * 1e-2)

    def test_autocast(self):
        student, teacher = draw(*self.shapes[0], dtype=torch.float32)
        value, slope = gradient(self.loss, student, teacher)
        inside, inside_slope = gradient(self.under_autocast("cpu", torch.bfloat16), student, teacher)
        assert torch.equal(value, inside)
        assert torch.equal(slope, inside_slope)

    @pytest.mark.cuda
    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
    def test_cuda(self):
        student, teacher = draw(*self.shapes[0], dtype=torch.float32)
        value, slope = gradient(self.loss, student, teacher)
        there, there_slope = gradient(self.under_autocast("cuda", torch.float16), student.cuda(), teacher.cuda())
        torch.testing.assert_close(there.cpu(), value, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(there_slope.cpu(), slope, rtol=1e-3, atol=1e-5)

    def test_gradient_goes_to_the_student_only(self):
        student, teacher = (side.requires_grad_() for side in draw(*self.shapes[0]))
        before = student.detach().clone(), teacher.detach().clone()
        self.loss(student, teacher).backward()
        assert teacher.grad is None
        assert student.grad is not None
        assert student.grad.abs().max() > 0
        assert torch.equal(student, before[0])
        assert torch.equal(teacher, before[1])

    def test_frozen_student_is_no_error(self):
        student, teacher = draw(*self.shapes[0])
        assert not self.loss(student, teacher.requires_grad_()).requires_grad

    def test_zero_when_equal(self):
        student, _ = draw(*self.shapes[0])
        value, slope = gradient(self.loss, student, student.clone())
        assert self.zero_when_equal == (value.item() == 0)
        torch.testing.assert_close(slope, torch.zeros_like(slope), rtol=0, atol=1e-12)

    def test_positive_when_different(self):
        for seed in range(5):
            assert self.loss(*draw(*self.shapes[0], seed=seed)) > 0

    def test_order_and_repetition_of_samples(self):
        student, teacher = draw(*self.shapes[0])
        value = self.loss(student, teacher)
        order = torch.randperm(len(student), generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(self.loss(student[order], teacher[order]), value)
        twice = self.loss(torch.cat([student, student]), torch.cat([teacher, teacher]))
        torch.testing.assert_close(twice, value * self.repeated_batch)

    def test_mispaired_samples_matter(self):
        student, teacher = draw(*self.shapes[0])
        assert abs(self.loss(student, teacher.roll(1, 0)) - self.loss(student, teacher)) > 1e-6

    def test_strided_inputs(self):
        student, teacher = draw(*self.shapes[0])
        strided = [torch.stack([side, side + 1], dim=-1)[..., 0] for side in (student, teacher)]
        torch.testing.assert_close(self.loss(*strided), self.loss(student, teacher))

    def test_degenerate_inputs_are_finite(self):
        for name, student, teacher in self.degenerate():
            for dtype in (torch.float64, torch.float32):
                value, slope = gradient(self.loss, student.to(dtype), teacher.to(dtype))
                assert value.isfinite(), name
                assert slope.isfinite().all(), name
                assert slope.abs().max() < 1e6, name

    def test_no_samples(self):
        student, teacher = draw(*self.shapes[0])
        value, slope = gradient(self.loss, student[:0], teacher[:0])
        assert value == 0
        assert slope.shape == student[:0].shape

    def test_wrong_shapes(self, annotations_off):
        for student, teacher in self.wrong_shapes:
            named = f"student has shape {re.escape(str(student))}, teacher {re.escape(str(teacher))}"
            with pytest.raises(ValueError, match=named):
                self.loss(torch.zeros(student), torch.zeros(teacher))

    def test_annotations(self):
        checked = jaxtyping.jaxtyped(self.loss, typechecker=beartype)
        for shapes in self.shapes:
            checked(*draw(*shapes, dtype=torch.float32))
        with pytest.raises(jaxtyping.TypeCheckError):
            checked(*(torch.zeros(shape, dtype=torch.int64) for shape in self.shapes[0]))
