"""APPNP, GCNII, SIGN and GAT against torch-geometric, by hand, and as mmkd runs them."""

import math

import pytest
import torch

from mmkd.binding import Bound, bind
from mmkd.data import Dataset, Field, View
from mmkd.errors import ConfigError
from mmkd_graph.models.appnp import APPNP
from mmkd_graph.models.gat import GAT
from mmkd_graph.models.gcnii import GCNII
from mmkd_graph.models.sign import SIGN
from mmkd_graph.propagation import propagate, symmetric

FIELDS = {"x": Field((5,), layout="vector"), "edge_index": Field((2, None), "int64", "edges", kind="relation")}
LOGITS = {"logits": (3,)}
MODELS = [APPNP, GCNII, SIGN, GAT]
pyg = pytest.importorskip("torch_geometric.nn", reason="the independent reference, torch-geometric, is absent")


@pytest.fixture
def x():
    return torch.randn(7, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_appnp(x, edge_index):
    network = APPNP(FIELDS, LOGITS, hidden=8, steps=4, teleport=0.2).double().eval()
    own = network.layers[1](network.layers[0](x).relu())
    expected = pyg.APPNP(4, 0.2)(own, edge_index)
    torch.testing.assert_close(network(x, edge_index), expected)
    alone = APPNP(FIELDS, LOGITS, hidden=8, teleport=1.0).double().eval()  # who keeps all hears nothing
    torch.testing.assert_close(alone(x, edge_index), alone.layers[1](alone.layers[0](x).relu()))


def test_gcnii(x, edge_index):
    network = GCNII(FIELDS, LOGITS, hidden=6, layers=3, initial=0.2, decay=0.7).double().eval()
    h = start = network.first(x).relu()
    for number, layer in enumerate(network.convolutions, 1):
        reference = pyg.GCN2Conv(6, alpha=0.2, theta=0.7, layer=number).double()
        reference.weight1.data = layer.weight.data.t()
        h = reference(h, start, edge_index).relu()
    torch.testing.assert_close(network(x, edge_index), network.last(h))
    assert network.shares == [math.log(0.7 / n + 1) for n in (1, 2, 3)]


def test_sign(x, edge_index):
    network = SIGN(FIELDS, LOGITS, hidden=6, hops=2).double().eval()
    once = propagate(x, edge_index, symmetric)
    twice = propagate(once, edge_index, symmetric)
    joined = torch.cat([layer(hop) for layer, hop in zip(network.maps, (x, once, twice), strict=True)], 1).relu()
    expected = network.classify[3](network.classify[0](joined).relu())
    torch.testing.assert_close(network(x, edge_index), expected)
    blind = SIGN(FIELDS, LOGITS, hops=0).double().eval()
    torch.testing.assert_close(blind(x, edge_index), blind(x, edge_index[:, :0]))


def test_gat(x, edge_index):
    network = GAT(FIELDS, LOGITS, hidden=8, heads=2).double().eval()
    first, last = network.convolutions[0], network.last
    assert (first.heads, first.out_channels, last.heads) == (2, 4, 1)
    expected = last(torch.nn.functional.elu(first(x, edge_index)), edge_index)
    torch.testing.assert_close(network(x, edge_index), expected)
    lonely = network(x, edge_index)[6]  # node 6 has no neighbour and hears itself alone
    torch.testing.assert_close(lonely, network(x[6:], torch.empty(2, 0, dtype=torch.long))[0])
    with pytest.raises(ConfigError, match="3 heads do not divide hidden = 8"):
        GAT(FIELDS, LOGITS, hidden=8, heads=3)


@pytest.mark.parametrize("model", MODELS)
def test_dropout_is_for_training(model, x, edge_index):
    network = model(FIELDS, LOGITS, dropout=0.5).double()
    assert not torch.equal(network(x, edge_index), network(x, edge_index))
    network.eval()
    assert torch.equal(network(x, edge_index), network(x, edge_index))


@pytest.mark.parametrize("model", MODELS)
def test_bound(model, edge_index):
    """Rows of a batch are those of the whole graph."""
    samples = {"x": torch.randn(7, 5), "label": torch.arange(7) % 3}
    fields = {**FIELDS, "label": Field((), "int64", target=True, classes=("a", "b", "c"))}
    data = Dataset(fields, samples, relations={"edge_index": edge_index}, single_graph=True)
    network = model(fields, LOGITS, hidden=16)
    bound = Bound(network, bind(model.forward, fields)).eval()
    batch = View(data, torch.arange(7), torch.arange(3)).batch(torch.tensor([5, 2]))
    assert str(bound.measure(batch).features["penultimate"]) == "nodes [16]"
    signals = bound(batch)
    torch.testing.assert_close(signals.logits, network(samples["x"], edge_index)[[5, 2]])
    assert signals.features["penultimate"].min() >= (-1 if model is GAT else 0)
    with pytest.raises(ConfigError, match=f"graph/{model.__name__.lower()} reads `x` as one vector per node"):
        model({**fields, "x": Field((3, 8, 8))}, LOGITS)
