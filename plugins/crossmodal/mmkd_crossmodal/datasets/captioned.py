"""What the audio data sets share: clips of one length as int16 PCM, captions, and prompts per class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mmkd.data import Dataset, Field
from mmkd_crossmodal.tokens import tokens

Array = NDArray[Any]
PCM = (-32768.0, 32767.0)


class Captioned(Dataset):
    """Clips with a caption each.

    Fields:

    - `audio` `[T]`: int16 PCM, one channel, as a file holds it;
    - `caption` `[L]`: token ids of its description;
    - `label`;
    - the constant `prompts` `[K, P, L]`: token ids of P prompts per class.

    Arguments:
        waves: `[T]` each, int16, all of one length.
        rate: samples per second.
        captions: a text per clip.
        labels: class of each clip.
        groups: the independent unit that each clip belongs to.
        unit: what it is called.
        classes: names.
        prompts: texts per class, equally many of each.
        samples, constants: further values, with their fields.
        preparation: how a recording became a clip, for the reader of files.
    """

    def __init__(
        self,
        waves: Sequence[Array],
        rate: int,
        captions: Sequence[str],
        labels: Array,
        groups: Array,
        unit: str,
        classes: Sequence[str],
        prompts: Sequence[Sequence[str]],
        *,
        samples: dict[str, tuple[Field, torch.Tensor]] | None = None,
        constants: dict[str, tuple[Field, torch.Tensor]] | None = None,
        preparation: dict[str, Any] | None = None,
    ) -> None:
        written = torch.stack([tokens(some) for some in prompts])
        described = tokens(captions)
        samples, constants = samples or {}, constants or {}
        fields = {
            "audio": Field(
                (len(waves[0]),),
                "int16",
                layout="wave [B T]",
                unit="int16 PCM, one channel",
                rate=float(rate),
                range=PCM,
                preparation=preparation,
            ),
            "caption": Field(tuple(described.shape[1:]), "int64"),
            "label": Field((), "int64", target=True, classes=tuple(classes)),
            "prompts": Field(tuple(written.shape), "int64", kind="constant"),
        }
        fields |= {name: declared for name, (declared, _) in {**samples, **constants}.items()}
        values = {
            "audio": torch.from_numpy(np.stack(waves)),
            "caption": described,
            "label": torch.from_numpy(labels.astype(np.int64)),
        }
        super().__init__(
            fields,
            values | {name: value for name, (_, value) in samples.items()},
            constants={"prompts": written} | {name: value for name, (_, value) in constants.items()},
            groups=torch.from_numpy(groups.astype(np.int64)),
            unit=unit,
        )
