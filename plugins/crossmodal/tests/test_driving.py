"""The driving generator: rays against closed forms, files through one reader, the three settings, the splits."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mmkd.data import Split
from mmkd.errors import ConfigError
from mmkd_crossmodal.boxes.geometry import centres, project
from mmkd_crossmodal.datasets.driving import Driving
from mmkd_crossmodal.datasets.frames import CAMERA, HEIGHT, WIDTH, depth_image, source_box
from mmkd_crossmodal.driving import camera, lidar
from mmkd_crossmodal.driving.generate import VELO_TO_CAM, generate_drive
from mmkd_crossmodal.driving.layout import Kind, Scene
from mmkd_crossmodal.driving.rays import GROUND, SKY, Rays, cast, parts_of, silhouette
from mmkd_crossmodal.driving.settings import from_picture, mixed_up
from mmkd_crossmodal.files.kitti import Calibration

SMALL = {"drives": 8, "frames": 2, "labelled_drives": 2, "beams": 32, "azimuth_step": 0.5}
P2 = np.array([[111.5, 0, 94.2, 6.69], [0, 111.5, 26.7, 0], [0, 0, 1, 0]])


def one_car(x=0.0, z=20.0, yaw=0.0, kind=Kind.CAR):
    box = np.array([[x, 1.6, z, 1.5, 1.6, 4.0, yaw]])
    return Scene(np.array([kind]), box, np.full((1, 3), 0.5), np.array([1.6, 0.0, 0.0]), 0.0)


def rays_at(*directions):
    grid = np.array(directions, float).reshape(1, -1, 3)
    return Rays(np.zeros(3), grid, lambda points: (np.zeros(8), np.zeros(8), np.arange(8) > 0))  # every ray is tried


def test_first_hits_by_hand():
    scene = one_car(kind=Kind.WALL)  # a box of 4 x 1.5 x 1.6 m whose near face is 19.2 m ahead
    hits = cast(rays_at([0, 0, 1], [0, 0.02, 1], [0, 0.16, 1], [0, -1, 1]), parts_of(scene), scene.ground)
    assert hits.part[0].tolist() == [SKY, 0, GROUND, SKY]
    np.testing.assert_allclose(hits.distance[0, 1:3], [19.2, 10.0])
    assert hits.face[0, 1] == 2
    np.testing.assert_allclose(hits.local[0, 1], [0, (0.02 * 19.2 - 0.85) / 0.75, -1], atol=1e-9)
    turned = cast(rays_at([0, 0.02, 1]), parts_of(one_car(yaw=-np.pi / 2, kind=Kind.WALL)), scene.ground)
    np.testing.assert_allclose(turned.distance, 18.0)


def test_nearer_objects_hide_farther_ones():
    boxes = np.concatenate([one_car(z=20.0).boxes, one_car(z=30.0).boxes])
    scene = Scene(np.array([Kind.WALL] * 2), boxes, np.full((2, 3), 0.5), np.array([1.6, 0, 0]), 0.0)
    for order in ([0, 1], [1, 0]):
        swapped = Scene(scene.kind, boxes[order], scene.colour, scene.ground, 0.0)
        hits = cast(rays_at([0, 0.02, 1]), parts_of(swapped), scene.ground)
        np.testing.assert_allclose(hits.distance, 19.2)
    rays = camera.pixel_rays(P2, 58, 192)
    parts = parts_of(Scene(np.array([Kind.CAR] * 2), boxes, scene.colour, scene.ground, 0.0))
    hits = cast(rays, parts, scene.ground)
    cars = Scene(np.array([Kind.CAR] * 2), boxes, scene.colour, scene.ground, 0.0)
    shares, counts = camera.visible_shares(cars, parts, rays, hits)
    assert shares[0] == 1
    assert shares[1] < 0.2
    assert counts[0] > counts[1]
    assert counts[0] == silhouette(rays, parts.of(0))


def test_the_window_of_rays_loses_none():
    """Trying every ray finds what trying those near the box does."""
    scene = one_car(x=3.0, z=9.0, yaw=0.6)
    rays = camera.pixel_rays(P2, 58, 192)
    near = cast(rays, parts_of(scene), scene.ground)
    everywhere = Rays(rays.origin, rays.directions, lambda points: (np.zeros(8), np.zeros(8), np.arange(8) > 0))
    every = cast(everywhere, parts_of(scene), scene.ground)
    np.testing.assert_array_equal(near.part, every.part)
    calibration = Calibration(P2, np.eye(3), VELO_TO_CAM)
    beams, _ = lidar.beam_rays(calibration, 32, 0.5)
    everywhere = Rays(beams.origin, beams.directions, everywhere.locate)
    found = [cast(some, parts_of(scene), scene.ground).part for some in (beams, everywhere)]
    np.testing.assert_array_equal(*found)


def test_sensors_agree_with_the_labels():
    """Points on cars lie in the cars' boxes, and cars are drawn where their boxes project to."""
    frames = [frame for number in range(4) for frame in generate_drive(0, number, 2, beams=32, azimuth_step=0.5)]
    inside, held = 0, []
    for frame in frames:
        points = frame.calibration.to_camera(frame.points[:, :3].astype(float))
        for box in frame.labels.boxes:
            middle, _ = project(centres(torch.from_numpy(box)), torch.from_numpy(frame.calibration.p2))
            column, row = middle.floor().int().tolist()
            if 0 <= column < 192 and 0 <= row < 58:
                depth = frame.depth[row, column]
                assert 0 < depth < box[2] + 3  # the car, or what hides it
                inside += abs(depth - box[2]) < 3
                held.append(points_in(points, box))
    assert inside > 0.4 * len(held)
    assert np.mean(np.array(held) > 0) > 0.8


