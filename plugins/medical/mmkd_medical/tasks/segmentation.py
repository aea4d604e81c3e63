"""`medical/segmentation`: a class for every pixel or voxel, judged by patient."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any

import numpy as np
import pydantic
import torch
from monai.inferers import sliding_window_inference
from monai.losses import DiceCELoss
from pydantic import PositiveInt
from torch import Tensor

from mmkd.data.fields import Field
from mmkd.data.views import Batch
from mmkd.distributed import share_of
from mmkd.errors import ConfigError, DataError
from mmkd.pictures import Picture
from mmkd.signals import Signals
from mmkd.tasks.base import Records, Task
from mmkd_medical.drawing import Case, segmentations
from mmkd_medical.overlap import dice_per_class, hausdorff95


class Segmentation(Task):
    """Dice and cross-entropy on the labelled rows; Dice (primary) and HD95 of each patient's whole volume.

    The primary metric is the mean over patients of the Dice coefficient of the foreground classes, a class that neither
    the label nor the prediction has being left out. `dice_CLASS` is that of one class, `dice_whole` that of all
    foreground classes as one. `hd95` is the 95th percentile of surface distances, in mm, of the foreground as one; a
    patient whose lesion is not found at all (or who has none, and one is found) counts with the volume's diagonal.

    Predictions slide a window over samples that are larger, and average where windows overlap. A record keeps one byte
    per pixel, and not its scores.

    Arguments:
        target: the label field.
        window: size of the window along each axis of a sample; what the network was trained on.
        overlap: share of a window that the next one covers again.
        spacing: mm between slices, and between the pixels of each axis of a slice; for HD95.
        label_smoothing: share of the target's mass that is spread over all classes.
    """

    primary = "dice"
    class_output = "logits"

    def __init__(
        self,
        fields: Mapping[str, Field],
        /,
        *,
        target: str = "label",
        window: tuple[PositiveInt, ...] = (48, 48),
        overlap: Annotated[float, pydantic.Field(ge=0, lt=1)] = 0.25,
        spacing: tuple[float, ...] = (1.0, 1.0, 1.0),
        label_smoothing: Annotated[float, pydantic.Field(ge=0, lt=1)] = 0.0,
    ) -> None:
        super().__init__(fields, target=target)
        if len(self.field.classes) < 2:
            raise DataError(f"label field '{target}' names no classes", "declare Field(..., classes=(...))")
        axes = len(self.field.shape)
        if len(window) != axes or len(spacing) != 3:
            raise ConfigError(
                f"window = {list(window)}, spacing = {list(spacing)}: samples have {axes} axes, volumes 3"
            )
        self.window, self.overlap, self.spacing = window, overlap, spacing
        self.outputs = {"logits": (len(self.field.classes), *[None] * axes)}
        self._loss = DiceCELoss(
            include_background=False,
            to_onehot_y=True,
            softmax=True,
            batch=True,
            label_smoothing=label_smoothing,
        )

    def loss(self, signals: Signals, batch: Batch) -> Tensor:
        logits = signals.logits.float()
        rows = batch.labelled.nonzero()[:, 0]
        if not len(rows):
            return share_of(0 * logits.sum(), batch.labelled.sum())
        return share_of(len(rows) * self._loss(logits[rows], batch[self.target][rows][:, None]), batch.labelled.sum())

    def predict(self, call: Callable[[Batch], Signals], batch: Batch) -> dict[str, Tensor]:
        images = {
            name: value
            for name, value in batch.samples.items()
            if name in batch.view.fields and not batch.view.fields[name].target
        }
        sizes = next(iter(images.values())).shape[2:]
        if tuple(sizes) == tuple(self.window):
            return {"logits": call(batch).logits}
        channels = [value.shape[1] for value in images.values()]
        rows = len(batch.index)

        def windowed(joined: Tensor) -> Tensor:
            parts = dict(zip(images, joined.split(channels, 1), strict=True))
            return call(batch.replace(**parts)).logits

        joined = torch.cat(list(images.values()), 1)
        # As many windows in each call as the batch has rows, since its other fields have that many.
        logits = sliding_window_inference(joined, self.window, rows, windowed, self.overlap)
        return {"logits": logits}

    def record(self, prediction: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        predicted, truth = prediction["logits"].argmax(1), batch[self.target]
        return {"classes": (truth * len(self.field.classes) + predicted).to(torch.uint8)}

    def metrics(self, records: Records, groups: np.ndarray | None = None) -> dict[str, float]:
        of = np.arange(len(records["classes"])) if groups is None else groups
        dice = self._dice(records, of)
        classes = self.field.classes[1:]
        whole, distances = [], []
        for one in np.unique(of):
            predicted, truth = (values > 0 for values in self._volumes(records["classes"][of == one]))
            whole.append(dice_per_class(predicted, truth, 2)[1])
            distances.append(hausdorff95(predicted, truth, self.spacing[-predicted.ndim :]))
        found = {"dice": float(_mean(dice, 1).mean())}
        if len(classes) > 1:
            found |= {f"dice_{name}": float(_mean(dice[:, number])) for number, name in enumerate(classes)}
            found["dice_whole"] = float(_mean(np.array(whole)))
        return {**found, "hd95": float(_mean(np.array(distances)))}

    def group_scores(self, records: Records, groups: np.ndarray) -> np.ndarray:
        return _mean(self._dice(records, groups), 1)

    def constant(self, train: Records, test: Records) -> float:
        """The best of "tumour of one class everywhere"; "no tumour anywhere" scores 0."""
        _, truth = self._volumes(test["classes"])
        shares = np.array([(truth == number).mean() for number in range(1, len(self.field.classes))])
        return float((2 * shares / (1 + shares)).max() / len(shares))

    def pictures(self, records: Mapping[str, Records], read: Callable[[np.ndarray], Batch]) -> list[Picture]:
        """One slice of the worst, the median and the best patient of the last arm: the scans, truth and answers."""
        index = next(iter(records.values()))["index"]
        groups = read(index[:1]).view.dataset.groups
        of = index if groups is None else groups.cpu().numpy()[index]
        patients = np.unique(of)
        dice = {name: _mean(self._dice(kept, of), 1) for name, kept in records.items()}
        order = np.argsort(dice[list(records)[-1]], kind="stable")
        cases = []
        for place in sorted({0, len(order) // 2, len(order) - 1}):
            patient = int(order[place])
            rows = np.flatnonzero(of == patients[patient])
            said = {name: self._volumes(kept["classes"][rows]) for name, kept in records.items()}
            truth = next(iter(said.values()))[1]
            row = int((truth > 0).reshape(len(rows), -1).sum(1).argmax())
            batch = read(index[rows[[row]]])
            cut = int((truth[row] > 0).sum((1, 2)).argmax()) if truth.ndim == 4 else None
            cases.append(
                Case(
                    {name: _slice(batch[name][0, 0].cpu().numpy(), cut) for name in self._scans(batch)},
                    _slice(truth[row], cut),
                    {name: _slice(predicted[row], cut) for name, (predicted, _) in said.items()},
                    {name: float(dice[name][patient]) for name in records},
                )
            )
        told = "; ".join(", ".join(f"{name} {100 * one:.0f} %" for name, one in case.dice.items()) for case in cases)
        last = list(records)[-1]
        return [
            Picture(
                "segmentations",
                f"Test patients of the first seed: the worst, the median and the best of {last}, by Dice over the "
                "patient; the slice with the most of the lesion. Truth is outlined in white on every answer.",
                f"Slices of {len(cases)} patients with the lesion as each arm draws it. Dice of the patients: {told}.",
                segmentations(cases, len(self.field.classes)),
            )
        ]

    def _scans(self, batch: Batch) -> list[str]:
        return [name for name in batch.samples if name in batch.view.fields and not batch.view.fields[name].target]

    def describe(self) -> dict[str, Any]:
        return {
            **super().describe(),
            "output": "logits",
            "decision": "argmax",
            "sliding_window": {"size": list(self.window), "overlap": self.overlap},
        }

    def _volumes(self, records: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Predicted and true classes, `[slices, H, W]`."""
        truth, predicted = np.divmod(records, np.uint8(len(self.field.classes)))
        return predicted, truth

    def _dice(self, records: Records, groups: np.ndarray) -> np.ndarray:
        """Of each foreground class of each patient, `[patients, K - 1]`."""
        count = len(self.field.classes)
        volumes = (self._volumes(records["classes"][groups == one]) for one in np.unique(groups))
        return np.array([dice_per_class(predicted, truth, count)[1:] for predicted, truth in volumes])


def _slice(volume: np.ndarray, number: int | None) -> np.ndarray:
    return volume if number is None else volume[number]


def _mean(values: np.ndarray, axis: int | None = None) -> np.ndarray:
    """Over what is not NaN; 1 where nothing is left: a patient without a lesion in whom none was found."""
    there = ~np.isnan(values)
    total, count = np.where(there, values, 0).sum(axis), there.sum(axis)
    return np.where(count > 0, total / np.maximum(count, 1), 1.0)
