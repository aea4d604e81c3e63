"""Files that survive a crash: whole or absent, never half; and errors of the disk told in one line.

Everything that mmkd keeps (results, checkpoints, the cache) is written through this module, which needs the standard
library and filelock only.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from mmkd.errors import StorageError

_CAUSES = {
    errno.ENOSPC: ("the disk is full", "free some space or choose another directory, then run the command again"),
    errno.EDQUOT: ("the disk quota is used up", "free some space or choose another directory, then run again"),
    errno.EFBIG: ("the file would exceed the size limit", "raise the limit (ulimit -f) or choose another file system"),
    errno.EROFS: ("the file system is read-only", "choose a directory that can be written"),
    errno.EACCES: ("permission is denied", "change the permissions or choose another directory"),
    errno.EPERM: ("the operation is not permitted", "change the permissions or choose another directory"),
    errno.EIO: ("the disk reports an input/output error", "check the disk, or choose another one"),
    errno.EEXIST: ("a file of that name is in the way", "remove it or choose another directory"),
    errno.EISDIR: ("it is a directory, not a file", "choose another path"),
    errno.ENOTDIR: ("a part of the path is a file, not a directory", "choose another directory"),
    errno.ENAMETOOLONG: ("the path is too long", "choose a shorter directory or name"),
}


@contextmanager
def storage_errors(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turns what a disk refuses inside the block into one line.

    Arguments:
        path: the file or directory that the block works on, named in the message.

    Raises:
        StorageError: for a disk that is full, over quota, read-only, forbidden or failing, or a path that cannot be.
            Other errors (a missing file among them) pass unchanged.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _CAUSES:
            raise
        reason, way_out = _CAUSES[error.errno]
        raise StorageError(f"cannot use {os.fspath(path)}: {reason}", way_out) from error


def sync_directory(path: str | os.PathLike[str]) -> None:
    """Makes the names in a directory durable (nothing to do on Windows).

    Raises:
        OSError: the directory cannot be opened or synced.
    """
    if os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # file systems that cannot sync a directory
            raise
    finally:
        os.close(handle)


def sync_file(path: str | os.PathLike[str]) -> None:
    """Makes the content of a file durable; for `metrics.jsonl` before a checkpoint records its length.

    Raises:
        StorageError: the disk refuses.
    """
    with storage_errors(path), open(path, "rb+") as file:
        os.fsync(file.fileno())


def write_synced(path: str | os.PathLike[str], data: bytes) -> None:
    """Writes a new file and makes its content durable; for files whose directory is renamed into place as a whole.

    Raises:
        FileExistsError: the file is there already.
        OSError: the disk refuses; use within `storage_errors`.
    """
    with open(path, "xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def write_atomic(path: str | os.PathLike[str], data: bytes | str) -> None:
    """Writes or replaces a file so that a reader, and a crash at any moment, sees the old content or the new one.

    Missing parent directories are made. A killed process may leave a hidden `.NAME.*.tmp` beside it, never to be read.

    Raises:
        StorageError: the disk refuses; the old file is untouched and no temporary file stays.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            write_synced(temporary, data.encode() if isinstance(data, str) else data)
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
        sync_directory(path.parent)


def finite(value: Any) -> Any:
    """A copy of JSON-able `value` in which NaN and infinities, which JSON does not know, are None."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Writes `value` as JSON that a person can read: keys in the given order, non-finite floats as null.

    Raises:
        StorageError: the disk refuses.
        TypeError: `value` holds something that JSON cannot.
    """
    write_atomic(path, json.dumps(finite(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: str | os.PathLike[str]) -> Any:
    """Reads a JSON file.

    Raises:
        StorageError: the file is absent, cannot be read, or is not JSON (named with the place of the first fault).
    """
    name = os.fspath(path)
    try:
        with storage_errors(path):
            return json.loads(Path(path).read_bytes().decode())
    except FileNotFoundError as error:
        raise StorageError(f"{name} is absent", "check the path, or run the command that writes it") from error
    except (ValueError, RecursionError) as error:
        raise StorageError(f"{name} is corrupt: not JSON ({error})", "delete it, or restore it from a copy") from error


def sha256_of_bytes(data: bytes | bytearray | memoryview) -> str:
    """Hexadecimal SHA-256 of bytes in memory."""
    return hashlib.sha256(data).hexdigest()


def sha256_of(path: str | os.PathLike[str]) -> str:
    """Hexadecimal SHA-256 of a file, read in pieces.

    Raises:
        OSError: the file is absent or cannot be read.
    """
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def append_line(path: str | os.PathLike[str], text: str) -> int:
    """Appends one line to a log such as `metrics.jsonl`, whole or not at all.

    The line reaches the operating system, so it survives the process; `sync_file` makes it survive a power cut.

    Returns:
        The length of the file in bytes after the line, which a checkpoint stores and `truncate_to` goes back to.

    Raises:
        StorageError: the disk refuses; the file keeps its earlier lines and gets no half line.
        ValueError: `text` is more than one line.
    """
    if "\n" in text:
        raise ValueError("append_line takes one line without a line break")
    data = memoryview(f"{text}\n".encode())
    with storage_errors(path), open(path, "ab", buffering=0) as file:
        before = file.seek(0, os.SEEK_END)
        written = 0
        try:
            while written < len(data):
                written += file.write(data[written:])
        except BaseException:
            os.ftruncate(file.fileno(), before)
            raise
        return before + len(data)


def truncate_to(path: str | os.PathLike[str], byte_length: int) -> None:
    """Drops what was appended to a log after a checkpoint; an absent file counts as empty.

    Raises:
        StorageError: the file is shorter than `byte_length`, so lines that the checkpoint counts on are lost; or the
            disk refuses.
    """
    with storage_errors(path):
        present = os.path.getsize(path) if os.path.exists(path) else 0
        if present < byte_length:
            raise StorageError(
                f"{os.fspath(path)} has {present} bytes where the checkpoint recorded {byte_length}: lines are lost",
                "restore the file from a copy, or start again in a new directory",
            )
        if present > byte_length:
            os.truncate(path, byte_length)
            sync_file(path)


@contextmanager
def lock(path: str | os.PathLike[str]) -> Iterator[None]:
    """Holds a directory for this process while the block runs; does not wait.

    The operating system drops the lock when its holder ends, however it ends, so a killed process blocks nobody. In the
    directory the file `.lock` carries the lock and `.lock.holder` says whose it is.

    Arguments:
        path: the directory; it is made if absent.

    Raises:
        StorageError: another process (or another `lock` in this one) holds the directory, and is named by pid and host;
            or the disk refuses.
    """
    directory = Path(path)
    holder = directory / ".lock.holder"
    with storage_errors(directory):
        directory.mkdir(parents=True, exist_ok=True)
        held = FileLock(directory / ".lock")
        try:
            held.acquire(timeout=0)
        except Timeout:
            raise StorageError(
                f"{directory} is in use by {_holder_of(holder)}",
                "wait until it ends, stop it, or choose another directory",
            ) from None
    try:
        with storage_errors(directory):
            # Not durable on purpose: the note is only read while its writer lives.
            holder.write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}))
        yield
    finally:
        with suppress(OSError):
            holder.unlink()
        held.release()


def _holder_of(note: Path) -> str:
    try:
        found = json.loads(note.read_text())
        return f"process {int(found['pid'])} on {found['host']}"
    except (OSError, ValueError, TypeError, KeyError):
        return "another process"
