"""Graphs in the npz layout of Shchur et al. 2018 (gnn-benchmark), which CPF, GLNN and NOSMOG use."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mmkd.errors import DataError
from mmkd_graph.graph import Graph

_MATRIX = ("data", "indices", "indptr", "shape")
_NEEDED = (*(f"{name}_{part}" for name in ("adj", "attr") for part in _MATRIX), "labels")
_DENSE = "attr_matrix"


def read_npz(path: Path) -> Graph:
    """Read adjacency, features, labels and, where they are plain strings, class names. Nothing is unpickled.

    Arguments:
        path: a file with the arrays `adj_*` and `attr_*` (parts of a CSR matrix: data, indices, indptr, shape), or
            `attr_matrix` in place of the latter, `labels` and perhaps `class_names`; others are not read. Or a zip
            archive of one such file.

    Raises:
        DataError: the file is absent, truncated, damaged, of another layout, or contradicts itself.
    """
    arrays = _arrays(path)
    needed = [key for key in _NEEDED if not (_DENSE in arrays and key.startswith("attr_"))]
    if missing := [key for key in needed if key not in arrays]:
        raise DataError(f"{path} lacks the array {', '.join(missing)}", f"a graph file has {', '.join(_NEEDED)}")
    adjacency, features = _matrix(arrays, "adj", path), _features(arrays, path)
    labels = arrays["labels"]
    nodes = adjacency.shape[0]
    if not (adjacency.shape[1] == features.shape[0] == nodes > 0 and labels.shape == (nodes,)):
        shapes = f"adjacency {adjacency.shape}, features {features.shape}, labels {labels.shape}"
        raise DataError(f"{path} contradicts itself: {shapes}")
    if labels.dtype.kind not in "iu" or labels.min() < 0:
        raise DataError(f"{path}: labels must be integers from 0 on, not {labels.dtype} from {labels.min()}")
    count = int(labels.max()) + 1
    names = arrays.get("class_names", np.arange(count)).astype(str).tolist()
    if len(names) < count:
        raise DataError(f"{path} names {len(names)} classes and has labels up to {count - 1}")
    return Graph(features, adjacency, labels.astype(np.int64), tuple(names))


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays that are read, by name; class names that would need a pickle are left out."""
    if not path.is_file():
        raise DataError(f"there is no file {path}")
    found = {}
    try:
        with path.open("rb") as raw, np.load(_unpacked(raw), allow_pickle=False) as file:
            for key in (*_NEEDED, _DENSE, "class_names"):
                if key in file.files:
                    try:
                        found[key] = file[key]
                    except ValueError as error:
                        if key != "class_names" or "pickle" not in str(error):
                            raise
    except Exception as error:  # damaged bytes make zipfile, zlib and NumPy raise some ten different ones
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise DataError(f"{path} cannot be read as npz ({reason})", "get the file again from its source") from error
    return found


def _unpacked(raw: IO[bytes]) -> IO[bytes]:
    """The npz file in an archive of one; anything else as it is."""
    if not zipfile.is_zipfile(raw):
        raw.seek(0)
        return raw
    with zipfile.ZipFile(raw) as archive:
        inner = [name for name in archive.namelist() if name.endswith(".npz")]
        if len(inner) == 1:
            return io.BytesIO(archive.read(inner[0]))
    raw.seek(0)
    return raw


def _features(arrays: dict[str, NDArray[Any]], path: Path) -> NDArray[np.float32]:
    if _DENSE not in arrays:
        return _matrix(arrays, "attr", path).toarray().astype(np.float32)
    dense = arrays[_DENSE]
    if dense.ndim != 2 or dense.dtype.kind not in "biuf":
        raise DataError(f"{path}: {_DENSE} is no matrix of numbers, but {dense.dtype} of shape {dense.shape}")
    return dense.astype(np.float32)


def _matrix(arrays: dict[str, NDArray[Any]], name: str, path: Path) -> sparse.csr_array:
    data, indices, indptr, shape = (arrays[f"{name}_{part}"] for part in _MATRIX)
    try:
        if indices.dtype.kind != "i" or indptr.dtype.kind != "i" or data.dtype.kind not in "biuf":
            raise TypeError(f"types {data.dtype}, {indices.dtype}, {indptr.dtype}")
        matrix = sparse.csr_array((data, indices, indptr), shape=tuple(int(size) for size in shape))
        matrix.check_format(full_check=True)
    except (ValueError, TypeError) as error:
        raise DataError(f"{path}: {name}_* are not the parts of a CSR matrix ({error})") from error
    return matrix
