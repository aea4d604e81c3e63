"""`graph/ff-g2m`: what neighbours have in common, and how they differ."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import PositiveFloat
from torch import Tensor

from mmkd.data.views import Batch
from mmkd.layouts import Specs
from mmkd.methods.base import Method
from mmkd.signals import Signals
from mmkd_graph.methods.edges import check_outputs, edge_divergence, edges_in


class FFG2M(Method):
    """FF-G2M, graph-free at inference: low- and high-frequency knowledge of the teacher along edges.

    `low`: mean over edges (i, j), self loops among them, of `KL(p_t(j) || p_s(i))`: a node learns what the teacher says
    of its neighbours. `high`: mean over edges without loops of `KL(q_t(i, j) || q_s(i, j))` with
    `q(i, j) = softmax(|z(i) - z(j)| / T)` over classes: how it differs from them. Edges within the batch are used, so
    give all rows in one.

    The published weights are equal. Logits stand for the hidden features of the paper's eq. 7, as in its code.

    Arguments:
        student, sources: measured forms.
        source: who teaches.
        output: the output that holds the logits.
        temperature: T of `high`; published between 1.0 and 1.5.
        high: weight of `high` beside `low`; 0 leaves it out.

    Raises:
        ConfigError: classes differ.
    """

    citation = (
        "Wu et al. 2023, Extracting Low-/High-Frequency Knowledge from Graph Neural Networks and Injecting it into"
        " MLPs, AAAI, arXiv 2305.10758, eqs. 5 and 7"
    )

    def __init__(
        self,
        student: Specs,
        sources: Mapping[str, Specs],
        /,
        *,
        source: str = "teacher",
        output: str = "logits",
        temperature: PositiveFloat = 1.3,
        high: float = 1.0,
    ) -> None:
        super().__init__(student, sources)
        check_outputs(student, sources, source, output, "graph/ff-g2m")
        self.source, self.output, self.temperature, self.high = source, output, temperature, high

    def forward(self, student: Signals, sources: Mapping[str, Signals], batch: Batch) -> dict[str, Tensor]:
        said, taught = student.outputs[self.output].float(), sources[self.source].outputs[self.output].float()
        hears, heard = edges_in(batch, loops=True)
        losses = {"low": edge_divergence(said, hears, taught.softmax(1)[heard])}
        if self.high:
            one, other = edges_in(batch, loops=False)
            mine, theirs = (((z[one] - z[other]).abs() / self.temperature).log_softmax(1) for z in (said, taught))
            losses["high"] = self.high * (theirs.exp() * (theirs - mine)).sum() / max(len(one), 1)
        return losses
