"""A multilayer perceptron on raw units."""

from __future__ import annotations

from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from mmkd.data.fields import Field, OutputSpec
from mmkd.errors import ConfigError
from mmkd.models.mlp import MLP


class TableMLP(nn.Module):
    """The core's MLP behind a standardisation of its columns.

    Columns of a table differ in scale by orders of magnitude. Mean and variance are those of the batches in training
    (BatchNorm without scale and shift) and their running mean after it, so that they are learnt from training rows
    alone and travel with the weights; rules and trees beside the network read the same raw units.

    Arguments:
        inputs: one vector field.
        outputs, hidden, layers, dropout: as those of `mlp`.

    Attributes:
        taps: `penultimate`.

    Raises:
        ConfigError: the field is no vector, and all that `mlp` refuses.
    """

    def __init__(
        self,
        inputs: Mapping[str, Field],
        outputs: OutputSpec,
        /,
        *,
        hidden: int = 64,
        layers: int = 3,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.network = MLP(inputs, outputs, hidden=hidden, layers=layers, dropout=dropout)
        (field,) = inputs.values()
        if len(field.shape) != 1:
            raise ConfigError(f"symbolic/mlp reads a vector of columns, not samples of shape {list(field.shape)}")
        self.standardise = nn.BatchNorm1d(self.network.width, affine=False)
        self.taps = {role: f"network.{path}" for role, path in self.network.taps.items()}
        self.layouts = dict(self.network.layouts)

    def forward(self, x: Float[Tensor, "B F"]) -> Tensor | dict[str, Tensor]:
        """`logits` `[B, classes]`, or what the task wants."""
        if self.training and len(x) == 1:  # the rest of an epoch: one row has no variance
            mean, variance = self.standardise.running_mean, self.standardise.running_var
            x = F.batch_norm(x, mean, variance, eps=self.standardise.eps)
        else:
            x = self.standardise(x)
        said: Tensor | dict[str, Tensor] = self.network(x)
        return said
