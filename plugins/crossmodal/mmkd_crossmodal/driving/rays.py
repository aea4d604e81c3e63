"""First hits of a grid of rays on boxes and the ground: what both sensors see is found in one way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmkd_crossmodal.driving.layout import Kind, Scene

Array = NDArray[Any]

GROUND, SKY = -1, -2
CABIN_HEIGHT, CABIN_LENGTH, CABIN_WIDTH, CABIN_BACK = 0.45, 0.58, 0.88, 0.07  # shares of a car's size


@dataclass(frozen=True)
class Parts:
    """Upright boxes that rays can hit.

    Arguments:
        centre: of the volume, `[P, 3]`.
        half: half of length, height and width, `[P, 3]`: the box's own axes are along, down and across.
        yaw: `[P]`.
        owner: object that each is a part of, `[P]`.
        cabin: whether it is the upper part of a car, `[P]`.
    """

    centre: Array
    half: Array
    yaw: Array
    owner: Array
    cabin: Array

    def of(self, owner: int) -> Parts:
        """The parts of one object."""
        own = self.owner == owner
        return Parts(self.centre[own], self.half[own], self.yaw[own], self.owner[own], self.cabin[own])


@dataclass(frozen=True)
class Rays:
    """A grid of rays from one point.

    Arguments:
        origin: `[3]`.
        directions: `[R, C, 3]`, of any length.
        locate: rows and columns of points `[N, 3]`, and which of them lie in front: rays elsewhere need not be tried.
    """

    origin: Array
    directions: Array
    locate: Callable[[Array], tuple[Array, Array, Array]]


@dataclass(frozen=True)
class Hits:
    """First hits.

    Arguments:
        distance: along each ray in units of its direction, `[R, C]`; infinite for the sky.
        part: part that is hit, `GROUND` or `SKY`, `[R, C]`.
        local: place of the hit in the part's own axes, in half sizes: -1 to 1, `[R, C, 3]`.
        face: axis of the face that is hit: 0 front or back, 1 top, 2 side, `[R, C]`.
    """

    distance: Array
    part: Array
    local: Array
    face: Array


def parts_of(scene: Scene) -> Parts:
    """Every object as one box; a car as its body and its cabin, which sits a little behind the middle."""
    rows = []
    for number, (kind, box) in enumerate(zip(scene.kind, scene.boxes, strict=True)):
        x, bottom, z, height, width, length, yaw = box
        if kind != Kind.CAR:
            rows.append((x, bottom - height / 2, z, length, height, width, yaw, number, 0))
            continue
        body, cabin = (1 - CABIN_HEIGHT) * height, CABIN_HEIGHT * height
        rows.append((x, bottom - body / 2, z, length, body, width, yaw, number, 0))
        back = CABIN_BACK * length
        centre = (x - back * np.cos(yaw), bottom - body - cabin / 2, z + back * np.sin(yaw))
        rows.append((*centre, CABIN_LENGTH * length, cabin, CABIN_WIDTH * width, yaw, number, 1))
    table = np.array(rows).reshape(-1, 9)
    return Parts(table[:, :3], table[:, 3:6] / 2, table[:, 6], table[:, 7].astype(int), table[:, 8] > 0)


def cast(rays: Rays, parts: Parts, ground: Array) -> Hits:
    """The first hit of every ray: boxes by slabs (Kay and Kajiya 1986), the ground as a plane."""
    shape = rays.directions.shape[:2]
    falling = rays.directions @ np.array([-ground[1], 1.0, -ground[2]])
    height = ground[0] - rays.origin @ np.array([-ground[1], 1.0, -ground[2]])
    with np.errstate(divide="ignore"):
        distance = np.where(falling > 1e-6, height / falling, np.inf)
    part = np.where(np.isfinite(distance), GROUND, SKY)
    local, face = np.zeros((*shape, 3)), np.ones(shape, int)
    for number, axes in enumerate(_axes(parts.yaw)):
        met = _meet(rays, parts, number, axes, shape)
        if met is None:
            continue
        window, enter, hit, axis = met
        hit &= enter < distance[window]
        distance[window][hit] = enter[hit]
        part[window][hit] = number
        face[window][hit] = axis[hit]
        start = axes @ (rays.origin - parts.centre[number])
        here = rays.directions[window][hit] @ axes.T
        local[window][hit] = (start + enter[hit][:, None] * here) / parts.half[number]
    return Hits(distance, part, local, face)


def silhouette(rays: Rays, parts: Parts) -> int:
    """How many rays meet any of the parts."""
    covered = np.zeros(rays.directions.shape[:2], bool)
    for number, axes in enumerate(_axes(parts.yaw)):
        if met := _meet(rays, parts, number, axes, covered.shape):
            covered[met[0]] |= met[2]
    return int(covered.sum())


_SIGNS = np.array([[a, b, c] for a in (-1, 1) for b in (-1, 1) for c in (-1, 1)])


def _axes(yaw: Array) -> Array:
    """Unit vectors along, down and across of boxes, `[P, 3, 3]`."""
    cosine, sine, zero = np.cos(yaw), np.sin(yaw), np.zeros_like(yaw)
    rows = ((cosine, zero, -sine), (zero, zero + 1, zero), (sine, zero, cosine))
    return np.stack([np.stack(row, -1) for row in rows], -2)


def _window(rays: Rays, corners: Array, shape: tuple[int, ...]) -> tuple[slice, slice] | None:
    """The part of the grid whose rays may meet a box with these corners; None where there is none."""
    row, column, before = rays.locate(corners)
    if not before.any():
        return None
    if not before.all():
        return slice(None), slice(None)
    rows = slice(max(int(row.min()) - 1, 0), min(int(row.max()) + 2, shape[0]))
    columns = slice(max(int(column.min()) - 1, 0), min(int(column.max()) + 2, shape[1]))
    return None if rows.start >= rows.stop or columns.start >= columns.stop else (rows, columns)


def _meet(
    rays: Rays, parts: Parts, number: int, axes: Array, shape: tuple[int, ...]
) -> tuple[tuple[slice, slice], Array, Array, Array] | None:
    """The window of a part, where its rays enter it, whether they do, and through which face."""
    centre, half = parts.centre[number], parts.half[number]
    window = _window(rays, centre + _SIGNS * half @ axes, shape)
    if window is None:
        return None
    here, start = np.moveaxis(rays.directions[window] @ axes.T, -1, 0), axes @ (rays.origin - centre)
    with np.errstate(divide="ignore", invalid="ignore"):
        slabs = [((-h - s) / d, (h - s) / d) for d, s, h in zip(here, start, half, strict=True)]
    near = [np.minimum(*slab) for slab in slabs]
    far = [np.maximum(*slab) for slab in slabs]
    enter = np.maximum(np.maximum(near[0], near[1]), near[2])
    leave = np.minimum(np.minimum(far[0], far[1]), far[2])
    axis = np.where(enter == near[0], 0, np.where(enter == near[1], 1, 2))
    return window, enter, (enter <= leave) & (enter > 0), axis
