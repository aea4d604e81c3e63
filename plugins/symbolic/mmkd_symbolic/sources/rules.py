"""`symbolic/rules`: what rules say of a row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mmkd.data.fields import Field
from mmkd.data.views import Batch
from mmkd.errors import ConfigError
from mmkd.signals import Signals
from mmkd.sources.base import Call, Knowledge, Source
from mmkd_symbolic.rules import RuleSet

UNSURE = 1e-3


class Rules(Source):
    """Rules over named columns and classes as a teacher: `truth` `[B, classes]`, and `logits` that are even among the
    classes that the rules leave.

    A row on which no rule decides has even logits, whose argmax is the first class: the arm of this source shows what
    rules alone are worth, and not more.

    Arguments:
        rules: their text; None: those of the data set.
        field: the field whose columns they name.
        target: the label whose classes they name.

    Raises:
        ConfigError: the field names no columns, and all that `RuleSet` refuses.
    """

    def __init__(
        self, knowledge: Knowledge, /, *, rules: list[str] | None = None, field: str = "x", target: str = "label"
    ) -> None:
        super().__init__(knowledge)
        self.rules = rule_set(knowledge, rules, field, target)
        self.field = field

    def truths(self, batch: Batch) -> list[Tensor]:
        """Truth of each rule, `[B, classes]`."""
        x = batch[self.field]
        truths = self.rules.truths(x.detach().cpu().numpy())
        return list(torch.from_numpy(truths).to(x.device))

    def signals(self, batch: Batch, student: Signals | None, call: Call | None) -> Signals:
        truth = torch.stack(self.truths(batch)).amin(0)
        even = truth / truth.sum(1, keepdim=True)
        sure = (1 - UNSURE) * even + UNSURE / truth.shape[1]
        return Signals({"logits": sure.log(), "truth": truth})

    def fingerprint(self) -> dict[str, Any]:
        return {"rules": [str(rule) for rule in self.rules.rules], "field": self.field}


def rule_set(knowledge: Knowledge, rules: Sequence[str] | None, field: str, target: str) -> RuleSet:
    """The rules of a recipe or of its data set, checked against the data set's columns and classes."""
    dataset = knowledge.dataset
    given = list(rules if rules is not None else getattr(dataset, "rules", ()))
    for name in (field, target):
        if name not in dataset.fields:
            raise ConfigError(
                f"symbolic/rules reads field '{name}', which the data lacks", f"fields: {', '.join(dataset.fields)}"
            )
    declared: Field = dataset.fields[field]
    if not declared.channels:
        raise ConfigError(
            f"field '{field}' names no columns, so no rule can speak of them", "declare Field(..., channels=(...))"
        )
    return RuleSet(given, declared.channels, dataset.fields[target].classes, getattr(dataset, "domains", {}))
