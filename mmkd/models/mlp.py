"""A multilayer perceptron on one field."""

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

from mmkd.data.fields import Field, OutputSpec
from mmkd.errors import ConfigError

NORMS = {"none": nn.Identity, "batch": nn.BatchNorm1d, "layer": nn.LayerNorm}


class MLP(nn.Module):
    """Linear layers with normalisation, ReLU and dropout between them, on samples that are flattened.

    The order (linear, norm, ReLU, dropout; by default none on the input) and the meaning of `layers` are those of the
    student of GLNN: Zhang et al. 2022, arXiv 2110.08727, in its published code.

    Arguments:
        inputs: the one field that it reads: floating point, of fixed shape.
        outputs: names and shapes of the outputs; they share all layers but the last.
        hidden: width of the hidden layers.
        layers: number of linear layers; 1 is a linear model.
        dropout: probability of dropping a hidden activation in training.
        input_dropout: the same for each value of the input.
        norm: normalisation of the hidden layers.

    Attributes:
        taps: `penultimate`, the last hidden activation before dropout; none in a linear model.
        layouts: vector.

    Raises:
        ConfigError: a number out of range, a field that it cannot read, or an output that it cannot give.
    """

    def __init__(
        self,
        inputs: Mapping[str, Field],
        outputs: OutputSpec,
        /,
        *,
        hidden: int = 128,
        layers: int = 2,
        dropout: float = 0.0,
        input_dropout: float = 0.0,
        norm: Literal["none", "batch", "layer"] = "none",
    ) -> None:
        super().__init__()
        for name, value in (("hidden", hidden), ("layers", layers)):
            if value < 1:
                raise ConfigError(f"mlp: {name} = {value} is less than 1")
        for name, share in (("dropout", dropout), ("input_dropout", input_dropout)):
            if not 0 <= share < 1:
                raise ConfigError(f"mlp: {name} = {share} is outside [0, 1)")
        if norm not in NORMS:
            raise ConfigError(f"mlp: norm = '{norm}' is unknown", f"one of: {', '.join(NORMS)}")
        if not outputs:
            raise ConfigError("mlp: there is no output to give")
        self.width = _width(inputs)
        self.outputs = {name: _fixed(shape, f"output '{name}'") for name, shape in outputs.items()}
        widths = [self.width, *[hidden] * (layers - 1)]
        self.hidden = nn.ModuleList(
            nn.Sequential(nn.Linear(before, after), NORMS[norm](after), nn.ReLU()) for before, after in pairwise(widths)
        )
        self.dropout, self.input_dropout = nn.Dropout(dropout), nn.Dropout(input_dropout)
        self.last = nn.Linear(widths[-1], sum(math.prod(shape) for shape in self.outputs.values()))
        self.taps = {"penultimate": f"hidden.{layers - 2}"} if layers > 1 else {}
        self.layouts = dict.fromkeys(self.taps, "vector")

    def forward(self, x: Float[Tensor, "B *dims"]) -> Tensor | dict[str, Tensor]:
        """The output `logits`, `[B, *shape]`, or a dict where there are others or several."""
        rows = x.shape[0]
        x = self.input_dropout(x.reshape(rows, self.width))
        for layer in self.hidden:
            x = self.dropout(layer(x))
        parts = self.last(x).split([math.prod(shape) for shape in self.outputs.values()], dim=1)
        said = {
            name: part.reshape(rows, *shape) for (name, shape), part in zip(self.outputs.items(), parts, strict=True)
        }
        return said["logits"] if list(said) == ["logits"] else said


def _width(inputs: Mapping[str, Field]) -> int:
    """Number of values of one sample."""
    if len(inputs) != 1:
        raise ConfigError(
            f"mlp reads one field, not {len(inputs)} ({', '.join(inputs) or 'none'})",
            'bind it: inputs = { x = "field" }, or a list of fields to concatenate',
        )
    name, declared = next(iter(inputs.items()))
    if declared.kind != "sample":
        raise ConfigError(f"mlp: '{name}' is a {declared.kind}, not a field with one row per sample")
    if not declared.dtype.startswith(("float", "bfloat")):
        raise ConfigError(f"mlp: '{name}' is {declared.dtype}, not floating point", "encode it in the data set")
    return math.prod(_fixed(declared.shape, f"field '{name}'"))


def _fixed(shape: tuple[int | None, ...], what: str) -> tuple[int, ...]:
    """The shape, known to be the same for every sample."""
    sizes = tuple(size for size in shape if size is not None)
    if len(sizes) < len(shape):
        raise ConfigError(f"mlp: {what} has samples of varying shape {list(shape)}")
    return sizes
