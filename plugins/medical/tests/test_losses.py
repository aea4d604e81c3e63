"""Class balance and prototypes, against slow references and by their properties."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mmkd.losses import soft_targets
from mmkd_medical.losses.balance import class_balance
from mmkd_medical.losses.prototypes import prototype_maps, prototype_similarity


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


class TestClassBalance:
    def test_every_class_weighs_one(self):
        logits = draw(3, 4, 6, 5)
        logits[:, 0] += 4
        weights, probability = class_balance(logits), logits.softmax(1)
        assert weights.shape == (3, 6, 5)
        assert weights.sum().item() == pytest.approx(4, rel=1e-5)
        for number in range(4):
            mine = probability[:, number] / probability[:, number].sum()
            assert mine.sum().item() == pytest.approx(1)
        torch.testing.assert_close(weights, (probability / probability.sum((0, 2, 3), keepdim=True)).sum(1))

    def test_by_hand(self):
        """Three sure positions of one class and one of the other: a third each, and one."""
        logits = torch.tensor([[[30.0, 30, 30, -30]], [[-30.0, -30, -30, 30]]]).permute(1, 0, 2)
        torch.testing.assert_close(class_balance(logits), torch.tensor([[1 / 3, 1 / 3, 1 / 3, 1]]))

    def test_power(self):
        """0: every position weighs 1; between: the classes weigh as the rest of their size."""
        logits = draw(2, 3, 5, 5)
        torch.testing.assert_close(class_balance(logits, power=0.0), torch.ones(2, 5, 5))
        sure = torch.tensor([[[30.0, 30, 30, -30]], [[-30.0, -30, -30, 30]]]).permute(1, 0, 2)
        torch.testing.assert_close(class_balance(sure, power=0.5), torch.tensor([[3**-0.5] * 3 + [1.0]]))

    def test_a_class_that_is_nowhere(self):
        """It has 1e-6 of every position: with the floor it weighs 1e-3 and not 1."""
        logits = torch.tensor([0.0, float(np.log(1e-6))]).reshape(1, 2, 1).expand(1, 2, 1000)
        assert class_balance(logits).sum().item() == pytest.approx(1.001, rel=1e-3)
        assert class_balance(logits, floor=1e-9).sum().item() == pytest.approx(2, rel=1e-3)

    def test_the_lesion_is_not_drowned(self):
        """98 % background: predicting nothing else is nearly right in the mean, and half wrong if balanced."""
        teacher = torch.full((1, 2, 100), -4.0)
        teacher[:, 0, :98], teacher[:, 1, 98:] = 4.0, 4.0
        background = torch.tensor([4.0, -4.0]).reshape(1, 2, 1).expand(1, 2, 100)
        nothing = torch.zeros(1, 2, 100)
        plain = [soft_targets(student, teacher, temperature=1.0) for student in (background, nothing)]
        weights = class_balance(teacher)
        balanced = [
            soft_targets(student, teacher, temperature=1.0, weights=weights) for student in (background, nothing)
        ]
        assert plain[0] < plain[1]
        assert balanced[0] > balanced[1]

    def test_no_gradient_reaches_the_teacher(self):
        assert not class_balance(draw(1, 2, 4).requires_grad_()).requires_grad


class TestPrototypes:
    def test_against_loops(self):
        student, teacher, region = draw(2, 3, 4, 5), draw(2, 6, 4, 5, seed=1), torch.arange(40).reshape(2, 4, 5) % 4
        region[1][region[1] == 2] = 0
        terms = []
        for b in range(2):
            for k in range(4):
                inside = region[b] == k
                if not inside.any():
                    continue
                maps = []
                for feature in (student[b], teacher[b]):
                    mean = feature[:, inside].mean(1)
                    maps.append(F.cosine_similarity(feature, mean[:, None, None], dim=0))
                terms.append((maps[0] - maps[1]).square().mean())
        assert len(terms) == 7
        found = prototype_similarity(student, teacher, region, 4)
        torch.testing.assert_close(found, torch.stack(terms).mean())

    def test_a_missing_class_costs_no_other_sample_anything(self):
        """What sample 0 adds is what it adds alone, whichever classes sample 1 lacks."""
        student, teacher = draw(2, 3, 4, 4), draw(2, 3, 4, 4, seed=1)
        region = torch.stack([torch.arange(16).reshape(4, 4) % 2, torch.zeros(4, 4, dtype=torch.long)])
        both, (first, second) = (
            prototype_similarity(student, teacher, region, 2),
            (prototype_similarity(student[[i]], teacher[[i]], region[[i]], 2) for i in range(2)),
        )
        torch.testing.assert_close(both, (2 * first + second) / 3)

    def test_all_missing(self):
        student = draw(2, 3, 4, 4).requires_grad_()
        found = prototype_similarity(student, draw(2, 5, 4, 4), torch.full((2, 4, 4), -1), 3)
        found.backward()
        assert found.item() == 0
        assert student.grad.abs().sum() == 0

    def test_equal_directions_cost_nothing(self):
        feature, region = draw(2, 3, 4, 4), torch.arange(32).reshape(2, 4, 4) % 3
        assert prototype_similarity(7 * feature, feature, region, 3).item() == pytest.approx(0, abs=1e-10)

    def test_gradient(self):
        student, teacher = draw(1, 2, 3, 3).double().requires_grad_(), draw(1, 2, 3, 3, seed=1).double()
        region = torch.arange(9).reshape(1, 3, 3) % 2

        def loss(feature):
            maps, present = prototype_maps(feature, region, 2)
            other, _ = prototype_maps(teacher, region, 2)
            return ((maps - other).square().mean(2) * present).sum()

        assert torch.autograd.gradcheck(loss, student)

    def test_zero_features(self):
        student = torch.zeros(1, 2, 3, 3, requires_grad=True)
        prototype_similarity(student, draw(1, 2, 3, 3), torch.zeros(1, 3, 3, dtype=torch.long), 1).backward()
        assert torch.isfinite(student.grad).all()

    def test_sizes(self):
        with pytest.raises(ValueError, match="different sizes"):
            prototype_similarity(draw(1, 2, 4, 4), draw(1, 2, 2, 2), torch.zeros(1, 4, 4, dtype=torch.long), 1)
