"""`symbolic/rule-loss`: the class that the student gives shall satisfy the rules of a source."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from mmkd.data.views import Batch
from mmkd.errors import ConfigError
from mmkd.layouts import Specs
from mmkd.methods.base import Method, specs_of
from mmkd.signals import Signals
from mmkd_symbolic.losses import rule_loss


class RuleLoss(Method):
    """The semantic loss of rules about inputs and classes: -log sum_c p(c | x) r(x, c), on every row.

    Arguments:
        student, sources: measured forms.
        source: gives `truth`, `[B, classes]`, e.g. `symbolic/rules`.
        output: the student's class logits.

    Raises:
        ConfigError: the source gives no truth, or one of another number of classes.
    """

    citation = "Xu et al. 2018, A Semantic Loss Function for Deep Learning with Symbolic Knowledge, arXiv 1711.11157"

    def __init__(
        self,
        student: Specs,
        sources: Mapping[str, Specs],
        /,
        *,
        source: str = "rules",
        output: str = "logits",
    ) -> None:
        super().__init__(student, sources)
        said = specs_of(sources, source).outputs
        if "truth" not in said:
            raise ConfigError(f"symbolic/rule-loss: source '{source}' gives no truth of rules", "use symbolic/rules")
        if output not in student.outputs or student.outputs[output].shape != said["truth"].shape:
            raise ConfigError(
                f"symbolic/rule-loss: the student's '{output}' has not one logit for each class of source '{source}'"
            )
        self.source, self.output = source, output

    def forward(self, student: Signals, sources: Mapping[str, Signals], batch: Batch) -> dict[str, Tensor]:
        return {"semantic": rule_loss(student.outputs[self.output], sources[self.source].outputs["truth"])}
