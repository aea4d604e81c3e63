"""`crossmodal/captioned-clips`: classification by prompts; a model that reads captions learns from them too."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from mmkd.data import Field
from mmkd.data.views import Batch
from mmkd.distributed import gather_rows
from mmkd.errors import ConfigError
from mmkd.pictures import Picture
from mmkd.signals import Signals
from mmkd.tasks.base import Records
from mmkd.tasks.classification import Classification
from mmkd_crossmodal.contrastive import info_nce
from mmkd_crossmodal.sound.pictures import spectrograms

PICTURED = 6


class CaptionedClips(Classification):
    """Cross-entropy on the labelled rows; and symmetric InfoNCE on all, for a model that gives caption embeddings.

    Arguments:
        target: the label field.
        label_smoothing: as in `classification`.
        contrastive: weight of the InfoNCE loss.
        supervised: weight of the cross-entropy beside it; at 0 a model that reads captions uses no label, and its class
            logits are zero-shot.
        opposite: constant field with the class that differs in order alone, `[K]`; the metric `order_accuracy` is then
            how often the true class scores higher than that one.
    """

    def __init__(
        self,
        fields: Mapping[str, Field],
        /,
        *,
        target: str = "label",
        label_smoothing: float = 0.0,
        contrastive: float = 1.0,
        supervised: float = 1.0,
        opposite: str | None = None,
    ) -> None:
        super().__init__(fields, target=target, label_smoothing=label_smoothing)
        if min(contrastive, supervised) < 0 or contrastive + supervised == 0:
            raise ConfigError(
                f"captioned-clips: contrastive = {contrastive} and supervised = {supervised} must be 0 or more, and "
                "not both 0"
            )
        if opposite is not None and opposite not in fields:
            raise ConfigError(
                f"captioned-clips: the data has no field '{opposite}'", 'opposite = "swapped", or leave it out'
            )
        self.contrastive, self.supervised, self.opposite = contrastive, supervised, opposite

    def loss(self, signals: Signals, batch: Batch) -> Tensor:
        if "caption" not in signals.outputs:
            return super().loss(signals, batch)
        heard, read = (gather_rows(signals.outputs[name]) for name in ("audio", "caption"))
        loss = self.contrastive * info_nce(heard, read, gather_rows(batch.index))
        return loss + self.supervised * super().loss(signals, batch) if self.supervised else loss

    def predict(self, call: Callable[[Batch], Signals], batch: Batch) -> dict[str, Tensor]:
        return {self.output: call(batch).outputs[self.output]}

    def record(self, prediction: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        kept = super().record(prediction, batch)
        if self.opposite is None:
            return kept
        logits, label = prediction[self.output], batch[self.target]
        own, other = (logits.gather(1, of[:, None])[:, 0] for of in (label, batch[self.opposite][label]))
        return {**kept, "in_order": torch.where(own == other, 0.5, (own > other).float())}

    def pictures(self, records: Mapping[str, Records], read: Callable[[np.ndarray], Batch]) -> list[Picture]:
        """Spectrograms of a few clips: those that arms agree on and those that they do not, with their answers."""
        first = next(iter(records.values()))
        answers = {name: kept[self.output].argmax(1) for name, kept in records.items()}
        right = np.sum([answer == first[self.target] for answer in answers.values()], 0)
        order = np.argsort(right, kind="stable")
        places = order[np.linspace(0, len(order) - 1, PICTURED).round().astype(int)]
        batch = read(first["index"][places])
        shown = next((n for n, declared in batch.view.fields.items() if declared.layout.startswith("wave")), None)
        if shown is None:
            return []
        classes = self.field.classes
        said = [
            {"truth": classes[first[self.target][place]]} | {name: classes[answers[name][place]] for name in records}
            for place in places
        ]
        content = spectrograms(list(batch[shown].cpu().numpy()), batch.view.fields[shown].rate or 1.0, said)
        words = "; ".join(
            f"{one['truth']} (right: {', '.join(n for n in records if one[n] == one['truth']) or 'none'})"
            for one in said
        )
        caption = "Test clips of the first seed, from those that no arm names rightly to those that all do."
        return [Picture("spectrograms", caption, f"Spectrograms of {len(said)} clips: {words}.", content)]

    def metrics(self, records: Records, groups: np.ndarray | None = None) -> dict[str, float]:
        found = super().metrics(records, groups)
        return found | ({"order_accuracy": float(records["in_order"].mean())} if "in_order" in records else {})
