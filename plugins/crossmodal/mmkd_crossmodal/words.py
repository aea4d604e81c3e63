"""Vectors of class names: hashed character n-grams, or word vectors from a file. No download, no pretrained weights."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmkd.errors import DataError

Array = NDArray[np.float32]
_SIZES = (3, 4, 5)


def class_vectors(names: Sequence[str], *, file: str | None = None, size: int = 64) -> Array:
    """One unit vector per class: the mean of its words' unit vectors.

    Without a file a word is the sum of pseudo-random vectors of its character n-grams, as subwords are in fastText
    (Bojanowski et al. 2017, arXiv 1607.04606, section 3.2) before any training: names that share words or stems are
    near, synonyms are not.

    Arguments:
        names: class names; words are runs of letters and digits, in lower case.
        file: text file with a word and its numbers per line, separated by spaces (GloVe's form).
        size: numbers per vector, without a file.

    Returns:
        `[K, D]`.

    Raises:
        DataError: the file is absent or of another form, or lacks a word.
    """
    words = [re.findall(r"[a-z0-9]+", name.lower()) for name in names]
    if empty := [name for name, parts in zip(names, words, strict=True) if not parts]:
        raise DataError(f"the class name '{empty[0]}' holds no word")
    wanted = {word for parts in words for word in parts}
    known = _from_file(Path(file), wanted) if file else {word: _hashed(word, size) for word in wanted}
    return np.stack([_unit(np.mean([_unit(known[word]) for word in parts], 0)) for parts in words]).astype(np.float32)


def _hashed(word: str, size: int) -> NDArray[np.float64]:
    bounded = f"<{word}>"
    grams = {bounded, *(bounded[i : i + n] for n in _SIZES for i in range(len(bounded) - n + 1))}
    return np.sum([_gaussian(gram, size) for gram in sorted(grams)], 0)


def _gaussian(gram: str, size: int) -> NDArray[np.float64]:
    seed = int.from_bytes(hashlib.sha256(gram.encode()).digest()[:8], "big")
    return np.random.default_rng(seed).normal(size=size)


def _from_file(path: Path, wanted: set[str]) -> dict[str, NDArray[np.float64]]:
    found: dict[str, NDArray[np.float64]] = {}
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                word, *numbers = line.split()
                if word in wanted:
                    found[word] = np.array(numbers, np.float64)
                    if not numbers or not np.isfinite(found[word]).all():
                        raise ValueError(f"line {number} holds no finite vector")
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path} cannot be read as word vectors: {error}", "a line is a word and its numbers, with spaces between"
        ) from error
    if missing := sorted(wanted - set(found)):
        raise DataError(f"{path} has no vector for the word '{missing[0]}'", "use vectors that know every class name")
    if len(sizes := sorted({len(vector) for vector in found.values()})) > 1:
        raise DataError(f"{path} holds vectors of {sizes[0]} and of {sizes[1]} numbers")
    return found


def _unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    length = np.linalg.norm(vector)
    return vector / length if length else vector
