"""A data set written to disk as plain arrays: what `Dataset.make` does unless a data set has a format of its own.

`dataset.json` declares the fields as a bundle's manifest does; `<field>.npy` holds one array per value (of a nested
value one per leaf, of a sparse one its parts), `groups.npy` the independent units, and `split-0.npz` the parts of seed
0, where the data set defines a split.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmkd.data.datasets import Dataset, Split
from mmkd.errors import DataError
from mmkd.files import storage_errors, write_atomic, write_json
from mmkd.nested import named_tensors, strided_parts


def write(dataset: Dataset, folder: Path, name: str) -> list[Path]:
    """Write a data set into a folder, which is made.

    Arguments:
        dataset: of any kind whose samples have one size.
        folder: new or empty.
        name: what `dataset.json` calls it.

    Returns:
        The files, `dataset.json` last.

    Raises `DataError` where samples differ in size, or the folder holds something already.
    """
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise DataError(f"{folder} is not empty", "name a new folder")
    files: dict[str, list[str]] = {}
    for field, value in {**dataset.samples, **dataset.constants, **dataset.relations}.items():
        for place, tensor in named_tensors(field, value):
            parts = strided_parts(tensor.detach())
            for number, part in enumerate(parts):
                stem = f"{place}.{number}" if len(parts) > 1 else place
                files.setdefault(field, []).append(_save(folder, stem, part.cpu().numpy()))
    if lazy := [
        field for field, declared in dataset.fields.items() if declared.kind == "sample" and field not in files
    ]:
        for field, names in _write_lazily(dataset, folder, lazy).items():
            files[field] = names
    others = []
    if dataset.groups is not None:
        others.append(_save(folder, "groups", dataset.groups.cpu().numpy()))
    if type(dataset).split is not Dataset.split:
        others.append(_save_split(folder, dataset.split(0)))
    declared: dict[str, Any] = {
        "format": 1,
        "name": name,
        "rows": len(dataset),
        "unit": dataset.unit,
        "content": dataset.content_hash(),
        "fields": {field: {**dataset.fields[field].manifest(), "files": files[field]} for field in dataset.fields},
    }
    write_json(folder / "dataset.json", declared)
    written = [file for names in files.values() for file in names]
    return [folder / file for file in [*written, *others, "dataset.json"]]


def _write_lazily(dataset: Dataset, folder: Path, fields: list[str]) -> dict[str, list[str]]:
    """Sample fields of a lazy data set, row by row: nothing is held in memory but one row."""
    arrays: dict[str, Any] = {}
    files: dict[str, list[str]] = {}
    for row in range(len(dataset)):
        sample: Mapping[str, Any] = dataset[row]  # type: ignore[index]
        for field in fields:
            held = sample[field] if isinstance(sample[field], Mapping) else torch.as_tensor(sample[field])
            for place, tensor in named_tensors(field, held):
                value = tensor.cpu().numpy()
                if place not in arrays:
                    file = f"{_stem(place)}.npy"
                    shape = (len(dataset), *value.shape)
                    with storage_errors(folder / file):
                        arrays[place] = np.lib.format.open_memmap(folder / file, "w+", value.dtype, shape)
                    files.setdefault(field, []).append(file)
                if arrays[place].shape[1:] != value.shape:
                    raise DataError(
                        f"samples of '{place}' differ in size, so they make no array",
                        f"{type(dataset).__name__} must override `make` and write files of its own",
                    )
                arrays[place][row] = value
    for array in arrays.values():
        array.flush()
    return files


def _save_split(folder: Path, split: Split) -> str:
    parts = {"labelled": split.labelled, "unlabelled": split.unlabelled, "valid": split.valid, "hidden": split.hidden}
    parts |= {f"test.{part}": rows for part, rows in split.test.items()}
    buffer = io.BytesIO()
    np.savez(buffer, **{part: rows.cpu().numpy() for part, rows in parts.items()})  # type: ignore[arg-type]
    write_atomic(folder / "split-0.npz", buffer.getvalue())
    return "split-0.npz"


def _save(folder: Path, stem: str, array: np.ndarray | Tensor) -> str:
    buffer = io.BytesIO()
    np.save(buffer, np.asarray(array), allow_pickle=False)
    write_atomic(folder / f"{_stem(stem)}.npy", buffer.getvalue())
    return f"{_stem(stem)}.npy"


def _stem(place: str) -> str:
    """`x_dict['paper']` as `x_dict.paper`."""
    return re.sub(r"[^\w.-]+", "-", re.sub(r"\[[\"'(]*(.*?)[\"')]*\]", r".\1", place)).strip("-")
