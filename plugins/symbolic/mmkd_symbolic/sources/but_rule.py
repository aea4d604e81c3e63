"""`symbolic/but-rule`: the student projected onto "A but B means what B means"."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mmkd.data.views import Batch
from mmkd.errors import ConfigError
from mmkd.signals import Signals
from mmkd.sources.base import Call, Knowledge, Source
from mmkd.training.step import evaluating
from mmkd_symbolic.projection import project

STRENGTH = 6.0


def but_truth(clause: Float[Tensor, "B classes"], but: Bool[Tensor, " B"]) -> Float[Tensor, "B classes"]:
    """Truth of the rule for each class: (1 + p(y | B)) / 2 in sentences with "but", else 1.

    Arguments:
        clause: probabilities of the clause B.
        but: which sentences have the form "A but B".

    Source:
        Hu et al. 2016, arXiv 1603.06318, section 4.1: the soft truth of (y => p(y|B)) and (p(y|B) => y).
    """
    return torch.where(but[:, None], (1 + clause) / 2, 1.0)


class ButRule(Source):
    """q(y|x) ~ p(y|x) exp(-strength (1 - r(x, y))), p being the student at this moment; see `but_truth`.

    The student reads the clause in eval mode, so that dropout does not blur the rule.

    Arguments:
        strength: C lambda; 6 in the paper.
        text: the student's field that holds the sentence.
        clause: the field that holds B.
        but: the field that marks the sentences "A but B".
        student: the model that is projected.
    """

    per_row = False

    def __init__(
        self,
        knowledge: Knowledge,
        /,
        *,
        strength: float = STRENGTH,
        text: str = "tokens",
        clause: str = "clause",
        but: str = "but",
        student: str = "student",
    ) -> None:
        super().__init__(knowledge)
        if not strength > 0:
            raise ConfigError(f"symbolic/but-rule: strength = {strength} is not positive")
        for name in (text, clause, but):
            if name not in knowledge.dataset.fields:
                known = ", ".join(knowledge.dataset.fields)
                raise ConfigError(f"symbolic/but-rule reads field '{name}', which the data lacks", f"fields: {known}")
        self.strength, self.text, self.clause, self.but, self.student = strength, text, clause, but, student

    def signals(self, batch: Batch, student: Signals | None, call: Call | None) -> Signals:
        if student is None:
            raise ConfigError("symbolic/but-rule is made from the student while it learns, and says nothing without it")
        logits, but = student.logits.detach(), batch[self.but]
        clause = torch.zeros_like(logits)
        model = self.knowledge.students[self.student]
        if but.any():
            some = batch.take(but)
            with evaluating(model):
                clause[but] = model(some.replace(**{self.text: some[self.clause]})).logits.softmax(1).to(clause.dtype)
        return Signals({"logits": project(logits, [but_truth(clause, but)], strength=self.strength)})
