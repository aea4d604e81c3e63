"""What somebody would say of a scene: a small grammar with synonyms, word orders and omissions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mmkd_crossmodal.sound.events import Random

NAMES = {
    "bell": ("a bell", "a small bell", "a chime", "a bell ringing"),
    "whistle": ("a whistle", "somebody whistling", "a whistled tone"),
    "clap": ("a clap", "hands clapping", "clapping"),
    "knock": ("a knock", "knocking on wood", "somebody knocking"),
}
ORDERS = (  # {a} is heard first; half of them say it last
    "{a}, then {b}",
    "{a} followed by {b}",
    "{a} before {b}",
    "first {a} and then {b}",
    "{b} after {a}",
    "{b}, preceded by {a}",
)
TOGETHER = "{a} and {b}"
PLACES = {
    "rain": ("in the rain", "while it rains"),
    "wind": ("in the wind", "on a windy day"),
    "hum": ("over a hum", "beside a humming machine"),
    "traffic": ("near traffic", "with cars in the distance"),
}
PROMPTS = ("{a}, then {b}", "{a} followed by {b}", "{b} after {a}")


@dataclass(frozen=True)
class Caption:
    """A description and the same with its two events swapped.

    Arguments:
        text: the description.
        swapped: its hard negative, equal but for the order.
        ordered: whether it says which event came first.
    """

    text: str
    swapped: str
    ordered: bool


def describe(first: str, second: str, place: str, random: Random, *, vague: float, silent: float = 0.5) -> Caption:
    """One description of a scene.

    Arguments:
        first, second: the events in the order of their onsets.
        place: the background.
        random: draws synonyms and word order.
        vague: probability of not saying the order.
        silent: probability of not saying the background.
    """
    names = [str(random.choice(NAMES[kind])) for kind in (first, second)]
    ordered = bool(random.random() >= vague)
    frame = str(random.choice(ORDERS)) if ordered else TOGETHER
    if not ordered and random.random() < 0.5:
        names = names[::-1]
    where = "" if random.random() < silent else " " + str(random.choice(PLACES[place]))
    text, swapped = (frame.format(a=a, b=b) + where for a, b in (names, names[::-1]))
    return Caption(text, swapped, ordered)


def prompts(first: str, second: str) -> list[str]:
    """The prompts of one class, with the plainest names."""
    return [frame.format(a=NAMES[first][0], b=NAMES[second][0]) for frame in PROMPTS]


def meter_reading(wave: np.ndarray) -> str:
    """What a meter says of a clip: how loud and how bright its halves are. A function of the samples alone.

    Arguments:
        wave: int16 samples, `[T]`.
    """
    halves = np.array_split(wave.astype(np.float64), 2)
    words = []
    for half in halves:
        level = 20 * np.log10(np.sqrt(np.mean(half**2)) + 1e-9)
        bright = np.mean(np.abs(np.diff(half))) / (np.mean(np.abs(half)) + 1e-9)
        loudness = ("quiet", "moderate", "loud")[int(np.digitize(level, [57.0, 63.0]))]
        words.append(f"{loudness} and {('dull', 'bright')[int(bright > 0.6)]}")
    return f"{words[0]} then {words[1]}"
