import pytest
import torch

from mmkd.losses import fitnets

from . import reference
from .tester import LossTester, draw, gradient


class TestFitNets(LossTester):
    loss = staticmethod(fitnets)
    reference = staticmethod(reference.fitnets)
    golden_pair = staticmethod(lambda g: (g.student_map, g.teacher_map[:, :8]))
    golden_value = 1.954761
    shapes = tuple((shape, shape) for shape in ((4, 3, 2), (5, 4), (2, 3, 4, 5), (3,)))
    wrong_shapes = (((4, 3), (4, 1)), ((4, 3), (1, 3)), ((4, 3, 2, 2), (4, 5, 2, 2)), ((4, 3), (3,)))


def test_size_of_the_map_does_not_matter():
    student, teacher = draw((2, 3, 4, 5), (2, 3, 4, 5))
    larger = [side.repeat(1, 2, 2, 3) for side in (student, teacher)]
    torch.testing.assert_close(fitnets(*larger), fitnets(student, teacher))


@pytest.mark.parametrize("shape", [(4,), (4, 5), (4, 5, 3)])
def test_mask(shape):
    student, teacher = draw((4, 5, 3), (4, 5, 3))
    mask = torch.rand(shape, generator=torch.Generator().manual_seed(0)) < 0.6
    assert mask.any()
    assert not mask.all()
    value, slope = gradient(lambda s, t: fitnets(s, t, mask=mask), student, teacher)
    torch.testing.assert_close(value, fitnets(student[mask], teacher[mask]))
    kept = mask.reshape(mask.shape + (1,) * (3 - mask.ndim))
    padded = [torch.where(kept, side, float("nan")) for side in (student, teacher)]
    again, slope_again = gradient(lambda s, t: fitnets(s, t, mask=mask), *padded)
    assert torch.equal(again, value)
    assert torch.equal(slope_again, slope)


def test_nothing_valid():
    mask = torch.zeros(4, dtype=torch.bool)
    value, slope = gradient(lambda s, t: fitnets(s, t, mask=mask), *draw((4, 3), (4, 3)))
    assert value == 0
    assert torch.equal(slope, torch.zeros(4, 3, dtype=torch.float64))


def test_wrong_mask(annotations_off):
    features = torch.zeros(4, 5, 3)
    with pytest.raises(ValueError, match=r"mask .*\(5,\).*\(4, 5, 3\)"):
        fitnets(features, features, mask=torch.ones(5, dtype=torch.bool))
    with pytest.raises(ValueError, match="bool"):
        fitnets(features, features, mask=torch.ones(4))
