"""`graph/hgmd-weight`, `graph/hgmd-mixup`: hard nodes learn from more of their neighbours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float, Int
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor
from torch.nn import functional as F

from mmkd.data.views import Batch, View
from mmkd.layouts import Specs
from mmkd.methods.base import Method
from mmkd.signals import Signals
from mmkd_graph.methods.edges import all_rows, check_outputs, edge_divergence, edges_in, entropy, says, spread

_HARD, _UNSURE = "hgmd/hard", "hgmd/unsure"
_LEAST = 1e-8
_DECAY = 100.0


class HGMD(Method):
    """Hardness-aware GNN-to-MLP distillation, graph-free at inference; this base draws the neighbours.

    Node i draws neighbour j with probability `1 - exp(-a cos(p_t(i), p_t(j)) sqrt(H_t(i) H_s(i)) / H_t(j))`: often
    where i is hard for teacher and student alike (large entropies H, each over its largest), j is easy, and the
    teacher says alike of both. a falls from `alpha` to `alpha / 100` in `epochs` epochs. H_s is of the student at the
    start of the epoch. An epoch should be one batch of all rows.

    Arguments:
        student, sources: measured forms.
        source: who teaches.
        output: the output that holds the logits.
        temperature: of both sides' softmax; the loss is not multiplied by its square.
        alpha: a at the beginning.
        epochs: after so many a stays.

    Raises:
        ConfigError: classes differ.
    """

    citation = (
        "Wu et al. 2024, Teach Harder, Learn Poorer: Rethinking Hard Sample Distillation for GNN-to-MLP Knowledge"
        " Distillation, CIKM, arXiv 2407.14768"
    )

    def __init__(
        self,
        student: Specs,
        sources: Mapping[str, Specs],
        /,
        *,
        source: str = "teacher",
        output: str = "logits",
        temperature: PositiveFloat = 1.0,
        alpha: PositiveFloat = 1.0,
        epochs: PositiveInt = 500,
    ) -> None:
        super().__init__(student, sources)
        check_outputs(student, sources, source, output, f"graph/{type(self).__name__.lower()}")
        self.source, self.output, self.temperature = source, output, temperature
        self.alpha, self.epochs = alpha, epochs

    def prepare(self, view: View, sources: Mapping[str, Any]) -> dict[str, Tensor]:
        """How unsure the teacher is of every row."""
        batch = all_rows(view)
        taught = sources[self.source].signals(batch, None, None).outputs[self.output]
        return {_UNSURE: spread(_relative(entropy(taught.softmax(1))), batch)}

    def refresh(self, epoch: int, view: View, sources: Mapping[str, Any], student: Any) -> dict[str, Tensor]:
        """How hard every row is for teacher and student, times this epoch's a."""
        batch = all_rows(view)
        mine = _relative(entropy(says(student, batch, self.output).softmax(1)))
        alpha = self.alpha / _DECAY ** min(epoch / max(self.epochs - 1, 1), 1.0)
        return {_HARD: spread(alpha * (batch[_UNSURE] * mine).sqrt(), batch)}

    def drawn(
        self, taught: Float[Tensor, "B C"], batch: Batch
    ) -> tuple[Int[Tensor, " E"], Int[Tensor, " E"], Float[Tensor, " E"]]:
        """Who hears whom, self loops among them, and the probability with which each edge was drawn (1 for loops)."""
        hears, heard = edges_in(batch, loops=True)
        alike = F.cosine_similarity(taught[hears], taught[heard])
        chance = 1 - (-alike * batch[_HARD][hears] / batch[_UNSURE][heard].clamp(min=_LEAST)).exp()
        chance = torch.where(hears == heard, 1.0, chance)
        kept = torch.rand_like(chance) < chance
        return hears[kept], heard[kept], chance[kept]


class HGMDWeight(HGMD):
    """HGMD-weight: every drawn neighbour teaches, weighted among those of its node.

    Weight of edge (i, j): its probability times `cos(p_t(i), p_t(j))`, divided by its mean over the edges of i. The
    loss is the mean over edges of weight times `KL(p_t(j) || p_s(i))`.
    """

    def forward(self, student: Signals, sources: Mapping[str, Signals], batch: Batch) -> dict[str, Tensor]:
        said = student.outputs[self.output].float() / self.temperature
        logits = sources[self.source].outputs[self.output].float()
        taught = logits.softmax(1)
        hears, heard, chance = self.drawn(taught, batch)
        weight = chance * F.cosine_similarity(taught[hears], taught[heard])
        total = torch.zeros(len(said), device=weight.device).index_add_(0, hears, weight)
        weight = weight / total[hears] * hears.bincount(minlength=len(said))[hears]
        return {"kl": edge_divergence(said, hears, (logits / self.temperature).softmax(1)[heard], weight)}


class HGMDMixup(HGMD):
    """HGMD-mixup: a node learns mixtures of what the teacher says of it and of each drawn neighbour.

    The target of edge (i, j) is `(1 - m) p_t(i) + m p_t(j)`, m its probability times a draw from Beta(beta, beta); the
    loss is the mean over edges of its KL divergence from `p_s(i)`.

    Arguments:
        beta: of the Beta distribution; the others as in `HGMD`.
    """

    def __init__(
        self,
        student: Specs,
        sources: Mapping[str, Specs],
        /,
        *,
        source: str = "teacher",
        output: str = "logits",
        temperature: PositiveFloat = 1.0,
        alpha: PositiveFloat = 1.0,
        epochs: PositiveInt = 500,
        beta: PositiveFloat = 1.0,
    ) -> None:
        super().__init__(
            student, sources, source=source, output=output, temperature=temperature, alpha=alpha, epochs=epochs
        )
        self.beta = beta

    def forward(self, student: Signals, sources: Mapping[str, Signals], batch: Batch) -> dict[str, Tensor]:
        said = student.outputs[self.output].float() / self.temperature
        logits = sources[self.source].outputs[self.output].float()
        hears, heard, chance = self.drawn(logits.softmax(1), batch)
        taught = (logits / self.temperature).softmax(1)
        share = (chance * torch.distributions.Beta(self.beta, self.beta).sample(chance.shape).to(chance))[:, None]
        return {"kl": edge_divergence(said, hears, (1 - share) * taught[hears] + share * taught[heard])}


def _relative(entropies: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
    """Entropies over the largest of them, at least a little above 0."""
    return (entropies / entropies.max().clamp(min=_LEAST)).clamp(min=_LEAST)
