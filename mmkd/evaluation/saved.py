"""Weights and records of an arm on disk: written whole by rank 0, read with the damage named."""

from __future__ import annotations

import io
import zipfile
import zlib
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.torch import load, save

from mmkd import distributed
from mmkd.binding import Bound
from mmkd.errors import StorageError
from mmkd.files import sha256_of_bytes, write_atomic
from mmkd.tasks.base import Records

_WAY_OUT = "delete the arm's folder and run again"


def save_weights(model: Bound, path: Path) -> None:
    """Weights of the raw module, under the keys that its author gave them, and their sha256 beside them."""
    if distributed.rank():
        return
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in model.module.state_dict().items()}
    data = save(tensors)
    write_atomic(_sum_of(path), sha256_of_bytes(data) + "\n")
    write_atomic(path, data)  # last: its presence says that the model is done


def load_weights(model: Bound, path: Path) -> None:
    """Read weights. Raises `StorageError` naming the file where it is absent, damaged or of another model."""
    try:
        data = path.read_bytes()
        if sha256_of_bytes(data) != _sum_of(path).read_text(encoding="ascii").strip():
            raise StorageError(f"weights {path} are damaged: their sha256 is not the one written with them", _WAY_OUT)
        model.module.load_state_dict(load(data))
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise StorageError(f"weights {path} cannot be loaded ({str(error).splitlines()[0]})", _WAY_OUT) from error


def save_records(path: Path, records: Records) -> None:
    """Arrays with one row per sample, as an `.npz` without pickles."""
    if distributed.rank():
        return
    buffer = io.BytesIO()
    np.savez(buffer, **dict(records))  # type: ignore[arg-type]
    write_atomic(path, buffer.getvalue())


def load_records(path: Path) -> Records:
    """What `save_records` wrote. Raises `StorageError` naming the file where it is absent or damaged."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise StorageError(f"records {path} cannot be read ({error})", _WAY_OUT) from error


def _sum_of(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")
