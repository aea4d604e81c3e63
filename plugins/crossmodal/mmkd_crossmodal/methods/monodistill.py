"""MonoDistill: a camera learns from the same network that sees the LiDAR as a depth image."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from mmkd.adapters import align
from mmkd.adapters.map import resize
from mmkd.data.views import Batch
from mmkd.distributed import share_of
from mmkd.errors import ConfigError
from mmkd.layouts import Specs
from mmkd.methods.base import Method, specs_of
from mmkd.signals import Signals
from mmkd_crossmodal.boxes.coding import BINS, STRIDE, encode
from mmkd_crossmodal.boxes.geometry import image_boxes
from mmkd_crossmodal.boxes.objects import objects

MAPS = ("offset", "size", "depth", "heading")
INSIDE = 0.3  # of a Gaussian's height: cells above it belong to an object's centre


class MonoDistill(Method):
    """Three losses between one network on the picture and its twin on the scan.

    - `scene`: the cosines of all pairs of positions, at each of `scene_roles` after resizing to the coarsest of them;
      mean absolute difference. The published code leaves features unnormalised; here they are as the paper has them.
    - `objects`: half the squared difference of the adapted `object_role` features inside the objects' 2D boxes, where
      the teacher's feature is not all zero; mean over those cells and channels.
    - `response`: absolute difference of offset, log size and log depth, KL of the heading's bins and absolute
      difference of the residual in the teacher's bin; mean over the cells at the objects' centres. There is no 2D box
      among the heads here, hence none in this loss.

    Objects are the labelled ones, and in unlabelled rows those that the teacher finds. For these rows the heat must be
    learnt from the teacher too: `heat`, a quality focal loss as CMKD has it (Hong et al. 2022, arXiv 2211.07171), which
    MonoDistill lacks; weight 0 leaves it out.

    Arguments:
        student, sources: measured forms.
        source: who teaches.
        scene_roles, object_role: taps, by the same role on both sides.
        scene, objects, response, heat: weights; at 0 a loss is left out.
        threshold: score from which a teacher's box is an object.
        target, present, camera: fields of the boxes, of which are real, and of the projection.

    Raises:
        LayoutError: a tap does not exist.
        ConfigError: a weight is negative, nothing has weight, or a side lacks the maps of `crossmodal/boxes`.
    """

    citation = (
        "Chong et al. 2022, MonoDistill: Learning Spatial Features for Monocular 3D Object Detection, ICLR 2022, "
        "arXiv 2201.10830: scene-level, object-level and response distillation"
    )

    def __init__(
        self,
        student: Specs,
        sources: Mapping[str, Specs],
        /,
        *,
        source: str = "teacher",
        scene_roles: tuple[str, ...] = ("stride4", "stride8"),
        object_role: str = "neck",
        scene: float = 1.0,
        objects: float = 1.0,
        response: float = 1.0,
        heat: float = 0.0,
        threshold: float = 0.1,
        target: str = "boxes",
        present: str = "present",
        camera: str = "camera",
    ) -> None:
        weights = {"scene": scene, "objects": objects, "response": response, "heat": heat}
        if min(weights.values()) < 0 or not any(weights.values()):
            raise ConfigError(f"monodistill: the weights {weights} must be 0 or more, and one above 0")
        roles = ({*scene_roles} if scene else set()) | ({object_role} if objects else set())
        super().__init__(student, sources, reads={"student": roles, source: roles})
        teacher = specs_of(sources, source)
        for name in ("boxes", "heat", *MAPS):
            if name not in student.outputs or name not in teacher.outputs:
                raise ConfigError(f"monodistill: the student or source '{source}' gives no output '{name}'")
        for role in roles:
            student.feature(role, "the student")
            teacher.feature(role, f"source '{source}'")
        self.source, self.weights, self.threshold = source, weights, threshold
        self.scene_roles, self.object_role = scene_roles, object_role
        self.target, self.present, self.camera = target, present, camera
        pair = (student.features.get(object_role), teacher.features.get(object_role))
        self.adapter: nn.Module | None = align(pair[0], pair[1]) if objects and pair[0] and pair[1] else None

    def forward(self, student: Signals, sources: Mapping[str, Signals], batch: Batch) -> dict[str, Tensor]:
        said = sources[self.source]
        boxes, counted = objects(
            batch, said.outputs["boxes"], target=self.target, present=self.present, threshold=self.threshold
        )
        camera = batch[self.camera]
        heat = student.outputs["heat"]
        targets = encode(boxes, counted, camera, (heat.shape[2], heat.shape[3]))
        losses: dict[str, Tensor] = {}
        if self.weights["scene"]:
            pairs = [(student.features[role], said.features[role]) for role in self.scene_roles]
            losses["scene"] = scene_affinity([mine for mine, _ in pairs], [theirs for _, theirs in pairs])
        if self.adapter is not None:
            theirs = said.features[self.object_role]
            inside = foreground(boxes, counted, camera, (theirs.shape[2], theirs.shape[3]))
            losses["objects"] = inside_objects(self.adapter(student.features[self.object_role]), theirs, inside)
        if self.weights["response"]:
            losses["response"] = masked_response(student.outputs, said.outputs, targets.heat > INSIDE)
        if self.weights["heat"]:
            total = quality_focal(heat, said.outputs["heat"]).sum()
            losses["heat"] = share_of(total, counted.sum())
        return {name: self.weights[name] * value for name, value in losses.items()}


def scene_affinity(student: list[Float[Tensor, "B C h w"]], teacher: list[Float[Tensor, "B D u v"]]) -> Tensor:
    """Mean absolute difference of the cosines between all positions of a map, averaged over maps.

    Every map is first resized to the coarsest.
    """
    coarsest = min((tuple(map_.shape[2:]) for map_ in (*student, *teacher)), key=lambda size: size[0] * size[1])

    def cosines(map_: Tensor) -> Tensor:
        rows = F.normalize(resize(map_.float(), list(coarsest)).flatten(2).transpose(1, 2), dim=2)
        return rows @ rows.transpose(1, 2)

    apart = [
        (cosines(mine) - cosines(theirs.detach())).abs().mean() for mine, theirs in zip(student, teacher, strict=True)
    ]
    return torch.stack(apart).mean()


def foreground(
    boxes: Float[Tensor, "B N 7"], counted: Bool[Tensor, "B N"], camera: Float[Tensor, "3 4"], grid: tuple[int, int]
) -> Bool[Tensor, "B 1 h w"]:
    """Cells of a map of stride 4 whose middle lies in the projection of a box."""
    known = torch.where(counted[..., None], boxes, 1.0)
    left, top, right, bottom = (image_boxes(known, camera) / STRIDE)[..., None, None].unbind(2)
    across = torch.arange(grid[1], device=boxes.device) + 0.5
    down = torch.arange(grid[0], device=boxes.device)[:, None] + 0.5
    within = (across >= left) & (across <= right) & (down >= top) & (down <= bottom)
    return (within & counted[..., None, None]).any(1, keepdim=True)


def inside_objects(
    student: Float[Tensor, "B C h w"], teacher: Float[Tensor, "B C h w"], inside: Bool[Tensor, "B 1 h w"]
) -> Tensor:
    """Half the squared difference, mean over channels and over the cells `inside` where the teacher says anything."""
    teacher = teacher.detach()
    counted = inside & (teacher != 0).any(1, keepdim=True)
    apart = (student.float() - teacher.float()).square().mean(1, keepdim=True) / 2
    return share_of(torch.where(counted, apart, 0.0).sum(), counted.sum())


def masked_response(
    student: Mapping[str, Tensor], teacher: Mapping[str, Tensor], inside: Bool[Tensor, "B 1 h w"]
) -> Tensor:
    """Differences of the heads in the cells `inside`: absolute, and for the heading's bins a divergence."""
    mine = {name: student[name].float() for name in MAPS}
    theirs = {name: teacher[name].detach().float() for name in MAPS}
    each = sum((mine[name] - theirs[name]).abs().sum(1, keepdim=True) for name in ("offset", "size"))
    each = each + (mine["depth"] - theirs["depth"])[:, :1].abs()  # the scale is each one's own uncertainty
    bins = [heading[:, :BINS] for heading in (mine["heading"], theirs["heading"])]
    divergence = F.kl_div(bins[0].log_softmax(1), bins[1].log_softmax(1), reduction="none", log_target=True)
    chosen = bins[1].argmax(1, keepdim=True)
    residual = (mine["heading"][:, BINS:] - theirs["heading"][:, BINS:]).abs().gather(1, chosen)
    each = each + divergence.sum(1, keepdim=True) + residual
    return share_of(torch.where(inside, each, 0.0).sum(), inside.sum())


def quality_focal(student: Float[Tensor, "B 1 h w"], teacher: Float[Tensor, "B 1 h w"]) -> Float[Tensor, "B 1 h w"]:
    """Cross-entropy with the teacher's probability, times the squared difference of the probabilities."""
    wanted = teacher.detach().float().sigmoid()
    entropy = F.binary_cross_entropy_with_logits(student.float(), wanted, reduction="none")
    return (wanted - student.float().sigmoid()).square() * entropy
