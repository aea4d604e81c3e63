"""The contract of a task: supervised loss, inference for evaluation, metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from mmkd.data.fields import Field, OutputSpec
from mmkd.data.views import Batch
from mmkd.errors import ConfigError
from mmkd.pictures import Picture
from mmkd.signals import Signals

Records = Mapping[str, np.ndarray]
"""What evaluation keeps: arrays with one row per test sample."""


class Task:
    """What is learnt, and how well it is done.

    Constructors take `(fields: Mapping[str, Field], /, *, target: str = "label", ...)`.

    Attributes:
        primary: metric that decides selection and verdicts.
        higher_is_better: direction of the primary metric.
        outputs: outputs wanted from a model, with their per-sample shapes.
        class_output: the one that holds class logits, on axis 1; None where the task knows no classes. Calibration,
            fidelity and the controls that need the teacher's argmax read it.
    """

    primary: str
    higher_is_better: ClassVar[bool] = True
    outputs: OutputSpec
    class_output: str | None = None

    def __init__(self, fields: Mapping[str, Field], /, *, target: str = "label") -> None:
        if target not in fields or not fields[target].target:
            known = ", ".join(name for name, declared in fields.items() if declared.target) or "none"
            raise ConfigError(f"the task's target '{target}' is no label of the data set", f"labels: {known}")
        self.target = target
        self.field = fields[target]

    def loss(self, signals: Signals, batch: Batch) -> Tensor:
        """Supervised loss, averaged over the batch's labelled rows; 0 with a gradient path where there are none."""
        raise NotImplementedError

    def predict(self, call: Callable[[Batch], Signals], batch: Batch) -> dict[str, Tensor]:
        """Evaluation inference, one row per sample: by default the outputs of one call."""
        return dict(call(batch).outputs)

    def record(self, prediction: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """Rows kept for the metrics; a task with bulky predictions reduces them to per-sample scores here."""
        return {**prediction, self.target: batch[self.target]}

    def metrics(self, records: Records, groups: np.ndarray | None = None) -> dict[str, float]:
        """All metrics over the records; must hold `primary`.

        Arguments:
            groups: group id of each record (subject, patient), where the data set has groups.
        """
        raise NotImplementedError

    def score(self, records: Records, groups: np.ndarray | None = None) -> float:
        """The primary metric alone. Override it where that is much cheaper than all metrics: selection, and a bootstrap
        of a metric that is no mean over samples, ask for it again and again."""
        return self.metrics(records, groups)[self.primary]

    def unit_scores(self, records: Records) -> np.ndarray | None:
        """Per-sample scores whose mean is the primary metric, `[N]`; None where it does not decompose."""
        return None

    def group_scores(self, records: Records, groups: np.ndarray) -> np.ndarray | None:
        """Scores of whole groups whose mean is the primary metric, in the order of `numpy.unique(groups)`: for a metric
        that is no mean over a group's samples (the overlap in a volume whose slices are the samples). None elsewhere.
        """
        return None

    def constant(self, train: Records, test: Records) -> float | None:
        """Primary metric on `test` of the best constant predictor of `train`; None where there is none."""
        return None

    def alike(self, outputs: Mapping[str, Tensor]) -> Tensor:
        """Which samples a model decides alike, as whole numbers `[N]`: among them the control `shuffled-teacher`
        permutes the teacher's signals. Override it where decisions are no argmax of `class_output`, e.g. for boxes.

        Arguments:
            outputs: what the model said, `[N, ...]` each.
        """
        raise NotImplementedError

    def pictures(self, records: Mapping[str, Records], read: Callable[[np.ndarray], Batch]) -> Sequence[Picture]:
        """Pictures of a few samples for the report: input, truth, and what each arm says. None by default.

        Arguments:
            records: by arm, of one seed: sources and students without the controls; `index` holds row ids, in equal
                order in every arm.
            read: gives the rows of some ids with all fields, targets included.
        """
        return ()

    def describe(self) -> dict[str, Any]:
        """What the manifest of an exported student says of inference: class names, windows, decoding."""
        return {"task": type(self).__name__, "target": self.target, "classes": list(self.field.classes)}
