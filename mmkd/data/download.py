"""Files of data sets: found in the data root, verified by sha256, downloaded when asked for and at no other time."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mmkd.data.root import VARIABLE, data_root
from mmkd.errors import DataError
from mmkd.files import storage_errors


@dataclass(frozen=True)
class RemoteFile:
    """One file of a data set and where it truly comes from.

    Arguments:
        url: the publisher's address, pinned to a version where it has one.
        sha256: hex digest of the content.
        path: place below the data root, with `/`, e.g. `planetoid/cora/raw/ind.cora.x`.
    """

    url: str
    sha256: str
    path: str


def fetch(files: Sequence[RemoteFile], name: str, *, download: bool = False) -> list[Path]:
    """The files of a data set, every one verified.

    Arguments:
        files: what the data set consists of.
        name: the data set's registered name, e.g. `graph/cora`; errors say it.
        download: fetch what is absent, and fetch again what is corrupt. Without it nothing touches the network.

    Returns:
        The files' places, in the order of `files`.

    Raises:
        DataError: a file is absent or corrupt, or the download fails or brings another content.
        StorageError: the data root cannot be written.
    """
    root = data_root()
    places = [root / file.path for file in files]
    absent = [place for place in places if not place.is_file()]
    if absent and not download:
        raise DataError(
            f"data set {name} is not on this machine",
            f"run `mmkd data get {name}`, or point {VARIABLE} at a folder that holds {_listed(absent, root)}",
        )
    for file, place in zip(files, places, strict=True):
        if download and (not place.is_file() or _sha256(place) != file.sha256):
            _retrieve(file, place, name)
        verify(place, file.sha256, name)
    return places


def verify(place: Path, sha256: str, name: str) -> None:
    """Raise `DataError`, naming file and hashes, unless the file at `place` has the content it should have."""
    found = _sha256(place)
    if found != sha256:
        raise DataError(
            f"{place} is corrupt or another version: its sha256 is {found}, and data set {name} has {sha256}",
            f"delete it and run `mmkd data get {name}`, or point {VARIABLE} at a folder that holds the original",
        )


def _retrieve(file: RemoteFile, place: Path, name: str) -> None:
    """Download one file; it appears at `place` whole and verified, or not at all."""
    import pooch

    way_out = f"try again, or put that file at {place} yourself"
    try:
        with storage_errors(place), _quiet(pooch.get_logger()):
            pooch.retrieve(file.url, f"sha256:{file.sha256}", fname=place.name, path=place.parent)
    except OSError as error:  # what `requests` raises is one too
        # A failed connection quotes the address and the pool's inner state again: its name says enough.
        text = "" if type(error).__name__ == "ConnectionError" else f": {' '.join(str(error).split())}"
        reason = _short(f"{type(error).__name__}{text}")
        raise DataError(f"data set {name}: {file.url} cannot be downloaded ({reason})", way_out) from error
    except ValueError as error:  # pooch: the content has another hash
        raise DataError(
            f"data set {name}: what {file.url} sends is not the file that was published (sha256 differs)",
            f"{way_out}; nothing was kept",
        ) from error


@contextmanager
def _quiet(logger: logging.Logger) -> Iterator[None]:
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


_known: dict[tuple[Path, int, int], str] = {}  # (file, bytes, time of change) -> sha256, for the life of the process


def _sha256(place: Path) -> str:
    with storage_errors(place):
        state = place.stat()
        key = (place, state.st_size, state.st_mtime_ns)
        if key not in _known:
            with place.open("rb") as file:
                _known[key] = hashlib.file_digest(file, "sha256").hexdigest()
    return _known[key]


def _listed(places: Sequence[Path], root: Path) -> str:
    """The first places, relative to the data root, and how many more there are."""
    names = [place.relative_to(root).as_posix() for place in places]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _short(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:197]}..."
