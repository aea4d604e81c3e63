"""`symbolic/semantic-loss`: outputs that shall satisfy a constraint."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from mmkd.data.views import Batch
from mmkd.errors import ConfigError
from mmkd.layouts import Specs
from mmkd.methods.base import Method
from mmkd.signals import Signals
from mmkd_symbolic.circuits import compile_circuit
from mmkd_symbolic.expressions import parse
from mmkd_symbolic.losses import exactly_one, semantic_loss


class SemanticLoss(Method):
    """Minus the logarithm of the probability that outputs, each true with sigmoid(logit), satisfy a constraint.

    It needs no source, and counts every row, labelled or not.

    Arguments:
        student, sources: measured forms.
        constraint: `exactly-one`, or an expression over `y0`, `y1`, ..., the outputs in order.
        output: the output that holds the logits, `[B, outputs]`.

    Raises:
        ConfigError: no such output, or a constraint that cannot be read, contradicts itself, or names no output.
    """

    citation = "Xu et al. 2018, A Semantic Loss Function for Deep Learning with Symbolic Knowledge, arXiv 1711.11157"

    def __init__(
        self,
        student: Specs,
        sources: Mapping[str, Specs],
        /,
        *,
        constraint: str = "exactly-one",
        output: str = "logits",
    ) -> None:
        super().__init__(student, sources)
        if output not in student.outputs or len(student.outputs[output].shape) != 1:
            known = ", ".join(student.outputs)
            raise ConfigError(
                f"symbolic/semantic-loss: the student has no vector output '{output}'", f"outputs: {known}"
            )
        self.output = output
        names = [f"y{number}" for number in range(student.outputs[output].shape[0])]
        self.circuit = None if constraint == "exactly-one" else compile_circuit(parse(constraint), names)

    def forward(self, student: Signals, sources: Mapping[str, Signals], batch: Batch) -> dict[str, Tensor]:
        logits = student.outputs[self.output]
        return {"wmc": exactly_one(logits) if self.circuit is None else semantic_loss(logits, self.circuit)}
