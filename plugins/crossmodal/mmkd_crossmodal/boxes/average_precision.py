"""Average precision of 3D boxes as KITTI's benchmark has it: which detections count, and AP over 40 recalls."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

HIT, MISS, IGNORED = 1, 0, -1


class Difficulty(NamedTuple):
    """Limits within which an object counts (KITTI's object benchmark).

    Arguments:
        height: least height of its 2D box, pixels of KITTI's camera.
        occlusion: highest level.
        truncation: largest share outside the image.
    """

    height: float
    occlusion: int
    truncation: float

    def counts(self, details: Array) -> Array:
        """Which objects count, from `[..., 3]`: occlusion, truncation and height."""
        occlusion, truncation, height = np.moveaxis(details, -1, 0)
        return (occlusion <= self.occlusion) & (truncation <= self.truncation) & (height >= self.height)


DIFFICULTIES = {
    "easy": Difficulty(40, 0, 0.15),
    "moderate": Difficulty(25, 1, 0.30),
    "hard": Difficulty(25, 2, 0.50),
}


def match(scores: Array, overlaps: Array, counted: Array, present: Array, threshold: float) -> Array:
    """Which detections are hits, misses or ignored.

    Detections by falling score each take the object that they overlap most among those that are still free, if the
    overlap reaches the threshold. One that takes an object which does not count is ignored; objects that count go
    first. A second detection of an object is a miss.

    Arguments:
        scores: `[F, K]`, of F frames.
        overlaps: `[F, K, M]`.
        counted, present: objects that count, and that there are, `[F, M]`.
        threshold: least overlap.

    Returns:
        `HIT`, `MISS` or `IGNORED`, `[F, K]`.
    """
    frames = np.arange(len(scores))
    status = np.zeros(scores.shape, np.int8)
    free = present.copy()
    for place in np.argsort(-scores, axis=1, kind="stable").T:
        overlap = np.where(free, overlaps[frames, place], -1.0)
        overlap = np.where(overlap >= threshold, overlap + 2 * counted, -1.0)
        taken = overlap.argmax(1)
        found = overlap[frames, taken] > 0
        status[frames, place] = np.where(found, np.where(counted[frames, taken], HIT, IGNORED), MISS)
        free[frames[found], taken[found]] = False
    return status


def average_precision(scores: Array, status: Array, positives: int) -> float:
    """AP_R40: mean over recalls 1/40, 2/40 ... 1 of the highest precision at that recall or above; NaN without objects.

    Arguments:
        scores, status: of all detections, any shape.
        positives: objects that count.
    """
    if not positives:
        return float("nan")
    kept = status.ravel() != IGNORED
    order = np.argsort(-scores.ravel()[kept], kind="stable")
    hits = (status.ravel()[kept][order] == HIT).cumsum()
    if not len(hits) or not hits[-1]:
        return 0.0
    precision = hits / np.arange(1, len(hits) + 1)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    # The first detection at which the hits reach each recall; none for recalls that are never reached.
    place = np.searchsorted(hits, np.ceil(np.arange(1, 41) / 40 * positives - 1e-9))
    return float(np.where(place < len(hits), best[np.minimum(place, len(hits) - 1)], 0.0).mean())
