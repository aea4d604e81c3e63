"""`graph/adagmlp`: several perceptrons that vote with shares. Graph-free."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from pydantic import PositiveInt
from torch import Tensor, nn

from mmkd.data import Field, OutputSpec
from mmkd.errors import ConfigError
from mmkd.models.mlp import MLP


class AdaGMLP(nn.Module):
    """The student of AdaGMLP (Lu et al. 2024, arXiv 2405.14307): `logits = log sum over k of a_k softmax(z_k)`.

    The shares a are no parameters: the method of the same name sets them while it teaches. Until then they are equal.

    Arguments:
        members: K, the number of perceptrons.
        hidden, layers, dropout, input_dropout: of each, as in `mlp`; what they drop differs.

    Attributes:
        shares: a `[K]`, a buffer.
        taps: `member0`, ...: logits z_k `[B, C]` of each; `member0-hidden0`, ...: each of its hidden layers before
            dropout.

    Raises:
        ConfigError: there is another output than `logits`, or `mlp` cannot be built.
    """

    shares: Tensor

    def __init__(
        self,
        inputs: Mapping[str, Field],
        outputs: OutputSpec,
        /,
        *,
        members: PositiveInt = 2,
        hidden: int = 128,
        layers: int = 2,
        dropout: float = 0.5,
        input_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if list(outputs) != ["logits"] or len(outputs["logits"]) != 1:
            raise ConfigError(f"graph/adagmlp gives `logits`, one value per class, and the task wants {dict(outputs)}")
        self.members = nn.ModuleList(
            MLP(inputs, outputs, hidden=hidden, layers=layers, dropout=dropout, input_dropout=input_dropout)
            for _ in range(members)
        )
        self.register_buffer("shares", torch.full((members,), 1 / members))
        self.taps = {}
        for k in range(members):
            self.taps[f"member{k}"] = f"members.{k}"
            self.taps |= {f"member{k}-hidden{layer}": f"members.{k}.hidden.{layer}" for layer in range(layers - 1)}
        self.layouts = dict.fromkeys(self.taps, "vector")

    def forward(self, x: Float[Tensor, "B *dims"]) -> Float[Tensor, "B C"]:
        """Logarithms of the mixed probabilities."""
        said = torch.stack([member(x).log_softmax(1) for member in self.members])
        return (said + self.shares.log()[:, None, None]).logsumexp(0)
