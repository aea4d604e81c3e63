"""Another model that learns in the same step, as a source."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from mmkd.binding import Bound
from mmkd.data.views import Batch
from mmkd.layouts import Specs
from mmkd.signals import Signals
from mmkd.sources.base import Call, Source


class Peer(Source):
    """What the model `name` of the step says at this moment, in its training mode, without gradient into it.

    Arguments:
        models: the models of the step, by name.
        name: the one that teaches.
    """

    per_row = False

    def __init__(self, models: Mapping[str, Bound], name: str, /) -> None:
        self.model = models[name]
        self.name = name

    def signals(self, batch: Batch, student: Signals | None, call: Call | None) -> Signals:
        if call is None:
            raise ValueError("a peer speaks within a step alone")
        with torch.no_grad():
            return call(batch, self.name)

    def measure(self, batch: Batch, call: Call | None = None) -> Specs:
        return self.model.measure(batch)
