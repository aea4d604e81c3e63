"""3D boxes: rotated overlaps against shapely, average precision by hand, coding there and back."""

from __future__ import annotations

from math import pi

import numpy as np
import pytest
import torch

from mmkd_crossmodal.boxes.average_precision import DIFFICULTIES, HIT, IGNORED, MISS, average_precision, match
from mmkd_crossmodal.boxes.coding import BINS, CHANNELS, at_cells, decode, encode
from mmkd_crossmodal.boxes.geometry import (
    centres,
    corners,
    ground_corners,
    image_boxes,
    intersection_area,
    ious,
    project,
)

CAMERA = torch.tensor([[111.5, 0, 94.2, 6.69], [0, 111.5, 16.7, 0], [0, 0, 1, 0]], dtype=torch.float64)
GRID = (12, 48)


def boxes_around(count, seed=0, spread=6.0):
    draws = torch.Generator().manual_seed(seed)
    scale = torch.tensor([spread, 1.0, spread, 1, 1, 3, 2 * pi], dtype=torch.float64)
    shift = torch.tensor([0, 1.0, 20, 1, 1, 2, 0], dtype=torch.float64)
    return torch.rand(count, 7, generator=draws, dtype=torch.float64) * scale + shift


def test_overlaps_are_those_of_shapely():
    shapely = pytest.importorskip("shapely", reason="shapely is a development dependency")
    boxes = boxes_around(40)
    boxes = torch.cat([boxes, boxes[:3], boxes[:3] + torch.tensor([0, 0, 0, 0, 0, 0, pi / 2])])
    bev, volume = ious(boxes, boxes)
    footprints = [shapely.Polygon(corner.numpy()) for corner in ground_corners(boxes)]
    bottom, top = boxes[:, 1], boxes[:, 1] - boxes[:, 3]
    for row, one in enumerate(footprints):
        for column, two in enumerate(footprints):
            shared = one.intersection(two).area
            assert bev[row, column] == pytest.approx(shared / one.union(two).area, abs=1e-9)
            height = max(0.0, float(min(bottom[row], bottom[column]) - max(top[row], top[column])))
            volumes = one.area * boxes[row, 3] + two.area * boxes[column, 3]
            assert volume[row, column] == pytest.approx(float(shared * height / (volumes - shared * height)), abs=1e-9)


def test_overlaps_by_hand():
    square = torch.tensor([[0.0, 0.0], [2, 0], [2, 2], [0, 2]], dtype=torch.float64)
    assert float(intersection_area(square, square)) == 4
    assert float(intersection_area(square, square.flip(0) + torch.tensor([1.0, 1.0]))) == pytest.approx(1)
    assert float(intersection_area(square, square + torch.tensor([2.0, 0.0]))) == 0  # they touch
    diamond = torch.tensor([[1.0, -0.5], [2.5, 1], [1, 2.5], [-0.5, 1]], dtype=torch.float64)
    assert float(intersection_area(square, diamond)) == pytest.approx(4 - 4 * 0.5 * 0.5 * 0.5)
    boxes = torch.tensor([[0.0, 0, 10, 2, 2, 4, 0.3]], dtype=torch.float64)
    higher = boxes - torch.tensor([0, 1.0, 0, 0, 0, 0, 0])
    bev, volume = ious(boxes, higher)
    assert (float(bev), float(volume)) == (pytest.approx(1), pytest.approx(1 / 3))
    assert ious(boxes, boxes + 50)[0] == 0
    turned = boxes + torch.tensor([0, 0, 0, 0, 0, 0, pi])
    assert float(ious(boxes, turned)[1]) == pytest.approx(1)


