"""`symbolic/but-classification`: classification that is evaluated with and without the "A but B" rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from torch import Tensor

from mmkd.data.fields import Field
from mmkd.data.views import Batch
from mmkd.signals import Signals
from mmkd.tasks.base import Records
from mmkd.tasks.classification import Classification
from mmkd_symbolic.projection import project
from mmkd_symbolic.sources.but_rule import STRENGTH, but_truth


class ButClassification(Classification):
    """Accuracy (primary) is that of p, what the student says; `accuracy_q` that of q, p projected onto the rule.

    The rule needs no training: every arm has a q, also the one that learns from labels alone.

    Arguments:
        target, label_smoothing: as those of `classification`.
        strength, text, clause, but: as those of the source `symbolic/but-rule`.
    """

    def __init__(
        self,
        fields: Mapping[str, Field],
        /,
        *,
        target: str = "label",
        label_smoothing: float = 0.0,
        strength: float = STRENGTH,
        text: str = "tokens",
        clause: str = "clause",
        but: str = "but",
    ) -> None:
        super().__init__(fields, target=target, label_smoothing=label_smoothing)
        self.strength, self.text, self.clause, self.but = strength, text, clause, but

    def predict(self, call: Callable[[Batch], Signals], batch: Batch) -> dict[str, Tensor]:
        said = dict(call(batch).outputs)
        clause = call(batch.replace(**{self.text: batch[self.clause]})).logits.softmax(1)
        return {
            **said,
            "projected": project(said["logits"], [but_truth(clause, batch[self.but])], strength=self.strength),
        }

    def metrics(self, records: Records, groups: np.ndarray | None = None) -> dict[str, float]:
        projected = float((records["projected"].argmax(1) == records[self.target]).mean())
        return {**super().metrics(records, groups), "accuracy_q": projected}
