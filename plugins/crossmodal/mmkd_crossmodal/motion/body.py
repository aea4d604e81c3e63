"""A human body as a kinematic tree of the 20 joints that the first Kinect tracks, and its forward kinematics.

World frame: x is where the body faces, y its left, z up; metres and radians. At rest every angle is 0: the body stands
upright with its arms hanging.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

JOINTS = (
    *("head", "shoulder_center", "spine", "hip_center"),
    *("l_shoulder", "l_elbow", "l_wrist", "l_hand", "r_shoulder", "r_elbow", "r_wrist", "r_hand"),
    *("l_hip", "l_knee", "l_ankle", "l_foot", "r_hip", "r_knee", "r_ankle", "r_foot"),
)
SIDES = {"l": 1.0, "r": -1.0}  # of the y axis
ANGLES = (
    *("yaw", "lean", "twist", "forward", "rise", "crouch"),
    *(f"{side}_{name}" for side in SIDES for name in ("raise", "spread", "turn", "elbow", "roll", "hip", "knee")),
)
"""Degrees of freedom. Radians, but for `forward` and `rise` (metres).

`crouch` bends both legs and lowers the body so that the feet stay on the ground. Of an arm, `raise` swings it forward,
`spread` sideways, `turn` rotates the upper arm inward, `elbow` bends it, `roll` rotates the forearm inward.
"""


@dataclass(frozen=True)
class Bones:
    """Lengths in metres; the defaults are the means of UTD-MHAD's eight subjects, as its Kinect saw them."""

    neck: float = 0.19
    chest: float = 0.345
    waist: float = 0.077
    shoulder: float = 0.156
    upper_arm: float = 0.265
    forearm: float = 0.23
    hand: float = 0.069
    pelvis: float = 0.078
    thigh: float = 0.46
    shank: float = 0.353
    foot: float = 0.078

    def scaled(self, factors: Mapping[str, float]) -> Bones:
        return Bones(**{name: length * factors.get(name, 1.0) for name, length in vars(self).items()})


@dataclass(frozen=True)
class Pose:
    """What a pose looks like from outside.

    Arguments:
        joints: positions by `JOINTS`, `[T, 20, 3]`.
        wrists: orientation of each forearm by side, `[T, 3, 3]`: columns are its axes in the world.
        thighs: the same of each thigh.
    """

    joints: Array
    wrists: Mapping[str, Array]
    thighs: Mapping[str, Array]


def rotation(axis: int, angle: Array) -> Array:
    """Rotations about one axis of the parent, right-handed, `[T] -> [T, 3, 3]`."""
    cosine, sine = np.cos(angle), np.sin(angle)
    matrix = np.zeros((*angle.shape, 3, 3))
    second, third = (axis + 1) % 3, (axis + 2) % 3
    matrix[..., axis, axis] = 1
    matrix[..., second, second] = matrix[..., third, third] = cosine
    matrix[..., second, third], matrix[..., third, second] = -sine, sine
    return matrix


def forward(angles: Mapping[str, Array], bones: Bones) -> Pose:
    """Forward kinematics.

    Arguments:
        angles: values over time by name of `ANGLES`, `[T]` each; those left out are 0.
        bones: lengths.
    """
    steps = len(next(iter(angles.values())))
    zero = np.zeros(steps)

    def value(name: str) -> Array:
        return angles.get(name, zero)

    crouch = value("crouch")
    places = dict.fromkeys(JOINTS, np.zeros((steps, 3)))
    height = bones.thigh + bones.shank + bones.pelvis / 2
    low = (bones.thigh + bones.shank) * (1 - np.cos(crouch))
    places["hip_center"] = np.stack([value("forward"), zero, height + value("rise") - low], -1)
    pelvis = rotation(2, value("yaw"))
    trunk = pelvis @ rotation(1, value("lean")) @ rotation(2, value("twist"))
    up = trunk[..., 2]
    places["spine"] = places["hip_center"] + bones.waist * up
    places["shoulder_center"] = places["spine"] + bones.chest * up
    places["head"] = places["shoulder_center"] + bones.neck * up
    wrists, thighs = {}, {}
    for side, sign in SIDES.items():
        shoulder = places["shoulder_center"] + trunk @ np.array([0, sign * bones.shoulder, -0.12])
        upper = trunk @ rotation(1, -value(f"{side}_raise")) @ rotation(0, sign * value(f"{side}_spread"))
        upper = upper @ rotation(2, -sign * value(f"{side}_turn"))
        fore = upper @ rotation(1, -value(f"{side}_elbow")) @ rotation(2, -sign * value(f"{side}_roll"))
        elbow = shoulder - bones.upper_arm * upper[..., 2]
        wrist = elbow - bones.forearm * fore[..., 2]
        thigh = pelvis @ rotation(1, -(value(f"{side}_hip") + crouch))
        shank = thigh @ rotation(1, value(f"{side}_knee") + 2 * crouch)
        hip = places["hip_center"] + pelvis @ np.array([0, sign * bones.pelvis, -bones.pelvis / 2])
        knee = hip - bones.thigh * thigh[..., 2]
        ankle = knee - bones.shank * shank[..., 2]
        chain = {"shoulder": shoulder, "elbow": elbow, "wrist": wrist, "hand": wrist - bones.hand * fore[..., 2]}
        chain |= {"hip": hip, "knee": knee, "ankle": ankle, "foot": ankle + bones.foot * shank[..., 0]}
        places |= {f"{side}_{name}": place for name, place in chain.items()}
        wrists[side], thighs[side] = fore, thigh
    return Pose(np.stack([places[name] for name in JOINTS], 1), wrists, thighs)
