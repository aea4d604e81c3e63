"""3D boxes as KITTI gives them: x, y, z of the bottom's centre, height, width, length and yaw, `[..., 7]`.

Rectified camera frame: x right, y down, z forward, metres; yaw about y in radians, 0 where the length lies along x.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

NEAR = 0.1  # metres: what is closer to the camera's plane is projected as if it were there
_TOUCHING = 1e-9


def ground_corners(boxes: Float[Tensor, "*n 7"]) -> Float[Tensor, "*n 4 2"]:
    """Corners of the footprint in the plane of x and z: front left, front right, rear right, rear left; the front is
    where the yaw points."""
    along = boxes.new_tensor([0.5, 0.5, -0.5, -0.5]) * boxes[..., 5:6]
    across = boxes.new_tensor([0.5, -0.5, -0.5, 0.5]) * boxes[..., 4:5]
    cosine, sine = boxes[..., 6:7].cos(), boxes[..., 6:7].sin()
    turned = torch.stack([cosine * along + sine * across, -sine * along + cosine * across], -1)
    return turned + boxes[..., None, [0, 2]]


def corners(boxes: Float[Tensor, "*n 7"]) -> Float[Tensor, "*n 8 3"]:
    """The four lower corners in the order of `ground_corners`, then the upper ones."""
    ground = ground_corners(boxes)
    bottom = boxes[..., None, 1].expand(ground.shape[:-1])
    top = bottom - boxes[..., None, 3]
    x, z = ground.unbind(-1)
    return torch.cat([torch.stack([x, bottom, z], -1), torch.stack([x, top, z], -1)], -2)


def centres(boxes: Float[Tensor, "*n 7"]) -> Float[Tensor, "*n 3"]:
    """Centres of the volumes: labels give that of the bottom."""
    x, y, z, height, *_ = boxes.unbind(-1)
    return torch.stack([x, y - height / 2, z], -1)


def project(
    points: Float[Tensor, "*n 3"], camera: Float[Tensor, "3 4"]
) -> tuple[Float[Tensor, "*n 2"], Float[Tensor, "*n"]]:
    """Pixels and depths of points; what lies behind `NEAR` gets the pixel that it would have there."""
    image = points @ camera[:, :3].T + camera[:, 3]
    return image[..., :2] / image[..., 2:].clamp(min=NEAR), image[..., 2]


def image_boxes(boxes: Float[Tensor, "*n 7"], camera: Float[Tensor, "3 4"]) -> Float[Tensor, "*n 4"]:
    """Left, top, right and bottom of each box's projection, in pixels; not cut at the image's border."""
    pixels, _ = project(corners(boxes), camera)
    return torch.cat([pixels.amin(-2), pixels.amax(-2)], -1)


def viewing_angle(x: Tensor, z: Tensor) -> Tensor:
    """Azimuth of a point seen from the camera: yaw minus it is the observation angle (KITTI's alpha)."""
    return torch.atan2(x, z)


def intersection_area(first: Float[Tensor, "*n 4 2"], second: Float[Tensor, "*n 4 2"]) -> Float[Tensor, "*n"]:
    """Exact area that two convex quadrilaterals share.

    Its corners are those of each inside the other and the crossings of their edges; sorted by angle about their mean
    they form the convex polygon whose area is Gauss's.

    Arguments:
        first, second: corners in either sense of rotation.
    """
    crossings, crossed = _crossings(first, second)
    points = torch.cat([first, second, crossings], -2)
    valid = torch.cat([_inside(first, second), _inside(second, first), crossed], -1)
    count = valid.sum(-1)
    middle = (points * valid[..., None]).sum(-2) / count.clamp(min=1)[..., None]
    apart = torch.where(valid[..., None], points - middle[..., None, :], 0.0)
    angle = torch.atan2(apart[..., 1], apart[..., 0]).masked_fill(~valid, torch.inf)
    order = angle.argsort(-1)
    ring = apart.gather(-2, order[..., None].expand_as(apart))
    # Those that are no corner stand last; the first corner in their place closes the ring and adds nothing.
    ring = torch.where(valid.gather(-1, order)[..., None], ring, ring[..., :1, :])
    following = ring.roll(-1, -2)
    doubled = ring[..., 0] * following[..., 1] - ring[..., 1] * following[..., 0]
    return torch.where(count > 2, doubled.sum(-1).abs() / 2, 0.0)


def ious(
    first: Float[Tensor, "n 7"], second: Float[Tensor, "m 7"]
) -> tuple[Float[Tensor, "n m"], Float[Tensor, "n m"]]:
    """Intersection over union of every pair, in bird's-eye view and of the volumes; in float64."""
    one, two = first.double()[:, None], second.double()[None]
    one, two = torch.broadcast_tensors(one, two)
    shared = torch.zeros(one.shape[:2], dtype=torch.float64)
    reach = (one[..., 4:6].norm(dim=-1) + two[..., 4:6].norm(dim=-1)) / 2
    near = (one[..., [0, 2]] - two[..., [0, 2]]).norm(dim=-1) < reach
    shared[near] = intersection_area(ground_corners(one[near]), ground_corners(two[near]))
    areas = one[..., 4] * one[..., 5], two[..., 4] * two[..., 5]
    bottom = torch.minimum(one[..., 1], two[..., 1])
    top = torch.maximum(one[..., 1] - one[..., 3], two[..., 1] - two[..., 3])
    volume = shared * (bottom - top).clamp(min=0)
    volumes = areas[0] * one[..., 3], areas[1] * two[..., 3]
    return shared / (areas[0] + areas[1] - shared), volume / (volumes[0] + volumes[1] - volume)


def _inside(points: Tensor, polygon: Tensor) -> Tensor:
    """Which points lie in a convex polygon or on its border, `[..., 4]`."""
    edge = (polygon.roll(-1, -2) - polygon)[..., None, :, :]
    apart = points[..., :, None, :] - polygon[..., None, :, :]
    side = edge[..., 0] * apart[..., 1] - edge[..., 1] * apart[..., 0]
    return (side >= -_TOUCHING).all(-1) | (side <= _TOUCHING).all(-1)


def _crossings(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Where edges cross, `[..., 16, 2]`, and whether they do; parallel ones do not."""
    start, along = first[..., :, None, :], (first.roll(-1, -2) - first)[..., :, None, :]
    other, across = second[..., None, :, :], (second.roll(-1, -2) - second)[..., None, :, :]
    turn = along[..., 0] * across[..., 1] - along[..., 1] * across[..., 0]
    parallel = turn.abs() < _TOUCHING
    turn = torch.where(parallel, 1.0, turn)
    apart = other - start
    mine = (apart[..., 0] * across[..., 1] - apart[..., 1] * across[..., 0]) / turn
    theirs = (apart[..., 0] * along[..., 1] - apart[..., 1] * along[..., 0]) / turn
    crossed = ~parallel & (mine >= 0) & (mine <= 1) & (theirs >= 0) & (theirs <= 1)
    return (start + mine[..., None] * along).flatten(-3, -2), crossed.flatten(-2)
