"""`crossmodal/boxes`: 3D boxes in a camera's frame."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import sqrt
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from pydantic import PositiveInt
from torch import Tensor
from torch.nn import functional as F

from mmkd.data.fields import Field
from mmkd.data.views import Batch
from mmkd.distributed import share_of
from mmkd.errors import ConfigError
from mmkd.pictures import Picture
from mmkd.signals import Signals
from mmkd.tasks.base import Records, Task
from mmkd_crossmodal.boxes.average_precision import DIFFICULTIES, average_precision, match
from mmkd_crossmodal.boxes.coding import BINS, COLUMNS, UNITS, at_cells, encode
from mmkd_crossmodal.boxes.geometry import ious
from mmkd_crossmodal.boxes.pictures import drawn

OVERLAPS = (0.3, 0.5, 0.7)
DISTANCES = ((0, 15), (15, 30), (30, 50))  # metres
LEVELS = {0: "visible", 1: "partly occluded", 2: "largely occluded"}
TOWARDS = 0.04  # largest difference of direction (tangents) of a box that is taken for an object: about 4 pixels
SHOWN = 0.1  # score from which a box is reported
PICTURES = 4


class Boxes(Task):
    """Centre heat map, and at each centre depth, offset, size and heading, as `mmkd_crossmodal.boxes.coding` has them.

    The loss is the sum of: the penalty-reduced focal loss of the heat (Law and Deng 2018, CornerNet, eq. 1), the
    Laplace negative log-likelihood of log depth (Kendall and Gal 2017; Chen et al. 2020, MonoPair), L1 of offset and
    log size, cross-entropy of the heading's bin and L1 of its residual; each averaged over the labelled objects.

    Metrics: AP over 40 recalls in bird's-eye view and of volumes, at overlaps of 0.3, 0.5 and 0.7, for one of
    KITTI's difficulties; the primary one also by distance and by occlusion (all truncations up to the limit); and for
    objects that a box points at, the median error of its depth. Classes are one: an object.

    Arguments:
        view: `bev` or `3d`: what the primary metric compares.
        overlap: intersection over union from which a box is a hit, in the primary metric: 0.3, 0.5 or 0.7
            (KITTI's for cars).
        difficulty: `easy`, `moderate` or `hard`, as KITTI's benchmark defines them.
        count: boxes per frame.
        target, present, details: fields of the boxes, of which are real, and of occlusion, truncation and height.
        camera: constant field of the projection.
    """

    def __init__(
        self,
        fields: Mapping[str, Field],
        /,
        *,
        target: str = "boxes",
        present: str = "present",
        details: str = "details",
        camera: str = "camera",
        view: Literal["bev", "3d"] = "bev",
        overlap: float = 0.5,
        difficulty: Literal["easy", "moderate", "hard"] = "moderate",
        count: PositiveInt = 16,
    ) -> None:
        super().__init__(fields, target=target)
        if overlap not in OVERLAPS:
            raise ConfigError(f"overlap = {overlap} is not known", "0.3, 0.5 or 0.7")
        for name in (present, details, camera):
            if name not in fields:
                raise ConfigError(f"crossmodal/boxes: the data has no field '{name}'", f"fields: {', '.join(fields)}")
        self.present, self.details, self.camera = present, details, camera
        self.view, self.overlap, self.difficulty = view, overlap, DIFFICULTIES[difficulty]
        self.primary = _name(view, overlap)
        self.outputs = {"boxes": (count, len(COLUMNS))}

    def loss(self, signals: Signals, batch: Batch) -> Tensor:
        maps = {name: value.float() for name, value in signals.outputs.items()}
        grid = (maps["heat"].shape[2], maps["heat"].shape[3])
        targets = encode(batch[self.target], batch[self.present], batch[self.camera], grid)
        valid = targets.valid & batch.labelled[:, None]
        focal = focal_loss(maps["heat"], targets.heat).sum((1, 2, 3)) * batch.labelled
        depth, scale = at_cells(maps["depth"], targets.cell).split(1, 2)
        heading = at_cells(maps["heading"], targets.cell)
        residual = heading[..., BINS:].gather(2, targets.bin[..., None])[..., 0]
        apart = (
            sqrt(2) * (depth - targets.depth).abs() * torch.exp(-scale) + scale,
            (at_cells(maps["offset"], targets.cell) - targets.offset).abs(),
            (at_cells(maps["size"], targets.cell) - targets.size).abs(),
        )
        each = sum(part.sum(2) for part in apart)
        each = each + F.cross_entropy(heading[..., :BINS].transpose(1, 2), targets.bin, reduction="none")
        each = each + (residual - targets.residual).abs()
        return share_of(focal.sum() + torch.where(valid, each, 0.0).sum(), valid.sum())

    def predict(self, call: Callable[[Batch], Signals], batch: Batch) -> dict[str, Tensor]:
        return {"boxes": call(batch).outputs["boxes"]}

    def record(self, prediction: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        boxes, truth = prediction["boxes"].float(), batch[self.target]
        present, details = batch[self.present], batch[self.details]
        overlaps = [ious(mine[:, :7].cpu(), theirs.cpu()) for mine, theirs in zip(boxes, truth, strict=True)]
        bev, volume = (torch.stack(part).float() * present[:, None].cpu() for part in zip(*overlaps, strict=True))
        counted = present.cpu().numpy() & self.difficulty.counts(details.cpu().numpy())
        primary = bev if self.view == "bev" else volume
        status = match(boxes[..., 7].cpu().numpy(), primary.numpy(), counted, present.cpu().numpy(), self.overlap)
        return {
            "predicted": boxes,
            "true": truth,
            "present": present,
            "details": details,
            "bev": bev,
            "3d": volume,
            "status": torch.from_numpy(status),
            "counted": torch.from_numpy(counted.sum(1)),
        }

    def score(self, records: Records, groups: np.ndarray | None = None) -> float:
        found = average_precision(records["predicted"][..., 7], records["status"], int(records["counted"].sum()))
        return 0.0 if np.isnan(found) else found

    def metrics(self, records: Records, groups: np.ndarray | None = None) -> dict[str, float]:
        present, counted = records["present"], records["present"] & self.difficulty.counts(records["details"])
        found = {self.primary: self.score(records)}
        for view in ("3d", "bev"):
            for overlap in OVERLAPS:
                found[_name(view, overlap)] = self._precision(records, counted, present, view, overlap)
        depth = records["true"][..., 2]
        for low, high in DISTANCES:
            chosen = counted & (depth >= low) & (depth < high)
            inside = (records["predicted"][..., 2] >= low) & (records["predicted"][..., 2] < high)
            found[f"{self.primary}, {low} to {high} m"] = self._precision(records, chosen, present, within=inside)
        seen = present & (records["details"][..., 2] >= self.difficulty.height)
        seen &= records["details"][..., 1] <= self.difficulty.truncation
        for level, name in LEVELS.items():
            chosen = seen & (records["details"][..., 0] == level)
            found[f"{self.primary}, {name}"] = self._precision(records, chosen, present)
        return {**found, **depth_errors(records["predicted"], records["true"], counted)}

    def _precision(
        self,
        records: Records,
        counted: np.ndarray,
        present: np.ndarray,
        view: str = "",
        overlap: float = 0.0,
        within: np.ndarray | None = None,
    ) -> float:
        """AP of some of the objects; others are ignored, and so are misses that lie outside of `within`."""
        scores = records["predicted"][..., 7]
        status = match(scores, records[view or self.view], counted, present, overlap or self.overlap)
        if within is not None:
            status = np.where((status == 0) & ~within, -1, status)
        found = average_precision(scores, status, int(counted.sum()))
        return 0.0 if np.isnan(found) else found

    def constant(self, train: Records, test: Records) -> float:
        return 0.0  # no box at all

    def alike(self, outputs: Mapping[str, Tensor]) -> Tensor:
        """Frames in which a model finds equally many objects."""
        return (outputs["boxes"][..., 7] >= SHOWN).sum(1)

    def pictures(self, records: Mapping[str, Records], read: Callable[[np.ndarray], Batch]) -> list[Picture]:
        """Frames with about as many objects as most have: on the picture and from above, the boxes of every arm."""
        first = next(iter(records.values()))
        places = _spread(first["counted"], PICTURES)
        batch = read(first["index"][places])
        made = []
        for number, (place, row) in enumerate(zip(places, first["index"][places].tolist(), strict=True), 1):
            said = {"truth": first["true"][place][first["present"][place]]}
            for arm, kept in records.items():
                boxes = kept["predicted"][place]
                said[arm] = boxes[boxes[:, 7] >= SHOWN][:, :7]
            shown = next((batch[name] for name in batch if self._is_picture(batch, name)), None)
            if shown is None:
                return []
            depth = batch["depth"][number - 1, 0].cpu().numpy() if "depth" in batch else None
            camera = batch[self.camera].cpu().numpy()
            counts = ", ".join(f"{arm} {len(boxes)}" for arm, boxes in said.items())
            made.append(
                Picture(
                    f"boxes-{number}",
                    f"Row {row}, first seed: boxes from a score of {SHOWN} on, {counts}.",
                    f"Row {row}: one picture per arm with 3D boxes drawn on it, the truth in white, beside a view from "
                    f"above with the scan. Boxes: {counts}.",
                    drawn(shown[number - 1].cpu().numpy(), depth, camera, said),
                )
            )
        return made

    def _is_picture(self, batch: Batch, name: str) -> bool:
        field = batch.view.fields.get(name)
        return field is not None and field.dtype == "uint8" and field.layout == "map" and field.shape[0] == 3

    def describe(self) -> dict[str, Any]:
        rows = {"output": "boxes", "columns": list(COLUMNS), "units": list(UNITS), "score": "score", "from": SHOWN}
        frame = "rectified camera: x right, y down, z forward; x, y, z of the bottom's centre; yaw about y"
        return {**super().describe(), "output": "boxes", "decision": "rows", "rows": rows, "frame": frame}


def focal_loss(logits: Float[Tensor, "B 1 h w"], heat: Float[Tensor, "B 1 h w"]) -> Float[Tensor, "B 1 h w"]:
    """Penalty-reduced focal loss of every cell with exponents 2 and 4 (CornerNet, eq. 1)."""
    probability = logits.sigmoid()
    centre = (1 - probability).square() * F.softplus(-logits)
    elsewhere = (1 - heat).pow(4) * probability.square() * F.softplus(logits)
    return torch.where(heat == 1, centre, elsewhere)


def depth_errors(predicted: np.ndarray, true: np.ndarray, counted: np.ndarray) -> dict[str, float]:
    """How wrong the depth is of objects that a box points at, whatever its depth: the best-scored one that does.

    Where no box points at any object, all of the depth is wrong.

    Arguments:
        predicted: `[F, K, 8]`.
        true: `[F, M, 7]`.
        counted: objects to look at, `[F, M]`.
    """
    mine, theirs = _directions(predicted)[:, :, None], _directions(true)[:, None]
    near = np.linalg.norm(mine - theirs, axis=-1) < TOWARDS
    score = np.where(near & (predicted[..., 7:] > 0.05), predicted[..., 7:], -1)
    best = score.argmax(1)
    found = counted & (score.max(1) > 0)
    depth = np.take_along_axis(predicted[..., 2], best, 1)
    error = np.abs(depth - true[..., 2])[found]
    if not len(error):
        whole = float(np.median(true[..., 2][counted])) if counted.any() else 0.0
        return {"depth error, m": whole, "depth error, %": 100.0, "pointed at, %": 0.0}
    return {
        "depth error, m": float(np.median(error)),
        "depth error, %": float(100 * np.median(error / true[..., 2][found])),
        "pointed at, %": float(100 * found.sum() / counted.sum()),
    }


def _spread(counted: np.ndarray, wanted: int) -> np.ndarray:
    """Places of frames spread over all that have at least two objects, or one; in order."""
    rich = np.flatnonzero(counted >= min(2, counted.max(initial=0)))
    return rich[np.unique(np.linspace(0, len(rich) - 1, min(wanted, len(rich))).astype(int))]


def _directions(boxes: np.ndarray) -> np.ndarray:
    """Tangents of the direction to each box's centre, `[..., 2]`."""
    depth = np.maximum(boxes[..., 2], 0.1)
    return np.stack([boxes[..., 0] / depth, (boxes[..., 1] - boxes[..., 3] / 2) / depth], -1)


def _name(view: str, overlap: float) -> str:
    return f"ap_{view}_{round(100 * overlap)}"
