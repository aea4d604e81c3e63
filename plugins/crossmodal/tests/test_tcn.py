from __future__ import annotations

import pytest
import torch

from mmkd.data import Field
from mmkd.errors import ConfigError
from mmkd_crossmodal.models.tcn import TCN, Standardise, ValidNorm

IMU = Field((6, None), layout="series", rate=50.0)
BODY = Field((9, None), layout="series", rate=30.0)
OUTPUTS = {"logits": (4,)}


def network(**inputs) -> TCN:
    torch.manual_seed(0)
    return TCN(inputs or {"x": IMU}, OUTPUTS, width=8, embedding=16, dropout=0.0)


def clips(channels: int, *lengths: int, longest: int = 0) -> torch.Tensor:
    rows = torch.zeros(len(lengths), channels, max(longest, *lengths))
    for row, length in enumerate(lengths):
        rows[row, :, :length] = torch.randn(channels, length, generator=torch.Generator().manual_seed(length)) + 1
    return rows


@pytest.mark.parametrize("more", [1, 2, 3, 7, 64])
def test_outputs_do_not_depend_on_padding(more):
    model = network()
    for _ in range(3):
        model(clips(6, 40, 53, 61))  # moments and running statistics that are not trivial
    model.eval()
    alone = [model(clips(6, length)) for length in (40, 53, 61)]
    together = model(clips(6, 40, 53, 61, longest=61 + more))
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-5, rtol=1e-5)


def test_two_series_at_rates_of_their_own():
    model = network(x=BODY, beside=IMU).eval()
    x, beside = clips(9, 30, 36), clips(6, 50, 60)
    assert model(x, beside).shape == (2, 4)
    assert not torch.allclose(model(x, beside), model(x, beside.flip(0)))
    assert not torch.allclose(model(x, beside), model(x.flip(0), beside))
    assert [stream.stem.stride for stream in model.streams.values()] == [2, 4]


def test_standardises_over_valid_steps_of_all_batches():
    layer = Standardise(2)
    batches = [clips(2, 5, 9), clips(2, 4, 3) * 3]
    for batch in batches:
        layer(batch, (batch != 0).any(1, keepdim=True))
    steps = torch.cat([row[:, row.abs().sum(0) > 0].T for batch in batches for row in batch])
    torch.testing.assert_close(layer.mean, steps.mean(0))
    torch.testing.assert_close(layer.variance, steps.var(0, unbiased=False))
    layer.eval()
    before = layer.mean.clone()
    scaled = layer(batches[0], (batches[0] != 0).any(1, keepdim=True))
    torch.testing.assert_close(layer.mean, before)
    torch.testing.assert_close(scaled[0, :, 0], (batches[0][0, :, 0] - steps.mean(0)) / steps.std(0, unbiased=False))
    assert (scaled[0, :, 5:] == 0).all()


def test_batch_norm_over_valid_steps_is_that_of_the_clips_joined():
    batch = clips(3, 7, 12)
    valid = (batch != 0).any(1, keepdim=True)
    ours, plain = ValidNorm(3), torch.nn.BatchNorm1d(3)
    joined = torch.cat([batch[0, :, :7], batch[1]], 1)[None]
    expected = plain(joined)
    torch.testing.assert_close(ours(batch, valid)[1], expected[0, :, 7:])
    torch.testing.assert_close(ours.running_mean, plain.running_mean)
    ours.eval()
    plain.eval()
    plain.running_var.copy_(ours.running_var)
    torch.testing.assert_close(ours(batch, valid), plain(batch))


def test_the_scale_of_the_raw_unit_does_not_matter():
    one, other = network(), network()
    batch = clips(6, 40, 50)
    factor = torch.tensor([1, 1, 1, 100.0, 100.0, 100.0])[:, None]
    for _ in range(2):
        said, same = one(batch), other(batch * factor)
    torch.testing.assert_close(one.eval()(batch), other.eval()(batch * factor), atol=1e-4, rtol=1e-4)
    assert said.shape == same.shape


def test_an_empty_clip_is_finite():
    assert torch.isfinite(network().eval()(torch.zeros(1, 6, 20))).all()


@pytest.mark.parametrize(
    ("inputs", "outputs", "config", "complaint"),
    [
        ({"x": IMU}, OUTPUTS, {"kernel": 4}, "kernel = 4 is even"),
        ({"x": Field((6,), layout="vector")}, OUTPUTS, {}, "is no series"),
        ({"x": IMU}, {"logits": (4, None)}, {}, "class logits"),
        ({"x": IMU}, {"mask": (4,)}, {}, "class logits, not mask"),
    ],
)
def test_wrong_configuration(inputs, outputs, config, complaint):
    with pytest.raises(ConfigError, match=complaint):
        TCN(inputs, outputs, **config)
