"""Runs a bundle with numpy and onnxruntime alone: no torch is imported, and of mmkd only the errors.

    student = Student.load("bundle")
    student(x=rows)["logits"]
    student.classify(x=rows)["class"]

A bundle is a directory of `model.onnx`, `manifest.json` and mostly `examples.npz`. Every file is compared with its
sha256 in the manifest, and the manifest with its own seal, before anything of it is used.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mmkd.deployment.windows import Windows
from mmkd.errors import BindingError, DataError, MmkdError, StorageError

FORMAT = "mmkd-bundle"
VERSION = 1
MODEL, MANIFEST, EXAMPLES = "model.onnx", "manifest.json", "examples.npz"


def seal(manifest: Mapping[str, Any]) -> str:
    """sha256 over a manifest's values, its own `seal` left out."""
    content = {key: value for key, value in manifest.items() if key != "seal"}
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def read_manifest(directory: str | os.PathLike[str]) -> dict[str, Any]:
    """A bundle's manifest. Raises `StorageError` where it is absent, altered, or of another format or version."""
    path = Path(directory) / MANIFEST
    if not path.parent.is_dir():
        raise StorageError(f"{path.parent} is no bundle: there is no such directory", "`mmkd export` writes bundles")
    try:
        manifest = json.loads(_read(path))
    except (ValueError, RecursionError) as error:
        raise _damaged(path, f"it is not JSON ({error})") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise StorageError(f"{path} is not the manifest of a bundle", "`mmkd export` writes bundles")
    if manifest.get("version") != VERSION:
        raise StorageError(
            f"{path} has version {manifest.get('version')} of the bundle format, and this mmkd reads version {VERSION}",
            f"it was written by mmkd {manifest.get('mmkd')}: use that version, or export it again",
        )
    if manifest.get("seal") != seal(manifest):
        raise _damaged(path, "its content does not match its seal")
    return manifest


def read_file(directory: str | os.PathLike[str], manifest: Mapping[str, Any], name: str) -> bytes:
    """The bytes of one file, which are those that the manifest describes. Raises `StorageError` naming the file."""
    path = Path(directory) / name
    data = _read(path)
    if len(data) != manifest["files"][name]["bytes"]:
        raise _damaged(path, f"it has {len(data)} bytes where {manifest['files'][name]['bytes']} were written")
    if hashlib.sha256(data).hexdigest() != manifest["files"][name]["sha256"]:
        raise _damaged(path, "its sha256 is not the manifest's")
    return data


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise StorageError(f"{path} is absent, so {path.parent} is no whole bundle", "export it again") from error
    except OSError as error:
        raise StorageError(f"{path} cannot be read ({error.strerror})", "check its permissions and the disk") from error


def _damaged(path: Path, reason: str) -> StorageError:
    return StorageError(f"{path} is damaged: {reason}", f"copy {path.parent} again from where it was exported")


def conform(
    inputs: Mapping[str, Any], fields: Mapping[str, Mapping[str, Any]], where: str = ""
) -> dict[str, np.ndarray]:
    """Check values against a bundle's fields and cast them to the declared types where that loses nothing.

    Arguments:
        inputs: anything that numpy takes, by field.
        fields: the manifest's `fields`.
        where: what errors call the inputs, e.g. the file that they come from.

    Returns:
        One array per field, of the declared type.

    Raises:
        BindingError: a field is missing, or is none that the student reads.
        DataError: wrong type or shape, NaN or infinite values, values out of range, unequal numbers of rows.
    """
    prefix = f"{where}: " if where else ""
    reads = ", ".join(fields)
    if unexpected := [name for name in inputs if name not in fields]:
        raise BindingError(
            f"{prefix}'{unexpected[0]}' is no input of this student", f"it reads {reads} and nothing else"
        )
    if missing := [name for name in fields if name not in inputs]:
        raise BindingError(f"{prefix}the field '{missing[0]}' is missing", f"this student reads {reads}")
    arrays = {name: _checked(f"{prefix}field '{name}'", inputs[name], field) for name, field in fields.items()}
    rows = {name: len(arrays[name]) for name, field in fields.items() if field["kind"] == "sample"}
    if len(set(rows.values())) > 1:
        counts = ", ".join(f"{name} has {count}" for name, count in rows.items())
        raise DataError(
            f"{prefix}the fields differ in their number of rows: {counts}", "give one row per sample in each"
        )
    for name, field in fields.items():
        if field["kind"] == "relation" and field.get("layout") == "edges" and rows:
            _check_edges(f"{prefix}field '{name}'", arrays[name], next(iter(rows.values())))
    return arrays


