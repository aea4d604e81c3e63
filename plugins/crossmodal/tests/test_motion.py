"""The generator's physics: what sensors must read of motions whose answer is known in closed form."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mmkd_crossmodal.motion import sensors
from mmkd_crossmodal.motion.actions import ACTIONS, Style, Track, minimum_jerk, perform
from mmkd_crossmodal.motion.body import ANGLES, JOINTS, Bones, forward, rotation
from mmkd_crossmodal.motion.generate import generate

RATE = sensors.FINE_RATE
PARENTS = {
    **{"head": "shoulder_center", "shoulder_center": "spine", "spine": "hip_center"},
    **{f"{s}_{a}": f"{s}_{b}" for s in "lr" for a, b in (("elbow", "shoulder"), ("wrist", "elbow"), ("hand", "wrist"))},
    **{f"{s}_{a}": f"{s}_{b}" for s in "lr" for a, b in (("knee", "hip"), ("ankle", "knee"), ("foot", "ankle"))},
}


def ideal(orientation=None, mounting=None):
    return sensors.Imu(np.eye(3) if mounting is None else mounting, np.stack([np.eye(3)] * 2), *np.zeros((3, 6)))


def test_a_pose_at_rest_reads_one_g_upward_whatever_the_mounting():
    mounting = Rotation.from_euler("xyz", [20, -50, 130], degrees=True).as_matrix()
    steps = 80
    pose = forward({"r_raise": np.full(steps, 0.7), "r_elbow": np.full(steps, 1.1)}, Bones())
    read = sensors.inertial(pose.joints[:, 10], pose.wrists["r"], ideal(mounting=mounting), np.random.default_rng(0))
    up = (pose.wrists["r"][0] @ mounting).T @ [0, 0, 1]
    np.testing.assert_allclose(read, np.tile([*up, 0, 0, 0], (len(read), 1)), atol=1e-6)


def test_free_fall_reads_nothing():
    seconds = np.arange(100) / RATE
    position = np.zeros((100, 3))
    position[:, 2] = -0.5 * sensors.GRAVITY * seconds**2
    np.testing.assert_allclose(sensors.specific_force(position, np.tile(np.eye(3), (100, 1, 1)), RATE), 0, atol=1e-6)


def test_a_pendulum_in_closed_form():
    """A rigid rod of length L swings by theta(t): tangential L theta'' + g sin, radial L theta'^2 + g cos."""
    length, size, omega = 0.6, 0.8, 2 * np.pi
    t = np.arange(400) / RATE
    theta, speed, pull = (
        size * np.sin(omega * t),
        size * omega * np.cos(omega * t),
        -size * omega**2 * np.sin(omega * t),
    )
    orientation = rotation(1, -theta)  # raises a hanging arm forward
    position = -length * orientation[..., 2]
    g = sensors.GRAVITY
    tangential, radial = (length * pull + g * np.sin(theta)) / g, (length * speed**2 + g * np.cos(theta)) / g
    read = sensors.specific_force(position, orientation, RATE)[1:-1]
    np.testing.assert_allclose(read, np.stack([tangential, 0 * t, radial], 1)[1:-1], atol=2e-3)
    turning = sensors.angular_rate(orientation, RATE)[1:-1]
    np.testing.assert_allclose(turning, np.rad2deg(np.stack([0 * t, -speed, 0 * t], 1))[1:-1], atol=0.5)


