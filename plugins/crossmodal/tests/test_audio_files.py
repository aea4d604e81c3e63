"""Recordings that cannot be used: one clear line each; and those that can, fitted to the clip."""

from __future__ import annotations

import io
import tarfile
import warnings

import numpy as np
import pytest
import soundfile
import torch

from mmkd.data.cards import card_of
from mmkd.data.root import data_root
from mmkd.errors import ConfigError, DataError
from mmkd_crossmodal.datasets.esc10 import CAPTIONS, FILE, HIDDEN, PROMPTS, Esc10
from mmkd_crossmodal.files.audio import clipped, fitted
from mmkd_crossmodal.files.esc10 import read_esc10
from mmkd_crossmodal.readers.wav import read_wav
from mmkd_crossmodal.tokens import tokens

FIELDS = {"audio": {"dtype": "int16", "shape": [4000], "rate": 8000.0, "kind": "sample"}}
TONE = np.rint(9000 * np.sin(np.arange(4000) / 3)).astype(np.int16)


@pytest.fixture
def write(tmp_path):
    def write(samples, rate=8000, name="clip.wav", **how):
        soundfile.write(tmp_path / name, samples, rate, **how)
        return tmp_path / name

    return write


def test_a_clip_is_read_as_it_was_written(write):
    for name, how in (("clip.wav", {"subtype": "PCM_16"}), ("clip.flac", {}), ("float.wav", {"subtype": "DOUBLE"})):
        samples = TONE if name != "float.wav" else TONE / 32768
        read = read_wav(write(samples, name=name, **how), FIELDS)["audio"]
        assert read.dtype == np.int16
        assert np.array_equal(read, TONE[None])