def _checked(name: str, value: Any, field: Mapping[str, Any]) -> np.ndarray:
    try:
        given = np.asarray(value)
    except ValueError as error:
        raise DataError(f"{name} is no array: its rows differ in shape ({error})") from error
    batched = field["kind"] == "sample"
    sizes = [None, *field.get("shape", ())] if batched else list(field.get("shape", ()))
    if given.ndim != len(sizes) or any(size not in (None, n) for size, n in zip(sizes, given.shape, strict=True)):
        expected = ", ".join("any" if size is None else str(size) for size in sizes)
        note = f", which is {field['layout']} [{field['axes']}]" if field.get("axes") else ""
        one = " (a single sample needs a first axis of 1)" if batched and given.ndim == len(sizes) - 1 else ""
        raise DataError(f"{name} has shape {list(given.shape)} where [{expected}] is expected{note}{one}")
    if batched and not len(given):
        raise DataError(f"{name} has no rows")
    array = _cast(name, given, np.dtype(field["dtype"]))
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise DataError(f"{name} holds NaN or infinite values{_first(~np.isfinite(array), batched)}")
    if field.get("range") is not None:
        _check_range(name, array, field, batched)
    return array


def _check_range(name: str, array: np.ndarray, field: Mapping[str, Any], batched: bool) -> None:
    """A limit is one number, or one per channel: along the first axis of a sample."""
    low, high = (
        np.reshape(limit, (-1,) + (1,) * (array.ndim - batched - 1)).astype(array.dtype)
        if np.ndim(limit)
        else np.asarray(limit).astype(array.dtype)
        for limit in field["range"]
    )
    if not (outside := (array < low) | (array > high)).any():
        return
    place = tuple(np.argwhere(outside)[0])
    ends = [f"{float(np.broadcast_to(limit, array.shape)[place]):.6g}" for limit in (low, high)]
    if low.ndim or high.ndim:
        channel = int(place[int(batched)])
        name += f", channel '{field['channels'][channel] if field.get('channels') else channel}',"
    raise DataError(
        f"{name} holds {float(array[place]):.6g}, out of its range {ends[0]} to {ends[1]}{_first(outside, batched)}",
        f"its unit is {field['unit']}" if field.get("unit") else "",
    )


