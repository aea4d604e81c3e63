"""Sentences as rows of word numbers: no vocabulary to carry along, and no torch."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

PADDING = 0
_BRACKETS = {"(": "-lrb-", ")": "-rrb-"}
# As in the Penn Treebank: contractions stand apart ("do n't", "it 's"), runs of dots and dashes stay together.
_WORD = re.compile(
    r"-[lr]rb-|n't\b|'(?:s|re|ve|ll|d|m|em|n)\b|''|``|\.{2,}|-{2,}|\w+(?=n't\b)"
    r"|\d+(?:[.,:/]\d+)*(?:[-'\w]*\w)?|(?:mr|mrs|ms|dr|st|jr|vs)\.|\w+(?:[-./&]+\w+)*|[^\w\s]"
)


def words(sentence: str) -> list[str]:
    """Words and marks of a sentence, in lower case; a sentence that is tokenised already stays as it is."""
    return [_BRACKETS.get(word, word) for word in _WORD.findall(sentence.lower())]


def numbers(sentence: Sequence[str], *, buckets: int, length: int) -> NDArray[np.int64]:
    """The words as numbers of 1 to `buckets - 1`, by crc32; cut to `length` or padded with 0. `[length]`."""
    row = np.full(length, PADDING, np.int64)
    for place, word in enumerate(sentence[:length]):
        row[place] = 1 + zlib.crc32(word.encode()) % (buckets - 1)
    return row
