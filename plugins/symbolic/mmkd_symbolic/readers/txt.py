"""`symbolic/txt`: a sentence per line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mmkd.errors import DataError
from mmkd_symbolic.text import numbers, words


def read_txt(path: Path, fields: Mapping[str, Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """The lines of a text file for a student that reads one field of word numbers; empty lines are left out.

    Raises:
        DataError: the student reads something else, or the file is no UTF-8 text or holds no words.
    """
    name, field = next(iter(fields.items()))
    preparation = field.get("preparation") or {}
    if len(fields) > 1 or preparation.get("words") != "crc32":
        raise DataError(f"{path}: a text file holds sentences, and the student reads {', '.join(fields)}")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is no UTF-8 text ({error.reason} at byte {error.start})") from error
    sentences = [found for line in lines if (found := words(line))]
    if not sentences:
        raise DataError(f"{path} holds no sentence")
    length = int(field["shape"][0])
    return {name: np.stack([numbers(s, buckets=int(preparation["buckets"]), length=length) for s in sentences])}
