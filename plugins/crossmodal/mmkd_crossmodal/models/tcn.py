"""`crossmodal/tcn`: a temporal convolutional network on one series, or on two at rates of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import pydantic
import torch
from jaxtyping import Bool, Float
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor, nn

from mmkd.data import Field, OutputSpec
from mmkd.errors import ConfigError

Probability = Annotated[float, pydantic.Field(ge=0, lt=1)]


class TCN(nn.Module):
    """Residual convolutions over time, pooled over the steps that are there; no series needs the other's rate.

    After Bai, Kolter and Koltun 2018, arXiv 1803.01271, section 3, but not causal, and with BatchNorm over valid steps:
    a clip is classified as a whole. Each series is standardised inside, with moments of the training clips, and passes
    a stem that brings it to about `rate` steps per second, whatever its own rate, and residual blocks that halve it;
    mean and maximum over time are joined, and a linear layer follows.

    A step whose channels are all exactly 0 is padding: outputs do not depend on how much of it there is.

    `forward(x [B, C, T], beside [B, D, U])` gives logits `[B, K]`; `beside` is read where the recipe binds it.

    Arguments:
        inputs: one or two series, `[C, T]` each.
        outputs: `logits`.
        width: channels of the convolutions.
        blocks: residual blocks.
        kernel: taps of their convolutions, odd.
        rate: wanted steps per second behind the stem; a field without a rate keeps its own.
        embedding: size of the layer before the logits.
        dropout: probability, on that layer.

    Attributes:
        taps: `penultimate` (vector), and `series`: the last feature map of `x`.

    Raises:
        ConfigError: a field that is no series, an even kernel, or an output that is no class logits.
    """

    def __init__(
        self,
        inputs: Mapping[str, Field],
        outputs: OutputSpec,
        /,
        *,
        width: PositiveInt = 32,
        blocks: PositiveInt = 2,
        kernel: PositiveInt = 5,
        rate: PositiveFloat = 12.5,
        embedding: PositiveInt = 64,
        dropout: Probability = 0.5,
    ) -> None:
        super().__init__()
        if kernel % 2 == 0:
            raise ConfigError(f"crossmodal/tcn: kernel = {kernel} is even", "an odd one has a middle")
        for name, declared in inputs.items():
            if len(declared.shape) != 2 or declared.shape[0] is None or declared.kind != "sample":
                raise ConfigError(f"crossmodal/tcn: '{name}' has shape {list(declared.shape)} and is no series [C, T]")
        if list(outputs) != ["logits"] or len(outputs["logits"]) != 1 or outputs["logits"][0] is None:
            raise ConfigError(f"crossmodal/tcn gives class logits, not {', '.join(outputs)}")
        self.streams = nn.ModuleDict(
            {
                name: Stream(
                    int(declared.shape[0] or 0),
                    [Block(width, kernel) for _ in range(blocks)],
                    width,
                    max(1, round((declared.rate or rate) / rate)),
                )
                for name, declared in inputs.items()
            }
        )
        self.embed = nn.Sequential(nn.Linear(2 * width * len(self.streams), embedding), nn.ReLU())
        self.dropout = nn.Dropout(dropout)
        self.last = nn.Linear(embedding, outputs["logits"][0])
        self.taps = {"penultimate": "embed"} | ({"series": "streams.x.blocks"} if "x" in self.streams else {})
        self.layouts = {"penultimate": "vector", "series": "series"}

    def forward(self, x: Float[Tensor, "B C T"], beside: Float[Tensor, "B D U"] | None = None) -> Float[Tensor, "B K"]:
        pooled = [self.streams["x"](x)]
        if beside is not None:
            pooled.append(self.streams["beside"](beside))
        return self.last(self.dropout(self.embed(torch.cat(pooled, 1))))


class Stream(nn.Module):
    """One series: standardised, convolved, pooled over its valid steps; `[B, C, T]` to `[B, 2 * width]`."""

    def __init__(self, channels: int, blocks: Sequence[Block], width: int, stride: int) -> None:
        super().__init__()
        self.standardise = Standardise(channels)
        self.stem = Convolution(channels, width, 2 * stride + 1, stride)
        self.blocks = Blocks(blocks)

    def forward(self, series: Float[Tensor, "B C T"]) -> Float[Tensor, "B P"]:
        valid = (series != 0).any(1, keepdim=True)
        features, valid = self.stem(self.standardise(series, valid), valid)
        features = self.blocks(features, valid)
        valid = valid[..., :: 2 ** len(self.blocks)]
        steps = valid.sum(2).clamp(min=1)
        return torch.cat([features.sum(2) / steps, features.amax(2)], 1)  # not negative, and 0 where padded


class Standardise(nn.Module):
    """Mean 0 and standard deviation 1 per channel, over the valid steps of all batches seen in training.

    The moments are pooled exactly (Chan, Golub and LeVeque 1983), and used alike in training and evaluation. Padding
    stays 0.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mean: Tensor
        self.variance: Tensor
        self.steps: Tensor
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("variance", torch.ones(channels))
        self.register_buffer("steps", torch.zeros(()))

    def forward(self, series: Float[Tensor, "B C T"], valid: Bool[Tensor, "B 1 T"]) -> Float[Tensor, "B C T"]:
        if self.training:
            self._learn(series.detach(), valid)
        scaled = (series - self.mean[:, None]) * torch.rsqrt(self.variance[:, None] + 1e-8)
        return scaled * valid

    def _learn(self, series: Tensor, valid: Tensor) -> None:
        steps = valid.sum().to(series.dtype)
        mean = series.sum((0, 2)) / steps.clamp(min=1)
        spread = ((series - mean[:, None]) * valid).square().sum((0, 2))
        total = self.steps + steps
        share = steps / total.clamp(min=1)
        apart = mean - self.mean
        pooled = self.variance * self.steps + spread + apart.square() * self.steps * share
        self.variance.copy_(pooled / total.clamp(min=1))
        self.mean.add_(apart * share)
        self.steps.copy_(total.clamp(max=1e7))