def test_the_gyroscope_integrates_to_the_rotation():
    track = perform(ACTIONS["draw circle clockwise"], Style(1, 1, True, 0.2, 0.1), np.random.default_rng(3))
    seconds = np.arange(int(track.duration * RATE)) / RATE
    orientation = forward(track.at(seconds), Bones()).wrists["r"]
    turning = np.deg2rad(sensors.angular_rate(orientation, RATE))
    turned = Rotation.from_matrix(orientation[1])
    for rate in (turning[1:-2] + turning[2:-1]) / 2:
        turned = turned * Rotation.from_rotvec(rate / RATE)
    error = (turned.inv() * Rotation.from_matrix(orientation[-2])).magnitude()
    assert np.rad2deg(error) < 0.5
    apart = (
        Rotation.from_matrix(orientation[len(orientation) // 2]) * Rotation.from_matrix(orientation[0]).inv()
    ).magnitude()
    assert np.rad2deg(apart) > 20  # it did move


def test_bones_keep_their_lengths_and_feet_stay_down_in_a_crouch():
    random = np.random.default_rng(0)
    angles = {name: random.uniform(-0.6, 0.6, 50) for name in ANGLES if name not in ("forward", "rise", "crouch")}
    joints = forward(angles, Bones()).joints
    for child, parent in PARENTS.items():
        lengths = np.linalg.norm(joints[:, JOINTS.index(child)] - joints[:, JOINTS.index(parent)], axis=1)
        np.testing.assert_allclose(lengths, lengths[0], rtol=1e-9)
    crouched = forward({"crouch": np.linspace(0, 1, 30)}, Bones()).joints
    ankles = crouched[:, [JOINTS.index("l_ankle"), JOINTS.index("r_ankle")], 2]
    np.testing.assert_allclose(ankles, 0, atol=Bones().thigh - Bones().shank)
    assert crouched[-1, JOINTS.index("hip_center"), 2] < crouched[0, JOINTS.index("hip_center"), 2] - 0.3


def test_left_mirrors_right():
    angles = {"raise": 0.5, "spread": 0.3, "turn": 0.4, "elbow": 0.9, "roll": 0.2}
    joints = forward(
        {f"{s}_{name}": np.array([value]) for s in "lr" for name, value in angles.items()}, Bones()
    ).joints[0]
    for name in ("elbow", "wrist", "hand"):
        left, right = joints[JOINTS.index(f"l_{name}")], joints[JOINTS.index(f"r_{name}")]
        np.testing.assert_allclose(left, right * [1, -1, 1], atol=1e-12)
    inward = joints[JOINTS.index("r_wrist"), 1] - joints[JOINTS.index("r_elbow"), 1]
    assert inward > 0  # a positive turn brings the right hand to the middle


def test_minimum_jerk_rests_at_its_keys():
    instants, values = np.array([0.0, 1.0, 1.5]), np.array([0.0, 2.0, -1.0])
    step = 1e-4
    at = minimum_jerk(np.array([-1.0, 0.0, 0.5, 1.0, 1.5, 9.0]), instants, values)
    np.testing.assert_allclose(at, [0, 0, 1, 2, -1, -1])
    near = [minimum_jerk(np.array([1 - step, 1.0, 1 + step]), instants, values)]
    velocity, acceleration = np.gradient(near[0], step)[1], np.diff(near[0], 2)[0] / step**2
    assert abs(velocity) < 1e-3
    assert abs(acceleration) < 0.5


def test_the_filter_keeps_movement_and_stops_what_would_alias():
    seconds = np.arange(-sensors.MARGIN, 800 + sensors.MARGIN) / RATE
    still = np.tile(np.eye(3), (len(seconds), 1, 1))

    def amplitude(frequency: float) -> float:
        position = np.zeros((len(seconds), 3))
        position[:, 0] = np.sin(2 * np.pi * frequency * seconds) * sensors.GRAVITY / (2 * np.pi * frequency) ** 2
        return float(np.abs(sensors.inertial(position, still, ideal(), np.random.default_rng(0))[:, 0]).max())

    assert amplitude(3) == pytest.approx(1, abs=0.05)
    assert amplitude(45) < 0.05


def test_readings_are_limited():
    seconds = np.arange(-sensors.MARGIN, 200 + sensors.MARGIN) / RATE
    position = np.zeros((len(seconds), 3))
    position[:, 0] = np.sin(2 * np.pi * 4 * seconds)
    spin = rotation(0, 40 * seconds)
    read = sensors.inertial(position, spin, ideal(), np.random.default_rng(0))
    assert np.abs(read[:, :3]).max() == sensors.ACCELERATION_LIMIT
    assert np.abs(read[:, 3:]).max() == sensors.ROTATION_LIMIT


def test_one_pose_stream_feeds_both_sensors():
    """The unit's turning shows in the skeleton: the forearm's direction moves when the gyroscope reads much."""
    clips = generate(0, 2, 1, [ACTIONS["punch right hand"]])
    for clip in clips:
        forearm = clip.skeleton[:, 10] - clip.skeleton[:, 9]
        moved = np.linalg.norm(np.gradient(forearm, 1 / 30, axis=0), axis=1)
        turning = np.linalg.norm(clip.imu[:, 3:], axis=1)
        felt = np.interp(np.arange(len(moved)) / 30, np.arange(len(turning)) / 50, turning)
        assert np.corrcoef(moved, felt)[0, 1] > 0.6
        assert abs(len(clip.imu) / 50 - len(clip.skeleton) / 30) < 0.1


def test_generation_is_a_function_of_its_seed():
    actions = [ACTIONS["swipe left"], ACTIONS["stand still"]]
    one, same, other = (generate(seed, 2, 1, actions) for seed in (1, 1, 2))
    more = generate(1, 3, 2, actions)
    for a, b, c in zip(one, same, other, strict=True):
        np.testing.assert_array_equal(a.imu, b.imu)
        np.testing.assert_array_equal(a.skeleton, b.skeleton)
        assert a.imu.shape != c.imu.shape or not np.array_equal(a.imu, c.imu)
    np.testing.assert_array_equal(more[0].imu, one[0].imu)  # more people or trials change nobody


def test_generation_is_the_same_in_every_process():
    script = (
        "from mmkd_crossmodal.motion.generate import generate\n"
        "from mmkd_crossmodal.motion.actions import ACTIONS\n"
        "clips = generate(0, 1, 1, [ACTIONS['walk in place'], ACTIONS['punch both hands']])\n"
        "print([float(clip.imu.sum()) for clip in clips], [float(clip.skeleton.sum()) for clip in clips])"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(said) == 1


def test_a_right_wrist_cannot_tell_what_the_other_hand_does():
    """One-handed and two-handed performances with equal draws: the right wrist turns alike, the left one does not."""
    style = Style(1.0, 1.0, True, 0.2, 0.1)
    tracks = [
        perform(ACTIONS[name], style, np.random.default_rng(5)) for name in ("wave right hand", "wave both hands")
    ]
    seconds = np.linspace(0.0, min(track.duration for track in tracks), 200)
    reach = [forward(Track(track.keys, {}, 0).at(seconds), Bones()).joints for track in tracks]
    spread = [[np.ptp(joints[:, wrist], axis=0).max() for wrist in (10, 6)] for joints in reach]
    assert spread[0][0] > 0.3
    assert spread[1][0] > 0.3
    assert spread[0][1] < 0.01
    assert spread[1][1] > 0.25