def _cast(name: str, given: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """`given` as `dtype`: rounding a float is allowed, any other change of a value is not."""
    if given.dtype == dtype:
        return given
    if given.dtype.kind not in "biuf" or (given.dtype.kind == "f" and dtype.kind != "f"):
        raise DataError(f"{name} is of type {given.dtype} where {dtype} is expected")
    with np.errstate(all="ignore"):
        cast = given.astype(dtype)
        if given.dtype.kind == "f":
            same = np.isfinite(cast) | ~np.isfinite(given)
        else:
            same = (cast.astype(given.dtype) == given) & ((cast < 0) == (given < 0))  # wrapping round keeps the former
    if not same.all():
        raise DataError(f"{name} holds {given[~same][0]}, which {dtype} cannot hold")
    return cast


def _check_edges(name: str, edges: np.ndarray, rows: int) -> None:
    if edges.size and (edges.min() < 0 or edges.max() >= rows):
        wrong = edges.min() if edges.min() < 0 else edges.max()
        raise DataError(f"{name} names row {wrong}, but the rows are 0 to {rows - 1}")


def _first(wrong: np.ndarray, batched: bool) -> str:
    return f" (first in row {int(np.argwhere(wrong)[0][0])}, counted from 0)" if batched else ""


class Student:
    """A student ready to predict; built by `load`.

    Arguments:
        manifest: of the bundle.
        model: the bytes of `model.onnx`.
        threads: of onnxruntime; all cores that this process may use by default.
        rows_at_once: more rows than these are predicted piece by piece (by default 1024, or 16 where the task slides a
            window over each); a student that reads a relation takes all.
    """

    def __init__(
        self, manifest: Mapping[str, Any], model: bytes, *, threads: int | None = None, rows_at_once: int | None = None
    ) -> None:
        self.manifest = manifest
        self.fields: Mapping[str, Mapping[str, Any]] = manifest["fields"]
        self.windows = Windows.of(manifest["task"])
        self.rows_at_once = rows_at_once or (1024 if self.windows is None else 16)
        self.session = open_session(model, threads)

    @classmethod
    def load(
        cls, directory: str | os.PathLike[str], *, threads: int | None = None, rows_at_once: int | None = None
    ) -> Student:
        """Read a bundle. Raises `StorageError` for a file that is absent or altered, naming it."""
        manifest = read_manifest(directory)
        model = read_file(directory, manifest, MODEL)
        return cls(manifest, model, threads=threads, rows_at_once=rows_at_once)

    def __call__(self, inputs: Mapping[str, Any] | None = None, /, **fields: Any) -> dict[str, np.ndarray]:
        """Outputs by name, one row per sample, of the fields given as a mapping or as keywords.

        Raises:
            BindingError: a field is missing, or the student is given one that it does not read.
            DataError: a value of another form than the manifest declares.
        """
        arrays = conform({**(inputs or {}), **fields}, self.fields)
        return _joined(self._predicted(arrays), self._rows(arrays))

    def classify(self, inputs: Mapping[str, Any] | None = None, /, **fields: Any) -> dict[str, np.ndarray]:
        """The outputs, and `class_index` and `probability` of the most probable class, `[rows]` or, where each position
        of a sample is classified, `[rows, *positions]`; with one decision per row, `class` too (its name).

        Raises:
            MmkdError: the student's task is no classification; else as a call.
        """
        task = self.manifest["task"]
        if task.get("decision") != "argmax" or not task.get("classes"):
            raise MmkdError(f"this student's task is {task.get('task')}, which has no classes to name")
        arrays = conform({**(inputs or {}), **fields}, self.fields)
        decided = ({**piece, **_decided(piece[task["output"]])} for piece in self._predicted(arrays))
        said = _joined(decided, self._rows(arrays))
        if said["class_index"].ndim == 1:
            said["class"] = np.asarray(task["classes"])[said["class_index"]]
        return said

    def listed(self, inputs: Mapping[str, Any] | None = None, /, **fields: Any) -> dict[str, np.ndarray]:
        """What the student found, a line per thing instead of per sample: columns of equal length, by name and unit.

        For a task whose decision is `rows`: one of its outputs holds, for each sample, a fixed number of things with a
        score, such as boxes. Those whose score reaches the task's threshold are listed; `sample` counts from 0.

        Raises:
            MmkdError: the student's task lists nothing; else as a call.
        """
        task = self.manifest["task"]
        if task.get("decision") != "rows":
            raise MmkdError(f"this student's task is {task.get('task')}, which lists nothing")
        declared = task["rows"]
        things = self(inputs, **fields)[declared["output"]]
        sample, place = np.nonzero(things[..., declared["columns"].index(declared["score"])] >= declared["from"])
        columns = {"sample": sample}
        for number, (name, unit) in enumerate(zip(declared["columns"], declared["units"], strict=True)):
            columns[f"{name} ({unit})" if unit else name] = things[sample, place, number]
        return columns

    def _predicted(self, arrays: dict[str, np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
        """Outputs of a few rows after the other."""
        names = list(self.manifest["outputs"])

        def run(piece: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
            try:
                return dict(zip(names, self.session.run(names, dict(piece)), strict=True))
            except Exception as error:  # onnxruntime's own classes have no common base
                raise MmkdError(f"the student failed on these inputs: {str(error).splitlines()[0]}") from error

        for piece in self._pieces(arrays):
            yield run(piece) if self.windows is None else self.windows(run, piece)

    def _rows(self, arrays: Mapping[str, np.ndarray]) -> int:
        return len(next(arrays[name] for name, field in self.fields.items() if field["kind"] == "sample"))

    def _pieces(self, arrays: dict[str, np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
        rows = self._rows(arrays)
        if any(field["kind"] == "relation" for field in self.fields.values()):
            yield arrays
            return
        for start in range(0, rows, self.rows_at_once):
            yield {name: array[start : start + self.rows_at_once] for name, array in arrays.items()}


def _decided(logits: np.ndarray) -> dict[str, np.ndarray]:
    """The most probable class and its probability; narrow types where there is one per position, for their number."""
    scores = logits.astype(np.float64)
    weights = np.exp(scores - scores.max(1, keepdims=True))
    index, probability = scores.argmax(1), weights.max(1) / weights.sum(1)
    if logits.ndim > 2:
        index, probability = index.astype(np.min_scalar_type(logits.shape[1] - 1)), probability.astype(np.float32)
    return {"class_index": index, "probability": probability}


def _joined(pieces: Iterator[dict[str, np.ndarray]], rows: int) -> dict[str, np.ndarray]:
    """Pieces of `rows` rows one below the other, each copied into its place as it comes: memory holds it once."""
    first, second = next(pieces), next(pieces, None)
    if second is None:
        return first
    joined = {name: np.empty((rows, *value.shape[1:]), value.dtype) for name, value in first.items()}
    start = 0
    for piece in itertools.chain((first, second), pieces):
        end = start + len(next(iter(piece.values())))
        for name, value in piece.items():
            joined[name][start:end] = value
        start = end
    return joined


def open_session(model: bytes, threads: int | None = None) -> Any:
    """An onnxruntime session on the CPU. Raises `MmkdError` where onnxruntime is absent or refuses the model."""
    try:
        import onnxruntime
    except ImportError as error:
        raise MmkdError("onnxruntime is not installed", "pip install onnxruntime, or 'mmkd[deploy]'") from error
    options = onnxruntime.SessionOptions()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    options.intra_op_num_threads = threads or cores
    options.log_severity_level = 3  # errors; its warnings are about its own optimiser
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own classes have no common base
        raise MmkdError(f"onnxruntime cannot load the student: {str(error).splitlines()[0]}") from error
