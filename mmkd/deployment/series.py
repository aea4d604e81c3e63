"""A CSV file that holds one series: a line per step, a column per channel, and perhaps the time. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmkd.errors import DataError

TIME = "time"
_TOLERANCE = 0.02  # of the rate: clocks drift by far less, and neighbouring rates differ by far more


def one_series(fields: Mapping[str, Mapping[str, Any]]) -> str:
    """The field, where a student reads one series `[C, T]` of any length and nothing else; else an empty string."""
    if len(fields) != 1:
        return ""
    name, field = next(iter(fields.items()))
    shape = list(field.get("shape", ()))
    return name if field.get("layout") == "series" and len(shape) == 2 and shape[0] and shape[1] is None else ""


def read_series(
    path: Path, lines: Sequence[Sequence[str]], name: str, field: Mapping[str, Any]
) -> dict[str, NDArray[np.float64]]:
    """One sample `[1, C, T]` from the lines of a CSV file.

    Columns have the names of the field's channels, else `field.0`, `field.1` and so on, in any order; a file without a
    header has them in order. A column `time` (seconds) is compared with the field's rate.

    Raises:
        DataError: wrong columns, no lines, a cell that is no number, another or an uneven rate; with file and line.
    """
    channels = list(field.get("channels") or [f"{name}.{number}" for number in range(field["shape"][0])])
    if bare := all(_number(cell) is not None for cell in lines[0]):
        header, first = channels, 1
        if len(lines[0]) != len(channels):
            raise DataError(f"{path} has {len(lines[0])} columns where {len(channels)} are expected", _listed(channels))
    else:
        header, first = [cell.strip() for cell in lines[0]], 2
        _check_header(path, header, channels)
    body = lines if bare else lines[1:]
    if not body:
        raise DataError(f"{path} has a header and no lines")
    table = np.empty((len(body), len(header)))
    for row, line in enumerate(body):
        if len(line) != len(header):
            raise DataError(f"{path}: line {row + first} has {len(line)} cells where {len(header)} are expected")
        for column, cell in enumerate(line):
            value = _number(cell)
            if value is None:
                raise DataError(f"{path}: line {row + first}, column '{header[column]}': {cell!r} is no number")
            if not np.isfinite(value):
                raise DataError(f"{path}: line {row + first}, column '{header[column]}' holds {cell.strip()}")
            table[row, column] = value
    if TIME in header:
        _check_rate(path, table[:, header.index(TIME)], field.get("rate"), first)
    return {name: table[:, [header.index(channel) for channel in channels]].T[None]}


def _check_header(path: Path, header: Sequence[str], channels: Sequence[str]) -> None:
    repeated = sorted({column for column in header if header.count(column) > 1})
    missing = [column for column in channels if column not in header]
    unexpected = [column for column in header if column not in channels and column != TIME]
    for what, found in (("has twice", repeated), ("has no", missing), ("has the unexpected", unexpected)):
        if found:
            more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
            raise DataError(f"{path} {what} column '{found[0]}'{more}", _listed(channels))


def _check_rate(path: Path, seconds: NDArray[np.float64], rate: float | None, first: int) -> None:
    steps = np.diff(seconds)
    if rate is None or not len(steps):
        return
    if (steps <= 0).any():
        raise DataError(f"{path}: line {int(np.argmax(steps <= 0)) + first + 1}: the time does not rise")
    found = 1 / float(np.median(steps))
    if abs(found / rate - 1) > _TOLERANCE:
        raise DataError(f"{path} has {found:.4g} samples per second where {rate:.4g} are expected", "resample it")
    if (uneven := np.abs(steps * rate - 1) > 0.5).any():
        line = int(np.argmax(uneven))
        raise DataError(
            f"{path}: {steps[line]:.4g} s pass between lines {line + first} and {line + first + 1} where "
            f"{1 / rate:.4g} s are expected",
            "fill the gap, or resample it",
        )


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def _listed(channels: Sequence[str]) -> str:
    return f"the columns are {', '.join(channels)}, and {TIME} (seconds) if you like"
