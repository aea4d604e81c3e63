"""open_clip's text transformer: small and new, or one of its own with weights from a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from mmkd.errors import ConfigError, DataError
from mmkd_crossmodal.tokens import CONTEXT, VOCABULARY

MARKS = 2  # of start and end, the last ids of the vocabulary


class TextTower(nn.Module):
    """Token ids `[B, L]` to a unit embedding `[B, D]`.

    Arguments:
        embedding: D.
        width, layers, heads: of a new transformer.
        buckets: rows of a new transformer's table of tokens, which ids share by their remainder: the captions of a
            small world hold few of the 49,408.
        pretrained: name of an open_clip model whose text configuration is used instead, e.g. `ViT-B-32`.
        checkpoint: safetensors file with its weights; without one they are new. The tower is then frozen.

    Raises:
        ConfigError: an unknown name, or its embeddings are not of size D.
        DataError: the checkpoint is absent, damaged, or of another architecture.
    """

    def __init__(
        self,
        *,
        embedding: int,
        width: int,
        layers: int,
        heads: int,
        buckets: int = VOCABULARY,
        pretrained: str | None = None,
        checkpoint: str | None = None,
    ) -> None:
        super().__init__()
        from open_clip.transformer import TextTransformer

        sizes = {"width": width, "layers": layers, "heads": heads, "context_length": CONTEXT}
        self.buckets = min(buckets, VOCABULARY) if checkpoint is None else VOCABULARY
        if pretrained is not None:
            self.buckets = VOCABULARY
            sizes = _configured(pretrained, embedding)
        self.longest = sizes["context_length"]
        self.transformer = TextTransformer(vocab_size=self.buckets, output_dim=embedding, **sizes)
        if checkpoint is not None:
            _load(self.transformer, Path(checkpoint).expanduser())
            self.requires_grad_(False)

    def forward(self, tokens: Int[Tensor, "B L"]) -> Float[Tensor, "B D"]:
        padded = F.pad(self.bucketed(tokens), (0, self.longest - tokens.shape[1]))
        return F.normalize(self.transformer(padded), dim=1)

    def bucketed(self, tokens: Int[Tensor, "B L"]) -> Int[Tensor, "B L"]:
        """Ids below the number of buckets; the two marks stay the last: the tower reads its answer at the end mark,
        which it finds as the largest id."""
        words = VOCABULARY - MARKS
        marked = tokens - (VOCABULARY - self.buckets)
        return torch.where(tokens < words, tokens % (self.buckets - MARKS), marked)


def _configured(name: str, embedding: int) -> dict[str, int]:
    import open_clip

    found: dict[str, Any] | None = open_clip.get_model_config(name)
    if found is None:
        raise ConfigError(f"open_clip has no model '{name}'", "`open_clip.list_models()` lists them")
    if found["embed_dim"] != embedding:
        raise ConfigError(
            f"the text embeddings of {name} have size {found['embed_dim']}, not {embedding}",
            f"embedding = {found['embed_dim']}",
        )
    text = found["text_cfg"]
    if unknown := sorted(set(text) - {"context_length", "vocab_size", "width", "heads", "layers"}):
        raise ConfigError(
            f"the text tower of {name} is of another kind ({unknown[0]})", "use a CLIP model such as ViT-B-32"
        )
    return {key: text[key] for key in ("context_length", "width", "heads", "layers")}


def _load(transformer: nn.Module, path: Path) -> None:
    try:
        stored = load_file(path)
    except (OSError, SafetensorError) as error:
        raise DataError(f"text tower {path} cannot be read ({error})", "give open_clip's safetensors file") from error
    wanted = set(transformer.state_dict())
    found = {name.removeprefix("text."): value for name, value in stored.items()}
    try:
        transformer.load_state_dict({name: value for name, value in found.items() if name in wanted}, strict=False)
    except RuntimeError as error:
        raise DataError(f"{path} holds a text tower of other sizes", 'name its model: pretrained = "..."') from error
    if missing := sorted(name for name in wanted - set(found) if name != "attn_mask"):
        raise DataError(f"{path} holds no '{missing[0]}' of a text tower")
