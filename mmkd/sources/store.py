"""Where the cache keeps a source's signals: one directory per content key, one memory-mapped file per signal.

    <root>/<key>/manifest.json    arrays (shape per row, dtype, file, size, sha256), rows, what was cached
    <root>/<key>/ids.bin          int64, the global row id of every stored row
    <root>/<key>/<n>.bin          one signal, row after row, little-endian bytes of its torch dtype

A store is filled as `<key>.tmp-<pid>-...` and renamed when it is whole, so a directory named by a key is complete.
"""

from __future__ import annotations

import errno
import json
import logging
import operator
import os
import secrets
import shutil
import warnings
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from math import prod
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from mmkd import files
from mmkd.errors import StorageError
from mmkd.files import storage_errors

FORMAT = 1
# Stores of fewer bytes are hashed at every opening, which takes a fraction of a second.
CHECKED_ON_OPEN = 256 * 2**20

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Array:
    """One signal in a store: its shape per row, its dtype and its file."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    file: str

    @property
    def row_bytes(self) -> int:
        return prod(self.shape) * self.dtype.itemsize

    def __str__(self) -> str:
        return f"{list(self.shape)} {str(self.dtype).removeprefix('torch.')}"


class SignalStore:
    """A complete store, open for reading. `SignalStore.create` fills one, `SignalStore.open` opens one.

    Attributes:
        path: its directory.
        ids: LongTensor [rows], the global row ids stored, in stored order.
        arrays: the signals by name.
        bytes: the size of all signals and ids.
        description: what was cached, in words.
    """

    def __init__(self, path: Path, manifest: Mapping[str, Any], *, verify: bool) -> None:
        self.path = path
        try:
            self.description: str = manifest["description"]
            self.arrays = {name: _array_of(entry) for name, entry in manifest["arrays"].items()}
            self.rows = operator.index(manifest["rows"])
            sums: dict[str, str] = {entry["file"]: entry["sha256"] for entry in manifest["arrays"].values()}
            sums["ids.bin"] = manifest["ids"]["sha256"]
            sizes = {array.file: array.row_bytes * self.rows for array in self.arrays.values()}
            sizes["ids.bin"] = 8 * self.rows
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise _damaged(path / "manifest.json", f"lacks an entry or has a wrong one ({error!r})") from error
        self.bytes = sum(sizes.values())
        self._check(sizes, sums if verify or self.bytes < CHECKED_ON_OPEN else {})
        self.ids = torch.from_numpy(np.fromfile(path / "ids.bin", dtype=np.int64))
        self._places = _Places(self.ids, f"the cache {path}")
        self._maps = {name: _map(path / array.file, self.rows, array.row_bytes) for name, array in self.arrays.items()}

    @staticmethod
    def key(parts: Mapping[str, Any]) -> str:
        """The content key of a store: sha256 of the canonical JSON of all that its signals depend on.

        Raises:
            TypeError, ValueError: `parts` is not JSON, or holds a non-finite float.
        """
        return files.sha256_of_bytes(_canonical(parts).encode())

    @staticmethod
    def create(
        root: str | os.PathLike[str],
        key: str,
        arrays: Mapping[str, tuple[tuple[int, ...], torch.dtype]],
        rows: int,
        description: str,
        *,
        ids: Tensor | None = None,
        parts: Mapping[str, Any] | None = None,
    ) -> SignalWriter:
        """Announces a store's size, reserves it on the disk and gives its writer, a context manager.

        Arguments:
            root: the cache's directory; it is made if absent.
            key: of `SignalStore.key`.
            arrays: shape per row and dtype of every signal, by name.
            rows: how many rows it will hold.
            description: what is cached, in words; for the log and for people who look into the directory.
            ids: LongTensor [rows], the global ids of the rows; 0 to rows - 1 if not given.
            parts: what the key was made of, kept in the manifest.

        Raises:
            StorageError: the disk lacks the space, or refuses.
            ValueError: `ids` has another length or dtype, or a doublet; or `parts` do not make `key`.
        """
        return SignalWriter(Path(root), key, arrays, rows, description, ids, parts)

    @classmethod
    def open(
        cls,
        root: str | os.PathLike[str],
        key: str,
        parts: Mapping[str, Any] | None = None,
        *,
        verify: bool = False,
    ) -> SignalStore | None:
        """Opens the store of a key, or gives None if there is none.

        The files' sizes are always compared with the manifest; their sha256 too where the store is smaller than 256 MiB
        or `verify` is set.

        Raises:
            StorageError: a file is missing, damaged or of another size; or the manifest is for another key or parts.
        """
        path = Path(root) / key
        if not path.exists():
            return None
        try:
            manifest = files.read_json(path / "manifest.json")
        except StorageError as error:
            raise StorageError(error.cause, _delete(path)) from error
        if not isinstance(manifest, dict):
            raise _damaged(path / "manifest.json", "is no manifest")
        stored = manifest.get("parts")
        fault = ""
        if manifest.get("format") != FORMAT:
            fault = f"has format {manifest.get('format')}, and this mmkd reads format {FORMAT}"
        elif manifest.get("key") != key:
            fault = f"is for the key {manifest.get('key')}"
        elif parts is not None and isinstance(stored, dict) and _canonical(parts) != _canonical(stored):
            names = sorted({*parts, *stored})
            names = [name for name in names if _canonical(parts.get(name)) != _canonical(stored.get(name))]
            fault = f"was made for other parts: {', '.join(names)}"
        if fault:
            raise _damaged(path / "manifest.json", fault)
        with storage_errors(path):
            return cls(path, manifest, verify=verify)

    def __len__(self) -> int:
        return self.rows

    def read(self, index: Tensor) -> dict[str, Tensor]:
        """The signals of some rows, in the order asked for, as new tensors on the CPU.

        Arguments:
            index: LongTensor [B] of global row ids, on any device.

        Raises:
            StorageError: an id is not in the store.
        """
        places = self._places.of(index)
        return {name: _typed(self._maps[name].index_select(0, places), array) for name, array in self.arrays.items()}

    def read_all(self) -> dict[str, Tensor]:
        """The signals of all rows in stored order (that of `ids`), as new tensors in memory."""
        return {name: _typed(self._maps[name].clone(), array) for name, array in self.arrays.items()}

    def _check(self, sizes: Mapping[str, int], sums: Mapping[str, str]) -> None:
        for file, size in sizes.items():
            try:
                present = os.path.getsize(self.path / file)
            except FileNotFoundError as error:
                raise _damaged(self.path / file, "is missing") from error
            if present != size:
                raise _damaged(self.path / file, f"has {present} bytes where {size} were written")
        for file, expected in sums.items():
            if files.sha256_of(self.path / file) != expected:
                raise _damaged(self.path / file, "has another sha256 than when it was written")


class SignalWriter:
    """Fills a store. Leaving its block by an error, or without `commit`, removes what was written.

    Attributes:
        bytes: the size that the store will have.
    """

    def __init__(
        self,
        root: Path,
        key: str,
        arrays: Mapping[str, tuple[tuple[int, ...], torch.dtype]],
        rows: int,
        description: str,
        ids: Tensor | None,
        parts: Mapping[str, Any] | None,
    ) -> None:
        if parts is not None and SignalStore.key(parts) != key:
            raise ValueError(f"the parts given do not make the key {key}")
        ids = torch.arange(rows) if ids is None else ids.detach().cpu().contiguous()
        if ids.dtype != torch.int64 or ids.shape != (rows,):
            raise ValueError(f"ids is {list(ids.shape)} {ids.dtype}, but must be [{rows}] torch.int64")
        self.root, self.key, self.rows, self.description, self.parts = root, key, rows, description, parts
        named = [(name, tuple(shape), dtype) for name, (shape, dtype) in arrays.items()]
        self.arrays = {name: Array(shape, dtype, f"{number}.bin") for number, (name, shape, dtype) in enumerate(named)}
        self.bytes = rows * (8 + sum(array.row_bytes for array in self.arrays.values()))
        self._ids, self._places = ids, _Places(ids, f"the cache being written in {root}")
        self._written = torch.zeros(rows, dtype=torch.bool)
        self._open_files = ExitStack()
        self._announce()
        self.path = self._make_directory()
        try:
            with storage_errors(self.path):
                files.write_synced(self.path / "ids.bin", ids.numpy().tobytes())
                self._handles = {name: self._allocate(array) for name, array in self.arrays.items()}
        except BaseException:
            self.discard()
            raise

    def write(self, start_or_index: int | Tensor, signals: Mapping[str, Tensor]) -> None:
        """Writes the signals of some rows; rows may come in any order, and again.

        Arguments:
            start_or_index: the position, in stored order, of the first of B successive rows; or a LongTensor [B] of
                global row ids.
            signals: every array of the store, Tensor [B, ...] of its dtype, on any device.

        Raises:
            StorageError: a signal is missing, unknown, or of another shape or dtype than laid out; an id or position is
                outside the store; or the disk refuses.
        """
        if set(signals) != set(self.arrays):
            laid_out, given = sorted(self.arrays), sorted(signals)
            raise StorageError(f"the cache was laid out for {laid_out}, but the source gave {given}")
        if isinstance(start_or_index, Tensor):
            places = self._places.of(start_or_index)
        else:
            end = start_or_index + max((_count(signal) for signal in signals.values()), default=0)
            if start_or_index < 0 or end > self.rows:
                raise StorageError(f"rows {start_or_index} to {end - 1} are outside the {self.rows} of the cache")
            places = torch.arange(start_or_index, end)
        for name, array in self.arrays.items():
            self._write_array(name, array, places, signals[name])
        self._written[places] = True

    def commit(self) -> SignalStore:
        """Makes the store durable and gives it its name; if another process was first, its store stays and ours goes.

        Raises:
            StorageError: rows were never written, or the disk refuses.
        """
        try:
            with storage_errors(self.path):
                return self._commit()
        except BaseException:
            self.discard()
            raise

    def discard(self) -> None:
        """Removes what was written. Does nothing after `commit`."""
        self._open_files.close()
        shutil.rmtree(self.path, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.discard()

    def _announce(self) -> None:
        listed = ", ".join(f"{name} {array}" for name, array in self.arrays.items())
        size = _size(self.bytes)
        _log.info("caching %s: %s for %d rows (%s) in %s", self.description, size, self.rows, listed, self.root)
        with storage_errors(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            self._remove_leftovers()
            free = shutil.disk_usage(self.root).free
        if free < self.bytes:
            raise StorageError(
                f"the cache of {self.description} needs {size}, but {self.root} has {_size(free)} free",
                "free some space, choose another cache directory, or run without the cache",
            )

    def _make_directory(self) -> Path:
        """A directory of our own, locked so that others can tell it from what a killed process left."""
        for attempt in range(5):
            path = self.root / f"{self.key}.tmp-{os.getpid()}-{secrets.token_hex(4)}"
            with storage_errors(path):
                path.mkdir()
                try:
                    self._open_files.enter_context(files.lock(path))
                    return path
                except (StorageError, FileNotFoundError):  # another process took it for a leftover just now
                    shutil.rmtree(path, ignore_errors=True)
                    if attempt == 4:
                        raise
        raise AssertionError("unreachable")

    def _remove_leftovers(self) -> None:
        """Removes what killed processes left of this key; what a living one writes is locked."""
        for path in self.root.glob(f"{self.key}.tmp-*"):
            with suppress(StorageError, OSError), files.lock(path):
                shutil.rmtree(path)

    def _allocate(self, array: Array) -> int:
        size = self.rows * array.row_bytes
        handle = os.open(self.path / array.file, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        self._open_files.callback(os.close, handle)
        os.ftruncate(handle, size)
        if size and hasattr(os, "posix_fallocate"):  # really reserved: a disk that is too full says so now
            try:
                os.posix_fallocate(handle, 0, size)
            except OSError as error:
                if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):  # file systems that cannot reserve
                    raise
        return handle

    def _write_array(self, name: str, array: Array, places: Tensor, signal: Tensor) -> None:
        if signal.shape != (len(places), *array.shape) or signal.dtype != array.dtype:
            given = Array(tuple(signal.shape[1:]), signal.dtype, "")
            raise StorageError(
                f"the signal {name} is {given} for {_count(signal)} rows, but the cache was laid out for {array} "
                f"and {len(places)} rows are being written",
                "the source must give the same shape and dtype for every batch to be cached",
            )
        if not len(places) or not array.row_bytes:
            return
        data = signal.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data
        handle, size = self._handles[name], array.row_bytes
        # Runs of successive rows are written in one go; a batch in row order is one run.
        breaks = (torch.nonzero(places[1:] != places[:-1] + 1).flatten() + 1).tolist()
        with storage_errors(self.path):
            for begin, end in zip([0, *breaks], [*breaks, len(places)], strict=True):
                _write_at(handle, data[begin * size : end * size], int(places[begin]) * size)

    def _commit(self) -> SignalStore:
        missing = torch.nonzero(~self._written).flatten()
        if len(missing):
            raise StorageError(
                f"{len(missing)} of {self.rows} rows of the cache were never written, the first with id "
                f"{int(self._ids[missing[0]])}",
                "the source must give signals for every row to be cached",
            )
        arrays = {}
        for name, array in self.arrays.items():
            files.sync_file(self.path / array.file)
            dtype = str(array.dtype).removeprefix("torch.")
            entry = {"shape": list(array.shape), "dtype": dtype, "file": array.file}
            arrays[name] = entry | {"sha256": files.sha256_of(self.path / array.file)}
        manifest = {
            "format": FORMAT,
            "key": self.key,
            "description": self.description,
            "rows": self.rows,
            "arrays": arrays,
            "ids": {"file": "ids.bin", "sha256": files.sha256_of(self.path / "ids.bin")},
            "parts": None if self.parts is None else json.loads(_canonical(self.parts)),
        }
        files.write_synced(self.path / "manifest.json", (json.dumps(manifest, indent=2) + "\n").encode())
        files.sync_directory(self.path)
        final = self.root / self.key
        try:
            os.rename(self.path, final)  # under our lock still: nobody takes it for a leftover
        except OSError:
            if not final.exists():
                raise
        else:
            for name in (".lock.holder", ".lock"):
                (final / name).unlink()
            files.sync_directory(self.root)
        self.discard()  # what another process, being first, has made superfluous
        self._remove_leftovers()
        store = SignalStore.open(self.root, self.key, self.parts)
        if store is None:
            raise StorageError(f"{final} vanished while it was written", "let nothing delete the cache during a run")
        return store


def _count(signal: Tensor) -> int:
    return signal.shape[0] if signal.ndim else 0


class _Places:
    """Global row ids to positions in a store."""

    def __init__(self, ids: Tensor, where: str) -> None:
        self.where = where
        self.count = len(ids)
        self.identity = bool(torch.equal(ids, torch.arange(len(ids))))
        self.sorted, self.order = torch.sort(ids)
        if bool((self.sorted[1:] == self.sorted[:-1]).any()):
            raise ValueError("ids names a row twice")

    def of(self, index: Tensor) -> Tensor:
        """Positions of the ids in `index`.

        Raises:
            StorageError: an id is not stored.
            ValueError: `index` is no LongTensor [B].
        """
        if index.dtype != torch.int64 or index.ndim != 1:
            raise ValueError(f"index is {list(index.shape)} {index.dtype}, but must be [B] torch.int64")
        index = index.detach().cpu()
        if self.identity:
            known, places = (index >= 0) & (index < self.count), index
        elif self.count:
            found = torch.searchsorted(self.sorted, index).clamp_max(self.count - 1)
            known, places = self.sorted[found] == index, self.order[found]
        else:
            known, places = torch.zeros_like(index, dtype=torch.bool), index
        if not bool(known.all()):
            unknown = index[~known]
            listed = ", ".join(map(str, unknown[:5].tolist())) + (", ..." if len(unknown) > 5 else "")
            raise StorageError(
                f"{self.where} has no signals for {len(unknown)} of the {len(index)} rows asked for (ids {listed})",
                "cache the rows that are trained on, or use the live source",
            )
        return places


def _array_of(entry: Mapping[str, Any]) -> Array:
    dtype = getattr(torch, entry["dtype"])
    if not isinstance(dtype, torch.dtype):
        raise TypeError(f"{entry['dtype']} is no dtype")
    return Array(tuple(int(size) for size in entry["shape"]), dtype, Path(entry["file"]).name)


def _map(path: Path, rows: int, row_bytes: int) -> Tensor:
    """uint8 [rows, row_bytes] over the file; read-only, never handed out."""
    if not rows * row_bytes:
        return torch.empty(rows, row_bytes, dtype=torch.uint8)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*not writable.*")
        return torch.from_numpy(np.memmap(path, dtype=np.uint8, mode="r", shape=(rows, row_bytes)))


def _typed(data: Tensor, array: Array) -> Tensor:
    """Tensor [B, ...] of the array's dtype and shape from its bytes [B, row_bytes]."""
    if not data.numel():
        return torch.empty(len(data), *array.shape, dtype=array.dtype)
    return data.view(array.dtype).reshape(len(data), *array.shape)


def _write_at(handle: int, left: memoryview, offset: int) -> None:
    while left:
        written = os.pwrite(handle, left, offset)
        left, offset = left[written:], offset + written


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _damaged(path: Path, reason: str) -> StorageError:
    return StorageError(f"{path} {reason}", _delete(path.parent))


def _delete(directory: Path) -> str:
    return f"delete the directory {directory} and it is made anew"


def _size(count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
