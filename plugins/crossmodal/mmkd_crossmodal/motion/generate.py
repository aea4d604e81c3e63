"""Clips of many people: one pose stream each, seen by a Kinect and felt by a unit on the right wrist."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from mmkd_crossmodal.motion import sensors
from mmkd_crossmodal.motion.actions import ACTIONS, Action, Style, perform
from mmkd_crossmodal.motion.body import Bones, forward

Array = NDArray[np.float64]


# Axes of the unit in those of the forearm, as columns: x to the hand, where a hanging arm reads -1 g as in UTD-MHAD.
_ALONG = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]])


@dataclass(frozen=True)
class Clip:
    """One recording.

    Arguments:
        action, subject, trial: counted from 0.
        skeleton: joints in the camera's frame, `[T, 20, 3]`, metres, at 30 Hz.
        imu: accelerometer in g and gyroscope in deg/s, `[T, 6]`, at 50 Hz.
    """

    action: int
    subject: int
    trial: int
    skeleton: Array
    imu: Array


@dataclass(frozen=True)
class Person:
    """What stays the same over the clips of one subject."""

    bones: Bones
    style: Style
    unit: sensors.Imu
    yaw: float


def person(random: np.random.Generator) -> Person:
    """Draw a subject."""
    stature = np.exp(random.normal(0, 0.045))
    bones = Bones().scaled({name: stature * np.exp(random.normal(0, 0.035)) for name in vars(Bones())})
    style = Style(
        tempo=float(np.exp(random.normal(0.25, 0.15))),
        amplitude=float(np.exp(random.normal(0, 0.12))),
        right_handed=bool(random.random() < 0.9),
        elbow=float(np.deg2rad(random.uniform(5, 25))),
        turn=float(np.deg2rad(random.normal(15, 12))),
    )
    # A watch can sit anywhere around the wrist, and its strap is a little askew.
    around, askew = random.normal(0, 25.0), random.normal(0, 8.0, 2)
    mounting = Rotation.from_euler("zxy", [around, *askew], degrees=True).as_matrix() @ _ALONG
    unit = sensors.Imu(
        mounting,
        np.eye(3) + random.normal(0, 0.01, (2, 3, 3)),
        random.normal(0, 1, 6) * np.repeat([0.02, 1.5], 3),
        np.repeat([0.003, 0.3], 3),
        np.repeat([0.015, 1.0], 3),
    )
    return Person(bones, style, unit, float(np.deg2rad(random.normal(0, 8))))


def generate(seed: int, subjects: int, trials: int, actions: Sequence[Action] = tuple(ACTIONS.values())) -> list[Clip]:
    """All clips, by subject, action and trial; a function of its arguments alone.

    The wrist's unit has a clock of its own, up to 50 ms ahead of or behind the camera's.
    """
    return [clip for subject in range(subjects) for clip in _clips(seed, subject, trials, actions)]


def _clips(seed: int, subject: int, trials: int, actions: Sequence[Action]) -> list[Clip]:
    who = person(np.random.default_rng([seed, subject]))
    clips = []
    for number, action in enumerate(actions):
        for trial in range(trials):
            random = np.random.default_rng([seed, subject, number, trial])
            track = perform(action, who.style, random)
            offset = random.uniform(-0.05, 0.05)
            fine = np.arange(-sensors.MARGIN, int(track.duration * sensors.FINE_RATE) + sensors.MARGIN)
            pose = forward(track.at(fine / sensors.FINE_RATE + offset), who.bones)
            strap = Rotation.from_rotvec(random.normal(0, np.deg2rad(3.0), 3)).as_matrix()
            wrist = pose.joints[:, 10]
            imu = sensors.inertial(wrist, pose.wrists["r"] @ strap, who.unit, random)
            frames = np.arange(int(track.duration * sensors.SKELETON_RATE)) / sensors.SKELETON_RATE
            joints = forward(track.at(frames), who.bones).joints
            yaw = who.yaw + random.normal(0, np.deg2rad(4.0))
            seen = sensors.kinect(joints, yaw, 2.9 + random.normal(0, 0.1), random)
            clips.append(Clip(number, subject, trial, seen, imu))
    return clips