BAD = {
    "another rate": (lambda: TONE, {"rate": 16000}, "16000 samples per second where 8000 are expected; resample"),
    "stereo": (lambda: np.stack([TONE, TONE], 1), {}, "2 channels where one is expected; mix it down"),
    "empty": (lambda: TONE[:0], {}, "holds no samples"),
    "silent": (lambda: 0 * TONE, {}, "nothing but silence"),
    "NaN": (lambda: np.where(np.arange(4000) == 7, np.nan, 0.1), {"subtype": "FLOAT"}, r"NaN .*first in sample 7"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_recordings_give_one_line(write, case):
    samples, how, line = BAD[case]
    path = write(samples(), **how)
    with pytest.raises(DataError) as caught:
        read_wav(path, FIELDS)
    said = str(caught.value)
    assert str(path) in said
    assert "\n" not in said
    cause, _, way_out = line.partition("; ")
    with pytest.raises(DataError, match=cause):
        read_wav(path, FIELDS)
    assert way_out in said


def test_a_damaged_file(tmp_path, write):
    whole = write(TONE).read_bytes()
    (tmp_path / "bad.wav").write_bytes(b"RIFF" + whole[100:])
    with pytest.raises(DataError, match=r"bad\.wav cannot be read as sound"):
        read_wav(tmp_path / "bad.wav", FIELDS)
    with pytest.raises(DataError, match="one clip of sound"):
        read_wav(write(TONE), {"x": {"dtype": "float32", "shape": [4], "kind": "sample"}})


def test_a_clipped_recording_is_read_with_a_warning(write):
    loud = np.clip(TONE.astype(np.int32) * 8, -32768, 32767).astype(np.int16)
    with pytest.warns(UserWarning, match=r"clip\.wav is clipped: 4\d\.\d% of its samples"):
        read = read_wav(write(loud, subtype="PCM_16"), FIELDS)
    assert np.array_equal(read["audio"][0], loud)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_wav(write(TONE), FIELDS)
    one = TONE.copy()
    one[10] = 32767  # a single peak is no clipping
    assert clipped(one) == 0
    assert clipped(np.full(30, -32768, np.int16)) > 0.9


def test_clips_are_fitted():
    assert np.array_equal(fitted(TONE, 4000), TONE)
    assert np.array_equal(fitted(TONE, 1000), TONE[1500:2500])
    assert np.array_equal(fitted(TONE[:10], 25), np.concatenate([TONE[:10], TONE[:10], TONE[:5]]))


def packed(path, names, rate=16000):
    with tarfile.open(path, "w") as archive:
        for name in names:
            buffer = io.BytesIO()
            soundfile.write(buffer, TONE, rate, format="OGG", subtype="VORBIS")
            entry = tarfile.TarInfo(name)
            entry.size = len(buffer.getvalue())
            archive.addfile(entry, io.BytesIO(buffer.getvalue()))
    return path


def test_packed_clips(tmp_path):
    names = ["002_rain/2-7-A.ogg", "001_dog_bark/1-5-B.ogg", "001_dog_bark/1-5-A.ogg", "README.txt"]
    read = read_esc10(packed(tmp_path / "esc.tar", names))
    assert read.classes == ("dog bark", "rain")
    assert read.labels.tolist() == [0, 0, 1]
    assert read.folds.tolist() == [1, 1, 2]
    assert read.sources.tolist() == [5, 5, 7]


@pytest.mark.parametrize(
    ("names", "rate", "line"),
    [
        (["001_dog_bark/1-5-A.ogg"], 8000, r"1-5-A\.ogg has 8000 samples per second"),
        (["other/file.ogg"], 16000, "holds no clip"),
        (["001_dog_bark/1-5-A.ogg", "001_dog_bark/2-5-B.ogg"], 16000, "recording 5 is in several folds"),
    ],
)
def test_packed_clips_that_are_wrong(tmp_path, names, rate, line):
    with pytest.raises(DataError, match=line):
        read_esc10(packed(tmp_path / "esc.tar", names, rate))


def test_a_damaged_archive(tmp_path):
    whole = packed(tmp_path / "esc.tar", ["001_dog_bark/1-5-A.ogg"]).read_bytes()
    (tmp_path / "cut.tar").write_bytes(whole[:900])
    with pytest.raises(DataError, match=r"cut\.tar"):
        read_esc10(tmp_path / "cut.tar")


def test_absent_data_say_where_they_are_to_be_had(monkeypatch, tmp_path):
    monkeypatch.setenv("MMKD_DATA", str(tmp_path))
    for call in (Esc10, Esc10.get):
        with pytest.raises(DataError, match=r"not on this machine; get commit 553c8f1"):
            call()


@pytest.fixture(scope="module")
def data():
    if not (data_root() / FILE).is_file():
        pytest.skip(f"{FILE} is not below the data root")
    return Esc10(labels_per_class=8, seconds=1)


class TestReal:
    def test_folds(self, data):
        assert np.bincount(data.folds)[1:].tolist() == [80] * 5
        assert np.bincount(data.labels).tolist() == [40] * 10
        tested = []
        for seed in range(5):
            split = data.split(seed)
            assert split.folds
            assert set(data.folds[split.test_rows]) == {seed + 1}
            assert len({*data.folds[split.train]} | {*data.folds[split.valid]} | {seed + 1}) == 5
            tested += split.test_rows.tolist()
        assert sorted(tested) == list(range(400))
        with pytest.raises(ConfigError, match="there are 5 folds"):
            data.split(5)

    def test_no_caption_tells_a_hidden_label(self, data):
        split = data.split(0)
        captions, hidden = split.inputs["caption"], tokens([HIDDEN])[0]
        others = np.setdiff1d(np.arange(400), split.labelled)
        assert (captions[others] == hidden).all()
        assert torch.equal(captions[split.labelled], data.samples["caption"][split.labelled])
        assert not set(CAPTIONS) & set(PROMPTS)

    def test_the_card_describes_the_file(self, data):
        (listed,) = card_of("crossmodal/esc10").files
        assert (data_root() / listed.path).stat().st_size == listed.bytes
