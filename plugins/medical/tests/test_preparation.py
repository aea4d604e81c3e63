"""A scan becomes slices as MONAI would have it, and a segmentation of them a volume on the scan's own grid."""

import nibabel
import numpy as np
import pytest
import torch
from monai.transforms import NormalizeIntensity
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, ornt_transform

from mmkd.errors import DataError
from mmkd_medical.preparation import Preparation, foreground, standardised

ORIENTATIONS = ["RAS", "LPS", "PIR", "SAL", "ILP"]


def scan_as(orientation, shape=(6, 9, 4), spacing=(1.0, 2.0, 3.0)):
    """One scan, drawn in RAS, stored with other axes: values and affine."""
    values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    turn = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(orientation))
    affine = np.diag([*spacing, 1.0]) @ inv_ornt_aff(turn, shape)
    return values, apply_orientation(values, turn), affine


def test_standardised_as_monai_does():
    scan = np.random.default_rng(0).gamma(3, 50, (5, 6, 7)).astype(np.float32)
    scan[:2] = 0
    expected = NormalizeIntensity(nonzero=True)(torch.from_numpy(scan[None]))[0].numpy()
    np.testing.assert_allclose(standardised(scan), expected, atol=1e-5)


def test_air_need_not_be_zero():
    scan = np.full((4, 4, 4), -3.5, np.float32)
    scan[1:3] = np.arange(32).reshape(2, 4, 4)
    scaled = standardised(scan)
    assert foreground(scan).sum() == 32
    assert (scaled[0] == 0).all()
    np.testing.assert_allclose([scaled[1:3].mean(), scaled[1:3].std()], [0, 1], atol=1e-6)


def test_nothing_but_air():
    with pytest.raises(DataError, match="one value everywhere"):
        standardised(np.full((2, 2, 2), 7.0, np.float32))


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_however_a_scan_is_stored_its_slices_are_the_same(orientation):
    values, stored, affine = scan_as(orientation)
    assert "".join(nibabel.aff2axcodes(affine)) == orientation
    preparation = Preparation((1.0, 2.0, 3.0))
    preparation.check(affine, "scan")
    np.testing.assert_array_equal(preparation.label(stored, affine), values.transpose(2, 0, 1))


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("pool", [1, 2, 4])
def test_restored(orientation, pool):
    """Every voxel gets the class of the block that it lies in, whatever the axes and where blocks reach beyond."""
    values, stored, affine = scan_as(orientation)
    preparation = Preparation((1.0, 2.0, 3.0), pool=pool)
    blocks = preparation.label(stored, affine)
    back = preparation.restored(blocks, stored.shape, affine)
    assert back.shape == stored.shape
    if pool == 1:
        np.testing.assert_array_equal(back, stored)
    turned = apply_orientation(back, ornt_transform(axcodes2ornt(orientation), axcodes2ornt("RAS")))
    for x, y, z in np.ndindex(values.shape):
        assert turned[x, y, z] == blocks[z, x // pool, y // pool]


def test_restored_refuses_other_slices():
    with pytest.raises(DataError, match="not of a scan of shape"):
        Preparation((1.0, 1.0, 1.0)).restored(np.zeros((3, 4, 5)), (4, 5, 4), np.eye(4))


def test_blocks_are_averaged():
    preparation = Preparation((1.0, 1.0, 1.0), pool=2)
    slices = np.arange(12, dtype=np.float32).reshape(1, 3, 4)
    np.testing.assert_array_equal(preparation.pooled(slices), [[[2.5, 4.5], [4.25, 5.25]]])
    np.testing.assert_array_equal(preparation.central(slices), [[[5, 7], [0, 0]]])
    assert preparation.slice_spacing == (1.0, 2.0, 2.0)


def test_spacing():
    with pytest.raises(DataError, match="a scan has voxels of 1 x 2 x 3 mm where 1 x 1 x 1 mm are expected"):
        Preparation((1.0, 1.0, 1.0)).check(scan_as("LPS")[2], "a scan")
    Preparation((1.0, 2.0, 3.0)).check(scan_as("SAL")[2], "a scan")


def test_without_a_preparation():
    with pytest.raises(DataError, match="'t1ce' does not say how a scan is prepared"):
        Preparation.of({"shape": [1]}, "field 't1ce'")
