"""`crossmodal/audio-text-fusion`: a classifier that hears a clip and reads its caption."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int, Int16
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor, nn

from mmkd.data import Field, OutputSpec
from mmkd_crossmodal.models.log_mel_cnn import AudioTower, Probability, classes_of
from mmkd_crossmodal.models.text_tower import TextTower


class AudioTextFusion(nn.Module):
    """Segments of the clip attend to the caption and to each other; their mean is classified.

    The cross- and self-attention of Kim and Kang 2022, Cross-modal distillation with audio-text fusion, Neurocomputing,
    between an `AudioTower` and a `TextTower`; the published teacher has wav2vec 2.0 and BERT there.

    `forward(audio [B, T], caption [B, L])` gives logits `[B, K]`; without a caption segments attend to each other.

    Arguments:
        inputs: `audio`, and mostly `caption`.
        outputs: `logits`.
        width, blocks, mels, window, hop, segments, dropout: of the `AudioTower`.
        size: D, of segments and captions where they meet.
        heads: of both attentions.
        text_width, text_layers, text_heads, buckets, pretrained, checkpoint: of the `TextTower`.

    Attributes:
        taps: `embedding` `[B, D]`: what is classified.
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
        size: PositiveInt = 64,
        heads: PositiveInt = 4,
        dropout: Probability = 0.1,
        text_width: PositiveInt = 48,
        text_layers: PositiveInt = 1,
        text_heads: PositiveInt = 4,
        buckets: PositiveInt = 8192,
        pretrained: str | None = None,
        checkpoint: str | None = None,
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
            embedding=size,
            dropout=dropout,
        )
        self.text = TextTower(
            embedding=size,
            width=text_width,
            layers=text_layers,
            heads=text_heads,
            buckets=buckets,
            pretrained=pretrained,
            checkpoint=checkpoint,
        )
        self.heard = nn.Linear(self.tower.channels, size)
        self.place = nn.Parameter(0.1 * torch.randn(segments, size))
        self.read = nn.Linear(size, size)
        self.attend = nn.TransformerDecoderLayer(size, heads, 2 * size, dropout, batch_first=True, norm_first=True)
        self.embedding = nn.LayerNorm(size)
        self.last = nn.Linear(size, classes_of(outputs))
        self.taps = {"embedding": "embedding"}
        self.layouts = {"embedding": "vector"}

    def forward(self, audio: Int16[Tensor, "B T"], caption: Int[Tensor, "B L"] | None = None) -> Float[Tensor, "B K"]:
        segments = self.heard(self.tower.tokens(audio)) + self.place
        memory = segments if caption is None else self.read(self.text(caption))[:, None]
        return self.last(self.embedding(self.attend(segments, memory).mean(1)))
