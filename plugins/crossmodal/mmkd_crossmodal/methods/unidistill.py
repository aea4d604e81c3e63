"""UniDistill: the same nine points of every box, seen by two sensors."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from mmkd.adapters import align
from mmkd.data.views import Batch
from mmkd.distributed import share_of
from mmkd.errors import ConfigError
from mmkd.layouts import Specs
from mmkd.methods.base import Method, specs_of
from mmkd.signals import Signals
from mmkd_crossmodal.boxes.coding import STRIDE, encode
from mmkd_crossmodal.boxes.geometry import NEAR, ground_corners, project
from mmkd_crossmodal.boxes.objects import objects

MAPS = ("offset", "size", "depth", "heading")
INSIDE = 0.3  # of a Gaussian's height: cells above it belong to an object's centre


class UniDistill(Method):
    """Features, relations and responses at nine points of each box: corners, middles of the edges and the centre of its
    footprint. Every box counts alike, whatever its size, and the background not at all.

    The paper samples the points from bird's-eye-view maps of both networks. The networks here have a map in the plane
    of the picture, so the nine points are taken at half the box's height and projected into it; nothing is lifted.

    - `features`: mean absolute difference of the adapted features at the points;
    - `relations`: mean absolute difference of the 9 x 9 cosines among a box's points;
    - `response`: absolute difference of the heat's probabilities and of the heads at the objects' centres.

    Objects are the labelled ones, and in unlabelled rows those that the teacher finds.

    Arguments:
        student, sources: measured forms.
        source: who teaches.
        role: tap of the map, by the same role on both sides.
        features, relations, response: weights (the published code has 100, 40 and 10 for its own magnitudes).
        threshold: score from which a teacher's box is an object.
        target, present, camera: fields of the boxes, of which are real, and of the projection.

    Raises:
        LayoutError: a tap does not exist.
        ConfigError: a weight is negative, nothing has weight, or a side lacks the maps of `crossmodal/boxes`.
    """

    citation = (
        "Zhou et al. 2023, UniDistill: A Universal Cross-Modality Knowledge Distillation Framework for 3D Object "
        "Detection in Bird's-Eye View, CVPR 2023, arXiv 2303.15083: feature, relation and response"
    )

    def __init__(
        self,
        student: Specs,
        sources: Mapping[str, Specs],
        /,
        *,
        source: str = "teacher",
        role: str = "neck",
        features: float = 1.0,
        relations: float = 1.0,
        response: float = 1.0,
        threshold: float = 0.1,
        target: str = "boxes",
        present: str = "present",
        camera: str = "camera",
    ) -> None:
        super().__init__(student, sources, reads={"student": {role}, source: {role}})
        teacher = specs_of(sources, source)
        weights = {"features": features, "relations": relations, "response": response}
        if min(weights.values()) < 0 or not any(weights.values()):
            raise ConfigError(f"unidistill: the weights {weights} must be 0 or more, and one above 0")
        for name in ("boxes", "heat", *MAPS):
            if name not in student.outputs or name not in teacher.outputs:
                raise ConfigError(f"unidistill: the student or source '{source}' gives no output '{name}'")
        theirs = teacher.feature(role, f"source '{source}'")
        self.adapter: nn.Module = align(student.feature(role, "the student"), theirs)
        self.source, self.role, self.weights, self.threshold = source, role, weights, threshold
        self.target, self.present, self.camera = target, present, camera

    def forward(self, student: Signals, sources: Mapping[str, Signals], batch: Batch) -> dict[str, Tensor]:
        said = sources[self.source]
        boxes, counted = objects(
            batch, said.outputs["boxes"], target=self.target, present=self.present, threshold=self.threshold
        )
        camera = batch[self.camera]
        boxes = torch.where(counted[..., None], boxes, 1.0)
        theirs = said.features[self.role].detach().float()
        mine = self.adapter(student.features[self.role]).float()
        places, seen = crucial_points(boxes, camera, (theirs.shape[2], theirs.shape[3]))
        seen = seen & counted[..., None]
        one, two = sampled(mine, places), sampled(theirs, places)
        whole = seen.all(-1)
        targets = encode(boxes, counted, camera, (theirs.shape[2], theirs.shape[3]))
        losses = {
            "features": _mean((one - two).abs().mean(-1), seen),
            "relations": _mean((_cosines(one) - _cosines(two)).abs().mean((-1, -2)), whole),
            "response": _mean(_responses(student.outputs, said.outputs), (targets.heat > INSIDE)[:, 0]),
        }
        return {name: self.weights[name] * value for name, value in losses.items() if self.weights[name]}


def crucial_points(
    boxes: Float[Tensor, "B N 7"], camera: Float[Tensor, "3 4"], grid: tuple[int, int]
) -> tuple[Float[Tensor, "B N 9 2"], Bool[Tensor, "B N 9"]]:
    """Where the nine points lie in a map of stride 4, from -1 to 1 as `grid_sample` has it, and whether they do."""
    corners = ground_corners(boxes)
    ground = torch.cat([corners, (corners + corners.roll(-1, -2)) / 2, corners.mean(-2, keepdim=True)], -2)
    height = (boxes[..., 1] - boxes[..., 3] / 2)[..., None].expand(ground.shape[:-1])
    pixels, depth = project(torch.stack([ground[..., 0], height, ground[..., 1]], -1), camera)
    places = 2 * pixels / (STRIDE * pixels.new_tensor([grid[1], grid[0]])) - 1
    return places, (depth > NEAR) & (places.abs() <= 1).all(-1)


def sampled(map_: Float[Tensor, "B C h w"], places: Float[Tensor, "B N 9 2"]) -> Float[Tensor, "B N 9 C"]:
    """Features at the points, bilinearly."""
    return F.grid_sample(map_, places.clamp(-2, 2), padding_mode="border", align_corners=False).permute(0, 2, 3, 1)


def _cosines(points: Float[Tensor, "B N 9 C"]) -> Float[Tensor, "B N 9 9"]:
    rows = F.normalize(points, dim=-1)
    return rows @ rows.transpose(-1, -2)


def _responses(student: Mapping[str, Tensor], teacher: Mapping[str, Tensor]) -> Float[Tensor, "B h w"]:
    """Absolute difference of the heat's probabilities, and of each head's numbers on average."""
    each = (student["heat"].float().sigmoid() - teacher["heat"].detach().float().sigmoid()).abs()[:, 0]
    for name in MAPS:
        apart = (student[name].float() - teacher[name].detach().float()).abs()
        each = each + (apart[:, 0] if name == "depth" else apart.mean(1))  # depth's scale is each one's own
    return each


def _mean(values: Tensor, counted: Tensor) -> Tensor:
    return share_of(torch.where(counted, values, 0.0).sum(), counted.sum())
