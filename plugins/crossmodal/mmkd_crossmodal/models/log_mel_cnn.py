"""`crossmodal/log-mel-cnn`: a small convolutional network on the log-mel spectrogram of a clip, made inside it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Annotated

import pydantic
import torch
from jaxtyping import Float, Int16
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F
from torchaudio.transforms import MelSpectrogram

from mmkd.data import Field, OutputSpec
from mmkd.errors import ConfigError

Probability = Annotated[float, pydantic.Field(ge=0, lt=1)]
FULL_SCALE = 32768.0
FLOOR = 1e-8  # of mel power, about that of 16-bit rounding
WIDEST_SCALE = math.log(100.0)  # CLIP's own limit of what cosines are multiplied by


class LogMelCNN(nn.Module):
    """Clip to embedding, and cosines with a vector per class.

    The class vectors are learnt, or taken from a teacher that embeds class prompts (the method `crossmodal/prompts`);
    either way they are constants of the exported student.

    `forward(audio [B, T])` gives `logits` `[B, K]` and `audio` `[B, D]`, the unit embedding.

    Arguments:
        inputs: `audio`: int16 PCM `[T]` at a declared rate.
        outputs: `logits`.
        width, blocks, mels, window, hop, segments, dropout: of the `AudioTower`.
        embedding: size D of the embedding.

    Attributes:
        taps: `embedding`; and `caption`: the class vector that fits best, times the scale (a model that reads captions
            has theirs there).

    Raises:
        ConfigError: a field that is no clip, or an output that is no class logits.
    """

    def __init__(
        self,
        inputs: Mapping[str, Field],
        outputs: OutputSpec,
        /,
        *,
        width: PositiveInt = 16,
        blocks: PositiveInt = 3,
        mels: PositiveInt = 32,
        window: PositiveFloat = 0.032,
        hop: PositiveFloat = 0.016,
        segments: PositiveInt = 4,
        embedding: PositiveInt = 64,
        dropout: Probability = 0.1,
    ) -> None:
        super().__init__()
        self.tower = AudioTower(
            inputs["audio"],
            width=width,
            blocks=blocks,
            mels=mels,
            window=window,
            hop=hop,
            segments=segments,
            embedding=embedding,
            dropout=dropout,
        )
        self.vectors = nn.Parameter(torch.randn(classes_of(outputs), embedding))
        self.scale = nn.Parameter(torch.tensor(math.log(10.0)))
        self.embedding, self.caption = nn.Identity(), nn.Identity()
        self.taps = {"embedding": "embedding", "caption": "caption"}
        self.layouts = {"embedding": "vector", "caption": "vector"}

    def forward(self, audio: Int16[Tensor, "B T"]) -> dict[str, Tensor]:
        heard = self.embedding(self.tower(audio))
        scaled = self.class_vectors() * scale_of(self.scale)
        logits = heard @ scaled.T
        self.caption(scaled[logits.argmax(1)])
        return {"logits": logits, "audio": heard}

    def class_vectors(self) -> Float[Tensor, "K D"]:
        """A unit vector per class."""
        return F.normalize(self.vectors, dim=1)

    def adopt(self, vectors: Float[Tensor, "K D"]) -> None:
        """Take over class vectors, and learn none from now on. Raises `ConfigError` where they are of another size."""
        if vectors.shape != self.vectors.shape:
            raise ConfigError(
                f"class vectors {list(vectors.shape)} where the student has {list(self.vectors.shape)}",
                f"student.embedding = {vectors.shape[1]}",
            )
        with torch.no_grad():
            self.vectors.copy_(vectors)
        self.vectors.requires_grad_(False)


class AudioTower(nn.Module):
    """PCM to a unit embedding `[B, D]`, or with `tokens` to one vector per segment of time `[B, S, C]`.

    Log-mel spectrogram (torchaudio's, inside the graph), its mean and spread per clip taken away, so that loudness says
    nothing; strided 3 x 3 convolutions; mean over frequencies and over each of `segments` equal spans of time, so that
    what came first is kept; a linear layer.

    Arguments:
        clip: the field: int16 PCM `[T]` at a declared rate.
        width: channels of the first block; each further block has half as many more.
        blocks: of convolution, BatchNorm and ReLU, each of which halves time and frequency.
        mels: bands.
        window, hop: of the short-time transform, in seconds.
        segments: spans of time that stay apart.
        embedding: D.
        dropout: on what the linear layer reads.
    """

    def __init__(
        self,
        clip: Field,
        /,
        *,
        width: int,
        blocks: int,
        mels: int,
        window: float,
        hop: float,
        segments: int,
        embedding: int,
        dropout: float,
    ) -> None:
        super().__init__()
        if clip.dtype != "int16" or len(clip.shape) != 1 or clip.shape[0] is None or clip.rate is None:
            raise ConfigError(
                f"a clip of shape {list(clip.shape)} and type {clip.dtype} is no int16 PCM of a fixed length"
            )
        rate = int(clip.rate)
        self.mel = MelSpectrogram(
            rate, n_fft=2 ** math.ceil(math.log2(window * rate)), win_length=round(window * rate),
            hop_length=round(hop * rate), n_mels=mels, center=False, norm="slaney", mel_scale="htk",
        )  # fmt: skip
        sizes = [1, *(round(width * 1.5**block) for block in range(blocks))]
        self.blocks = nn.Sequential(
            *(
                nn.Sequential(nn.Conv2d(a, b, 3, 2, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU())
                for a, b in itertools.pairwise(sizes)
            )
        )
        self.segments, self.channels = segments, sizes[-1]
        self.dropout = nn.Dropout(dropout)
        self.last = nn.Linear(segments * self.channels, embedding)

    def forward(self, audio: Int16[Tensor, "B T"]) -> Float[Tensor, "B D"]:
        return F.normalize(self.last(self.dropout(self.tokens(audio).flatten(1))), dim=1)

    def tokens(self, audio: Int16[Tensor, "B T"]) -> Float[Tensor, "B S C"]:
        features = self.blocks(self.log_mel(audio)[:, None])
        return F.adaptive_avg_pool1d(features.mean(2), self.segments).mT

    def log_mel(self, audio: Int16[Tensor, "B T"]) -> Float[Tensor, "B M F"]:
        """Mean 0 and spread 1 over each clip; a silent clip is all 0."""
        # log(x + FLOOR) but for a constant, which goes with the mean; ONNX's optimiser takes an addend of 1e-8 for 0
        log = torch.log(self.mel(audio.float() / FULL_SCALE) / FLOOR + 1)
        centred = log - log.mean((1, 2), keepdim=True)
        return centred / (centred.square().mean((1, 2), keepdim=True).sqrt() + 0.1)


def scale_of(log_scale: Tensor) -> Tensor:
    """What cosines are multiplied by; at most 100."""
    return log_scale.clamp(max=WIDEST_SCALE).exp()


def classes_of(outputs: OutputSpec) -> int:
    """Number of classes that a task wants logits of. Raises `ConfigError` where it wants something else."""
    if list(outputs) != ["logits"] or len(outputs["logits"]) != 1 or outputs["logits"][0] is None:
        raise ConfigError(f"this model gives class logits, not {', '.join(outputs)}")
    return outputs["logits"][0]