def test_overlaps_do_not_depend_on_the_frame():
    """Moving and turning both boxes alike changes nothing."""
    boxes = boxes_around(12, seed=1, spread=3.0)
    angle, (x, z) = 0.7, (3.0, -2.0)
    moved = boxes.clone()
    moved[:, 0] = np.cos(angle) * boxes[:, 0] + np.sin(angle) * boxes[:, 2] + x
    moved[:, 2] = -np.sin(angle) * boxes[:, 0] + np.cos(angle) * boxes[:, 2] + z
    moved[:, 6] += angle
    for one, two in zip(ious(boxes, boxes), ious(moved, moved), strict=True):
        torch.testing.assert_close(one, two, atol=1e-9, rtol=0)


def test_corners_and_projection_by_hand():
    box = torch.tensor([0.0, 2.0, 10.0, 1.0, 2.0, 4.0, 0.0], dtype=torch.float64)  # its length lies along x
    assert ground_corners(box).tolist() == [[2, 11], [2, 9], [-2, 9], [-2, 11]]
    assert corners(box)[4:, 1].tolist() == [1.0] * 4
    assert centres(box).tolist() == [0, 1.5, 10]
    turned = torch.tensor([0.0, 2.0, 10.0, 1.0, 2.0, 4.0, -pi / 2], dtype=torch.float64)  # ahead
    torch.testing.assert_close(ground_corners(turned)[:2].mean(0), torch.tensor([0.0, 12.0], dtype=torch.float64))
    camera = torch.tensor([[100.0, 0, 50, 0], [0, 100, 20, 0], [0, 0, 1, 0]], dtype=torch.float64)
    outer = image_boxes(box, camera)
    torch.testing.assert_close(
        outer, torch.tensor([50 - 200 / 9, 20 + 100 / 11, 50 + 200 / 9, 20 + 200 / 9], dtype=torch.float64)
    )


def test_boxes_come_back_from_their_maps():
    boxes = torch.tensor(
        [[[-6.0, 1.7, 14, 1.5, 1.6, 3.9, 0.4], [2, 1.6, 22, 1.4, 1.7, 4.3, -1.6], [12, 1.9, 35, 1.7, 1.8, 4.5, 3.1]]],
        dtype=torch.float64,
    )
    padded = torch.cat([boxes, torch.full((1, 2, 7), torch.nan)], 1)
    targets = encode(padded, torch.tensor([[True] * 3 + [False] * 2]), CAMERA, GRID)
    assert targets.valid.tolist() == [[True, True, True, False, False]]
    assert all(torch.isfinite(value.double()).all() for value in vars(targets).values())
    assert float(targets.heat.max()) == 1
    assert int((targets.heat == 1).sum()) == 3
    maps = {name: torch.zeros(1, size, *GRID, dtype=torch.float64) for name, size in CHANNELS.items()}
    maps["heat"] -= 9
    maps["depth"][:, 1] -= 6
    for number in range(3):
        row, column = divmod(int(targets.cell[0, number]), GRID[1])
        for name in ("offset", "size"):
            maps[name][0, :, row, column] = getattr(targets, name)[0, number]
        maps["depth"][0, 0, row, column] = targets.depth[0, number, 0]
        maps["heat"][0, 0, row, column] = 9 - number
        maps["heading"][0, int(targets.bin[0, number]), row, column] = 5
        maps["heading"][0, BINS + int(targets.bin[0, number]), row, column] = targets.residual[0, number]
    decoded = decode(maps, CAMERA, 4)
    torch.testing.assert_close(decoded[0, :3, :7], boxes[0])
    assert (decoded[0, :3, 7] > 0.99).all()
    assert decoded[0, 3, 7] < 0.01
    _, volume = ious(decoded[0, :3, :7], boxes[0])
    torch.testing.assert_close(volume.diagonal(), torch.ones(3, dtype=torch.float64))


def test_objects_outside_of_the_picture_are_no_targets():
    behind = torch.tensor([[[0.0, 1.6, -8, 1.5, 1.6, 3.9, 0], [40, 1.6, 10, 1.5, 1.6, 3.9, 0]]])
    targets = encode(behind, torch.tensor([[True, True]]), CAMERA.float(), GRID)
    assert not targets.valid.any()
    assert not targets.heat.any()
    pixels, depth = project(centres(behind[0, 0]), CAMERA.float())
    assert depth < 0
    assert torch.isfinite(pixels).all()


