"""The LiDAR: a spinning unit of 64 beams; first hits, range noise, and returns that are lost."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmkd_crossmodal.driving.layout import Scene
from mmkd_crossmodal.driving.rays import GROUND, Parts, Rays, cast
from mmkd_crossmodal.files.kitti import Calibration

Array = NDArray[Any]

ELEVATION = (2.0, -24.8)  # degrees, first and last beam
FIELD = 44.0  # degrees to either side: KITTI's scans are used inside the camera's view
RANGE_NOISE = 0.02  # metres
REACH = 80.0  # metres
LOST = 0.03  # share of all returns
GLASS = 0.7  # share of beams that windows let pass
GROUND_REFLECTANCE = 0.25
GRAZING = 0.12  # cosine of incidence below which returns fade


def beam_rays(calibration: Calibration, beams: int, step: float) -> tuple[Rays, Array]:
    """Rays in the camera's frame, `[beams, azimuths]`, of length 1; and the same in the unit's own frame.

    Arguments:
        calibration: where the unit really is.
        beams: number of beams.
        step: degrees between azimuths.
    """
    elevation = np.deg2rad(np.linspace(*ELEVATION, beams))
    azimuth = np.deg2rad(np.arange(FIELD, -FIELD, -step))  # from left to right
    upward, around = np.meshgrid(elevation, azimuth, indexing="ij")
    own = np.stack([np.cos(upward) * np.cos(around), np.cos(upward) * np.sin(around), np.sin(upward)], -1)
    origin = calibration.to_camera(np.zeros((1, 3)))[0]
    turned = calibration.to_camera(own.reshape(-1, 3)).reshape(own.shape) - origin
    spacing = (elevation[-1] - elevation[0]) / (beams - 1)

    def locate(points: Array) -> tuple[Array, Array, Array]:
        x, y, z = calibration.to_velodyne(points).T
        flat = np.hypot(x, y)
        rows = (np.arctan2(z, flat) - elevation[0]) / spacing
        return rows, (np.deg2rad(FIELD) - np.arctan2(y, x)) / np.deg2rad(step), x > 0.1

    return Rays(origin, turned, locate), own


def scan(scene: Scene, parts: Parts, rays: Rays, own: Array, random: np.random.Generator) -> Array:
    """Points `[N, 4]` in the unit's frame: x, y, z in metres and reflectance from 0 to 1."""
    hits = cast(rays, parts, scene.ground)
    kept = np.isfinite(hits.distance) & (hits.distance < REACH) & (random.random(hits.part.shape) > LOST)
    part, on_ground = hits.part[kept], hits.part[kept] == GROUND
    owner = np.append(parts.owner, len(scene.kind))[np.where(on_ground, -1, part)]
    cabin = np.append(parts.cabin, False)[np.where(on_ground, -1, part)]
    reflectance = np.append(scene.colour.mean(1), GROUND_REFLECTANCE)[owner]
    incidence = np.where(on_ground, _on_ground(rays.directions[kept], scene.ground), _on_part(rays, parts, hits, kept))
    fading = np.clip(incidence / GRAZING, 0, 1) * np.clip(2 - hits.distance[kept] / (REACH * 0.55), 0.15, 1)
    returned = random.random(len(part)) < fading * (0.75 + 0.25 * np.minimum(4 * reflectance, 1))
    window = cabin & (hits.face[kept] != 1) & (hits.local[kept][:, 1] > -0.75)
    returned &= ~(window & (random.random(len(part)) < GLASS))
    distance = hits.distance[kept] + random.normal(0, RANGE_NOISE, len(part))
    shining = np.clip(reflectance + random.normal(0, 0.05, len(part)), 0, 0.99)
    return np.concatenate([own[kept] * distance[:, None], shining[:, None]], 1)[returned].astype(np.float32)


def _on_ground(directions: Array, ground: Array) -> Array:
    return np.abs(directions @ np.array([-ground[1], 1.0, -ground[2]]))


def _on_part(rays: Rays, parts: Parts, hits: Any, kept: Array) -> Array:
    """Cosine of incidence on the face that is hit."""
    yaw, face, directions = np.append(parts.yaw, 0.0)[hits.part[kept]], hits.face[kept], rays.directions[kept]
    along = directions[:, 0] * np.cos(yaw) - directions[:, 2] * np.sin(yaw)
    across = directions[:, 0] * np.sin(yaw) + directions[:, 2] * np.cos(yaw)
    return np.abs(np.where(face == 0, along, np.where(face == 1, directions[:, 1], across)))
