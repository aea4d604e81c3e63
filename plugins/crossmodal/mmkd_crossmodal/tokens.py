"""Texts as numbers: open_clip's own tokenizer, whose vocabulary comes with the package."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from jaxtyping import Int
from torch import Tensor

from mmkd.errors import DataError

CONTEXT = 20
VOCABULARY = 49408


def tokens(texts: Sequence[str], context: int = CONTEXT) -> Int[Tensor, "N L"]:
    """Byte-pair ids between a start and an end mark, 0 behind them.

    Raises:
        DataError: a text holds no word, or is longer than `context` ids with its two marks.
    """
    tokenizer = _tokenizer()
    for text in texts:
        length = len(tokenizer.encode(text)) + 2
        if not 2 < length <= context:
            reason = "holds no word" if length == 2 else f"has {length} tokens where {context} fit"
            raise DataError(f"the text '{text}' {reason}")
    found: Tensor = tokenizer(list(texts), context_length=context)
    return found


@lru_cache(maxsize=1)
def _tokenizer() -> Any:
    from open_clip.tokenizer import SimpleTokenizer  # slow to import, and no deployed student needs it

    return SimpleTokenizer()
