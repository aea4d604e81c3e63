"""What methods that teach along edges share: edges within a batch, and divergences along them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mmkd.data.views import Batch, View
from mmkd.errors import ConfigError
from mmkd.layouts import Specs
from mmkd.methods.base import specs_of

Edges = Int[Tensor, "2 E"]


def edges_in(batch: Batch, relation: str = "edge_index", *, loops: bool) -> Edges:
    """Edges both of whose ends are in the batch, as positions in it: (who hears, who is heard).

    With all rows of the view in a batch these are all its edges; with fewer, those that happen to fall into it.

    Arguments:
        batch: rows without repetition.
        relation: the field with the edges.
        loops: add an edge from every row to itself.
    """
    heard, hears = within(batch[relation], batch.index, len(batch.view.dataset))
    edges = torch.stack([hears, heard])
    return torch.cat([edges, torch.arange(len(batch.index), device=edges.device).expand(2, -1)], 1) if loops else edges


def within(ends: Int[Tensor, "2 E"], index: Int[Tensor, " B"], rows: int) -> Int[Tensor, "2 P"]:
    """The pairs of row ids whose rows both stand in a batch, as positions in it."""
    place = torch.full((rows,), -1, dtype=torch.long, device=index.device)
    place[index] = torch.arange(len(index), device=index.device)
    places = place[ends.to(index.device)]
    return places[:, (places >= 0).all(0)]


def edge_divergence(
    student: Float[Tensor, "B C"],
    hears: Int[Tensor, " E"],
    target: Float[Tensor, "E C"],
    weight: Float[Tensor, " E"] | None = None,
) -> Float[Tensor, ""]:
    """Mean over edges of `weight * KL(target || softmax(student[hears]))`; 0 without edges.

    The targets of a row are added up before they meet its logits, so no gradient is kept per edge.

    Arguments:
        student: logits; temperature, if any, already applied.
        hears: row of each edge that learns.
        target: probabilities that it learns; no gradient reaches them.
        weight: of each edge; 1 where left out.
    """
    target = target.detach()
    log = student.log_softmax(1)
    if not len(hears):
        return log.sum() * 0
    scaled = target if weight is None else target * weight.detach()[:, None]
    received = torch.zeros_like(log).index_add_(0, hears, scaled.to(log.dtype))
    entropy = (scaled * target.clamp(min=torch.finfo(target.dtype).tiny).log()).sum()
    return (entropy - (received * log).sum()) / len(hears)


def all_rows(view: View) -> Batch:
    """Every row that the view draws from, in one batch."""
    return view.batch(view.rows)


def spread(values: Tensor, batch: Batch) -> Tensor:
    """Values of the batch's rows as a field of the data set, `[rows of the data set, ...]`; 0 elsewhere."""
    field = torch.zeros(len(batch.view.dataset), *values.shape[1:], dtype=values.dtype, device=values.device)
    return field.index_copy(0, batch.index, values)


def entropy(probability: Float[Tensor, "*batch C"]) -> Float[Tensor, "*batch"]:
    """Shannon entropy in nats, `0 log 0 = 0`."""
    return torch.special.entr(probability).sum(-1)


def says(model: Any, batch: Batch, output: str) -> Float[Tensor, "B C"]:
    """What a model in training says without dropout; its mode is given back."""
    mode = model.training
    model.eval()
    try:
        with torch.no_grad():
            return model(batch).outputs[output]
    finally:
        model.train(mode)


def check_outputs(student: Specs, sources: Mapping[str, Specs], source: str, output: str, owner: str) -> None:
    """Raise `ConfigError` unless both sides give class logits of one shape under `output`."""
    mine, theirs = student.outputs.get(output), specs_of(sources, source).outputs.get(output)
    if mine is None or theirs is None or mine.shape != theirs.shape or len(mine.shape) != 1:
        shapes = [None if side is None else list(side.shape) for side in (mine, theirs)]
        raise ConfigError(
            f"{owner}: output '{output}' must hold the logits of the same classes on both sides; "
            f"it is {shapes[0]} in the student and {shapes[1]} in source '{source}'"
        )
