"""Generated scenes: what is heard is what the graph says, and what is written is, too."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from mmkd.errors import ConfigError, DataError
from mmkd_crossmodal.datasets.sound_scenes import SoundScenes
from mmkd_crossmodal.models.text_tower import TextTower
from mmkd_crossmodal.sound.captions import NAMES, ORDERS, PLACES, describe, meter_reading, prompts
from mmkd_crossmodal.sound.events import EVENTS, RATE, band
from mmkd_crossmodal.sound.generate import PAIRS, SECONDS, generate
from mmkd_crossmodal.sound.rooms import BACKGROUNDS, background, draw_room
from mmkd_crossmodal.tokens import tokens


@pytest.fixture(scope="module")
def scenes():
    return generate(0, 3, 1)


def understood(text: str) -> tuple[str, str] | None:
    """Which sound a caption says came first, by the words alone; None where it says no order."""
    places = {
        kind: min(text.find(n) for n in names if n in text)
        for kind, names in NAMES.items()
        if any(n in text for n in names)
    }
    early, late = sorted(places, key=lambda kind: places[kind])
    if re.search(r" after |, preceded by ", text):
        return late, early
    if re.search(r", then | followed by | before |first .* and then ", text):
        return early, late
    return None


def test_captions_say_what_the_graph_says(scenes):
    random = np.random.default_rng(0)
    vague = 0
    for _ in range(20):
        for first, second in PAIRS:
            caption = describe(first, second, "rain", random, vague=0.2)
            assert understood(caption.text) == ((first, second) if caption.ordered else None)
            assert understood(caption.swapped) == ((second, first) if caption.ordered else None)
            assert sorted(re.findall(r"\w+", caption.text)) == sorted(re.findall(r"\w+", caption.swapped))
            vague += not caption.ordered
    assert 0.1 < vague / 240 < 0.3
    assert all(understood(text) == pair for pair in PAIRS for text in prompts(*pair))
    assert {understood(scene.caption.text) for scene in scenes} <= {None, *PAIRS}


def test_a_caption_without_order_names_either_sound_first():
    random = np.random.default_rng(0)
    said = [describe("bell", "knock", "hum", random, vague=1.0).text for _ in range(60)]
    turned = sum(text.index("knock") < min(text.find(n) for n in NAMES["bell"] if n in text) for text in said)
    assert 15 < turned < 45


def test_a_third_of_the_word_orders_are_not_that_of_the_sounds():
    assert sum(frame.index("{b}") < frame.index("{a}") for frame in ORDERS) == 2


def test_generation_is_a_function_of_the_seed_and_the_room(scenes):
    fewer = generate(0, 1, 1)
    for one, other in zip(fewer, scenes, strict=False):
        assert np.array_equal(one.wave, other.wave)
        assert one.caption == other.caption
    assert not np.array_equal(generate(1, 1, 1)[0].wave, scenes[0].wave)
    assert all(scene.wave.dtype == np.int16 and len(scene.wave) == round(SECONDS * RATE) for scene in scenes)


def test_sounds_are_where_they_should_be_in_the_spectrum():
    random = np.random.default_rng(0)
    for name, (low, high) in {"knock": (60, 700), "whistle": (500, 2600), "clap": (300, 2200)}.items():
        for pitch in (-0.35, 0.35):
            wave = EVENTS[name](pitch, random)
            power = np.abs(np.fft.rfft(wave)) ** 2
            frequency = np.fft.rfftfreq(len(wave), 1 / RATE)
            assert power[(frequency > low) & (frequency < high)].sum() > 0.8 * power.sum(), name


def test_a_band_keeps_what_is_inside_it():
    time = np.arange(RATE) / RATE
    for frequency, share in ((1000, 1.0), (200, 0.0), (3500, 0.0)):
        tone = np.sin(2 * np.pi * frequency * time)
        assert np.mean(band(tone, 600, 1800) ** 2) * 2 == pytest.approx(share, abs=0.02)


@pytest.mark.parametrize("kind", BACKGROUNDS)
def test_backgrounds_have_unit_level(kind):
    assert np.mean(background(kind, 4000, np.random.default_rng(0)) ** 2) == pytest.approx(1)


def test_a_room_decays_by_sixty_decibels():
    responses = [draw_room(np.random.default_rng(seed)).response for seed in range(40)]
    for response in responses:
        assert response[0] == 1
        assert not response[1 : round(0.004 * RATE)].any()
        early, late = (np.mean(part**2) for part in (response[40:140], response[-100:]))
        assert late < early / 10


def test_settings():
    positive, null, harm = (SoundScenes(rooms=3, setting=setting) for setting in ("positive", "null", "harm"))
    for one in (null, harm):
        assert torch.equal(one.samples["audio"], positive.samples["audio"])
    assert null.captions == [meter_reading(scene.wave) for scene in null.scenes]
    assert torch.equal(null.samples["caption"], null.samples["negative"])
    later = torch.from_numpy(harm.takes > 0)
    assert torch.equal(harm.samples["caption"][later], positive.samples["negative"][later])
    assert torch.equal(harm.samples["caption"][~later], positive.samples["caption"][~later])
    assert positive.fields["prompts"].shape == (12, 3, 20)
    swapped = positive.constants["swapped"]
    assert torch.equal(swapped[swapped], torch.arange(12))
    with pytest.raises(ConfigError, match="rooms = 2"):
        SoundScenes(rooms=2)


def test_rooms_never_straddle_parts():
    data = SoundScenes(rooms=8, takes=1, labels_per_class=2)
    for seed in range(4):
        split = data.split(seed)
        rooms = [set(data.rooms[rows].tolist()) for rows in (split.train, split.valid, split.test_rows)]
        assert len(rooms[0] | rooms[1] | rooms[2]) == sum(map(len, rooms))
        assert np.bincount(data.labels[split.labelled]).tolist() == [2] * 12


def test_tokens():
    ids = tokens(["a bell", "A  BELL "])
    assert torch.equal(ids[0], ids[1])
    assert ids[0, :4].tolist() == [49406, 320, 3718, 49407]
    for text, reason in (("", "no word"), ("bell " * 30, "32 tokens where 20 fit")):
        with pytest.raises(DataError, match=reason):
            tokens([text])


def test_no_two_words_of_the_grammar_share_a_bucket():
    words = [
        *(name for names in NAMES.values() for name in names),
        *(place for some in PLACES.values() for place in some),
    ]
    ids = tokens([*words, *(frame.format(a="x", b="y") for frame in ORDERS)]).unique()
    tower = TextTower(embedding=4, width=8, layers=1, heads=2, buckets=8192)
    assert len(tower.bucketed(ids).unique()) == len(ids)
