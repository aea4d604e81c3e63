"""How well two segmentations of one volume agree."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import ndimage


def dice_per_class(
    predicted: Int[np.ndarray, "*volume"], truth: Int[np.ndarray, "*volume"], classes: int
) -> Float[np.ndarray, " K"]:
    """Dice coefficient of every class, `2 |A and B| / (|A| + |B|)`; NaN where neither side has it.

    Source:
        Dice 1945, Measures of the Amount of Ecologic Association Between Species.
    """
    both = np.bincount(predicted[predicted == truth].ravel(), minlength=classes)
    size = np.bincount(predicted.ravel(), minlength=classes) + np.bincount(truth.ravel(), minlength=classes)
    return np.where(size > 0, 2 * both / np.maximum(size, 1), np.nan)


def hausdorff95(
    predicted: Bool[np.ndarray, "*volume"], truth: Bool[np.ndarray, "*volume"], spacing: Sequence[float]
) -> float:
    """The larger of both 95th percentiles of distances from one surface to the other, in the unit of `spacing`.

    The surface of a region are its voxels with a neighbour (sharing a face) outside it. NaN where both are empty; the
    diagonal of the volume where one is.
    """
    if not predicted.any() and not truth.any():
        return float("nan")
    if not predicted.any() or not truth.any():
        return float(np.linalg.norm(np.array(truth.shape) * np.array(spacing)))
    box = ndimage.find_objects((predicted | truth).astype(np.int8))[0]
    surfaces = [np.pad(mask[box], 1) for mask in (predicted, truth)]
    surfaces = [mask & ~ndimage.binary_erosion(mask) for mask in surfaces]
    away = [ndimage.distance_transform_edt(~surface, sampling=spacing) for surface in surfaces]
    return float(max(np.percentile(away[1][surfaces[0]], 95), np.percentile(away[0][surfaces[1]], 95)))
