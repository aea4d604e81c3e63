"""The data root: the one folder that data sets are read from and downloaded to. Standard library only."""

from __future__ import annotations

import os
from pathlib import Path

VARIABLE = "MMKD_DATA"


def data_root() -> Path:
    """Where data sets are kept; it need not exist yet.

    Returns:
        The folder that `MMKD_DATA` names, else `mmkd/data` in `XDG_CACHE_HOME`, else `~/.cache/mmkd/data`. Absolute.
    """
    if chosen := os.environ.get(VARIABLE):
        return Path(chosen).expanduser().absolute()
    return _cache() / "data"


def generated_root() -> Path:
    """Where data that is generated once, and is too large to be made anew, is kept: `mmkd/generated` in the cache."""
    return _cache() / "generated"


def _cache() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # The XDG specification has relative paths ignored.
    return (cache if cache.is_absolute() else Path.home() / ".cache") / "mmkd"


def find(*candidates: str) -> Path | None:
    """The first of the files or folders `candidates`, given relative to the data root, that is there."""
    root = data_root()
    return next((root / candidate for candidate in candidates if (root / candidate).exists()), None)
