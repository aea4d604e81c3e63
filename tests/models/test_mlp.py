"""The multilayer perceptron: its form, outputs, taps and settings."""

import pytest
import torch
from torch import nn

from mmkd.binding import Bound, bind, parameter_count
from mmkd.components import Factory
from mmkd.data import Dataset, Field, View
from mmkd.errors import ConfigError
from mmkd.layouts import VECTOR
from mmkd.models.mlp import MLP

FIELD = {"x": Field((3, 4))}
LOGITS = {"logits": (7,)}


@pytest.mark.parametrize(("layers", "parameters"), [(1, 12 * 7 + 7), (2, 12 * 5 + 5 + 5 * 7 + 7), (3, 65 + 30 + 42)])
def test_layers_counts_linear_layers(layers, parameters):
    assert parameter_count(MLP(FIELD, LOGITS, hidden=5, layers=layers)) == parameters


@pytest.mark.parametrize("norm", ["none", "batch", "layer"])
def test_the_order_is_linear_norm_relu(norm):
    torch.manual_seed(0)
    model = MLP(FIELD, LOGITS, hidden=5, layers=3, norm=norm).train()
    x = torch.randn(6, 3, 4)
    first, second = (layer[0] for layer in model.hidden)
    normalise = {
        "none": lambda h: h,
        "batch": lambda h: (h - h.mean(0)) / (h.var(0, correction=0) + 1e-5).sqrt(),
        "layer": lambda h: (h - h.mean(1, keepdim=True)) / (h.var(1, correction=0, keepdim=True) + 1e-5).sqrt(),
    }[norm]
    hidden = normalise(second(normalise(first(x.flatten(1))).relu())).relu()
    assert torch.allclose(model(x), model.last(hidden), atol=1e-5)


def test_dropout_acts_on_hidden_activations_alone_and_after_the_tap():
    torch.manual_seed(0)
    model = MLP(FIELD, LOGITS, hidden=2000, dropout=0.6)
    seen = {}
    model.last.register_forward_pre_hook(lambda _, inputs: seen.update(last=inputs[0]))
    model.hidden[0].register_forward_hook(lambda _, inputs, output: seen.update(inputs=inputs[0], tap=output))
    x = torch.randn(4, 3, 4)
    model.train()(x)
    assert torch.equal(seen["inputs"], x.flatten(1))
    kept = seen["last"] != 0
    assert torch.allclose(seen["last"][kept], seen["tap"][kept] / 0.4)
    assert 0.37 < kept.sum() / (seen["tap"] != 0).sum() < 0.43
    model.eval()(x)
    assert torch.equal(seen["last"], seen["tap"])


def test_a_single_output_named_logits_is_a_tensor_and_others_a_dict():
    x = torch.randn(6, 3, 4)
    assert MLP(FIELD, LOGITS)(x).shape == (6, 7)
    assert {name: value.shape[1:] for name, value in MLP(FIELD, {"score": ()})(x).items()} == {"score": ()}
    said = MLP(FIELD, {"logits": (7,), "box": (2, 4), "depth": ()})(x)
    assert {name: tuple(value.shape) for name, value in said.items()} == {
        "logits": (6, 7),
        "box": (6, 2, 4),
        "depth": (6,),
    }


def test_outputs_are_parts_of_the_last_layer_in_order():
    model = MLP(FIELD, {"a": (2,), "b": (2, 2)}, layers=1)
    x = torch.randn(6, 3, 4)
    joint = model.last(x.flatten(1))
    assert torch.equal(model(x)["a"], joint[:, :2])
    assert torch.equal(model(x)["b"], joint[:, 2:].reshape(6, 2, 2))


def test_scalars_and_empty_batches_are_read():
    assert MLP({"x": Field(())}, LOGITS)(torch.randn(6)).shape == (6, 7)
    assert MLP(FIELD, LOGITS)(torch.randn(0, 3, 4)).shape == (0, 7)


@pytest.mark.parametrize("layers", [2, 4])
def test_the_penultimate_tap_is_what_the_last_layer_reads(layers):
    model = MLP(FIELD, LOGITS, hidden=5, layers=layers, norm="batch", dropout=0.5)
    x = torch.randn(6, 3, 4)
    rows = torch.arange(6)
    batch = View(Dataset(FIELD, {"x": x}), rows, rows).batch(rows)
    bound = Bound(model, bind(MLP.forward, FIELD))
    spec = bound.measure(batch).features["penultimate"]
    assert (spec.layout, spec.shape, spec.guessed) == (VECTOR, (5,), False)
    signals = bound.eval()(batch)
    assert torch.allclose(model.last(signals.features["penultimate"]), signals.logits)


def test_a_linear_model_has_no_tap():
    model = MLP(FIELD, LOGITS, layers=1)
    assert (model.taps, model.layouts) == ({}, {})


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        ({"hidden": 0}, "hidden = 0 is less than 1"),
        ({"layers": 0}, "layers = 0 is less than 1"),
        ({"dropout": 1.0}, r"dropout = 1\.0 is outside \[0, 1\)"),
        ({"dropout": -0.1}, "dropout = -0.1"),
        ({"dropout": float("nan")}, "dropout = nan"),
        ({"norm": "group"}, "norm = 'group' is unknown; one of: none, batch, layer"),
    ],
)
def test_settings_out_of_range_are_refused(config, complaint):
    with pytest.raises(ConfigError, match=f"mlp: {complaint}"):
        MLP(FIELD, LOGITS, **config)


@pytest.mark.parametrize(
    ("inputs", "outputs", "complaint"),
    [
        ({}, LOGITS, r"mlp reads one field, not 0 \(none\)"),
        ({"x": Field((3,)), "y": Field((3,))}, LOGITS, r"mlp reads one field, not 2 \(x, y\)"),
        ({"x": Field((3,), "int64")}, LOGITS, "'x' is int64, not floating point"),
        ({"x": Field((None, 3))}, LOGITS, r"field 'x' has samples of varying shape \[None, 3\]"),
        (FIELD, {"logits": (7, None)}, r"output 'logits' has samples of varying shape \[7, None\]"),
        ({"x": Field((3,), kind="constant")}, LOGITS, "'x' is a constant, not a field with one row per sample"),
        (FIELD, {}, "no output to give"),
    ],
)
def test_inputs_that_it_cannot_read_are_refused(inputs, outputs, complaint):
    with pytest.raises(ConfigError, match=complaint):
        MLP(inputs, outputs)


def test_a_recipe_builds_it_and_is_checked_strictly():
    table = {"use": "mlp", "hidden": 6, "layers": 2, "dropout": 0.5, "norm": "batch"}
    model = Factory("models", table)(FIELD, LOGITS)
    assert [type(part) for part in model.hidden[0]] == [nn.Linear, nn.BatchNorm1d, nn.ReLU]
    for wrong in ({"layers": True}, {"hidden": 6.0}, {"norm": "group"}):
        with pytest.raises(ConfigError, match=f"mlp|models.{next(iter(wrong))}"):
            Factory("models", {**table, **wrong})
