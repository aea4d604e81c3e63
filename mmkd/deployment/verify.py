"""Checks a bundle anew, wherever it was copied to. Needs no torch."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmkd.deployment.bundle import read_examples
from mmkd.deployment.runtime import Student, read_manifest
from mmkd.errors import MmkdError


@dataclass(frozen=True)
class Verification:
    """What was found.

    Arguments:
        reads: the inputs of the graph.
        rows: example rows that were predicted again; 0 where the bundle stores none.
        max_abs_difference: of any output from the original's, by output; empty without examples.
    """

    reads: tuple[str, ...]
    rows: int
    max_abs_difference: Mapping[str, float]


def verify(directory: str | os.PathLike[str], *, tolerance: float | None = None) -> Verification:
    """Check a bundle's files, its inputs, and its predictions on the stored examples.

    Arguments:
        directory: the bundle.
        tolerance: largest difference allowed, as in `export`; by default the one that it was exported with.

    Raises:
        StorageError: a file is absent or altered.
        MmkdError: the graph's inputs or outputs are not those of the manifest, or predictions differ.
    """
    manifest = read_manifest(directory)
    examples = read_examples(directory, manifest)
    student = Student.load(directory)
    check_ports(student)
    reads = tuple(manifest["reads"])
    if examples is None:
        return Verification(reads, 0, {})
    limit = manifest["parity"]["tolerance"] if tolerance is None else tolerance
    found = compare(examples["outputs"], student(examples["inputs"]), limit)
    rows = len(next(iter(examples["outputs"].values())))
    return Verification(reads, rows, {name: entry["max_abs_difference"] for name, entry in found.items()})


def check_ports(student: Student) -> None:
    """Raise `MmkdError` unless the graph's inputs and outputs are exactly those that its manifest declares."""
    session, manifest = student.session, student.manifest
    if extra := [node.name for node in session.get_overridable_initializers()]:
        raise MmkdError(f"the graph's initialiser '{extra[0]}' can be overridden from outside", "export it again")
    for what, nodes, declared in (
        ("inputs", session.get_inputs(), manifest["reads"]),
        ("outputs", session.get_outputs(), manifest["outputs"]),
    ):
        names = [node.name for node in nodes]
        if sorted(names) != sorted(declared):
            raise MmkdError(
                f"the graph's {what} are {', '.join(names)}, and its manifest declares {', '.join(declared)}"
            )


def compare(expected: Mapping[str, np.ndarray], found: Mapping[str, np.ndarray], tolerance: float) -> dict[str, Any]:
    """Differences by output: `max_abs_difference` and `scale`, the largest magnitude expected.

    An output agrees if its largest difference is at most `tolerance * max(1, scale)`: absolute for values up to 1, and
    relative to the largest value beyond, because float32 itself is no finer.

    Raises:
        MmkdError: with the figures, where an output differs by more, in shape, or holds NaN or infinite values.
    """
    differences = {}
    for name, wanted in expected.items():
        if wanted.shape != found[name].shape:
            raise MmkdError(
                f"output '{name}' has shape {list(found[name].shape)} where {list(wanted.shape)} is expected"
            )
        if not np.isfinite(wanted).all():
            raise MmkdError(f"output '{name}' of the original holds NaN or infinite values, so it cannot be compared")
        scale = float(np.abs(wanted).max(initial=0))
        difference = float(np.abs(wanted.astype(np.float64) - found[name].astype(np.float64)).max(initial=0))
        if not difference <= tolerance * max(1.0, scale):
            raise MmkdError(
                f"output '{name}' differs from the original by {difference:.3g} (its values reach {scale:.3g}, and the"
                f" tolerance is {tolerance:.3g} of that, or of 1)",
                "export in float32 an operation that onnxruntime computes alike, or raise the tolerance",
            )
        differences[name] = {"max_abs_difference": difference, "scale": scale}
    return differences
