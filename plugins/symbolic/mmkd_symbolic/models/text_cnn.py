"""`symbolic/text-cnn`: Kim's convolutional network for sentences."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mmkd.data.fields import Field, OutputSpec
from mmkd.errors import ConfigError
from mmkd_symbolic.text import PADDING


class TextCNN(nn.Module):
    """Word embeddings, convolutions of several widths, the largest value of each over the sentence, a linear layer.

    Embeddings are learnt from scratch (the paper's CNN-rand).

    Arguments:
        inputs: one field of word numbers with a declared range.
        outputs: class logits.
        embedding: size of a word's embedding.
        channels: filters of each width.
        widths: words that a filter sees.
        dropout: of the pooled features.

    Attributes:
        taps: `penultimate`, the pooled features.

    Raises:
        ConfigError: another kind of field or output.

    Source:
        Kim 2014, Convolutional Neural Networks for Sentence Classification, arXiv 1408.5882, section 2.
    """

    def __init__(
        self,
        inputs: Mapping[str, Field],
        outputs: OutputSpec,
        /,
        *,
        embedding: int = 64,
        channels: int = 50,
        widths: tuple[int, ...] = (3, 4, 5),
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        (field,) = inputs.values()
        highest = field.range[1] if field.range else ()
        if not field.dtype.startswith("int") or isinstance(highest, tuple) or len(field.shape) != 1:
            raise ConfigError("symbolic/text-cnn reads word numbers: whole numbers `[length]` with a declared range")
        if list(outputs) != ["logits"] or len(outputs["logits"]) != 1:
            raise ConfigError(f"symbolic/text-cnn gives class logits alone, and the task wants {', '.join(outputs)}")
        if not widths or min(widths) < 1 or max(widths) > (field.shape[0] or 0):
            raise ConfigError(
                f"symbolic/text-cnn: widths {list(widths)} do not fit sentences of {field.shape[0]} words"
            )
        self.embedding = nn.Embedding(int(highest) + 1, embedding, padding_idx=PADDING)
        nn.init.uniform_(self.embedding.weight, -0.25, 0.25)
        with torch.no_grad():
            self.embedding.weight[PADDING] = 0
        self.filters = nn.ModuleList(nn.Conv1d(embedding, channels, width) for width in widths)
        self.pooled = nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.last = nn.Linear(channels * len(widths), int(outputs["logits"][0] or 0))
        self.taps = {"penultimate": "pooled"}
        self.layouts = {"penultimate": "vector"}

    def forward(self, tokens: Int[Tensor, "B T"]) -> Float[Tensor, "B classes"]:
        embedded = self.embedding(tokens).transpose(1, 2)
        found = [convolve(embedded).amax(2).relu() for convolve in self.filters]
        logits: Tensor = self.last(self.dropout(self.pooled(torch.cat(found, 1))))
        return logits
