"""`crossmodal/wav`: a recording for `mmkd predict`. Needs soundfile, and no torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmkd.errors import DataError
from mmkd_crossmodal.files.audio import fitted, read_audio, warn_if_clipped


def read_wav(path: Path, fields: Mapping[str, Mapping[str, Any]]) -> dict[str, NDArray[np.int16]]:
    """One clip `[1, T]`, int16 PCM at the rate of the student's field; of a longer file its middle, of a shorter one as
    many repetitions as it takes. A clipped recording is read with a warning.

    Raises:
        DataError: the file is damaged, empty or silent, has another rate or several channels, or holds NaN; or the
            student reads something else than one clip.
    """
    name, field = next(iter(fields.items()))
    if len(fields) != 1 or field.get("dtype") != "int16" or len(field["shape"]) != 1 or not field.get("rate"):
        raise DataError(f"{path}: the student reads {', '.join(fields)}, and such a file holds one clip of sound")
    wave = read_audio(path, round(field["rate"]), str(path))
    warn_if_clipped(wave, str(path))
    return {name: fitted(wave, field["shape"][0])[None]}
