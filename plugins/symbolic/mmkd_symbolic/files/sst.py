"""SST-2 as Kim 2014 and Hu et al. 2016 distribute it: a line per sentence, label and words apart by blanks."""

from __future__ import annotations

from pathlib import Path

from mmkd.errors import DataError

BUT = "but"


def read_sst(path: Path) -> tuple[list[int], list[list[str]]]:
    """Labels (0 negative, 1 positive) and words of every line.

    Raises:
        DataError: the file is no UTF-8 text, is empty, or a line has no label 0 or 1, or no words; with its number.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    labels, sentences = [], []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            if number < len(lines):
                raise DataError(f"{path}: line {number} is empty")
            continue
        label, *sentence = line.split()
        if label not in ("0", "1"):
            raise DataError(f"{path}: line {number} begins with {label!r} where the label 0 or 1 is expected")
        if not sentence:
            raise DataError(f"{path}: line {number} has a label and no words")
        labels.append(int(label))
        sentences.append(sentence)
    if not labels:
        raise DataError(f"{path} holds no sentences")
    return labels, sentences


def clause_after_but(sentence: list[str]) -> list[str]:
    """B of a sentence "A but B": what stands after its last "but"; empty where there is no A or no B."""
    if BUT not in sentence:
        return []
    place = len(sentence) - 1 - sentence[::-1].index(BUT)
    return sentence[place + 1 :] if place else []
