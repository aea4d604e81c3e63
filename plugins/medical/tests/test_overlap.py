"""Dice and HD95 against MONAI's, and where one side is empty."""

import numpy as np
import pytest
import torch
from monai.metrics import DiceMetric, compute_hausdorff_distance
from scipy import ndimage

from mmkd_medical.overlap import dice_per_class, hausdorff95


def blobs(seed, shape=(9, 14, 12)):
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 1.5)
    return np.digitize(noise, np.quantile(noise, [0.7, 0.9]))


@pytest.mark.parametrize("seed", range(3))
def test_dice_as_monai_has_it(seed):
    predicted, truth = blobs(seed), blobs(seed + 10)
    one_hot = [torch.from_numpy(np.stack([volume == c for c in range(3)])[None]) for volume in (predicted, truth)]
    expected = DiceMetric()(*one_hot)[0].numpy()
    np.testing.assert_allclose(dice_per_class(predicted, truth, 3), expected, atol=1e-6)


def test_dice_by_hand():
    truth, predicted = np.array([0, 1, 1, 1]), np.array([1, 1, 1, 0])
    np.testing.assert_allclose(dice_per_class(predicted, truth, 3), [0, 2 / 3, np.nan])


@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")  # MONAI calls its own old argument
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (3.0, 1.0, 2.0)])
def test_hausdorff_as_monai_has_it(seed, spacing):
    predicted, truth = blobs(seed) > 0, blobs(seed + 10) > 0
    pair = [torch.from_numpy(mask)[None, None] for mask in (predicted, truth)]
    expected = compute_hausdorff_distance(*pair, include_background=True, percentile=95, spacing=spacing)
    assert hausdorff95(predicted, truth, spacing) == pytest.approx(float(expected), rel=1e-5)


def test_hausdorff_by_hand():
    truth, predicted = np.zeros((2, 1, 9, 9), bool)
    truth[0, 2, 2] = predicted[0, 2, 6] = True
    assert hausdorff95(predicted, truth, (1.0, 1.0, 2.5)) == pytest.approx(10)


def test_hausdorff_of_nothing():
    empty, full = np.zeros((2, 3, 4), bool), np.ones((2, 3, 4), bool)
    assert np.isnan(hausdorff95(empty, empty, (1, 1, 1)))
    for pair in ((empty, full), (full, empty)):
        assert hausdorff95(*pair, (2.0, 1.0, 1.0)) == pytest.approx(np.sqrt(16 + 9 + 16))
    assert hausdorff95(full, full, (1, 1, 1)) == 0
