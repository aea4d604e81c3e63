"""Mutual learning: two students teach each other (Zhang et al. 2018, arXiv 1706.00384, equations 4-9)."""

from __future__ import annotations

from collections.abc import Mapping

from mmkd.components import Model
from mmkd.schemes.base import Parts, Scheme, Stage
from mmkd.sources.peer import Peer


class Mutual(Scheme):
    """Two updates a step: each student learns the task and from what the other says at that moment.

    The recipe's methods read the source `teacher`, which here is the other student; other sources stand beside it.

    Arguments:
        peer: the second student's model; it may read other fields than the first (`inputs = { x = "field" }`).
    """

    def __init__(self, *, peer: Model) -> None:
        self.peer = peer

    def extra_models(self) -> Mapping[str, Model]:
        return {"peer": self.peer}

    def stages(self, parts: Parts, /) -> list[Stage]:
        updates = {
            name: parts.update(name, {**parts.sources, "teacher": Peer(parts.models, other)})
            for name, other in (("student", "peer"), ("peer", "student"))
        }
        return [Stage(updates)]
