"""`crossmodal/audio-text`: a dual encoder. Clips and captions meet in one space, and class prompts classify."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from jaxtyping import Float, Int, Int16
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F

from mmkd.data import Field, OutputSpec
from mmkd_crossmodal.models.log_mel_cnn import AudioTower, Probability, classes_of, scale_of
from mmkd_crossmodal.models.text_tower import TextTower


class AudioText(nn.Module):
    """An audio tower and a text tower, as CLIP has an image tower and one.

    Radford et al. 2021, arXiv 2103.00020, section 2.3 and figure 3; for audio CLAP, Elizalde et al. 2023, arXiv
    2206.04769. A class is the normalised mean of the embeddings of its prompts.

    `forward(audio [B, T], prompts [K, P, L], caption [B, L])` gives `logits` `[B, K]`, `audio` `[B, D]` (unit) and,
    where captions are bound, `caption` `[B, D]` (unit, times the scale): the contrastive loss needs no more.

    Arguments:
        inputs: `audio`, the constant `prompts`, and mostly `caption`.
        outputs: `logits`.
        width, blocks, mels, window, hop, segments, dropout: of the `AudioTower`.
        embedding: D.
        text_width, text_layers, text_heads, buckets, pretrained, checkpoint: of the `TextTower`.

    Attributes:
        taps: `embedding`: what was heard; `caption`: what was read, times the scale. A model that is bound to no
            caption puts the class there that fits best.

    Raises:
        ConfigError, DataError: as the towers do.
    """

    def __init__(
        self,
        inputs: Mapping[str, Field],
        outputs: OutputSpec,
        /,
        *,
        width: PositiveInt = 24,
        blocks: PositiveInt = 3,
        mels: PositiveInt = 32,
        window: PositiveFloat = 0.032,
        hop: PositiveFloat = 0.016,
        segments: PositiveInt = 4,
        embedding: PositiveInt = 64,
        dropout: Probability = 0.1,
        text_width: PositiveInt = 48,
        text_layers: PositiveInt = 1,
        text_heads: PositiveInt = 4,
        buckets: PositiveInt = 8192,
        pretrained: str | None = None,
        checkpoint: str | None = None,
    ) -> None:
        super().__init__()
        classes_of(outputs)
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
        self.text = TextTower(
            embedding=embedding,
            width=text_width,
            layers=text_layers,
            heads=text_heads,
            buckets=buckets,
            pretrained=pretrained,
            checkpoint=checkpoint,
        )
        self.scale = nn.Parameter(torch.tensor(math.log(10.0)))
        self.embedding, self.caption = nn.Identity(), nn.Identity()
        self.taps = {"embedding": "embedding", "caption": "caption"}
        self.layouts = {"embedding": "vector", "caption": "vector"}

    def forward(
        self, audio: Int16[Tensor, "B T"], prompts: Int[Tensor, "K P L"], caption: Int[Tensor, "B L"] | None = None
    ) -> dict[str, Tensor]:
        heard = self.embedding(self.tower(audio))
        scale = scale_of(self.scale)
        scaled = self.class_vectors(prompts) * scale
        said = {"logits": heard @ scaled.T, "audio": heard}
        if caption is None:
            self.caption(scaled[said["logits"].argmax(1)])
        else:
            said["caption"] = self.caption(self.text(caption) * scale)
        return said

    def class_vectors(self, prompts: Int[Tensor, "K P L"]) -> Float[Tensor, "K D"]:
        """A unit vector per class."""
        return F.normalize(self.text(prompts.flatten(0, 1)).unflatten(0, prompts.shape[:2]).mean(1), dim=1)
