"""ESC-10 packed: a tar of `NNN_class/FOLD-SOURCE-TAKE.ogg`, one channel at 16 kHz."""

from __future__ import annotations

import io
import re
import tarfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmkd.errors import DataError
from mmkd_crossmodal.files.audio import Wave, read_audio

RATE = 16000
_NAME = re.compile(r"(?:\./)?(?P<number>\d{3})_(?P<kind>\w+)/(?P<fold>[1-5])-(?P<source>\d+)-[A-Z]\.ogg")


@dataclass(frozen=True)
class Recordings:
    """Every clip, sorted by class, fold and name.

    Arguments:
        waves: int16 PCM at `RATE`, `[T]` each, of unequal lengths.
        labels, folds, sources: of each clip: class from 0, fold from 1, number of the recording on Freesound.
        classes: names, in the order of their numbers.
    """

    waves: list[Wave]
    labels: NDArray[np.int64]
    folds: NDArray[np.int64]
    sources: NDArray[np.int64]
    classes: tuple[str, ...]


def read_esc10(path: Path) -> Recordings:
    """Read the packed clips.

    Raises:
        DataError: the archive is damaged, a clip in it is, or has another rate; or two folds share a recording.
    """
    found, classes = [], {}
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                match = _NAME.fullmatch(member.name)
                if match is None or not member.isfile():
                    continue
                number = int(match["number"])
                classes[number] = match["kind"].replace("_", " ")
                opened = archive.extractfile(member)
                data = io.BytesIO(opened.read() if opened else b"")
                wave = read_audio(data, RATE, f"{path}: {member.name}")
                found.append((number, int(match["fold"]), member.name, int(match["source"]), wave))
    except (tarfile.TarError, OSError, EOFError) as error:
        raise DataError(f"{path} cannot be read as tar ({error})", "get it again from its source") from error
    if not found:
        raise DataError(f"{path} holds no clip", "its files are named NNN_class/FOLD-SOURCE-TAKE.ogg")
    found.sort(key=lambda one: one[:3])
    numbers = sorted(classes)
    labels = np.array([numbers.index(one[0]) for one in found])
    folds, sources = np.array([one[1] for one in found]), np.array([one[3] for one in found])
    for source in np.unique(sources):
        if len(np.unique(folds[sources == source])) > 1:
            raise DataError(f"{path}: recording {source} is in several folds")
    return Recordings([one[4] for one in found], labels, folds, sources, tuple(classes[n] for n in numbers))
