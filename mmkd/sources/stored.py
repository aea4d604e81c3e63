"""Signals looked up by row id: the cache of a live source, and what the controls permute."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmkd.data.views import Batch, View
from mmkd.errors import DataError
from mmkd.layouts import Specs
from mmkd.signals import Signals
from mmkd.sources.base import Call, Source
from mmkd.sources.store import SignalStore

_IN_MEMORY = 1 << 30
_log = logging.getLogger(__name__)


class Stored(Source):
    """Signals by row id, in memory or memory-mapped.

    Arguments:
        ids: global row ids that have signals, `[R]`.
        read: gives the tensors of some ids, keyed `outputs/<name>` and `features/<role>`.
        specs: forms of the signals.
        rows: rows of the data set.
    """

    def __init__(self, ids: Tensor, read: Callable[[Tensor], Mapping[str, Tensor]], specs: Specs, rows: int) -> None:
        self.ids, self.read, self.specs, self.rows = ids, read, specs, rows

    @classmethod
    def of(cls, ids: Tensor, table: Mapping[str, Tensor], specs: Specs, rows: int) -> Stored:
        """Signals held in memory: `table[name][i]` belongs to row `ids[i]`."""
        places = torch.full((rows,), -1, dtype=torch.long, device=ids.device)
        places[ids] = torch.arange(len(ids), device=ids.device)

        def read(index: Tensor) -> dict[str, Tensor]:
            place = places[index]
            if bool((place < 0).any()):
                raise DataError(f"no stored signals for row {int(index[place < 0][0])}", "the source must cover all training rows")
            return {name: value.index_select(0, place) for name, value in table.items()}

        return cls(ids, read, specs, rows)

    def signals(self, batch: Batch, student: Signals | None, call: Call | None) -> Signals:
        return _unflatten(self.read(batch.index))

    def measure(self, batch: Batch, call: Call | None = None) -> Specs:
        return self.specs


def tabulate(source: Source, view: View, roles: set[str], size: int = 512) -> dict[str, Tensor]:
    """Signals of every row of a view, in row order, on the CPU: `{"outputs/logits": [R, C], "features/<role>": ...}`."""
    source.keep(roles)
    parts: dict[str, list[Tensor]] = {}
    with torch.no_grad():
        for batch in view.batches(len(view.rows) if source.relational else size):
            for name, value in _flatten(source.signals(batch, None, None)).items():
                parts.setdefault(name, []).append(value.cpu())
    return {name: torch.cat(values) for name, values in parts.items()}


def cached(source: Source, view: View, roles: set[str], root: Path, content: Mapping[str, Any]) -> Source:
    """The same source read from the cache, which is filled first where it has to be.

    The key holds weights, taps, fields, data, component versions and rows, so a stale cache is never read. A source
    without a fingerprint comes back as it is.

    Arguments:
        source: per-row source.
        view: rows to cover, and the relations that the source sees.
        roles: features to store; others are dropped.
        root: cache folder.
        content: what else the signals depend on: data hash, versions, dtype.
    """
    source.keep(roles)
    parts = source.fingerprint()
    if parts is None or not source.per_row:
        return source
    specs = source.measure(view.batch(view.rows[:2]))
    parts = {**parts, **content, "rows": _hash(view.rows), "hidden": _hash(view.hidden)}
    key = SignalStore.key(parts)
    store = SignalStore.open(root, key, parts)
    if store is None:
        table = tabulate(source, view, roles)
        arrays = {name: (tuple(value.shape[1:]), value.dtype) for name, value in table.items()}
        with SignalStore.create(root, key, arrays, len(view.rows), "signals of a frozen source", ids=view.rows.cpu(),
                                parts=parts) as writer:  # fmt: skip
            writer.write(0, table)
            store = writer.commit()
        _log.info("cached %d rows of signals, %.1f MB", len(view.rows), store.bytes / 1e6)
    rows, device = len(view.dataset), view.rows.device
    if store.bytes <= _IN_MEMORY:
        table = {name: value.to(device) for name, value in store.read_all().items()}
        return Stored.of(store.ids.to(device), table, specs, rows)
    opened = store
    return Stored(store.ids, lambda index: {n: v.to(device) for n, v in opened.read(index).items()}, specs, rows)


def _flatten(signals: Signals) -> dict[str, Tensor]:
    return {f"outputs/{name}": value for name, value in signals.outputs.items()} | {
        f"features/{role}": value for role, value in signals.features.items()
    }


def _unflatten(table: Mapping[str, Tensor]) -> Signals:
    groups: dict[str, dict[str, Tensor]] = {"outputs": {}, "features": {}}
    for name, value in table.items():
        group, _, part = name.partition("/")
        groups[group][part] = value
    return Signals(**groups)


def _hash(index: Tensor) -> str:
    import hashlib

    return hashlib.sha256(index.cpu().numpy().tobytes()).hexdigest()
