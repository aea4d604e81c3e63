"""Signals looked up by row id: the cache of a live source, and what the controls permute."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmkd.data.datasets import LazyDataset
from mmkd.data.views import Batch, View
from mmkd.errors import DataError
from mmkd.layouts import Specs
from mmkd.signals import Signals
from mmkd.sources.base import Call, Source
from mmkd.sources.store import SignalStore

_IN_MEMORY = 1 << 28  # bytes; more is read from the memory-mapped store, row by row
_PROBED = 32
_log = logging.getLogger(__name__)


class Stored(Source):
    """Signals by row id, in memory or memory-mapped.

    Arguments:
        ids: global row ids that have signals, `[R]`.
        read: gives the tensors of some ids, keyed `outputs/<name>` and `features/<role>`.
        specs: forms of the signals.
        rows: rows of the data set.
        fields: what the signals were computed from; None: unknown.
        live: answers for a batch in which such a field was replaced; None: such a batch raises `DataError`.
    """

    def __init__(
        self,
        ids: Tensor,
        read: Callable[[Tensor], Mapping[str, Tensor]],
        specs: Specs,
        rows: int,
        fields: frozenset[str] | None = None,
        live: Source | None = None,
    ) -> None:
        self.ids, self.read, self.specs, self.rows, self.fields, self.live = ids, read, specs, rows, fields, live

    @classmethod
    def of(
        cls,
        ids: Tensor,
        table: Mapping[str, Tensor],
        specs: Specs,
        rows: int,
        fields: frozenset[str] | None = None,
        live: Source | None = None,
    ) -> Stored:
        """Signals held in memory: `table[name][i]` belongs to row `ids[i]`."""
        places = torch.full((rows,), -1, dtype=torch.long, device=ids.device)
        places[ids] = torch.arange(len(ids), device=ids.device)

        def read(index: Tensor) -> dict[str, Tensor]:
            place = places[index]
            if bool((place < 0).any()):
                raise DataError(
                    f"no stored signals for row {int(index[place < 0][0])}", "the source must cover all training rows"
                )
            return {name: value.index_select(0, place) for name, value in table.items()}

        return cls(ids, read, specs, rows, fields, live)

    def signals(self, batch: Batch, student: Signals | None, call: Call | None) -> Signals:
        if other := sorted(batch.replaced if self.fields is None else batch.replaced & self.fields):
            if self.live is not None:
                return self.live.signals(batch, student, call)
            raise DataError(
                f"stored signals were asked about a batch whose '{other[0]}' is not the data set's",
                "ask a live source",
            )
        return _unflatten(self.read(batch.index))

    def measure(self, batch: Batch, call: Call | None = None) -> Specs:
        return self.specs


def tabulate(source: Source, view: View, roles: set[str]) -> dict[str, Tensor]:
    """Signals of every row of a view, in row order, on the CPU: `{"outputs/logits": [R, C], "features/<role>": ...}`.

    Raises `DataError` where rows differ in the size of a signal.
    """
    source.keep(roles)
    parts: dict[str, list[Tensor]] = {}
    with torch.no_grad():
        for batch in view.batches(len(view.rows) if source.relational else view.dataset.rows_at_once):
            for name, value in _flatten(source.signals(batch, None, None)).items():
                parts.setdefault(name, []).append(value.cpu())
    for name, values in parts.items():
        if len({value.shape[1:] for value in values}) > 1:
            raise DataError(
                f"rows differ in the size of the source's {name}, so it cannot be stored by row",
                "pad every sample to one size in the data set's `collate`",
            )
    return {name: torch.cat(values) for name, values in parts.items()}


def varies(source: Source, view: View, roles: set[str]) -> bool:
    """Whether rows differ in the size of their signals, as those of padded samples may.

    Such signals can neither be stored by row nor be given to another row. Some rows are looked at, one at a time.
    """
    dataset = view.dataset
    if source.relational or not (isinstance(dataset, LazyDataset) and dataset.pads):
        return False
    source.keep(roles)
    some = torch.linspace(0, len(view.rows) - 1, min(_PROBED, len(view.rows))).long().to(view.rows.device)
    with torch.no_grad():
        said = [_flatten(source.signals(view.batch(row), None, None)) for row in view.rows[some].split(1)]
    return len({tuple((name, value.shape) for name, value in one.items()) for one in said}) > 1


def cached(source: Source, view: View, roles: set[str], root: Path, content: Mapping[str, Any]) -> Source:
    """The same source read from the cache, which is filled first where it has to be.

    The key holds weights, taps, fields, data, component versions and rows, so a stale cache is never read. A source
    without a fingerprint, or whose signals differ in size from row to row, comes back as it is.

    Arguments:
        source: per-row source.
        view: rows to cover, and the relations that the source sees.
        roles: features to store; others are dropped.
        root: cache folder.
        content: what else the signals depend on: data hash, versions, dtype.
    """
    source.keep(roles)
    parts = source.fingerprint()
    if parts is None or not source.per_row or varies(source, view, roles):
        return source
    specs = source.measure(view.batch(view.rows[:2]))
    parts = {
        **parts,
        **content,
        "rows": _hash(view.rows),
        "hidden": _hash(view.hidden),
        "rows_at_once": view.dataset.rows_at_once,
        **{f"inputs/{name}": _hash(value) for name, value in sorted(view.inputs.items())},
    }
    key = SignalStore.key(parts)
    store = SignalStore.open(root, key, parts)
    if store is None:
        table = tabulate(source, view, roles)
        arrays = {name: (tuple(value.shape[1:]), value.dtype) for name, value in table.items()}
        with SignalStore.create(
            root, key, arrays, len(view.rows), "signals of a frozen source", ids=view.rows.cpu(), parts=parts
        ) as writer:
            writer.write(0, table)
            store = writer.commit()
        _log.info("cached %d rows of signals, %.1f MB", len(view.rows), store.bytes / 1e6)
    rows, device = len(view.dataset), view.rows.device
    fields = frozenset(parts["fields"]) if "fields" in parts else None
    if store.bytes <= _IN_MEMORY:
        table = {name: value.to(device) for name, value in store.read_all().items()}
        return Stored.of(store.ids.to(device), table, specs, rows, fields, source)
    opened = store
    return Stored(
        store.ids, lambda index: {n: v.to(device) for n, v in opened.read(index).items()}, specs, rows, fields, source
    )


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


def _hash(values: Tensor) -> str:
    import hashlib

    return hashlib.sha256(values.cpu().numpy().tobytes()).hexdigest()
