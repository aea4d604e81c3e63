"""Frames of generated drives, in the form of KITTI's."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mmkd_crossmodal.boxes.geometry import image_boxes
from mmkd_crossmodal.driving import camera, layout, lidar
from mmkd_crossmodal.driving.layout import Kind, Scene
from mmkd_crossmodal.driving.rays import parts_of
from mmkd_crossmodal.files.kitti import Calibration, Frame, Labels

Array = NDArray[Any]

HEIGHT, WIDTH = 58, 192  # pixels
FOCAL, CENTRE = 111.5, (94.2, 26.7)  # KITTI's field of view at this size
BASELINE = 0.06  # metres from the reference camera to the one that is used
# The unit looks along the camera's axis; it sits 8 cm above it and 27 cm behind.
VELO_TO_CAM = np.array([[0.0, -1.0, 0.0, 0.0], [0.0, 0.0, -1.0, -0.08], [1.0, 0.0, 0.0, -0.27]])
CALIBRATION_JITTER = 0.2  # degrees, standard deviation over drives
OCCLUDED = (0.85, 0.4, 0.08)  # visible shares above which the level is 0, 1 and 2
LEAST_SEEN = 6  # rays: cars with fewer are not labelled


def generate_drive(
    world: int,
    number: int,
    frames: int,
    *,
    beams: int = 64,
    azimuth_step: float = 0.2,
    night: bool = False,
    miscalibration: float = 0.0,
) -> list[Frame]:
    """All frames of one drive; a function of `world` and `number` alone.

    Arguments:
        beams, azimuth_step: of the LiDAR; degrees.
        night: little light for the camera; the LiDAR sees as by day.
        miscalibration: degrees by which the written calibration is turned away from the true one, and 5 cm per degree.
    """
    random = np.random.default_rng([world, number])
    drive, light = layout.draw_drive(random), camera.draw_light(random, night)
    truth = _calibration(random)
    rays = camera.pixel_rays(truth.p2, HEIGHT, WIDTH)
    beam_rays, own = lidar.beam_rays(truth, beams, azimuth_step)
    written = _turned(truth, random, miscalibration)
    made = []
    for place in range(frames):
        scene = layout.scene_of(drive, place, random)
        parts = parts_of(scene)
        image, depth, hits = camera.render(scene, parts, rays, light, random)
        points = lidar.scan(scene, parts, beam_rays, own, random)
        labels = _labels(scene, truth.p2, *camera.visible_shares(scene, parts, rays, hits))
        made.append(Frame(image, points, written, labels, depth))
    return made


def _calibration(random: np.random.Generator) -> Calibration:
    """The rig's calibration, turned a little from drive to drive."""
    p2 = np.array([[FOCAL, 0, CENTRE[0], FOCAL * BASELINE], [0, FOCAL, CENTRE[1], 0], [0, 0, 1, 0]])
    velo_to_cam = _rotation(random.normal(0, np.deg2rad(CALIBRATION_JITTER), 3)) @ VELO_TO_CAM
    return Calibration(p2, np.eye(3), velo_to_cam)


def _turned(calibration: Calibration, random: np.random.Generator, degrees: float) -> Calibration:
    direction = random.normal(0, 1, 3)
    turn = _rotation(np.deg2rad(degrees) * direction / np.linalg.norm(direction))
    velo_to_cam = turn @ calibration.velo_to_cam
    velo_to_cam[:, 3] += 0.05 * degrees * random.normal(0, 1, 3) / np.sqrt(3)
    return Calibration(calibration.p2, calibration.rectification, velo_to_cam)


def _rotation(vector: Array) -> Array:
    """Rotation by a rotation vector in radians."""
    from scipy.spatial.transform import Rotation

    return np.asarray(Rotation.from_rotvec(vector).as_matrix())


def _labels(scene: Scene, p2: Array, shares: Array, counts: Array) -> Labels:
    """Labels of the cars that can be seen."""
    boxes = scene.boxes[scene.kind == Kind.CAR]
    outer = image_boxes(torch.from_numpy(boxes), torch.from_numpy(p2)).numpy()
    inner = np.clip(outer, 0, [WIDTH - 1, HEIGHT - 1, WIDTH - 1, HEIGHT - 1])
    areas = [np.maximum(box[:, 2:] - box[:, :2], 0).prod(1) for box in (outer, inner)]
    truncation = 1 - areas[1] / np.maximum(areas[0], 1e-9)
    level = (shares[:, None] <= np.array(OCCLUDED)).sum(1)
    seen = (counts >= LEAST_SEEN) & (boxes[:, 2] > 1) & (truncation < 0.95)
    kinds = ("Car",) * int(seen.sum())
    return Labels(kinds, truncation[seen].round(2), level[seen], inner[seen], boxes[seen])
