"""Reads a student's inputs from files: CSV, JSON, NPY and NPZ. Plugins bring the formats of their domains.

A reader is a function `read(path, fields) -> {field: array}` in the entry-point group `mmkd.readers`; the last part of
its name is the extension (`csv`, `medical/nii.gz`). `fields` is that of the bundle's manifest; what a field says of its
`preparation` is done to the file. What is wrong with a file but does not keep it from being read is a `UserWarning`.
Needs no torch.

It may also be a class with that function as its static `read` and another, `write(path, predictions, source, manifest)
-> bytes`, which gives the content of a file `path` of its extension: predictions of what was read from the file
`source`, in its form (the geometry of a scan, say).

- `.csv`: a column per number, named `field` for a single number per row and `field.0`, `field.1`, `field.0.1` for more;
  a vector whose channels have names may use those instead. For a student that reads one series of any length the file
  is one sample: a line per step, a column per channel, and perhaps `time` in seconds.
- `.json`: `{"field": rows, ...}`, or a list of rows `[{"field": value, ...}, ...]`.
- `.npz`: an array per field.
- `.npy`, a CSV file without a header, a JSON list of lists: the rows of a student that reads one field.
"""

from __future__ import annotations

import csv
import itertools
import json
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from mmkd import registry
from mmkd.deployment.runtime import conform
from mmkd.deployment.series import one_series, read_series
from mmkd.errors import ConfigError, DataError

Fields = Mapping[str, Mapping[str, Any]]
_DAMAGE = (
    ValueError,
    EOFError,
    OSError,
    KeyError,
    RecursionError,
    MemoryError,
    csv.Error,
    zipfile.BadZipFile,
    zlib.error,
)
Reader = Callable[[Path, Fields], Mapping[str, Any]]
Writer = Callable[[Path, Mapping[str, np.ndarray], Path, Mapping[str, Any]], bytes]


