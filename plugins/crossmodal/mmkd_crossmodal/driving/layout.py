"""What stands on a road: cars in lanes and parked rows, poles, walls and posters, drive by drive and frame by frame.

Cars have the sizes of KITTI's labels (mean and standard deviation over 28,742 cars); everything else is a rule. The
ground is a plane that pitches and rolls from frame to frame, and every object stands a little above or below it: the
foot point of a box says less of its distance than on a flat ground.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

HEIGHT, WIDTH, LENGTH = (1.53, 0.137), (1.63, 0.10), (3.88, 0.43)  # mean and standard deviation in metres
CAMERA_HEIGHT = (1.65, 0.06)
PITCH, ROLL = 0.6, 0.4  # standard deviations in degrees
UNEVEN = 0.2  # standard deviation in metres of an object's height above the plane
ROAD = 125.0  # metres of road that a drive sees
STEP = 7.0  # metres between two frames
FAR = 62.0  # metres: what is farther is left out
LANE = 3.4


class Kind(IntEnum):
    CAR = 0
    POLE = 1
    WALL = 2
    POSTER = 3


@dataclass(frozen=True)
class Scene:
    """One frame in the camera's frame of reference.

    Arguments:
        kind: of each object, `[N]`.
        boxes: x, y, z of the bottom's centre, height, width, length, yaw, `[N, 7]`.
        colour: base colour, 0 to 1, `[N, 3]`.
        ground: `a, b, c`: the ground is where y = a + b x + c z.
        travelled: metres since the drive began: the road's markings move with it.
    """

    kind: Array
    boxes: Array
    colour: Array
    ground: Array
    travelled: float


@dataclass(frozen=True)
class Drive:
    """The objects of a road, in its own frame: x to the right of the ego lane's middle, z along it.

    Arguments:
        kind, boxes, colour: as in `Scene`; y is the height below the plane.
        speed: metres per frame along z, `[N]`.
        bend: curvature of the road, 1/m.
        camera: height above the ground in metres.
    """

    kind: Array
    boxes: Array
    colour: Array
    speed: Array
    bend: float
    camera: float


def draw_drive(random: np.random.Generator) -> Drive:
    """A road with what stands and moves on it."""
    rows: list[tuple[Kind, Array, Array, float]] = []
    for side, edge in ((1, random.uniform(2.7, 4.2)), (-1, -LANE - random.uniform(0.8, 4.0))):
        if random.random() < 0.42:
            rows += _parked(random, side, edge)
        rows += _roadside(random, side, edge + side * random.uniform(3.0, 8.0))
    for lane, heading in ((0.0, 1), (-LANE, -1), (LANE if random.random() < 0.2 else -LANE, -1)):
        rows += _moving(random, lane, heading)
    rows += _crossing(random)
    kind, boxes, colour, speed = zip(*rows, strict=True)
    return Drive(
        np.array(kind),
        np.array(boxes),
        np.array(colour),
        np.array(speed),
        random.normal(0, 0.0015),
        random.normal(*CAMERA_HEIGHT),
    )


def scene_of(drive: Drive, number: int, random: np.random.Generator) -> Scene:
    """Frame `number` of a drive: the ego car has moved on, the ground tilts anew."""
    travelled = STEP * number
    boxes = drive.boxes.copy()
    boxes[:, 2] += drive.speed * number - travelled
    boxes[:, 0] += drive.bend * boxes[:, 2] ** 2 / 2
    boxes[:, 6] += drive.bend * boxes[:, 2]
    heading = random.normal(0, np.deg2rad(1.0))
    cosine, sine = np.cos(heading), np.sin(heading)
    boxes[:, [0, 2]] = boxes[:, [0, 2]] @ np.array([[cosine, -sine], [sine, cosine]])
    boxes[:, 6] += heading
    boxes[:, 6] = (boxes[:, 6] + np.pi) % (2 * np.pi) - np.pi
    roll, pitch = np.tan(np.deg2rad(random.normal(0, [ROLL, PITCH])))
    ground = np.array([drive.camera, roll, pitch])
    boxes[:, 1] += ground[0] + ground[1] * boxes[:, 0] + ground[2] * boxes[:, 2]
    seen = (boxes[:, 2] > -2) & (boxes[:, 2] < FAR)
    return Scene(drive.kind[seen], boxes[seen], drive.colour[seen], ground, travelled)


def _parked(random: np.random.Generator, side: int, edge: float) -> list[tuple[Kind, Array, Array, float]]:
    """A row of parked cars with gaps, along the road or at right angles to it."""
    across = random.random() < 0.2
    rows = []
    place = random.uniform(-10, ROAD / 2)
    end = place + random.uniform(10, 80)
    while place < end:
        yaw = random.choice([0, np.pi]) if across else random.choice([-np.pi / 2, np.pi / 2], p=[0.8, 0.2])
        rows.append(_car(random, edge + side * random.normal(1.0 if across else 0.0, 0.2), place, yaw))
        gap = random.exponential(14.0) if random.random() < 0.45 else random.uniform(0.3, 1.2)
        place += gap + (2.0 if across else rows[-1][1][5])
    return rows


def _moving(random: np.random.Generator, lane: float, heading: int) -> list[tuple[Kind, Array, Array, float]]:
    """Cars in one lane, each at its own speed; `heading` 1: as the ego car goes."""
    rows = []
    for _ in range(random.poisson(0.75)):
        place = random.uniform(7, 40 if heading > 0 else ROAD)
        speed = random.normal(STEP, 0.7) if heading > 0 else -random.uniform(0.0, STEP)
        rows.append(_car(random, lane + random.normal(0, 0.25), place, -heading * np.pi / 2, speed))
    return rows


def _crossing(random: np.random.Generator) -> list[tuple[Kind, Array, Array, float]]:
    """Cars of a side street, at any angle."""
    place = random.uniform(20, ROAD)
    return [
        _car(random, random.uniform(-14, 14), place + random.normal(0, 3), random.uniform(-np.pi, np.pi))
        for _ in range(random.poisson(0.5))
    ]


def _car(
    random: np.random.Generator, x: float, z: float, yaw: float, speed: float = 0.0
) -> tuple[Kind, Array, Array, float]:
    height, width, length = (max(random.normal(mean, spread), 0.7 * mean) for mean, spread in (HEIGHT, WIDTH, LENGTH))
    turned = yaw + random.normal(0, np.deg2rad(2))
    grey = random.choice([0.08, 0.25, 0.5, 0.8]) * random.uniform(0.7, 1.2)
    hue = random.dirichlet([1, 1, 1]) * 3 * grey
    colour = np.clip(grey + (hue - grey) * random.choice([0.1, 0.8], p=[0.65, 0.35]), 0.02, 0.95)
    box = np.array([x, random.normal(0, UNEVEN), z, height, width, length, turned])
    return Kind.CAR, box, colour, speed


def _roadside(random: np.random.Generator, side: int, line: float) -> list[tuple[Kind, Array, Array, float]]:
    """Walls beyond the parked row, some with a poster of a car on it, and poles."""
    rows: list[tuple[Kind, Array, Array, float]] = []
    place = random.uniform(0, 40)
    while place < ROAD:
        length, height = random.uniform(8, 35), random.uniform(1.2, 9.0)
        if random.random() < 0.6:
            colour = random.uniform(0.25, 0.7) * random.uniform(0.85, 1.1, 3)
            rows.append((Kind.WALL, _upright(line, place + length / 2, height, 0.4, length), colour, 0.0))
            if random.random() < 0.15 and height > 2:
                box = _upright(line - side * 0.23, place + length / 2, random.uniform(1.3, 1.9), 0.05, 4.0)
                box[1] = -random.uniform(0.0, 0.4)
                rows.append((Kind.POSTER, box, random.uniform(0.1, 0.9, 3), 0.0))
        place += length + random.uniform(0, 20)
    for _ in range(random.poisson(4)):
        shade = np.full(3, random.uniform(0.1, 0.5))
        near = line - side * random.uniform(0.5, 2.0)
        rows.append((Kind.POLE, _upright(near, random.uniform(5, ROAD), 5.0, 0.2, 0.2), shade, 0.0))
    return rows


def _upright(x: float, z: float, height: float, width: float, length: float) -> Array:
    """A box along the road."""
    return np.array([x, 0.0, z, height, width, length, -np.pi / 2])
