"""An ensemble's mean, and its calibration on validation rows."""

import numpy as np
import pytest
import torch

from mmkd.binding import Bound, bind
from mmkd.calibration import expected_calibration_error, probabilities
from mmkd.data import Dataset, Field, View
from mmkd.errors import ConfigError
from mmkd.sources.base import Knowledge
from mmkd.sources.ensemble import Ensemble, selected


class Scaled(torch.nn.Module):
    """Says its field times a factor: right in its order, wrong in its confidence."""

    def __init__(self, factor):
        super().__init__()
        self.factor = torch.nn.Parameter(torch.tensor(factor))

    def forward(self, x):
        return x * self.factor


@pytest.fixture
def data():
    """Logits whose softmax the labels were drawn from."""
    random = np.random.default_rng(0)
    logits = random.normal(0, 2, (3000, 3))
    labels = (logits + random.gumbel(size=logits.shape)).argmax(1)
    fields = {"x": Field((3,)), "label": Field((), "int64", target=True, classes=("a", "b", "c"))}
    return Dataset(fields, {"x": torch.from_numpy(logits).float(), "label": torch.from_numpy(labels)})


def view(data, rows):
    return View(data, torch.arange(*rows), torch.arange(*rows))


def ensemble(data, *factors, **config):
    models = [Bound(Scaled(factor), bind(Scaled.forward, data.fields)) for factor in factors]
    return Ensemble(Knowledge(data, models), **config)


def said(source, data):
    return source.signals(view(data, (0, 3000)).batch(torch.arange(3000)), None, None).logits


def test_means(data):
    x = data.samples["x"]
    expected = ((0.5 * x).softmax(1) + (2 * x).softmax(1)).log() - np.log(2)
    torch.testing.assert_close(said(ensemble(data, 0.5, 2.0), data), expected)
    torch.testing.assert_close(said(ensemble(data, 0.5, 2.0, mean="logits"), data), 1.25 * x)


def test_calibrated(data):
    """Each model is scaled back, on validation rows alone, and the mean is calibrated on the others."""
    source = ensemble(data, 0.2, 5.0, calibrate=True)
    before = source.fingerprint()
    source.fit(view(data, (0, 1000)))
    assert source.temperatures == pytest.approx([0.2, 5.0], rel=0.1)
    assert source.fingerprint() != before  # what is cached under the old temperatures is another thing
    errors = [
        expected_calibration_error(probabilities(said(one, data)[1000:]), data.samples["label"][1000:])
        for one in (source, ensemble(data, 0.2, 5.0))
    ]
    assert errors[0] < 0.03 < errors[1]


def test_selected():
    """The shares found greedily are close to the best mixture, and a member that hurts is left out."""
    random = torch.Generator().manual_seed(0)
    good, other = (torch.rand(400, generator=random).clamp(min=0.05) for _ in range(2))
    shares = selected(torch.stack([good, other, torch.full((400,), 0.001)]))
    assert sum(shares) == pytest.approx(1)
    assert shares[2] == 0

    def loss(share):
        return -(share * good + (1 - share) * other).log().mean()

    assert loss(shares[0]) <= min(loss(share) for share in np.linspace(0, 1, 41)) + 1e-3


def test_selected_weights(data):
    source = ensemble(data, 1.0, -1.0, weights="selected")
    source.fit(view(data, (0, 1000)))
    assert source.shares == [1.0, 0.0]  # the second one is always wrong
    torch.testing.assert_close(said(source, data), data.samples["x"].log_softmax(1))


def test_not_asked_for(data):
    source = ensemble(data, 0.2, 5.0)
    source.fit(view(data, (0, 1000)))
    assert source.temperatures == [1.0, 1.0]


def test_nothing_to_fit_on(data):
    with pytest.raises(ConfigError, match="calibrate and weights need validation rows"):
        ensemble(data, 0.2, 5.0, calibrate=True).fit(view(data, (0, 0)))
    with pytest.raises(ConfigError, match="takes two models or more"):
        ensemble(data, 1.0)
