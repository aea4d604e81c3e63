"""Single-label classification."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from mmkd.data.fields import Field
from mmkd.data.views import Batch
from mmkd.distributed import share_of
from mmkd.errors import DataError
from mmkd.pictures import Picture
from mmkd.signals import Signals
from mmkd.tasks.base import Records, Task


class Classification(Task):
    """Cross-entropy on the labelled rows; accuracy, macro-F1 and NLL on the test rows.

    Arguments:
        primary: what decides selection and verdicts: `accuracy`, or `macro_f1`, the mean over classes of F1. The latter
            is no mean over rows, so its uncertainty over units is bootstrapped.
        target: the label field, integers in `[0, classes)`.
        label_smoothing: share of the target's mass that is spread over all classes.
        output: the model output that holds the logits, `[B C]`.
    """

    def __init__(
        self,
        fields: Mapping[str, Field],
        /,
        *,
        target: str = "label",
        primary: Literal["accuracy", "macro_f1"] = "accuracy",
        label_smoothing: float = 0.0,
        output: str = "logits",
    ) -> None:
        super().__init__(fields, target=target)
        if not self.field.classes:
            raise DataError(f"label field '{target}' names no classes", "declare Field(..., classes=(...))")
        self.primary = primary
        self.label_smoothing = label_smoothing
        self.output = self.class_output = output
        self.outputs = {output: (len(self.field.classes),)}

    def loss(self, signals: Signals, batch: Batch) -> Tensor:
        logits = signals.outputs[self.output].float()
        if batch.view.all_labelled:
            return F.cross_entropy(logits, batch[self.target], label_smoothing=self.label_smoothing)
        labels = batch[self.target].masked_fill(~batch.labelled, -100)
        total = F.cross_entropy(
            logits, labels, reduction="sum", label_smoothing=self.label_smoothing, ignore_index=-100
        )
        return share_of(total, batch.labelled.sum())

    def metrics(self, records: Records, groups: np.ndarray | None = None) -> dict[str, float]:
        logits, labels = records[self.output].astype(np.float64), records[self.target]
        shifted = logits - logits.max(1, keepdims=True)
        log_probability = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
        found = {
            "accuracy": float((logits.argmax(1) == labels).mean()),
            "macro_f1": macro_f1(labels, logits.argmax(1)),
            "nll": float(-log_probability[np.arange(len(labels)), labels].mean()),
        }
        return {self.primary: found[self.primary], **found}  # the primary one is shown first

    def score(self, records: Records, groups: np.ndarray | None = None) -> float:
        winner, labels = records[self.output].argmax(1), records[self.target]
        return macro_f1(labels, winner) if self.primary == "macro_f1" else float((winner == labels).mean())

    def unit_scores(self, records: Records) -> np.ndarray | None:
        if self.primary != "accuracy":
            return None
        return (records[self.output].argmax(1) == records[self.target]).astype(np.float64)

    def pictures(self, records: Mapping[str, Records], read: Callable[[np.ndarray], Batch]) -> list[Picture]:
        """A few test samples and what every arm said of them, where the data set can draw its samples."""
        from mmkd.tasks.samples import sample_picture

        index = next(iter(records.values()))["index"][:1]
        return sample_picture(read(index).view.dataset, records, self.output, self.target, self.field.classes)

    def constant(self, train: Records, test: Records) -> float:
        majority = np.bincount(train[self.target], minlength=len(self.field.classes)).argmax()
        if self.primary == "macro_f1":
            return macro_f1(test[self.target], np.full_like(test[self.target], majority))
        return float((test[self.target] == majority).mean())

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "output": self.output, "decision": "argmax"}


def macro_f1(labels: np.ndarray, predicted: np.ndarray) -> float:
    """Mean over classes of `2 TP / (2 TP + FP + FN)`; classes that are neither true nor predicted anywhere are left
    out.

    Arguments:
        labels, predicted: classes counted from 0, `[N]`.
    """
    size = int(max(labels.max(), predicted.max())) + 1
    hits = np.bincount(labels[labels == predicted], minlength=size)
    said = np.bincount(labels, minlength=size) + np.bincount(predicted, minlength=size)
    return float((2 * hits[said > 0] / said[said > 0]).mean())
