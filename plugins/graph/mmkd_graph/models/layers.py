"""One graph convolution: a linear map and a weighted sum over neighbours."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mmkd.data import Field, OutputSpec
from mmkd.errors import ConfigError
from mmkd_graph.propagation import Weighting, propagate, scatter


class GraphConvolution(nn.Module):
    """`activation(P x W + b)`, P the matrix of a weighting.

    Arguments:
        inputs: channels in.
        outputs: channels out.
        weighting: gives P.
        gain: of the Xavier-uniform initialisation of W; b starts at 0.
        activation: applied at the end; None at the last layer.
        drawn: gives P while the layer is trained, anew at each call; None: `weighting` does.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        weighting: Weighting,
        *,
        gain: float,
        activation: nn.Module | None = None,
        drawn: Weighting | None = None,
    ) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)
        self.weighting, self.drawn = weighting, drawn
        self.activation = activation or nn.Identity()
        nn.init.xavier_uniform_(self.linear.weight, gain)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: Float[Tensor, "N C"], edge_index: Int[Tensor, "2 E"]) -> Float[Tensor, "N D"]:
        linear = self.linear
        if linear.out_features > linear.in_features:  # the sum is cheaper over the narrower of the two
            return self.activation(linear(self._summed(x, edge_index)))
        return self.activation(self._summed(x @ linear.weight.t(), edge_index) + linear.bias)

    def _summed(self, x: Float[Tensor, "N C"], edge_index: Int[Tensor, "2 E"]) -> Float[Tensor, "N C"]:
        if self.drawn is None or not self.training:
            return propagate(x, edge_index, self.weighting)
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        return scatter(wide, *self.drawn(edge_index, x.shape[0])).to(x.dtype)


class GraphNetwork(nn.Module):
    """Graph convolutions one after the other, ReLU and dropout between them.

    Arguments:
        widths: channels of the input, of each hidden layer, and of the logits.
        weighting: gives each layer's sum.
        gain: of the initialisation.
        dropout: probability; between layers.
        input_dropout: probability; on the input.
        drawn: gives each layer's sum in training, where it is another.
    """

    def __init__(
        self,
        widths: list[int],
        weighting: Weighting,
        *,
        gain: float,
        dropout: float,
        input_dropout: float = 0.0,
        drawn: Weighting | None = None,
    ) -> None:
        super().__init__()
        last = len(widths) - 2
        self.layers = nn.ModuleList(
            GraphConvolution(
                before, after, weighting, gain=gain, activation=nn.ReLU() if place < last else None, drawn=drawn
            )
            for place, (before, after) in enumerate(pairwise(widths))
        )
        self.dropouts = nn.ModuleList(nn.Dropout(input_dropout if place == 0 else dropout) for place in range(last + 1))
        self.taps = {"penultimate": f"layers.{last - 1}"} if last else {}
        self.layouts = {"penultimate": "nodes"} if last else {}

    def forward(self, x: Float[Tensor, "N F"], edge_index: Int[Tensor, "2 E"]) -> Float[Tensor, "N K"]:
        for dropout, layer in zip(self.dropouts, self.layers, strict=True):
            x = layer(dropout(x), edge_index)
        return x


def widths(inputs: Mapping[str, Field], outputs: OutputSpec, hidden: int, layers: int, owner: str) -> list[int]:
    """Channels from a network's input to its logits. Raises `ConfigError` where it is bound to other forms."""
    features, logits = inputs["x"].shape, outputs.get("logits", ())
    if len(features) != 1 or features[0] is None:
        raise ConfigError(f"{owner} reads `x` as one vector per node, not as {features}")
    if len(outputs) != 1 or len(logits) != 1 or logits[0] is None:
        raise ConfigError(f"{owner} gives `logits`, one value per class, and the task wants {dict(outputs)}")
    return [features[0], *[hidden] * (layers - 1), logits[0]]
