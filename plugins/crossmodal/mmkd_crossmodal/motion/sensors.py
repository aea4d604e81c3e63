"""What sensors make of a pose: an inertial measurement unit, and a Kinect.

Units: g and degrees per second; metres. Both sensors look at the same smooth motion; no skeleton is differentiated.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import firwin
from scipy.spatial.transform import Rotation

Array = NDArray[np.float64]

GRAVITY = 9.80665
FINE_RATE = 200.0
IMU_RATE = 50.0
SKELETON_RATE = 30.0
ACCELERATION_LIMIT = 8.0
ROTATION_LIMIT = 1000.0
_DECIMATION = int(FINE_RATE / IMU_RATE)
_FILTER = firwin(4 * _DECIMATION + 1, 0.8 / _DECIMATION)
MARGIN = len(_FILTER) // 2 + 2
"""Fine samples that the filter and the derivative need before the first reading and after the last."""


@dataclass(frozen=True)
class Imu:
    """One unit as a person wears it.

    Arguments:
        mounting: rotation from the sensor's axes to the limb's, `[3, 3]`.
        scale: misalignment and scale error of accelerometer and gyroscope, `[2, 3, 3]`.
        bias: offset at the start, `[6]`, in g and deg/s.
        drift: standard deviation of the offset's walk after one second, `[6]`.
        noise: standard deviation of the white noise of a reading, `[6]`.
    """

    mounting: Array
    scale: Array
    bias: Array
    drift: Array
    noise: Array


def specific_force(position: Array, orientation: Array, rate: float) -> Array:
    """What an ideal accelerometer reads: `R^T (p'' - g)`, in g; 1 g upward where it rests.

    Arguments:
        position: of the sensor in the world, z up, `[T, 3]`, metres.
        orientation: its axes in the world as columns, `[T, 3, 3]`.
        rate: samples per second.

    Returns:
        `[T, 3]`; the derivative is a central difference, so the first and the last row repeat their neighbour.
    """
    acceleration = np.empty_like(position)
    acceleration[1:-1] = (position[2:] - 2 * position[1:-1] + position[:-2]) * rate**2
    acceleration[[0, -1]] = acceleration[[1, -2]]
    acceleration[:, 2] += GRAVITY
    return np.einsum("tji,tj->ti", orientation, acceleration) / GRAVITY


def angular_rate(orientation: Array, rate: float) -> Array:
    """What an ideal gyroscope reads: `vee(R^T R')`, in deg/s, about the sensor's own axes.

    Arguments:
        orientation: its axes in the world as columns, `[T, 3, 3]`.
        rate: samples per second.

    Returns:
        `[T, 3]`; a central difference of rotations, so the first and the last row repeat their neighbour.
    """
    turned = np.einsum("tji,tjk->tik", orientation[:-2], orientation[2:])
    rates = np.empty(orientation.shape[:2])
    rates[1:-1] = np.rad2deg(Rotation.from_matrix(turned).as_rotvec()) * rate / 2
    rates[[0, -1]] = rates[[1, -2]]
    return rates


def inertial(position: Array, orientation: Array, unit: Imu, random: np.random.Generator) -> Array:
    """Readings of a worn unit at `IMU_RATE`.

    Arguments:
        position, orientation: of the limb at `FINE_RATE`, with `MARGIN` samples before and after.
        unit: the sensor.
        random: of its noise.

    Returns:
        `[T, 6]`: accelerometer in g, gyroscope in deg/s; filtered before it is decimated, then limited.
    """
    worn = orientation @ unit.mounting
    force, turning = specific_force(position, worn, FINE_RATE), angular_rate(worn, FINE_RATE)
    ideal = np.concatenate([force @ unit.scale[0].T, turning @ unit.scale[1].T], 1)
    inner = slice(2, -2)  # away from the repeated rows
    smooth = np.stack([np.convolve(column, _FILTER, mode="valid") for column in ideal[inner].T], 1)[::_DECIMATION]
    walk = np.cumsum(random.normal(0, 1, smooth.shape), 0) * unit.drift / np.sqrt(IMU_RATE)
    read = smooth + unit.bias + walk + random.normal(0, 1, smooth.shape) * unit.noise
    limit = np.repeat([ACCELERATION_LIMIT, ROTATION_LIMIT], 3)
    return np.clip(read, -limit, limit)


def kinect(joints: Array, yaw: float, distance: float, random: np.random.Generator) -> Array:
    """Joints as a Kinect in front of the body sees them: its frame, its slow errors, its noise, its drop-outs.

    Arguments:
        joints: in the world, `[T, 20, 3]`, metres, at `SKELETON_RATE`.
        yaw: of the body against the camera, radians.
        distance: from the camera to the body's origin, metres.
        random: of the errors.

    Returns:
        `[T, 20, 3]`, metres: x to the camera's right, y up, z away from it. A body that faces it has its left at
        smaller x, as in UTD-MHAD.
    """
    cosine, sine = np.cos(yaw), np.sin(yaw)
    ahead = cosine * joints[..., 0] - sine * joints[..., 1]
    left = sine * joints[..., 0] + cosine * joints[..., 1]
    seen = np.stack([-left, joints[..., 2] - 1.0, distance - ahead], -1)
    steps, count, _ = seen.shape
    # Its own smoothing leaves errors that last some ten frames; hands and feet are worse than the trunk.
    share = np.where(np.isin(np.arange(count) % 4, (2, 3)) & (np.arange(count) >= 4), 1.8, 1.0)[:, None]
    noise = random.normal(0, 1, (steps, count, 3))
    slow = np.empty_like(noise)
    slow[0] = noise[0]
    for step in range(1, steps):
        slow[step] = 0.9 * slow[step - 1] + np.sqrt(1 - 0.9**2) * noise[step]
    seen += (0.012 * slow + 0.003 * random.normal(0, 1, seen.shape)) * share
    for joint in np.flatnonzero(random.random(count) < 0.12 * share[:, 0]):
        start = random.integers(0, steps)
        stop = min(steps, start + random.integers(3, 12))
        seen[start:stop, joint] = seen[start, joint] + random.normal(0, 0.03, 3)
    return seen