class ValidNorm(nn.BatchNorm1d):
    """BatchNorm whose moments are those of the valid steps: how much padding a batch has does not blur them."""

    running_mean: Tensor
    running_var: Tensor
    momentum: float

    def forward(self, series: Float[Tensor, "B C T"], valid: Bool[Tensor, "B 1 T"]) -> Float[Tensor, "B C T"]:  # type: ignore[override]
        if self.training:
            steps = valid.sum().clamp(min=1)
            mean = (series * valid).sum((0, 2)) / steps
            variance = ((series - mean[:, None]) * valid).square().sum((0, 2)) / steps
            with torch.no_grad():
                self.running_mean.lerp_(mean, self.momentum)
                self.running_var.lerp_(variance, self.momentum)
        else:
            mean, variance = self.running_mean, self.running_var
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return series * scale[:, None] + (self.bias - mean * scale)[:, None]


class Convolution(nn.Module):
    """Convolution, BatchNorm and ReLU; padding is set back to 0."""

    def __init__(self, channels: int, width: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.convolve = nn.Conv1d(channels, width, kernel, stride, kernel // 2, bias=False)
        self.norm = ValidNorm(width)
        self.stride = stride

    def forward(self, series: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        valid = valid[..., :: self.stride]
        return torch.relu(self.norm(self.convolve(series), valid)) * valid, valid


class Block(nn.Module):
    """Two convolutions beside a shortcut, then every other step."""

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.first = Convolution(width, width, kernel)
        self.second = Convolution(width, width, kernel)

    def forward(self, series: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        inner, _ = self.first(series, valid)
        outer, _ = self.second(inner, valid)
        return (series + outer)[..., ::2], valid[..., ::2]


class Blocks(nn.ModuleList):
    """Blocks in a row: `[B, W, T]` to `[B, W, T / 2^n]`."""

    def forward(self, series: Tensor, valid: Tensor) -> Tensor:
        for block in self:
            series, valid = block(series, valid)
        return series
