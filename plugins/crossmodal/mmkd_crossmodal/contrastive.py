"""Losses between what was heard and what was read, over the batch of all processes together."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from mmkd.losses._common import no_autocast, upcast


def info_nce(rows: Float[Tensor, "B D"], columns: Float[Tensor, "B D"], ids: Int[Tensor, " B"]) -> Float[Tensor, ""]:
    """Symmetric InfoNCE: each row finds its own column among all, and each column its row.

    van den Oord et al. 2018, arXiv 1807.03748, equation 4, both ways as in CLIP (Radford et al. 2021, arXiv 2103.00020,
    figure 3). A sample that a batch holds twice is not its own negative.

    Arguments:
        rows, columns: embeddings whose products are the logits: one side carries the scale. Gathered already.
        ids: sample of each row.
    """
    own = torch.arange(len(ids), device=ids.device)
    logits = _products(rows, columns).masked_fill(repeated(ids), -torch.inf)
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


def affinity(
    mine: Float[Tensor, "B D"],
    anchors: Float[Tensor, "B D"],
    theirs: Float[Tensor, "B E"],
    their_anchors: Float[Tensor, "B E"],
    ids: Int[Tensor, " B"],
) -> Float[Tensor, ""]:
    """KL divergence of the student's distribution over anchors from the teacher's, both ways, averaged.

    CLIP-KD's contrastive relational distillation (Yang et al. 2024, arXiv 2307.12732, section 3.2). No gradient reaches
    the teacher's side.

    Arguments:
        mine, anchors: the student's embeddings and what they are compared with; their products are logits.
        theirs, their_anchors: the teacher's. All gathered already.
        ids: sample of each row; further copies of one are left out of the distributions.
    """
    hidden = repeated(ids)
    lowest = torch.finfo(torch.float32).min
    said = _products(mine, anchors).masked_fill(hidden, lowest)
    taught = _products(theirs, their_anchors).masked_fill(hidden, lowest).detach()
    ways = [
        F.kl_div(one.log_softmax(1), other.log_softmax(1), reduction="none", log_target=True)
        .masked_fill(hidden if way == 0 else hidden.T, 0)
        .sum(1)
        .mean()
        for way, (one, other) in enumerate(((said, taught), (said.T, taught.T)))
    ]
    return (ways[0] + ways[1]) / 2


def repeated(ids: Int[Tensor, " B"]) -> Tensor:
    """True where a row and a column, not the same ones, are of one sample: `[B, B]`."""
    return (ids[:, None] == ids) & ~torch.eye(len(ids), dtype=torch.bool, device=ids.device)


def _products(rows: Float[Tensor, "B D"], columns: Float[Tensor, "B D"]) -> Float[Tensor, "B B"]:
    """All inner products, in full precision outside autocast."""
    rows, columns = upcast(rows), upcast(columns)
    with no_autocast(rows):
        return rows @ columns.T
