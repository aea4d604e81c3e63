"""How a scan becomes slices that a network reads, and a segmentation of those slices a volume again. Numpy alone.

Training and `mmkd predict` call the same functions: what a data set did to its scans stands in the `preparation` of its
fields, the manifest of an exported student carries it, and `mmkd_medical.files.nifti.NIFTI` does it again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import nibabel
import numpy as np
from nibabel import orientations

from mmkd.errors import DataError

if TYPE_CHECKING:  # where a student runs, numpy and nibabel are enough
    from jaxtyping import Float, Shaped

_SPACING_TOLERANCE = 0.01  # of a voxel: headers store float32, and tools round


@dataclass(frozen=True)
class Preparation:
    """Steps from a scan to slices; the axes of a scan are its first three.

    Arguments:
        spacing: voxel size of a scan in mm along the axes of `orientation`; a scan of another is refused.
        orientation: axes that a scan is turned to before it is sliced along the last one: R, A, S and their opposites.
        pool: side in voxels of the in-plane blocks that are averaged (labels: the block's central voxel).
    """

    spacing: tuple[float, float, float]
    orientation: str = "RAS"
    pool: int = 1

    @classmethod
    def of(cls, field: Mapping[str, Any], owner: str) -> Preparation:
        """From a field of a manifest. Raises `DataError` where it declares none."""
        declared = field.get("preparation")
        if not declared:
            raise DataError(f"{owner} does not say how a scan is prepared", "give its slices as an .npz file")
        return cls(**{**declared, "spacing": tuple(declared["spacing"])})

    def manifest(self) -> dict[str, Any]:
        """JSON values, for `Field.preparation`."""
        return asdict(self)

    @property
    def slice_spacing(self) -> tuple[float, float, float]:
        """Distances in mm between slices, rows and columns of the prepared slices."""
        x, y, z = self.spacing
        return z, x * self.pool, y * self.pool

    def check(self, affine: np.ndarray, name: str) -> None:
        """Raise `DataError`, naming the scan, where its voxels are not of the declared size."""
        found = _turned_spacing(affine, self.orientation)
        if not np.allclose(found, self.spacing, rtol=_SPACING_TOLERANCE):
            sizes = (" x ".join(f"{size:.4g}" for size in given) for given in (found, self.spacing))
            raise DataError(f"{name} has voxels of {next(sizes)} mm where {next(sizes)} mm are expected", "resample it")

    def image(self, scan: Float[np.ndarray, "X Y Z"], affine: np.ndarray) -> Float[np.ndarray, "D H W"]:
        """Slices with mean 0 and standard deviation 1 over the scan's foreground, and 0 outside it."""
        return self.pooled(self._sliced(standardised(scan), affine))

    def label(self, scan: Shaped[np.ndarray, "X Y Z"], affine: np.ndarray) -> Shaped[np.ndarray, "D H W"]:
        """Slices of the label at the centre of each block."""
        return self.central(self._sliced(scan, affine))

    def pooled(self, slices: Float[np.ndarray, "D X Y"]) -> Float[np.ndarray, "D H W"]:
        """The mean of each block; where blocks reach beyond the slice, air is added."""
        padded, side = self._padded(slices), self.pool
        blocks = padded.reshape(len(padded), padded.shape[1] // side, side, padded.shape[2] // side, side)
        return np.ascontiguousarray(blocks.mean((2, 4), dtype=np.float32))

    def central(self, slices: Shaped[np.ndarray, "D X Y"]) -> Shaped[np.ndarray, "D H W"]:
        """The value at the centre of each block."""
        middle = self.pool // 2
        return np.ascontiguousarray(self._padded(slices)[:, middle :: self.pool, middle :: self.pool])

    def restored(
        self, slices: Shaped[np.ndarray, "D h w"], shape: tuple[int, int, int], affine: np.ndarray
    ) -> Shaped[np.ndarray, "X Y Z"]:
        """The volume of the scan's own shape and axes that these slices are of: the inverse, up to pooling."""
        turn = _turn(affine, self.orientation)
        whole = slices.repeat(self.pool, 1).repeat(self.pool, 2)
        turned_shape = tuple(shape[int(axis)] for axis in np.argsort(turn[:, 0]))
        cut = whole[:, : turned_shape[0], : turned_shape[1]].transpose(1, 2, 0)
        if cut.shape != turned_shape:
            raise DataError(f"slices of shape {slices.shape} are not of a scan of shape {shape}")
        back = orientations.ornt_transform(nibabel.orientations.axcodes2ornt(self.orientation), _own(affine))
        return np.ascontiguousarray(orientations.apply_orientation(cut, back))

    def _sliced(self, scan: np.ndarray, affine: np.ndarray) -> np.ndarray:
        return orientations.apply_orientation(scan, _turn(affine, self.orientation)).transpose(2, 0, 1)

    def _padded(self, slices: np.ndarray) -> np.ndarray:
        rows, columns = (-size % self.pool for size in slices.shape[1:])
        return np.pad(slices, ((0, 0), (0, rows), (0, columns)))


def foreground(scan: Float[np.ndarray, "X Y Z"]) -> Shaped[np.ndarray, "X Y Z"]:
    """Where a skull-stripped scan shows tissue: all voxels unlike its first, whose value is that of the air around."""
    return scan != scan.flat[0]


def standardised(scan: Float[np.ndarray, "X Y Z"]) -> Float[np.ndarray, "X Y Z"]:
    """Mean 0 and standard deviation 1 over the foreground, and 0 outside it; as MONAI's `NormalizeIntensity(nonzero)`
    does where the air is 0, which is not so in every published set.

    Raises:
        DataError: nothing but air.
    """
    tissue = foreground(scan)
    if not tissue.any():
        raise DataError("the scan has one value everywhere")
    values = scan[tissue].astype(np.float64)
    spread = values.std()
    scaled = np.zeros(scan.shape, np.float32)
    scaled[tissue] = (values - values.mean()) / (spread if spread > 0 else 1.0)
    return scaled


def _own(affine: np.ndarray) -> np.ndarray:
    return orientations.io_orientation(affine)


def _turn(affine: np.ndarray, orientation: str) -> np.ndarray:
    return orientations.ornt_transform(_own(affine), orientations.axcodes2ornt(orientation))


def _turned_spacing(affine: np.ndarray, orientation: str) -> np.ndarray:
    """Voxel sizes along the axes of `orientation`."""
    sizes = nibabel.affines.voxel_sizes(affine)
    return sizes[np.argsort(_turn(affine, orientation)[:, 0])]
