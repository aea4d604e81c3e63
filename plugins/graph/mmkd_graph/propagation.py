"""Messages along edges: a product with a sparse matrix that is built once per graph.

A weighting turns `edge_index` into weighted messages, self loops included; `propagate` sums them per target node:
`out[i] = sum over messages j -> i of w[j -> i] * x[j]`. Weights are constants: gradients go through `x` alone.
"""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mmkd.errors import DataError

Messages = tuple[Int[Tensor, " M"], Int[Tensor, " M"], Float[Tensor, " M"]]
"""Source, target and weight (float64) of every message."""

Weighting = Callable[[Int[Tensor, "2 E"], int], Messages]


def mean_of_both(edge_index: Int[Tensor, "2 E"], nodes: int) -> Messages:
    """GraphSAGE's `gcn` aggregator, as DGL computes it on GLNN's graphs, which have a self loop at every node.

    (sum over in-neighbours, the self loop among them, + self) / (in-degree, the self loop among it, + 1).
    So with d in-neighbours each of them weighs 1 / (d + 2) and the node itself 2 / (d + 2).
    """
    (source, target), own = edge_index, torch.arange(nodes, device=edge_index.device)
    share = 1 / (_counted(target, nodes) + 2)
    return torch.cat([source, own]), torch.cat([target, own]), torch.cat([share[target], 2 * share])


def mean_of_drawn(edge_index: Int[Tensor, "2 E"], nodes: int, fan_out: int) -> Messages:
    """`mean_of_both` over `fan_out` in-neighbours of each node, drawn without repetition by torch's global generator.

    The self loop is among those that are drawn from, as where DGL's neighbour sampler draws on GLNN's graphs; a node
    with fewer neighbours keeps all of them.
    """
    own = torch.arange(nodes, device=edge_index.device)
    source, target = torch.cat([edge_index, own.expand(2, -1)], 1)
    key = target + torch.rand(len(target), dtype=torch.float64, device=target.device)
    by_target = key.argsort()
    degree = target.bincount(minlength=nodes)
    rank = torch.arange(len(target), device=target.device) - (degree.cumsum(0) - degree).repeat_interleave(degree)
    drawn = by_target[rank < fan_out]
    share = 1 / (degree.clamp(max=fan_out).double() + 1)
    source, target = torch.cat([source[drawn], own]), torch.cat([target[drawn], own])
    return source, target, share[target]


def symmetric(edge_index: Int[Tensor, "2 E"], nodes: int) -> Messages:
    """`D^-1/2 (A + I) D^-1/2` with D the degrees of A + I: Kipf and Welling 2017, arXiv 1609.02907, section 2."""
    own = torch.arange(nodes, device=edge_index.device)
    source, target = torch.cat([edge_index, own.expand(2, -1)], 1)
    scale = _counted(target, nodes).rsqrt()
    return source, target, scale[source] * scale[target]


def _counted(target: Int[Tensor, " M"], nodes: int) -> Float[Tensor, " N"]:
    return torch.zeros(nodes, dtype=torch.float64, device=target.device).index_add_(
        0, target, torch.ones_like(target, dtype=torch.float64)
    )


def propagate(x: Float[Tensor, "N C"], edge_index: Int[Tensor, "2 E"], weighting: Weighting) -> Float[Tensor, "N C"]:
    """Sum the messages at every node.

    The matrix is kept as long as `edge_index` lives and is built anew when a torch operation changes it in place
    (writes past torch, through a NumPy view, go unnoticed). While a program is traced for export or compilation the
    same sum is traced as `scatter`. Half precision is summed in float32.

    Arguments:
        x: a row per node.
        edge_index: source and target of every edge; a repeated edge counts as often as it stands there.
        weighting: gives the messages.

    Raises:
        DataError: `edge_index` has another form, or names a node that `x` does not have.
    """
    if torch.compiler.is_compiling():
        return scatter(x, *weighting(edge_index, x.shape[0]))
    if x.dtype in (torch.float16, torch.bfloat16):
        return propagate(x.float(), edge_index, weighting).to(x.dtype)
    return _Product.apply(x, *_matrices(edge_index, x.shape[0], weighting, x.dtype))


def scatter(
    x: Float[Tensor, "N C"], source: Int[Tensor, " M"], target: Int[Tensor, " M"], weight: Float[Tensor, " M"]
) -> Float[Tensor, "N C"]:
    """The same sum message by message: a row of memory per message, where `propagate` needs none."""
    return torch.zeros_like(x).index_add(0, target, x[source] * weight.to(x.dtype)[:, None])


class _Product(torch.autograd.Function):
    """`matrix @ x`, with the transposed matrix at hand for the gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, matrix: Tensor, transposed: Tensor) -> Tensor:
        ctx.pair = matrix, transposed
        with torch.autocast(x.device.type, enabled=False):
            return matrix @ x

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        matrix, transposed = ctx.pair
        return _Product.apply(gradients[0], transposed, matrix), None, None


_Key = tuple[int, Weighting, torch.dtype]
_kept: dict[int, tuple[weakref.ref[Tensor], int, dict[_Key, tuple[Tensor, Tensor]]]] = {}  # by id of edge_index


def _matrices(edge_index: Tensor, nodes: int, weighting: Weighting, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """The matrix of the messages and its transposed, from the store or made."""
    if edge_index.is_inference():  # such tensors do not count their changes
        return _build(edge_index, nodes, weighting, dtype)
    place = id(edge_index)
    reference, version, made = _kept.get(place, (None, 0, {}))
    if reference is None or reference() is not edge_index or version != edge_index._version:
        made = {}
        _kept[place] = weakref.ref(edge_index, partial(_forget, _kept, place)), edge_index._version, made
    key = (nodes, weighting, dtype)
    if key not in made:
        made[key] = _build(edge_index, nodes, weighting, dtype)
    return made[key]


def _forget(kept: dict[int, Any], place: int, gone: weakref.ref[Tensor]) -> None:
    """Drop the matrices of an `edge_index` that died; its place may be another's by now."""
    if place in kept and kept[place][0] is gone:
        del kept[place]


def _build(edge_index: Tensor, nodes: int, weighting: Weighting, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    if edge_index.dim() != 2 or len(edge_index) != 2 or edge_index.is_floating_point():
        form = f"shape {tuple(edge_index.shape)} and type {edge_index.dtype}"
        raise DataError(f"edge_index has {form}, not integers [2, E]")
    if edge_index.numel() and not 0 <= int(edge_index.min()) <= int(edge_index.max()) < nodes:
        raise DataError(f"edge_index names nodes {int(edge_index.min())} to {int(edge_index.max())} of {nodes}")
    with torch.no_grad():
        source, target, weight = weighting(edge_index, nodes)
        return _csr(target, source, weight, nodes, dtype), _csr(source, target, weight, nodes, dtype)


def _csr(row: Tensor, column: Tensor, value: Tensor, size: int, dtype: torch.dtype) -> Tensor:
    indices = torch.stack([row, column])
    entries = torch.sparse_coo_tensor(indices, value, (size, size), check_invariants=False).coalesce()
    rows, columns = entries.indices()
    start = torch.zeros(size + 1, dtype=torch.int64, device=row.device)
    torch.cumsum(rows.bincount(minlength=size), 0, out=start[1:])
    index = torch.int32 if len(rows) < 2**31 else torch.int64  # MKL and cuSPARSE work on 32-bit indices
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta", UserWarning)
        return torch.sparse_csr_tensor(
            start.to(index), columns.to(index), entries.values().to(dtype), (size, size), check_invariants=False
        )