def points_in(points, box):
    x, y, z, height, width, length, yaw = box
    apart = points - [x, y, z]
    along = apart[:, 0] * np.cos(yaw) - apart[:, 2] * np.sin(yaw)
    across = apart[:, 0] * np.sin(yaw) + apart[:, 2] * np.cos(yaw)
    near = (np.abs(along) < length / 2 + 0.1) & (np.abs(across) < width / 2 + 0.1)
    return int((near & (apart[:, 1] < 0.05) & (apart[:, 1] > -height - 0.1)).sum())


def test_drives_are_functions_of_their_number():
    one, two = (generate_drive(3, 1, 2, beams=16, azimuth_step=1.0) for _ in range(2))
    other = generate_drive(3, 2, 2, beams=16, azimuth_step=1.0)
    np.testing.assert_array_equal(one[1].image, two[1].image)
    np.testing.assert_array_equal(one[1].points, two[1].points)
    assert not np.array_equal(one[1].image, other[1].image)


def test_night_darkens_the_camera_alone():
    day, night = (generate_drive(0, 1, 1, beams=16, azimuth_step=1.0, night=dark)[0] for dark in (False, True))
    assert night.image.mean() < 0.6 * day.image.mean()
    np.testing.assert_array_equal(day.labels.boxes, night.labels.boxes)


def test_miscalibration_moves_the_scan_against_the_picture():
    true, off = (generate_drive(0, 1, 1, beams=16, azimuth_step=1.0, miscalibration=wrong)[0] for wrong in (0.0, 2.0))
    turned = true.calibration.velo_to_cam[:, :3].T @ off.calibration.velo_to_cam[:, :3]
    assert np.rad2deg(np.arccos((np.trace(turned) - 1) / 2)) == pytest.approx(2.0, abs=1e-6)


def test_depth_images_keep_the_nearest_point():
    pixels = np.array([[10.5, 20.2], [10.9, 20.9], [50.0, 5.0], [-1.0, 3.0], [12.5, 20.5]])
    image = depth_image(pixels, np.array([30.0, 12.0, 40.0, 5.0, 0.0]))
    assert image.shape == (HEIGHT, WIDTH)
    assert image[20, 10] == 12
    assert image[5, 50] == 40
    assert image[20, 11] == 12
    assert image[21, 9] == 12
    assert image[20, 12] == 0
    assert image[3, 0] == 0


def test_one_virtual_camera_for_every_calibration():
    """A pixel of the recorded picture and of the cut one see in one direction."""
    p2 = np.array([[360.0, 0, 305.0, 22.0], [0, 360.0, 87.0, 0.2], [0, 0, 1, 0.003]])
    left, top, right, bottom = source_box(p2)
    scale = WIDTH / (right - left)
    assert scale == pytest.approx(HEIGHT / (bottom - top))
    for direction in ([0.3, 0.05], [-0.5, -0.1]):
        recorded = p2[:2, :2] @ direction + p2[:2, 2]
        seen = CAMERA[:2, :2] @ direction + CAMERA[:2, 2]
        np.testing.assert_allclose((recorded - [left, top]) * scale, seen, rtol=1e-5)


def test_fields_and_split():
    data = Driving(**SMALL)
    assert data.samples["image"].shape == (16, 3, HEIGHT, WIDTH)
    assert (data.samples["depth"] > 0).float().mean() > 0.2
    known = (data.samples["depth"] > 0) & (data.samples["true_depth"] > 0) & (data.samples["true_depth"] < 40)
    apart = (data.samples["depth"] - data.samples["true_depth"])[known].abs()
    assert apart.median() < 0.5
    boxes, present = data.samples["boxes"], data.samples["present"]
    assert (boxes[..., 2][present] > 0).all()
    assert not boxes[~present].any()
    for seed in (0, 1):
        split = data.split(seed)
        assert isinstance(split, Split)
        parts = [split.labelled, split.unlabelled, split.valid, split.test["test"]]
        assert sorted(torch.cat(parts).tolist()) == list(range(16))
        drives = [set(data.groups[part].tolist()) for part in parts]
        assert sum(map(len, drives)) == 8
        assert len(drives[0]) == 2
    with pytest.raises(ConfigError, match="drives = 3"):
        Driving(drives=3)
    with pytest.raises(ConfigError, match="beams = 1"):
        Driving(**{**SMALL, "beams": 1})


def test_null_scans_are_made_of_the_picture():
    frame = generate_drive(0, 1, 1, beams=16, azimuth_step=1.0)[0]
    made = from_picture(frame, np.random.default_rng(0))
    again = from_picture(frame, np.random.default_rng(0))
    np.testing.assert_array_equal(made.points, again.points)
    pixels, depth = frame.calibration.project(frame.calibration.to_camera(made.points[:, :3].astype(float)))
    column, row = np.floor(pixels).astype(int).T
    grey = frame.image[row, column].mean(1) / 255
    np.testing.assert_allclose(depth, 4 + 56 * grey, atol=0.6)


def test_harm_mixes_scans_of_odd_drives():
    drives = [generate_drive(0, number, 2, beams=8, azimuth_step=2.0) for number in range(3)]
    mixed = mixed_up(drives)
    assert mixed[0][1].points is drives[0][1].points
    assert mixed[2][0].points is drives[2][0].points
    assert mixed[1][1].points is drives[0][1].points
    assert mixed[1][1].image is drives[1][1].image
    data = Driving(**{**SMALL, "setting": "harm"})
    for seed in range(3):
        split = data.split(seed)
        kept = torch.cat([split.labelled, split.valid, split.test["test"]])
        assert (data.groups[kept] % 2).float().mean() < (data.groups[split.unlabelled] % 2).float().mean()
