"""`mmkd predict`: run a bundle on a file. Imports no torch."""

from __future__ import annotations

import csv
import io
import json
import warnings
from pathlib import Path
from typing import Any

import click
import numpy as np

from mmkd.cli import console
from mmkd.deployment import readers
from mmkd.deployment.runtime import Student
from mmkd.errors import ConfigError
from mmkd.files import write_atomic

SHOWN_ROWS = 20
SHOWN_COLUMNS = 8


@click.command(
    epilog="\b\nExamples:\n  mmkd predict bundle rows.csv\n  mmkd predict bundle rows.npz --out predictions.csv"
)
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), help="Write all predictions: .csv, .json, .npz, or what a plugin writes."
)
@click.option("--reader", default="", metavar="NAME", help="The reader to use, where the extension does not tell.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, all rows.")
def command(bundle: Path, file: Path, out: Path | None, reader: str, as_json: bool) -> None:
    """Run the student of BUNDLE on FILE: .csv, .json, .npy, .npz, or what a plugin reads.

    FILE must hold exactly the fields that the student reads.
    """
    write = None if out is None or out.suffix.lower() in _WRITERS else readers.writer(out)
    if out is not None and out.suffix.lower() not in _WRITERS and write is None:
        raise ConfigError(f"--out {out}: predictions can be written as {', '.join(_WRITERS)}, or what a plugin writes")
    student = Student.load(bundle)
    for line in student.manifest["warnings"]:
        console.warn(line)
    with warnings.catch_warnings(record=True) as noticed:
        warnings.simplefilter("always", UserWarning)
        inputs = readers.read(file, student.fields, reader)
    for notice in noticed:
        console.warn(str(notice.message))
    decision = student.manifest["task"].get("decision")
    if decision == "rows":
        predictions = student.listed(inputs)
    elif decision == "argmax" and student.manifest["task"].get("classes"):
        predictions = student.classify(inputs)
    else:
        predictions = student(inputs)
    if out is not None and write is not None:
        write_atomic(out, write(out, predictions, file, student.manifest))
    elif out is not None:
        write_atomic(out, _WRITERS[out.suffix.lower()](predictions, out))
    if as_json:
        console.print_json({"bundle": str(bundle), "file": str(file), "predictions": _records(predictions)})
    else:
        _print(predictions, out)


def _columns(predictions: dict[str, np.ndarray], limit: int | None = None) -> dict[str, np.ndarray]:
    """One-dimensional columns; an output with more numbers per row than `limit` is left out."""
    columns = {}
    for name, values in predictions.items():
        if values.ndim == 1:
            columns[name] = values
        elif limit is None or values[:1].size <= limit:
            for index in np.ndindex(values.shape[1:]):
                columns[".".join([name, *map(str, index)])] = values[(slice(None), *index)]
    return columns


def _ordered(predictions: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The decision before the outputs that it was made from."""
    decision = [name for name in ("class", "class_index", "probability") if name in predictions]
    return {name: predictions[name] for name in (*decision, *(name for name in predictions if name not in decision))}


def _records(predictions: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    rows = len(next(iter(predictions.values())))
    return [{name: values[row].tolist() for name, values in _ordered(predictions).items()} for row in range(rows)]


def _to_csv(predictions: dict[str, np.ndarray], out: Path) -> str:
    if bulky := [name for name, values in predictions.items() if values[:1].size > 4096]:
        raise ConfigError(f"--out {out}: output '{bulky[0]}' is too large for columns", "write it as .npz")
    columns = _columns(_ordered(predictions))
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["row", *columns])
    for row, cells in enumerate(zip(*(values.tolist() for values in columns.values()), strict=True)):
        writer.writerow([row, *(f"{cell:.9g}" if isinstance(cell, float) else cell for cell in cells)])
    return buffer.getvalue()


def _to_json(predictions: dict[str, np.ndarray], _out: Path) -> str:
    return json.dumps(_records(predictions), ensure_ascii=False) + "\n"


def _to_npz(predictions: dict[str, np.ndarray], _out: Path) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **predictions)  # type: ignore[arg-type]
    return buffer.getvalue()


_WRITERS: dict[str, Any] = {".csv": _to_csv, ".json": _to_json, ".npz": _to_npz}


def _print(predictions: dict[str, np.ndarray], out: Path | None) -> None:
    from rich.table import Table
    from rich.text import Text

    rows = len(next(iter(predictions.values())))
    if "class" in predictions and predictions["class"].ndim == 1:
        columns = {name: predictions[name] for name in ("class", "probability")}
    else:
        columns = _columns(_ordered(predictions), SHOWN_COLUMNS)
    if columns:
        table = Table("row")
        for name in columns:
            table.add_column(Text(console.one_line(name)))
        for row in range(min(rows, SHOWN_ROWS)):
            cells = (values[row].item() for values in columns.values())
            shown = (f"{cell:.4g}" if isinstance(cell, float) else console.one_line(str(cell)) for cell in cells)
            table.add_row(str(row), *(Text(cell) for cell in shown))
        console.rich_console().print(table)
    for name, values in predictions.items():
        if name not in columns and "class" not in columns and values[:1].size > SHOWN_COLUMNS:
            print(f"{console.one_line(name)}: {list(values.shape[1:])} numbers per row; write them with --out FILE.npz")
    more = f", of which the first {SHOWN_ROWS} are shown" if rows > SHOWN_ROWS and columns else ""
    counted = f"{rows} prediction{'' if rows == 1 else 's'}"
    print(counted + more + (f"; all written to {out}" if out is not None else ""))