def read(path: str | os.PathLike[str], fields: Fields, reader: str = "") -> dict[str, np.ndarray]:
    """Read a file with the reader of its extension and check what it holds.

    Arguments:
        path: the file.
        fields: of the bundle's manifest.
        reader: name of a reader, where the extension does not tell.

    Raises:
        ConfigError: no reader for this extension, or two.
        DataError: the file is absent or damaged, or what it holds is not of the form that the fields declare.
        BindingError: it holds a field that the student does not read, or lacks one.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path} is {'no file' if path.exists() else 'absent'}", "check the path")
    found: Any = registry.get("readers", reader or _reader_for(path))
    return conform(getattr(found, "read", found)(path, fields), fields, str(path))


def writer(path: str | os.PathLike[str]) -> Writer | None:
    """What writes predictions to a file of this extension; None where its reader, if there is one, only reads."""
    try:
        found: Any = registry.get("readers", _reader_for(Path(path)))
    except ConfigError:
        return None
    return getattr(found, "write", None)


def _reader_for(path: Path) -> str:
    """Name of the reader of a file: of the longest extension that one is registered for."""
    found: dict[str, list[str]] = {}
    for entry in registry.entries("readers"):
        name = f"{entry.distribution}:{entry.name}"
        found.setdefault(entry.name.rpartition("/")[2].lower(), []).append(name)
    suffixes = [suffix.removeprefix(".").lower() for suffix in path.suffixes]
    for start in range(len(suffixes)):
        names = found.get(".".join(suffixes[start:]), [])
        if len(names) > 1:
            raise ConfigError(f"{path}: {' and '.join(names)} read such files", "choose one with --reader")
        if names:
            return names[0]
    known = ", ".join(f".{extension}" for extension in sorted(found))
    raise ConfigError(f"{path}: no reader for files of this extension", f"known: {known}; or choose one with --reader")


def read_csv(path: Path, fields: Fields) -> dict[str, Any]:
    """Fields from the columns of a CSV file. Raises `DataError` naming a wrong column, or a cell that is no number."""
    with _readable(path), open(path, newline="", encoding="utf-8-sig") as file:
        lines = [line for line in csv.reader(file) if line]
    if not lines:
        raise DataError(f"{path} is empty")
    if series := one_series(fields):
        return dict(read_series(path, lines, series, fields[series]))
    columns = _named_columns(fields, path, lines[0])
    expected = [column for names in columns.values() for column in names]
    if bare := all(_is_number(cell) for cell in lines[0]):
        if len(fields) > 1:
            raise DataError(f"{path} has no header", f"its first line must name the columns: {_listed(expected)}")
        if len(lines[0]) != len(expected):
            raise DataError(f"{path} has {len(lines[0])} columns where {len(expected)} are expected", _listed(expected))
        header = expected
    else:
        header = [cell.strip() for cell in lines.pop(0)]
        _check_header(path, header, expected)
    for number, line in enumerate(lines, 1 if bare else 2):
        if len(line) != len(header):
            raise DataError(f"{path}: line {number} has {len(line)} cells where {len(header)} are expected")
    place = {column: index for index, column in enumerate(header)}
    return {
        name: _numbers(path, lines, [place[column] for column in columns[name]], header, field, 1 if bare else 2)
        for name, field in fields.items()
    }


def read_json(path: Path, fields: Fields) -> dict[str, Any]:
    """Fields from `{"field": rows}`, a list of `{"field": value}`, or the bare rows of one field."""
    with _readable(path):
        content = json.loads(path.read_text(encoding="utf-8"))
    if isinstance(content, list) and content and all(isinstance(row, dict) for row in content):
        for number, row in enumerate(content):
            if wrong := sorted(set(row) ^ set(fields)):
                verb = "has the unexpected" if wrong[0] in row else "lacks the"
                raise DataError(f"{path}: row {number} (counted from 0) {verb} key '{wrong[0]}'", _reads(fields))
        return {name: [row[name] for row in content] for name in fields}
    if isinstance(content, list):
        return {_only(path, fields): content}
    if not isinstance(content, dict):
        raise DataError(f"{path} holds neither fields nor rows", _reads(fields))
    return content


def read_npy(path: Path, fields: Fields) -> dict[str, Any]:
    """The rows of a student that reads one field."""
    with _readable(path), open(path, "rb") as file:  # opened here: numpy leaves it open where it is damaged
        rows = np.load(file, allow_pickle=False)
    if not isinstance(rows, np.ndarray):
        raise DataError(f"{path} is an .npz archive, not an .npy file", "rename it")
    return {_only(path, fields): rows}


def read_npz(path: Path, fields: Fields) -> dict[str, Any]:
    """An array per field."""
    with _readable(path), open(path, "rb") as file:
        stored = np.load(file, allow_pickle=False)
        if isinstance(stored, np.ndarray):
            raise DataError(f"{path} is an .npy file, not an .npz archive", "rename it")
        with stored:
            return {name: stored[name] for name in stored.files}


def _named_columns(fields: Fields, path: Path, header: Sequence[str]) -> dict[str, list[str]]:
    """Names of the columns of each field: of its channels, where it is a plain vector that names them."""
    plain = {name: list(_columns(name, field, path)) for name, field in fields.items()}
    named = {
        name: list(field["channels"]) if field.get("channels") and len(field["shape"]) == 1 else plain[name]
        for name, field in fields.items()
    }
    every = [column for columns in named.values() for column in columns]
    by_number = {column for columns in plain.values() for column in columns} <= {cell.strip() for cell in header}
    return plain if by_number or len(set(every)) < len(every) else named


def _columns(name: str, field: Mapping[str, Any], path: Path) -> Iterator[str]:
    """Names of the columns that hold one row of a field."""
    shape = field.get("shape", ())
    if field["kind"] != "sample" or None in shape:
        reason = "varies in size" if field["kind"] == "sample" else f"is a {field['kind']}"
        raise DataError(f"{path}: field '{name}' {reason}, which CSV cannot hold", "use an .npz or .json file")
    for index in itertools.product(*(range(size) for size in shape)):
        yield ".".join([name, *map(str, index)])


def _check_header(path: Path, header: Sequence[str], expected: Sequence[str]) -> None:
    repeated = sorted({column for column in header if header.count(column) > 1})
    missing = [column for column in expected if column not in set(header)]
    unexpected = [column for column in header if column not in set(expected)]
    for what, found in (("has twice", repeated), ("has no", missing), ("has the unexpected", unexpected)):
        if found:
            more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
            raise DataError(f"{path} {what} column '{found[0]}'{more}", _listed(expected))


def _numbers(
    path: Path,
    lines: Sequence[Sequence[str]],
    places: Sequence[int],
    header: Sequence[str],
    field: Mapping[str, Any],
    first: int,
) -> np.ndarray:
    """The cells of one field as an array. Raises `DataError` with line and column of a cell that is no number."""
    parse = float if np.dtype(field["dtype"]).kind == "f" else int
    shape = tuple(field.get("shape", ()))
    array = np.empty((len(lines), prod(shape)), np.float64 if parse is float else np.int64)
    for row, line in enumerate(lines):
        try:
            array[row] = [parse(line[place]) for place in places]
        except (ValueError, OverflowError):
            where, cell = next((header[place], line[place]) for place in places if not _is_number(line[place], parse))
            kind = "number" if parse is float else "whole number"
            raise DataError(f"{path}: line {row + first}, column '{where}': {cell!r} is no {kind}") from None
    return array.reshape(len(lines), *shape)


def _is_number(cell: str, parse: Callable[[str], Any] = float) -> bool:
    try:
        np.asarray(parse(cell), np.float64 if parse is float else np.int64)
    except (ValueError, OverflowError):
        return False
    return True


def _only(path: Path, fields: Fields) -> str:
    if len(fields) > 1:
        raise DataError(
            f"{path} holds bare rows, and the student reads {', '.join(fields)}", "name them: use .npz or .json"
        )
    return next(iter(fields))


def _listed(columns: Sequence[str]) -> str:
    shown = columns if len(columns) <= 6 else [*columns[:3], "...", columns[-1]]
    return f"the columns are {', '.join(shown)}" + (f" ({len(columns)} in all)" if len(columns) > 6 else "")


def _reads(fields: Fields) -> str:
    return f"the student reads {', '.join(fields)}"


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turns what a damaged file makes of its parser into one line."""
    try:
        yield
    except _DAMAGE as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        if "allow_pickle" in reason:
            reason = "it is no such file, or holds a pickle, which is never loaded"
        raise DataError(
            f"{path} cannot be read: {reason}", "check that it is whole and of the kind its name says"
        ) from error
