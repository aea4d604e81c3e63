"""The log-mel spectrogram against a Fourier transform written out, and the models that stand on it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from mmkd.data import Field
from mmkd.errors import ConfigError, DataError
from mmkd_crossmodal.models.audio_text import AudioText
from mmkd_crossmodal.models.audio_text_fusion import AudioTextFusion
from mmkd_crossmodal.models.log_mel_cnn import LogMelCNN
from mmkd_crossmodal.models.text_tower import TextTower
from mmkd_crossmodal.tokens import VOCABULARY, tokens

CLIP = {"audio": Field((4000,), "int16", rate=8000.0)}
LOGITS = {"logits": (3,)}
SMALL = {"text_width": 16, "text_layers": 1, "text_heads": 2, "buckets": 64, "width": 4, "embedding": 8}


def noise(rows: int = 3, seed: int = 0) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.randint(-3000, 3000, (rows, 4000), generator=g).to(torch.int16)


def mel_by_hand(wave: np.ndarray, rate: int, window: int, hop: int, bands: int) -> np.ndarray:
    """Power spectra of Hann windows through triangles that are evenly spaced in mel (HTK), each of unit area in Hz."""
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    frames = [wave[start : start + window] * hann for start in range(0, len(wave) - window + 1, hop)]
    power = np.abs(np.fft.rfft(frames, axis=1)) ** 2
    frequency = np.linspace(0, rate / 2, window // 2 + 1)
    mels = np.linspace(0, 2595 * np.log10(1 + rate / 2 / 700), bands + 2)
    edges = 700 * (10 ** (mels / 2595) - 1)
    rows = []
    for low, middle, high in zip(edges, edges[1:], edges[2:], strict=False):
        triangle = np.clip(
            np.minimum((frequency - low) / (middle - low), (high - frequency) / (high - middle)), 0, None
        )
        rows.append(power @ (triangle * 2 / (high - low)))
    return np.array(rows)


def test_log_mel_against_a_transform_written_out():
    model = LogMelCNN(CLIP, LOGITS, mels=20)
    audio = noise(1)
    ours = model.tower.mel(audio.float() / 32768)[0].numpy()
    theirs = mel_by_hand(audio[0].numpy() / 32768.0, 8000, 256, 128, 20)
    np.testing.assert_allclose(ours, theirs, rtol=2e-3, atol=1e-9)


def test_loudness_says_nothing_and_silence_is_harmless():
    model = LogMelCNN(CLIP, LOGITS).eval()
    audio = noise()
    torch.testing.assert_close(model(audio)["logits"], model((audio // 2).to(torch.int16))["logits"], atol=0.02, rtol=0)
    heard = model.tower.log_mel(audio)
    assert heard.mean((1, 2)).abs().max() < 1e-4
    torch.testing.assert_close(heard.square().mean((1, 2)).sqrt(), torch.ones(3), atol=0.15, rtol=0)
    silent = model.tower.log_mel(torch.zeros(1, 4000, dtype=torch.int16))
    assert not silent.any()


def test_what_comes_first_is_heard():
    """Two spans of time swapped change the embedding; with one span for all of it they would hardly do."""
    torch.manual_seed(0)
    whole, spans = (LogMelCNN(CLIP, LOGITS, segments=segments, dropout=0.0).eval() for segments in (1, 4))
    audio = torch.cat([noise(1)[:, :2000] // 30, noise(1)[:, 2000:]], 1).to(torch.int16)
    turned = audio.flip(1)
    far = [(model(audio)["audio"] - model(turned)["audio"]).norm() for model in (whole, spans)]
    assert far[1] > 3 * far[0]


def test_student():
    model = LogMelCNN(CLIP, LOGITS, embedding=8).eval()
    said = model(noise())
    torch.testing.assert_close(said["audio"].norm(dim=1), torch.ones(3))
    torch.testing.assert_close(said["logits"], 10 * said["audio"] @ model.class_vectors().T)
    vectors = torch.nn.functional.normalize(torch.randn(3, 8), dim=1)
    model.adopt(vectors)
    torch.testing.assert_close(model.class_vectors(), vectors)
    assert not model.vectors.requires_grad
    with pytest.raises(ConfigError, match=r"\[3, 9\] where the student has \[3, 8\]"):
        model.adopt(torch.randn(3, 9))


@pytest.mark.parametrize(
    "field",
    [Field((4000,), "float32", rate=8000.0), Field((None,), "int16", rate=8000.0), Field((4000,), "int16")],
    ids=["type", "length", "rate"],
)
def test_fields_that_are_no_clip(field):
    with pytest.raises(ConfigError, match="no int16 PCM of a fixed length"):
        LogMelCNN({"audio": field}, LOGITS)


def test_dual_encoder():
    torch.manual_seed(0)
    model = AudioText(CLIP, LOGITS, **SMALL).eval()
    prompts = tokens(["a bell", "one bell", "a dog", "one dog", "a knock", "one knock"]).reshape(3, 2, -1)
    caption = tokens(["a bell", "a dog", "a knock"])
    said = model(noise(), prompts, caption)
    vectors = model.class_vectors(prompts)
    by_hand = torch.stack([model.text(of_class).mean(0) for of_class in prompts])
    torch.testing.assert_close(vectors, by_hand / by_hand.norm(dim=1, keepdim=True))
    torch.testing.assert_close(said["logits"], 10 * said["audio"] @ vectors.T)
    torch.testing.assert_close(said["caption"], 10 * model.text(caption))
    assert set(model(noise(), prompts)) == {"logits", "audio"}


def test_the_tap_of_captions_has_the_best_class_where_none_is_read():
    from mmkd.taps import Taps

    model = AudioText(CLIP, LOGITS, **SMALL).eval()
    prompts = tokens(["a bell", "a dog", "a knock"])[:, None]
    taps = Taps(model, model.taps)
    with taps.record() as features:
        logits = model(noise(), prompts)["logits"]
    torch.testing.assert_close(features["caption"], 10 * model.class_vectors(prompts)[logits.argmax(1)])


def test_fusion_reads_the_caption():
    model = AudioTextFusion(CLIP, LOGITS, width=4, size=8, text_width=16, text_heads=2, buckets=64).eval()
    one, other = (model(noise(), tokens([text] * 3)) for text in ("a bell", "a dog"))
    assert one.shape == (3, 3)
    assert not torch.allclose(one, other, atol=1e-3)
    assert model(noise()).shape == (3, 3)


def test_text_does_not_depend_on_its_padding_and_marks_stay_last():
    tower = TextTower(embedding=8, width=16, layers=1, heads=2, buckets=64).eval()
    ids = tokens(["a bell rings"])
    torch.testing.assert_close(tower(ids), tower(ids[:, :7]))
    bucketed = tower.bucketed(ids)
    assert bucketed.max() == 63
    assert bucketed.argmax(1) == ids.argmax(1) == 4
    assert (TextTower(embedding=8, width=16, layers=1, heads=2).bucketed(ids) == ids).all()


def test_checkpoints_of_a_text_tower(tmp_path):
    torch.manual_seed(0)
    sizes = {"embedding": 8, "width": 8, "layers": 1, "heads": 2}
    trained = TextTower(**sizes).eval()
    state = {f"text.{name}": value.contiguous() for name, value in trained.transformer.state_dict().items()}
    save_file({**state, "visual.weight": torch.zeros(2)}, tmp_path / "clip.safetensors")
    loaded = TextTower(**sizes, checkpoint=str(tmp_path / "clip.safetensors")).eval()
    ids = tokens(["a bell"])
    torch.testing.assert_close(loaded(ids), trained(ids))
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    with pytest.raises(DataError, match="other sizes"):
        TextTower(**{**sizes, "width": 16}, checkpoint=str(tmp_path / "clip.safetensors"))
    state.pop("text.ln_final.weight")
    save_file(state, tmp_path / "less.safetensors")
    with pytest.raises(DataError, match=r"holds no 'ln_final\.weight'"):
        TextTower(**sizes, checkpoint=str(tmp_path / "less.safetensors"))
    (tmp_path / "bad.safetensors").write_bytes(b"nothing")
    for name in ("bad.safetensors", "absent.safetensors"):
        with pytest.raises(DataError, match=f"{name} cannot be read"):
            TextTower(**sizes, checkpoint=str(tmp_path / name))


def test_pretrained_names():
    sizes = {"embedding": 8, "width": 8, "layers": 1, "heads": 2}
    with pytest.raises(ConfigError, match="no model 'ViT-B-33'"):
        TextTower(**sizes, pretrained="ViT-B-33")
    with pytest.raises(ConfigError, match="have size 512, not 8"):
        TextTower(**sizes, pretrained="ViT-B-32")
    assert math.isclose(VOCABULARY, 49408)
