"""NIfTI scans: read with every check that a segmentation needs, and the reader of `mmkd predict scan.nii.gz`."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError

from mmkd.errors import DataError
from mmkd_medical.preparation import Preparation

_DAMAGE = (ImageFileError, HeaderDataError, EOFError, OSError, ValueError, zlib.error, MemoryError)
_POSITION_TOLERANCE = 1e-3  # mm


@dataclass(frozen=True)
class Scan:
    """One volume on file.

    Arguments:
        path: its file, for error messages.
        values: `[X, Y, Z]`.
        affine: from voxel indices to mm, `[4, 4]`.
    """

    path: Path
    values: np.ndarray
    affine: np.ndarray

    def check_like(self, other: Scan) -> None:
        """Raise `DataError` unless both scans lie on one grid: shape, spacing, orientation and origin."""
        if self.values.shape != other.values.shape:
            raise DataError(
                f"{self.path} has shape {list(self.values.shape)}, and {other.path.name} beside it"
                f" {list(other.values.shape)}",
                "register and resample them to one grid",
            )
        if np.allclose(self.affine, other.affine, atol=_POSITION_TOLERANCE):
            return
        for what, of in (
            ("voxels of", lambda affine: " x ".join(f"{size:.4g}" for size in nibabel.affines.voxel_sizes(affine))),
            ("orientation", lambda affine: "".join(map(str, nibabel.aff2axcodes(affine)))),
            ("affine", lambda affine: np.array2string(affine[:3], precision=3, separator=", ").replace("\n", "")),
        ):
            if (mine := of(self.affine)) != (theirs := of(other.affine)):
                unit = " mm" if what == "voxels of" else ""
                raise DataError(
                    f"{self.path} has {what} {mine}{unit}, and {other.path.name} beside it {theirs}{unit}",
                    "register and resample them to one grid",
                )


def read_scan(path: Path) -> Scan:
    """A three-dimensional NIfTI file as float32.

    Raises:
        DataError: absent, damaged, of other dimensions, with NaN or infinite values, or an affine that is none.
    """
    if not path.is_file():
        raise DataError(f"{path} is {'no file' if path.exists() else 'absent'}", "check the path")
    try:
        image: Any = nibabel.load(path)
        values = np.asarray(image.dataobj, dtype=np.float32)
    except _DAMAGE as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path} cannot be read: {reason}", "check that it is a whole NIfTI file") from error
    if values.ndim == 4 and values.shape[3] == 1:
        values = values[..., 0]
    if values.ndim != 3 or not values.size:
        raise DataError(f"{path} has shape {list(values.shape)} where one volume [X, Y, Z] is expected")
    if not np.isfinite(values).all():
        raise DataError(f"{path} holds NaN or infinite values (first at voxel {_first(~np.isfinite(values))})")
    affine = image.affine
    if affine is None or not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise DataError(f"{path} has no valid affine, so its spacing and orientation are unknown")
    return Scan(path, values, affine)


def read_label(path: Path, known: Mapping[int, int]) -> Scan:
    """A segmentation, its values on file turned into classes.

    Arguments:
        known: class of each value that may occur.

    Raises:
        DataError: like `read_scan`, or a value that is none of the known.
    """
    scan = read_scan(path)
    found = np.unique(scan.values)
    if wrong := [value for value in found.tolist() if value not in known]:
        raise DataError(f"{path} holds the label {wrong[0]:g}, and known are {', '.join(map(str, sorted(known)))}")
    classes = np.array([known[int(value)] for value in found], np.uint8)
    return Scan(path, classes[np.searchsorted(found, scan.values)], scan.affine)


def to_bytes(values: np.ndarray, affine: np.ndarray, *, header: Any = None, packed: bool = True) -> bytes:
    """The content of a NIfTI file; with the geometry, units and codes of `header`, where given."""
    image = nibabel.Nifti1Image(values, affine, header)
    image.header.set_data_dtype(values.dtype)
    image.header["cal_min"] = image.header["cal_max"] = 0  # the display range of what the header came with
    content = image.to_bytes()
    if not packed:
        return content
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", compresslevel=6, mtime=0) as file:  # equal scans, equal bytes
        file.write(content)
    return buffer.getvalue()


class NIFTI:
    """`medical/nii.gz`: one scan in, its segmentation out on the same grid. Needs numpy and nibabel alone."""

    @staticmethod
    def read(path: Path, fields: Mapping[str, Mapping[str, Any]]) -> dict[str, np.ndarray]:
        """The slices of a scan, prepared as those of the training data were: `{field: [D, 1, H, W]}`.

        Raises:
            DataError: the student reads more than one sequence or no scan, or the file is not what it was made for.
        """
        name, preparation = _of_student(path, fields)
        scan = read_scan(path)
        preparation.check(scan.affine, str(path))
        return {name: preparation.image(scan.values, scan.affine)[:, None]}

    @staticmethod
    def write(path: Path, predictions: Mapping[str, np.ndarray], source: Path, manifest: Mapping[str, Any]) -> bytes:
        """The predicted class of every voxel (0: the first of the manifest's classes) on the grid of `source`.

        Raises:
            DataError: `source` is no NIfTI file, or the predictions are no classes of its voxels.
        """
        if "class_index" not in predictions or predictions["class_index"].ndim != 3:
            raise DataError(f"{path}: the student gives no class per voxel", "write its outputs as .npz")
        _, preparation = _of_student(source, manifest["fields"])
        try:
            image: Any = nibabel.load(source)
        except _DAMAGE as error:
            raise DataError(f"{path}: {source} is no NIfTI file, so there is no grid to write on") from error
        classes = predictions["class_index"].astype(np.uint8)
        whole = preparation.restored(classes, tuple(image.shape[:3]), image.affine)
        return to_bytes(whole, image.affine, header=image.header, packed=path.suffix.lower() == ".gz")


def _of_student(path: Path, fields: Mapping[str, Mapping[str, Any]]) -> tuple[str, Preparation]:
    if len(fields) != 1:
        raise DataError(
            f"{path} holds one sequence, and the student reads {', '.join(fields)}", "give its slices as an .npz file"
        )
    name, field = next(iter(fields.items()))
    return name, Preparation.of(field, f"the student's field '{name}'")


def _first(wrong: np.ndarray) -> str:
    return ", ".join(map(str, np.argwhere(wrong)[0]))
