"""Predictions on file as a source: a black box whose answers were stored once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from mmkd.data.views import Batch
from mmkd.errors import DataError
from mmkd.layouts import Spec, Specs
from mmkd.signals import Signals
from mmkd.sources.base import Call, Knowledge, Source
from mmkd.sources.stored import Stored


class File(Source):
    """Outputs stored in an `.npz`: `id` holds global row ids `[R]`, every other array one row per id.

    Arguments:
        path: the file; pickled arrays are refused.
        partial: rows may be missing; all that is said of such a row is 0, and the output `known` `[R]` is 1 of others.
    """

    def __init__(self, knowledge: Knowledge, /, *, path: str, partial: bool = False) -> None:
        super().__init__(knowledge)
        try:
            with np.load(Path(path).expanduser(), allow_pickle=False) as archive:
                arrays = {name: torch.from_numpy(np.ascontiguousarray(archive[name])) for name in archive.files}
        except (OSError, ValueError, EOFError) as error:
            raise DataError(
                f"predictions '{path}' cannot be read ({error})",
                "write them with numpy.savez(path, id=..., logits=...)",
            ) from error
        if "id" not in arrays or len(arrays) < 2:
            raise DataError(f"predictions '{path}' need an array 'id' and one output, not {sorted(arrays)}")
        ids = arrays.pop("id").long()
        for name, value in arrays.items():
            if len(value) != len(ids):
                raise DataError(f"predictions '{path}': '{name}' has {len(value)} rows, 'id' has {len(ids)}")
            if not torch.isfinite(value).all():
                raise DataError(f"predictions '{path}': '{name}' holds NaN or infinite values")
        if len(ids.unique()) < len(ids) or (len(ids) and int(ids.max()) >= len(knowledge.dataset)):
            raise DataError(
                f"predictions '{path}': ids repeat or lie outside the data set's {len(knowledge.dataset)} rows"
            )
        rows = len(knowledge.dataset)
        if partial:
            arrays = {"known": torch.ones(len(ids)), **arrays}
            arrays = {n: v.new_zeros(rows, *v.shape[1:]).index_copy(0, ids, v) for n, v in arrays.items()}
            ids = torch.arange(rows)
        specs = Specs({name: Spec(None, tuple(value.shape[1:])) for name, value in arrays.items()})
        self.stored = Stored.of(ids, {f"outputs/{name}": v.float() for name, v in arrays.items()}, specs, rows)

    def signals(self, batch: Batch, student: Signals | None, call: Call | None) -> Signals:
        return self.stored.signals(batch, student, call)

    def measure(self, batch: Batch, call: Call | None = None) -> Specs:
        return self.stored.specs
