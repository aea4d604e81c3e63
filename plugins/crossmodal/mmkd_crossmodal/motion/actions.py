"""Actions as joint angles over time: minimum-jerk movements between key poses.

A right wrist cannot tell apart what the other limbs do (wave right / wave both, punch right / punch both; stand / wave
left / kick left), and can half tell apart what differs by a little lean or tempo (squat / sit down, walk / jog).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Key = Mapping[str, float]
"""Angles in degrees (`forward`, `rise`: metres) that are reached at one instant; others pass by unhindered."""


@dataclass(frozen=True)
class Action:
    """A movement: into a pose, some repetitions of a cycle, and back to rest.

    Arguments:
        enter: key poses that lead to the first repetition.
        cycle: key poses of one repetition, `(share of the period, pose)`; shares rise to 1.
        period: mean duration of a repetition, seconds.
        repeats: least and most repetitions.
    """

    enter: Key = field(default_factory=dict)
    cycle: Sequence[tuple[float, Key]] = ()
    period: float = 1.0
    repeats: tuple[int, int] = (1, 1)


def _both(pose: Key) -> dict[str, float]:
    """A pose of the right side with the left one doing the same."""
    return {**pose, **{f"l{name[1:]}": angle for name, angle in pose.items() if name.startswith("r_")}}


def _two_handed(action: Action) -> Action:
    cycle = [(share, _both(pose)) for share, pose in action.cycle]
    return Action(_both(action.enter), cycle, action.period, action.repeats)


def _left(action: Action) -> Action:
    def mirrored(pose: Key) -> dict[str, float]:
        return {f"l{name[1:]}" if name.startswith("r_") else name: angle for name, angle in pose.items()}

    cycle = [(share, mirrored(pose)) for share, pose in action.cycle]
    return Action(mirrored(action.enter), cycle, action.period, action.repeats)


_WAVE = Action(
    {"r_raise": 70.0, "r_spread": 25.0, "r_elbow": 80.0, "r_turn": 0.0},
    [(0.5, {"r_turn": -35.0}), (1.0, {"r_turn": 25.0})],
    period=0.8,
    repeats=(2, 3),
)
_PUNCH = Action(
    {"r_raise": 15.0, "r_elbow": 115.0},
    [(0.4, {"r_raise": 85.0, "r_elbow": 10.0}), (1.0, {"r_raise": 15.0, "r_elbow": 115.0})],
    period=0.8,
    repeats=(1, 2),
)
_STEP = [
    (0.25, {"r_hip": 35.0, "r_knee": 60.0, "rise": 0.02}),
    (0.5, {"r_hip": 0.0, "r_knee": 0.0, "l_hip": 0.0, "l_knee": 0.0, "rise": 0.0, "r_raise": 18.0, "l_raise": -18.0}),
    (0.75, {"l_hip": 35.0, "l_knee": 60.0, "rise": 0.02}),
    (1.0, {"l_hip": 0.0, "l_knee": 0.0, "r_hip": 0.0, "r_knee": 0.0, "rise": 0.0, "r_raise": -18.0, "l_raise": 18.0}),
]


def _circle(sense: float) -> Action:
    cycle: list[tuple[float, Key]] = [
        (0.25, {"r_turn": 30.0 * sense}),
        (0.5, {"r_raise": 105.0}),
        (0.75, {"r_turn": -30.0 * sense}),
        (1.0, {"r_raise": 60.0}),
    ]
    return Action({"r_raise": 60.0, "r_elbow": 45.0, "r_turn": 0.0}, cycle, period=1.1, repeats=(1, 2))


def _swipe(start: float, end: float) -> Action:
    raised = {"r_raise": 75.0, "r_elbow": 40.0}
    return Action({**raised, "r_turn": start}, [(0.5, {"r_turn": end}), (1.0, {**raised, "r_turn": end})], period=1.0)


_LOWER = {"crouch": 58.0, "lean": 22.0, "r_raise": 35.0, "l_raise": 35.0}
ACTIONS: Mapping[str, Action] = {
    "stand still": Action(cycle=[(1.0, {"lean": 0.0})], period=2.0),
    "wave left hand": _left(_WAVE),
    "kick left leg": Action(
        cycle=[(0.45, {"l_hip": 65.0, "l_knee": 10.0, "r_raise": 8.0}), (1.0, {"l_hip": 0.0, "r_raise": 0.0})],
        period=1.1,
        repeats=(1, 2),
    ),
    "wave right hand": _WAVE,
    "wave both hands": _two_handed(_WAVE),
    "punch right hand": _PUNCH,
    "punch both hands": _two_handed(_PUNCH),
    "swipe left": _swipe(-30.0, 50.0),
    "swipe right": _swipe(50.0, -30.0),
    "draw circle clockwise": _circle(1.0),
    "draw circle counter clockwise": _circle(-1.0),
    "squat": Action(cycle=[(0.5, _LOWER), (1.0, dict.fromkeys(_LOWER, 0.0))], period=2.2),
    "sit down and get up": Action(
        cycle=[(0.55, {**_LOWER, "crouch": 48.0, "lean": 38.0, "forward": -0.25}), (1.0, {"lean": 6.0})], period=2.2
    ),
    "walk in place": Action(cycle=_STEP, period=1.15, repeats=(2, 3)),
    "jog in place": Action(
        cycle=[(share, {name: 1.4 * angle for name, angle in pose.items()}) for share, pose in _STEP],
        enter={"r_elbow": 45.0, "l_elbow": 45.0},
        period=0.85,
        repeats=(3, 4),
    ),
}


@dataclass(frozen=True)
class Style:
    """How one person moves.

    Arguments:
        tempo: speed, 1 is the mean.
        amplitude: factor of all angles.
        right_handed: the other hand moves less and a little later.
        elbow: bend of the hanging arms, radians.
        turn: inward rotation of the hanging arms, radians.
    """

    tempo: float
    amplitude: float
    right_handed: bool
    elbow: float
    turn: float


@dataclass(frozen=True)
class Track:
    """One performance: key instants and values of each angle, and slow sway.

    Arguments:
        keys: seconds and radians (metres) by angle, rising in time.
        sway: amplitude, frequency in Hz and phase of sinusoids by angle, `[3, waves]`.
        duration: seconds from the first to the last sample.
    """

    keys: Mapping[str, tuple[Array, Array]]
    sway: Mapping[str, Array]
    duration: float

    def at(self, seconds: Array) -> dict[str, Array]:
        """Angles at any instants, `[T]` each; before the first key and after the last they rest."""
        angles = {name: minimum_jerk(seconds, *keys) for name, keys in self.keys.items()}
        for name, (amplitude, frequency, phase) in self.sway.items():
            waves = amplitude * np.sin(2 * np.pi * frequency * seconds[:, None] + phase)
            angles[name] = angles.get(name, 0.0) + waves.sum(1)
        return angles


def minimum_jerk(seconds: Array, instants: Array, values: Array) -> Array:
    """Interpolation that minimises jerk from rest to rest between keys (Flash and Hogan 1985, eq. 4).

    Velocity and acceleration are 0 at each key, so the curve is twice continuously differentiable.
    """
    place = np.clip(np.searchsorted(instants, seconds, side="right") - 1, 0, len(instants) - 2)
    start, step = instants[place], np.diff(instants)[place]
    share = np.clip((seconds - start) / step, 0, 1)
    smooth = share**3 * (10 - 15 * share + 6 * share**2)
    return values[place] + np.diff(values)[place] * smooth


def perform(action: Action, style: Style, random: np.random.Generator) -> Track:
    """One performance of an action: tempo, amplitude and each key pose vary from trial to trial."""
    tempo = style.tempo * np.exp(random.normal(0, 0.08))
    amplitude = style.amplitude * np.exp(random.normal(0, 0.06))
    start = random.uniform(0.05, 0.4)
    poses: list[tuple[float, Key]] = [(start, {})]
    if action.enter:
        poses.append((poses[-1][0] + random.uniform(0.4, 0.6) / tempo, action.enter))
    for _ in range(random.integers(action.repeats[0], action.repeats[1] + 1)):
        period, begun = action.period * np.exp(random.normal(0, 0.08)) / tempo, poses[-1][0]
        poses += [(begun + share * period, pose) for share, pose in action.cycle]
    moved = dict.fromkeys(name for _, pose in poses for name in pose)  # in order: each draws random numbers
    end = poses[-1][0] + random.uniform(0.45, 0.65) / tempo
    rest = _rest(style)
    keys = {}
    for name in moved:
        reached = [(instant, pose[name]) for instant, pose in poses if name in pose]
        weaker, late = _hand(name, style)
        instants = [start, *(instant + late for instant, _ in reached), end + late]
        angles = [_scaled(name, value, amplitude * weaker, random) for _, value in reached]
        base = rest.get(name, 0.0)
        keys[name] = (np.array(instants), np.array([base, *(base + angle for angle in angles), base]))
    keys |= {name: (np.array([start, end]), np.array([base, base])) for name, base in rest.items() if name not in moved}
    return Track(keys, _sway(random), end + random.uniform(0.1, 0.4))


def _rest(style: Style) -> dict[str, float]:
    return {f"{side}_{name}": getattr(style, name) for side in "lr" for name in ("elbow", "turn")}


def _hand(name: str, style: Style) -> tuple[float, float]:
    """Factor and delay of an angle: those of the hand that does not lead."""
    follows = name.startswith("l_" if style.right_handed else "r_") and not name.endswith(("_hip", "_knee"))
    return (0.88, 0.04) if follows else (1.0, 0.0)


def _scaled(name: str, value: float, factor: float, random: np.random.Generator) -> float:
    if name in ("forward", "rise"):
        return value * factor
    return float(np.deg2rad(value * factor + random.normal(0, 4.0)))


_SWAY = {"yaw": 0.8, "lean": 0.6, "r_raise": 1.2, "l_raise": 1.2, "r_turn": 1.5, "l_turn": 1.5}  # degrees


def _sway(random: np.random.Generator) -> dict[str, Array]:
    """A person is never quite still: slow waves of the trunk and arms, and a tremor of the forearms."""
    sway = {}
    for name, degrees in _SWAY.items():
        amplitude = np.deg2rad(degrees) * np.abs(random.normal(0, 1, 3))
        frequency = np.concatenate([random.uniform(0.2, 1.2, 2), random.uniform(6, 9, 1)])
        amplitude[2] *= 0.06
        sway[name] = np.stack([amplitude, frequency, random.uniform(0, 2 * np.pi, 3)])
    return sway
