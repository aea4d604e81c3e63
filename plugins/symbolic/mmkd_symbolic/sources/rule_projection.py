"""`symbolic/rule-projection`: the student projected onto rules about inputs and classes."""

from __future__ import annotations

from mmkd.data.views import Batch
from mmkd.errors import ConfigError
from mmkd.signals import Signals
from mmkd.sources.base import Call, Knowledge, Source
from mmkd_symbolic.projection import project
from mmkd_symbolic.sources.rules import Rules


class RuleProjection(Source):
    """The student at this moment, projected onto rules: q(y|x) ~ p(y|x) exp(-strength * sum of (1 - r(x, y))).

    Arguments:
        strength: C lambda of the paper, the same for every rule.
        rules, field, target: as those of `symbolic/rules`.

    Source:
        Hu et al. 2016, arXiv 1603.06318, eq. 4.
    """

    per_row = False

    def __init__(
        self,
        knowledge: Knowledge,
        /,
        *,
        strength: float = 6.0,
        rules: list[str] | None = None,
        field: str = "x",
        target: str = "label",
    ) -> None:
        super().__init__(knowledge)
        if not strength > 0:
            raise ConfigError(f"symbolic/rule-projection: strength = {strength} is not positive")
        self.strength = strength
        self.inner = Rules(knowledge, rules=rules, field=field, target=target)

    def signals(self, batch: Batch, student: Signals | None, call: Call | None) -> Signals:
        if student is None:
            raise ConfigError("symbolic/rule-projection is made from the student, and says nothing without it")
        return Signals({"logits": project(student.logits.detach(), self.inner.truths(batch), strength=self.strength)})
