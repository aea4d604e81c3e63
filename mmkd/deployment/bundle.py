"""A bundle on the disk: written whole or not at all, and never over something that is no bundle."""

from __future__ import annotations

import io
import json
import os
import secrets
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmkd.deployment.runtime import EXAMPLES, FORMAT, MANIFEST, MODEL, VERSION, Student, read_file, seal
from mmkd.errors import StorageError
from mmkd.files import sha256_of_bytes, storage_errors, sync_directory, write_synced


@dataclass(frozen=True)
class Bundle:
    """An exported student.

    Arguments:
        path: its directory.
        manifest: what it reads and says, how it was checked, and the sha256 of its files.
    """

    path: Path
    manifest: Mapping[str, Any]

    @property
    def reads(self) -> tuple[str, ...]:
        """The fields that the student needs, which are the inputs of its graph."""
        return tuple(self.manifest["reads"])

    @property
    def max_abs_difference(self) -> float:
        """Largest difference between onnxruntime and the original in any output, as measured at export."""
        return max(entry["max_abs_difference"] for entry in self.manifest["parity"]["outputs"].values())

    def describe(self) -> str:
        """What the bundle needs and how it was proven, in a few lines."""
        size, checked = self.manifest["sizes"][MODEL], self.manifest["parity"]
        lines = [
            f"bundle   {self.path}",
            f"reads    {', '.join(self.reads)}, and nothing else: these are all inputs of the graph",
            f"gives    {', '.join(self.manifest['outputs'])}",
            f"size     {size / 1000:.1f} kB",
            f"checked  onnxruntime against the original on {checked['rows'][-1]} rows: largest difference"
            f" {self.max_abs_difference:.2g} (allowed {checked['tolerance']:.2g}, of the value where above 1)",
        ]
        return "\n".join([*lines, *(f"note     {note}" for note in self.manifest["warnings"])])

    def load(self, **options: Any) -> Student:
        """The student, ready to predict; options are those of `Student.load`."""
        return Student.load(self.path, **options)


def write_bundle(
    directory: str | os.PathLike[str],
    model: bytes,
    manifest: Mapping[str, Any],
    examples: Mapping[str, np.ndarray] | None = None,
) -> Bundle:
    """Write a bundle beside its place and rename it there.

    An older bundle in that place is replaced; a kill between the two renames leaves it as `.NAME.*.old` beside.

    Arguments:
        directory: the place; absent, empty or a bundle.
        model: the bytes of `model.onnx`.
        manifest: JSON values, without what this function adds: format, version, files, seal.
        examples: rows to check a copy of the bundle with.

    Raises:
        StorageError: something else is in the place, or the disk refuses; the place is as it was.
    """
    path = Path(os.path.realpath(directory))
    check_place(path)
    contents = {MODEL: model}
    if examples is not None:
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **examples)  # type: ignore[arg-type]
        contents[EXAMPLES] = buffer.getvalue()
    files = {name: {"sha256": sha256_of_bytes(data), "bytes": len(data)} for name, data in contents.items()}
    # Through JSON once, so that the seal is over what a reader will find (tuples have become lists).
    whole = json.loads(json.dumps({"format": FORMAT, "version": VERSION, **manifest, "files": files}, allow_nan=False))
    whole["seal"] = seal(whole)
    contents[MANIFEST] = (json.dumps(whole, indent=2, ensure_ascii=False) + "\n").encode()
    mark = f"{os.getpid()}-{secrets.token_hex(4)}"
    temporary, old = (path.with_name(f".{path.name}.{mark}.{kind}") for kind in ("tmp", "old"))
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.mkdir()
            for name, data in contents.items():
                write_synced(temporary / name, data)
            sync_directory(temporary)
            if path.exists():
                os.rename(path, old)
            try:
                os.rename(temporary, path)
            except OSError:
                with suppress(OSError):
                    os.rename(old, path)
                raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        sync_directory(path.parent)
    shutil.rmtree(old, ignore_errors=True)
    return Bundle(Path(directory), whole)  # the place as it was named, not as links resolve it


def check_place(directory: str | os.PathLike[str]) -> None:
    """Raise `StorageError` where a bundle would overwrite something that is no bundle."""
    path = Path(directory)
    with storage_errors(path):
        if not path.exists():
            return
        if not path.is_dir():
            raise StorageError(f"{path} is a file, and a bundle is a directory", "choose another directory")
        found = sorted(entry.name for entry in path.iterdir())
    if foreign := [name for name in found if name not in (MODEL, MANIFEST, EXAMPLES)]:
        raise StorageError(f"{path} holds {foreign[0]}, which is no part of a bundle", "choose another directory")
    if found and not _is_manifest(path / MANIFEST):
        raise StorageError(f"{path} is neither empty nor a bundle of mmkd", "choose another directory")


def _is_manifest(path: Path) -> bool:
    try:
        return json.loads(path.read_bytes())["format"] == FORMAT
    except (OSError, ValueError, KeyError, TypeError):
        return False


def read_examples(
    directory: str | os.PathLike[str], manifest: Mapping[str, Any]
) -> dict[str, dict[str, np.ndarray]] | None:
    """The rows stored with a bundle as `{"inputs": ..., "outputs": ...}`; None where it has none."""
    if EXAMPLES not in manifest["files"]:
        return None
    with np.load(io.BytesIO(read_file(directory, manifest, EXAMPLES)), allow_pickle=False) as stored:
        parts: dict[str, dict[str, np.ndarray]] = {"inputs": {}, "outputs": {}}
        for key in stored.files:
            part, _, name = key.partition("/")
            parts[part][name] = stored[key]
    return parts
