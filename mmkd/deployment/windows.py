"""Samples larger than what a student was trained on: cut into overlapping windows, whose outputs are averaged.

What a bundle's manifest says of it (`sliding_window` of its task) is done here with numpy alone, as MONAI's
`sliding_window_inference` (mode `constant`) does it with torch.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from mmkd.errors import DataError

Arrays = Mapping[str, np.ndarray]


class Windows:
    """Windows over the last axes of every input and output.

    Arguments:
        size: of a window, one number per axis.
        overlap: share of a window that the next one covers again, in [0, 1).
    """

    def __init__(self, size: Sequence[int], overlap: float = 0.25) -> None:
        self.size, self.overlap = tuple(size), overlap

    @classmethod
    def of(cls, task: Mapping[str, Any]) -> Windows | None:
        """The windows that a task's description declares; None where it declares none."""
        declared = task.get("sliding_window")
        return None if declared is None else cls(declared["size"], declared["overlap"])

    def places(self, lengths: Sequence[int]) -> Iterator[tuple[slice, ...]]:
        """Where the windows lie in a sample that is nowhere smaller than one; the last one of an axis ends with it."""
        starts = []
        for length, size in zip(lengths, self.size, strict=True):
            step = max(1, int(size * (1 - self.overlap)))
            count = math.ceil((length - size) / step) + 1
            starts.append([min(number * step, length - size) for number in range(count)])
        for corner in itertools.product(*starts):
            yield tuple(slice(start, start + size) for start, size in zip(corner, self.size, strict=True))

    def centre(self, array: Any) -> Any:
        """The central window of each sample of an array or a tensor. Raises `DataError` where one is smaller."""
        lengths = array.shape[-len(self.size) :]
        if any(length < size for length, size in zip(lengths, self.size, strict=True)):
            raise DataError(
                f"samples of size {list(lengths)} are smaller than the window of {list(self.size)}",
                "choose a smaller window",
            )
        corner = [(length - size) // 2 for length, size in zip(lengths, self.size, strict=True)]
        return array[(..., *(slice(start, start + size) for start, size in zip(corner, self.size, strict=True)))]

    def __call__(self, run: Callable[[Arrays], Arrays], inputs: Arrays) -> dict[str, np.ndarray]:
        """Outputs for whole samples.

        Arguments:
            run: gives the outputs of one window; each ends in the window's axes.
            inputs: `[B, ..., *lengths]` each; where they are smaller than a window, zeros are put around them.
        """
        axes = len(self.size)
        lengths = next(iter(inputs.values())).shape[-axes:]
        before = [max(0, size - length) // 2 for size, length in zip(self.size, lengths, strict=True)]
        around = [
            (left, max(0, size - length) - left) for size, length, left in zip(self.size, lengths, before, strict=True)
        ]
        padded = {name: np.pad(x, [(0, 0)] * (x.ndim - axes) + around) for name, x in inputs.items()}
        whole = next(iter(padded.values())).shape[-axes:]
        sums: dict[str, np.ndarray] = {}
        covered = np.zeros(whole, np.float32)
        for place in self.places(whole):
            covered[place] += 1
            here: Any = (..., *place)
            for name, part in run({name: x[here] for name, x in padded.items()}).items():
                if name not in sums:
                    sums[name] = np.zeros((*part.shape[:-axes], *whole), part.dtype)
                sums[name][here] += part
        inner: Any = (..., *(slice(left, left + length) for left, length in zip(before, lengths, strict=True)))
        return {name: (total / covered)[inner] for name, total in sums.items()}
