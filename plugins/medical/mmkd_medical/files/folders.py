"""Folders of patients in the manner of BraTS: a folder per patient, a NIfTI file per sequence and one for the label."""

from __future__ import annotations

import fnmatch
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmkd.errors import DataError
from mmkd_medical.datasets.base import Patient
from mmkd_medical.files.nifti import Scan, read_label, read_scan
from mmkd_medical.preparation import Preparation, foreground
from mmkd_medical.terms import CLASSES

_LABEL_IN_AIR = 0.05  # share of a label that may lie outside the tissue; 0.2 % was the most in BraTS 2015


@dataclass(frozen=True)
class Naming:
    """Which file is what, and what the label's values mean.

    Arguments:
        sequences: a file-name pattern for each sequence; what `*` stands for is the patient, the same in all files.
        label: the pattern of the segmentation.
        values: the values of each foreground class of `terms.CLASSES` in the segmentation; 0 is background.
    """

    sequences: Mapping[str, str]
    label: str
    values: Mapping[str, Sequence[int]]

    @property
    def classes(self) -> dict[int, int]:
        """Class by value."""
        return {0: 0} | {value: CLASSES.index(name) for name, values in self.values.items() for value in values}


def find_patients(folder: Path, naming: Naming) -> list[Path]:
    """Every folder below `folder` (itself included) with a file that fits a pattern, sorted by name.

    Raises:
        DataError: `folder` is absent, or nothing in it fits.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is {'no folder' if folder.exists() else 'absent'}", "check `path`")
    patterns = [*naming.sequences.values(), naming.label]
    found = {
        file.parent
        for file in sorted(folder.rglob("*"))
        if any(fnmatch.fnmatchcase(file.name, pattern) for pattern in patterns)
    }
    if not found:
        raise DataError(
            f"{folder} holds no file like {patterns[0]}", "check `path`, or set `sequences` and `label_file`"
        )
    return sorted(found, key=lambda place: place.as_posix())


def read_patients(folder: Path, naming: Naming, preparation: Preparation) -> Iterator[Patient]:
    """Every patient below `folder`, prepared.

    Raises:
        DataError: naming the file: one is absent, ambiguous or damaged, holds NaN, an unknown label, or another grid
            than its neighbours; belongs to another patient, or is a copy of another patient's.
    """
    seen: dict[str, Path] = {}
    for place in find_patients(folder, naming):
        files = {name: _the_file(place, pattern) for name, pattern in naming.sequences.items()}
        label_file = _the_file(place, naming.label)
        _check_names(place, [*zip(files.values(), naming.sequences.values(), strict=True), (label_file, naming.label)])
        scans = {name: read_scan(file) for name, file in files.items()}
        label = read_label(label_file, naming.classes)
        first = next(iter(scans.values()))
        for scan in (*scans.values(), label):
            scan.check_like(first)
            preparation.check(scan.affine, str(scan.path))
        _check_pairing(scans, label, seen)
        images = {name: preparation.image(scan.values, scan.affine) for name, scan in scans.items()}
        yield Patient(place.name, images, preparation.label(label.values, label.affine))


def _the_file(place: Path, pattern: str) -> Path:
    found = sorted(file for file in place.iterdir() if fnmatch.fnmatchcase(file.name, pattern))
    if not found:
        raise DataError(f"{place} has no file {pattern}", "a patient needs every sequence and a label")
    if len(found) > 1:
        raise DataError(f"{place} has {found[0].name} and {found[1].name}, which both are like {pattern}", "keep one")
    return found[0]


def _check_names(place: Path, files: Sequence[tuple[Path, str]]) -> None:
    """Refuse a folder whose file names are of more than one patient."""
    known: tuple[str, Path] | None = None
    for file, pattern in files:
        before, star, after = pattern.partition("*")
        if not star:
            continue
        patient = file.name[len(before) : len(file.name) - len(after)]
        if known is not None and patient != known[0]:
            raise DataError(
                f"{file} is of patient '{patient}', and {known[1].name} beside it of '{known[0]}'",
                "put each file into its own patient's folder",
            )
        known = known or (patient, file)


def _check_pairing(scans: Mapping[str, Scan], label: Scan, seen: dict[str, Path]) -> None:
    """Refuse a label that is not of this brain, and a scan that stands in two folders."""
    for scan in scans.values():
        marked, tissue = label.values > 0, foreground(scan.values)
        if not tissue.any():
            raise DataError(f"{scan.path} has one value everywhere")
        outside = float((marked & ~tissue).sum() / max(marked.sum(), 1))
        if outside > _LABEL_IN_AIR:
            raise DataError(
                f"{label.path} marks {outside:.0%} of its lesion outside the tissue of {scan.path.name}",
                "the two are of different patients, or not registered",
            )
        digest = hashlib.sha256(np.ascontiguousarray(scan.values)).hexdigest()
        if digest in seen:
            raise DataError(f"{scan.path} holds the same scan as {seen[digest]}", "one of the two is another patient's")
        seen[digest] = scan.path
