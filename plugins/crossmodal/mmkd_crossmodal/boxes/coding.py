"""Boxes as maps of their centres, and back: CenterNet's heat and, at each centre, what makes a 3D box of it.

Each object lives in the cell of a map of stride 4 that its projected 3D centre falls into (as in SMOKE), with:

- `heat`: logit that a centre is here;
- `offset` (2): centre minus the cell's middle, in cells;
- `depth` (2): logarithm of the distance along z in metres, and of the relative scale of its Laplace distribution;
- `size` (3): logarithms of height, width and length over their means;
- `heading` (24): logits of 12 bins of the observation angle, and within each bin the residual in half bins.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import pi

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from mmkd_crossmodal.boxes.geometry import centres, image_boxes, project, viewing_angle

STRIDE = 4
BINS = 12
CHANNELS = {"heat": 1, "offset": 2, "depth": 2, "size": 3, "heading": 2 * BINS}
MEAN_SIZE = (1.53, 1.63, 3.88)  # metres; height, width, length of KITTI's cars
TYPICAL_DEPTH = 20.0
CLOSE = 1.0  # metres: a depth this wrong still leaves a box that overlaps well
COLUMNS = ("x", "y", "z", "height", "width", "length", "yaw", "score")
UNITS = ("m", "m", "m", "m", "m", "m", "rad", "")


@dataclass(frozen=True)
class Targets:
    """What the maps should say, for up to M objects of each of B frames.

    Arguments:
        heat: 1 at centres, falling as a Gaussian around them, `[B, 1, h, w]`.
        cell: flat index of each object's cell, `[B, M]`.
        valid: objects that there are and whose centre is in the picture, `[B, M]`.
        offset, depth, size: `[B, M, 2]`, `[B, M, 1]`, `[B, M, 3]`.
        bin, residual: of the observation angle, `[B, M]`.
    """

    heat: Float[Tensor, "B 1 h w"]
    cell: Int[Tensor, "B M"]
    valid: Bool[Tensor, "B M"]
    offset: Float[Tensor, "B M 2"]
    depth: Float[Tensor, "B M 1"]
    size: Float[Tensor, "B M 3"]
    bin: Int[Tensor, "B M"]
    residual: Float[Tensor, "B M"]


def encode(
    boxes: Float[Tensor, "B M 7"], present: Bool[Tensor, "B M"], camera: Float[Tensor, "3 4"], grid: tuple[int, int]
) -> Targets:
    """Targets of a map of `grid` cells. Whatever stands where `present` is False, NaN included, has no influence."""
    boxes = torch.where(present[..., None], boxes, boxes.new_tensor([0, 0, TYPICAL_DEPTH, 1, 1, 1, 0]))
    pixels, depth = project(centres(boxes), camera)
    cells = pixels / STRIDE
    height, width = grid
    bounds = cells.new_tensor([width, height])
    valid = present & (depth > 1) & (cells >= 0).all(-1) & (cells < bounds).all(-1)
    place = cells.floor().clamp(min=0).minimum(bounds - 1).long()
    angle = boxes[..., 6] - viewing_angle(boxes[..., 0], boxes[..., 2])
    turns = (angle / (2 * pi)) % 1 * BINS
    return Targets(
        _gaussians(place, image_boxes(boxes, camera) / STRIDE, valid, grid),
        place[..., 1] * width + place[..., 0],
        valid,
        cells - place - 0.5,
        depth.clamp(min=1).log()[..., None],
        (boxes[..., 3:6] / boxes.new_tensor(MEAN_SIZE)).log(),
        turns.long() % BINS,
        2 * (turns - turns.floor()) - 1,
    )


def at_cells(values: Float[Tensor, "B C h w"], cell: Int[Tensor, "B M"]) -> Float[Tensor, "B M C"]:
    """A map's channels in given cells."""
    flat = values.flatten(2)
    return flat.gather(2, cell[:, None].expand(-1, flat.shape[1], -1)).transpose(1, 2)


def decode(maps: Mapping[str, Tensor], camera: Float[Tensor, "3 4"], count: int) -> Float[Tensor, "B K 8"]:
    """The `count` strongest local maxima as boxes, by falling score.

    A box's score is the probability of a centre times that of a depth within `CLOSE` of the true one.
    """
    heat = maps["heat"].sigmoid()
    peaks = heat * (heat == F.max_pool2d(heat, 3, 1, 1))
    certain = 1 - torch.exp(-CLOSE * torch.exp(-maps["depth"][:, :1] - maps["depth"][:, 1:]))
    score, cell = (peaks * certain).flatten(1).topk(count, 1)
    width = heat.shape[3]
    place = torch.stack([cell % width, cell // width], -1)
    pixels = STRIDE * (place + 0.5 + at_cells(maps["offset"], cell))
    depth = at_cells(maps["depth"], cell)[..., 0].exp()
    # The projection solved for x and y: u z = f x + c z + t, with z as the image has it.
    x = (pixels[..., 0] * depth - camera[0, 2] * depth - camera[0, 3]) / camera[0, 0]
    y = (pixels[..., 1] * depth - camera[1, 2] * depth - camera[1, 3]) / camera[1, 1]
    size = at_cells(maps["size"], cell).exp() * depth.new_tensor(MEAN_SIZE)
    heading = at_cells(maps["heading"], cell)
    chosen = heading[..., :BINS].argmax(-1, keepdim=True)
    residual = heading[..., BINS:].gather(2, chosen)[..., 0]
    angle = (chosen[..., 0] + (residual.clamp(-1, 1) + 1) / 2) * (2 * pi / BINS)
    yaw = angle + viewing_angle(x, depth)
    yaw = yaw - 2 * pi * torch.floor(yaw / (2 * pi) + 0.5)
    columns = [x, y + size[..., 0] / 2, depth, *size.unbind(-1), yaw, score]
    return torch.stack(columns, -1)


def _gaussians(place: Tensor, outer: Tensor, valid: Tensor, grid: tuple[int, int]) -> Tensor:
    """The strongest of the objects' Gaussians in every cell; they are as wide as a sixth of the object's picture."""
    height, width = grid
    spread = ((outer[..., 2:] - outer[..., :2]) / 6).clamp(0.4, 2.0)
    across = torch.arange(width, device=place.device) - place[..., :1]
    down = torch.arange(height, device=place.device) - place[..., 1:]
    bell = torch.exp(
        -(across / spread[..., :1]).square()[..., None, :] / 2 - (down / spread[..., 1:]).square()[..., None] / 2
    )
    return (bell * valid[..., None, None]).amax(1, keepdim=True)