def test_cells_are_read_where_they_were_written():
    values = torch.arange(2 * 3 * 4 * 5.0).reshape(2, 3, 4, 5)
    read = at_cells(values, torch.tensor([[0, 7], [19, 7]]))
    assert read[0, 1].tolist() == values[0, :, 1, 2].tolist()
    assert read[1, 0].tolist() == values[1, :, 3, 4].tolist()


def test_detections_are_matched_by_score():
    """One frame, three objects of which the last does not count."""
    scores = np.array([[0.9, 0.8, 0.7, 0.6, 0.5]])
    overlaps = np.array([[[0.6, 0, 0], [0.9, 0, 0], [0, 0, 0.8], [0, 0.55, 0.9], [0, 0.49, 0]]])
    counted, present = np.array([[True, True, False]]), np.array([[True, True, True]])
    assert match(scores, overlaps, counted, present, 0.5).tolist() == [[HIT, MISS, IGNORED, HIT, MISS]]
    assert match(scores, overlaps, counted, present, 0.7).tolist() == [[MISS, HIT, IGNORED, MISS, MISS]]
    absent = np.array([[True, False, False]])
    assert match(scores, overlaps, counted & absent, absent, 0.5).tolist() == [[HIT, MISS, MISS, MISS, MISS]]


def test_average_precision_by_hand():
    scores = np.array([0.9, 0.8, 0.7, 0.6])
    assert average_precision(scores, np.array([HIT, HIT, HIT, HIT]), 4) == 1
    # Precision 1 up to a recall of 1/2; then 2/3 at the third detection counts for nothing, and 3/4 up to 3/4.
    assert average_precision(scores, np.array([HIT, HIT, MISS, HIT]), 4) == pytest.approx((20 * 1 + 10 * 0.75) / 40)
    assert average_precision(scores, np.array([HIT, HIT, IGNORED, HIT]), 4) == pytest.approx(30 / 40)
    assert average_precision(scores, np.array([MISS, MISS, MISS, MISS]), 4) == 0
    assert np.isnan(average_precision(scores, np.array([MISS] * 4), 0))
    shuffled = np.array([2, 0, 3, 1])
    status = np.array([HIT, HIT, MISS, HIT])
    assert average_precision(scores[shuffled], status[shuffled], 4) == average_precision(scores, status, 4)


def test_average_precision_against_a_plain_loop():
    random = np.random.default_rng(0)
    for _ in range(20):
        scores, status = random.random(60), random.choice([HIT, MISS, IGNORED], 60, p=[0.5, 0.35, 0.15])
        positives = int((status == HIT).sum()) + random.integers(0, 20)
        order = [place for place in np.argsort(-scores) if status[place] != IGNORED]
        curve, hits = [], 0
        for count, place in enumerate(order, 1):
            hits += int(status[place] == HIT)
            curve.append((hits / positives, hits / count))
        wanted = [max((p for r, p in curve if r >= step / 40 - 1e-12), default=0.0) for step in range(1, 41)]
        assert average_precision(scores, status, positives) == pytest.approx(np.mean(wanted))


def test_difficulties():
    """Occlusion, truncation, height: KITTI's limits are inclusive."""
    details = np.array([[0, 0.15, 40], [1, 0.3, 25], [2, 0.5, 25], [0, 0.1, 24], [3, 0, 90]])
    assert DIFFICULTIES["easy"].counts(details).tolist() == [True, False, False, False, False]
    assert DIFFICULTIES["moderate"].counts(details).tolist() == [True, True, False, False, False]
    assert DIFFICULTIES["hard"].counts(details).tolist() == [True, True, True, False, False]
