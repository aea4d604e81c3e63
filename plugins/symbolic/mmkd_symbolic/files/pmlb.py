"""Tables of PMLB: gzipped, tab-separated, a header, numbers, and a column `target`."""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmkd.errors import DataError
from mmkd_symbolic.expressions import Domain, Finite, Real

TARGET = "target"
MOST_VALUES = 50


@dataclass(frozen=True)
class PmlbTable:
    """A table on file.

    Arguments:
        values: of the columns but the target, `[N, C]`.
        columns: their names.
        categorical: which of them are categories, coded as whole numbers.
        target: as on file, `[N]`.
    """

    values: NDArray[np.float64]
    columns: tuple[str, ...]
    categorical: tuple[bool, ...]
    target: NDArray[np.float64]


def read_pmlb(path: Path) -> PmlbTable:
    """Read a table.

    A column is taken for categorical where it is written in whole numbers without a decimal point and has 3 to 50
    different values: PMLB writes what it holds for continuous with a decimal point. Columns of two values are numbers.

    Raises:
        DataError: the file is damaged or empty, has no column `target`, a line of another length, or a cell that is no
            finite number; with the line and the column.
    """
    try:
        with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
            lines = [line.rstrip("\r\n") for line in file]
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{path} cannot be read: {reason}", "get it again from its source") from error
    lines = [line for line in lines if line]
    if len(lines) < 2:
        raise DataError(f"{path} holds no rows")
    header = lines[0].split("\t")
    if TARGET not in header or len(header) < 2:
        raise DataError(f"{path} has no column '{TARGET}'", f"columns: {', '.join(header)[:200]}")
    if repeated := sorted({name for name in header if header.count(name) > 1}):
        raise DataError(f"{path} has two columns '{repeated[0]}'")
    cells = [line.split("\t") for line in lines[1:]]
    for number, row in enumerate(cells, 2):
        if len(row) != len(header):
            raise DataError(f"{path}: line {number} has {len(row)} cells where {len(header)} are expected")
    table = np.array([[_number(cell) for cell in row] for row in cells])
    if not np.isfinite(table).all():
        row, column = np.argwhere(~np.isfinite(table))[0]
        cell = cells[row][column]
        raise DataError(f"{path}: line {row + 2}, column '{header[column]}': {cell!r} is no finite number")
    place = header.index(TARGET)
    kept = [number for number in range(len(header)) if number != place]
    whole = [all("." not in row[number] for row in cells) for number in kept]
    counts = [len(np.unique(table[:, number])) for number in kept]
    return PmlbTable(
        table[:, kept],
        tuple(header[number] for number in kept),
        tuple(is_whole and 2 < count <= MOST_VALUES for is_whole, count in zip(whole, counts, strict=True)),
        table[:, place],
    )


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return float("nan")


def encode(table: PmlbTable) -> tuple[NDArray[np.float32], list[str], dict[str, Domain]]:
    """Columns for a model: a categorical one as a column `name=value` per value; and the domain of each variable."""
    parts, names = [], []
    domains: dict[str, Domain] = {}
    for values, name, categorical in zip(table.values.T, table.columns, table.categorical, strict=True):
        different = np.unique(values)
        if categorical:
            parts += [values == value for value in different]
            names += [f"{name}={value:g}" for value in different]
        else:
            parts.append(values)
            names.append(name)
        finite = categorical or len(different) == 2
        domains[name] = Finite(tuple(different.tolist())) if finite else Real()
    return np.stack(parts, 1).astype(np.float32), names, domains
