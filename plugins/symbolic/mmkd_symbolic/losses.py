"""Semantic loss: minus the logarithm of the probability that independent outputs satisfy a constraint."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from mmkd_symbolic.circuits import Circuit


def exactly_one(logits: Float[Tensor, "B C"]) -> Float[Tensor, ""]:
    """-log sum_i p_i prod_{j != i} (1 - p_j) with p = sigmoid(logits), the mean over rows.

    In logits it is sum_j softplus(z_j) - logsumexp(z): finite for any of them.

    Source:
        Xu et al. 2018, A Semantic Loss Function for Deep Learning with Symbolic Knowledge, arXiv 1711.11157, section 3.
    """
    logits = logits.float()
    return (F.softplus(logits).sum(1) - logits.logsumexp(1)).mean()


def semantic_loss(logits: Float[Tensor, "B V"], circuit: Circuit) -> Float[Tensor, ""]:
    """-log of the weighted model count of a circuit, the mean over rows.

    Arguments:
        logits: of the circuit's variables in its order; each is true with probability sigmoid(logit), independently.
        circuit: of the constraint, satisfiable.

    Source:
        Xu et al. 2018, arXiv 1711.11157, definition 1.
    """
    return -circuit.log_count(logits.float()).mean()


def rule_loss(logits: Float[Tensor, "B C"], truth: Float[Tensor, "B C"]) -> Float[Tensor, ""]:
    """-log of the probability that the class satisfies the rules, sum_c p(c) r(c), the mean over rows.

    It is the semantic loss of the rules for an output that is one of C classes.

    Arguments:
        logits: of the classes.
        truth: of the rules for each class, 0 or 1; some class of each row satisfies them.
    """
    allowed = torch.where(truth > 0, truth, 1.0).log().masked_fill(truth <= 0, -torch.inf)
    return -(logits.float().log_softmax(1) + allowed).logsumexp(1).mean()
