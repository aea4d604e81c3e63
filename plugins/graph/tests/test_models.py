"""Propagation and models against loops, against torch-geometric, and against themselves."""

import copy
import gc
import warnings
from collections import defaultdict

import pytest
import torch
from torch.nn import functional as F

from mmkd.binding import Bound, bind
from mmkd.components import Factory
from mmkd.data import Dataset, Field, View
from mmkd.errors import ConfigError, DataError
from mmkd_graph import propagation
from mmkd_graph.models.gcn import GCN
from mmkd_graph.models.sage import SAGE
from mmkd_graph.propagation import mean_of_both, mean_of_drawn, propagate, scatter, symmetric

WEIGHTINGS = [mean_of_both, symmetric]
LOGITS = {"logits": (3,)}


def inputs(features=5):
    return {"x": Field((features,), layout="vector"), "edge_index": Field((2, None), "int64", "edges", kind="relation")}


def draw(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.fixture
def directed():
    """Edges one way, one of them twice: the transposed matrix is another one."""
    return torch.tensor([[0, 1, 2, 2, 5, 3], [1, 2, 0, 0, 3, 4]])


def by_hand(x, edge_index, name):
    """What each node receives, in loops over Python numbers."""
    neighbours = defaultdict(list)
    for source, target in edge_index.t().tolist():
        neighbours[target].append(source)
    rows = []
    for node in range(len(x)):
        if name == "mean_of_both":
            with_loop = [*neighbours[node], node]
            rows.append((sum(x[other] for other in with_loop) + x[node]) / (len(with_loop) + 1))
        else:
            degree = {other: len(neighbours[other]) + 1 for other in range(len(x))}
            received = [*neighbours[node], node]
            rows.append(sum(x[other] / (degree[other] * degree[node]) ** 0.5 for other in received))
    return torch.stack(rows)


class TestPropagation:
    @pytest.mark.parametrize("weighting", WEIGHTINGS)
    @pytest.mark.parametrize("graph", ["edge_index", "directed"])
    def test_loop(self, weighting, graph, request):
        edges, x = request.getfixturevalue(graph), draw(7, 4)
        torch.testing.assert_close(propagate(x, edges, weighting), by_hand(x, edges, weighting.__name__))

    @pytest.mark.parametrize("weighting", WEIGHTINGS)
    @pytest.mark.parametrize("graph", ["edge_index", "directed"])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    @pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
    def test_csr_equals_scatter(self, weighting, graph, dtype, device, request):
        edges, slope = request.getfixturevalue(graph).to(device), draw(7, 4, seed=1, dtype=dtype).to(device)
        results = []
        for backend in (propagate, lambda x, e, w: scatter(x, *w(e, len(x)))):
            x = draw(7, 4, dtype=dtype).to(device).requires_grad_()
            value = backend(x, edges, weighting)
            (gradient,) = torch.autograd.grad(value, x, slope)
            results.append((value, gradient))
        torch.testing.assert_close(results[0], results[1])
        assert results[0][0].dtype == dtype

    @pytest.mark.parametrize("weighting", WEIGHTINGS)
    def test_gradients(self, weighting, directed):
        x = draw(7, 2).requires_grad_()
        assert torch.autograd.gradcheck(lambda x: propagate(x, directed, weighting), x)
        assert torch.autograd.gradgradcheck(lambda x: propagate(x, directed, weighting).square(), x)

    def test_numbers(self, edge_index):
        """The triangle's corner 0 has two neighbours: (1 + 2 + own + own) / 4. Node 6 is alone and keeps its own."""
        x = torch.tensor([[8.0], [4.0], [0.0], [1.0], [1.0], [1.0], [3.0]])
        result = propagate(x, edge_index, mean_of_both)
        assert result[0].item() == pytest.approx((4 + 0 + 8 + 8) / 4)
        assert result[6].item() == pytest.approx(3)
        result = propagate(x, edge_index, symmetric)
        assert result[0].item() == pytest.approx(8 / 3 + 4 / 3 + 0)
        assert result[6].item() == pytest.approx(3)

    def test_mean_keeps_a_constant(self, directed):
        x = torch.full((7, 3), 2.5, dtype=torch.float64)
        torch.testing.assert_close(propagate(x, directed, mean_of_both), x)

    @pytest.mark.parametrize("weighting", WEIGHTINGS)
    def test_no_edges(self, weighting):
        x = draw(4, 2)
        torch.testing.assert_close(propagate(x, torch.empty(2, 0, dtype=torch.long), weighting), x)

    def test_half_precision(self, edge_index):
        x = draw(7, 4, dtype=torch.float32)
        result = propagate(x.bfloat16(), edge_index, symmetric)
        assert result.dtype == torch.bfloat16
        torch.testing.assert_close(result, propagate(x.bfloat16().float(), edge_index, symmetric).bfloat16())
        with torch.autocast("cpu", torch.bfloat16):
            torch.testing.assert_close(propagate(x, edge_index, symmetric), propagate(x, edge_index, symmetric))
            assert propagate(x, edge_index, symmetric).dtype == torch.float32

    @pytest.mark.parametrize(
        ("wrong", "complaint"),
        [
            (torch.tensor([[0, 7], [1, 0]]), "nodes 0 to 7 of 7"),
            (torch.tensor([[0, -1], [1, 0]]), "nodes -1 to 1 of 7"),
            (torch.zeros(3, 2, dtype=torch.long), r"\(3, 2\)"),
            (torch.zeros(2, dtype=torch.long), r"\(2,\)"),
            (torch.zeros(2, 2), "float32"),
        ],
    )
    def test_wrong_edges(self, wrong, complaint):
        with pytest.raises(DataError, match=f"edge_index.*{complaint}"):
            propagate(draw(7, 2), wrong, symmetric)

    def test_no_warning(self, edge_index):
        """Torch announces that sparse CSR is in beta and that it checks no indices; here it is announced to nobody."""
        torch.set_warn_always(True)  # usually it does so once per process
        try:
            propagate(draw(7, 2).requires_grad_(), edge_index, symmetric).sum().backward()
        finally:
            torch.set_warn_always(False)


class TestStore:
    @pytest.fixture(autouse=True)
    def counted(self, monkeypatch):
        """Counts how often a matrix is built; starts from an empty store."""
        self.built = 0
        build = propagation._build

        def count(*arguments):
            self.built += 1
            return build(*arguments)

        monkeypatch.setattr(propagation, "_build", count)
        propagation._kept.clear()

    def test_built_once(self, edge_index):
        for _ in range(3):
            propagate(draw(7, 2), edge_index, symmetric)
        assert self.built == 1

    def test_what_makes_another_matrix(self, edge_index):
        propagate(draw(7, 2), edge_index, symmetric)
        propagate(draw(7, 2), edge_index, mean_of_both)
        propagate(draw(8, 2), edge_index, symmetric)
        propagate(draw(7, 2, dtype=torch.float32), edge_index, symmetric)
        propagate(draw(7, 2), edge_index.clone(), symmetric)
        assert self.built == 5
        propagate(draw(8, 2), edge_index, symmetric)
        assert self.built == 5

    def test_change_in_place(self, edge_index):
        x = draw(7, 2)
        before = propagate(x, edge_index, symmetric)
        edge_index[:, 0] = torch.tensor([5, 6])
        after = propagate(x, edge_index, symmetric)
        torch.testing.assert_close(after, by_hand(x, edge_index, "symmetric"))
        assert not torch.equal(before, after)
        edge_index.flip(0)[:, 0] = 0  # a change of a copy is none of its
        propagate(x, edge_index, symmetric)
        assert self.built == 2
        edge_index.view(-1)[0] = 4  # one through a view is
        torch.testing.assert_close(propagate(x, edge_index, symmetric), by_hand(x, edge_index, "symmetric"))

    def test_forgotten_with_its_edges(self, edge_index):
        edges = edge_index.clone()
        propagate(draw(7, 2), edges, symmetric)
        assert len(propagation._kept) == 1
        del edges
        gc.collect()
        assert not propagation._kept

    def test_another_tensor_in_the_same_place(self, edge_index):
        """Tensors come and go at one address; none gets another's matrix."""
        x = draw(7, 2)
        for _ in range(50):
            edges = edge_index[:, torch.randperm(12)[:8]]
            torch.testing.assert_close(propagate(x, edges, symmetric), by_hand(x, edges, "symmetric"))
            del edges
        assert len(propagation._kept) <= 1

    def test_inference_mode(self, edge_index):
        """Tensors made there don't count their changes, so nothing of them is kept; what is made there is of use."""
        x = draw(7, 2).requires_grad_()
        with torch.inference_mode():
            edges = edge_index.clone()
            propagate(x, edges, symmetric)
            edges[:, 0] = torch.tensor([5, 6])
            torch.testing.assert_close(propagate(x, edges, symmetric), by_hand(x, edges, "symmetric"))
            propagate(x, edge_index, symmetric)
        assert len(propagation._kept) == 1
        assert torch.autograd.gradcheck(lambda x: propagate(x, edge_index, symmetric), x)
        assert torch.autograd.gradgradcheck(lambda x: propagate(x, edge_index, symmetric).square(), x)


class TestDrawnNeighbours:
    @pytest.mark.parametrize("fan_out", [4, 100])
    def test_enough_is_all(self, edge_index, fan_out):
        """The largest node has three neighbours and its loop."""
        x = draw(7, 4)
        drawn = scatter(x, *mean_of_drawn(edge_index, 7, fan_out))
        torch.testing.assert_close(drawn, by_hand(x, edge_index, "mean_of_both"))

    @pytest.mark.parametrize("fan_out", [1, 2, 3])
    def test_so_many_of_each(self, edge_index, fan_out):
        """Without repetition, among a node's neighbours and itself; the node itself on top; weights that sum to 1."""
        near = torch.eye(7, dtype=torch.bool)
        near[edge_index[1], edge_index[0]] = True
        for _ in range(20):
            source, target, weight = mean_of_drawn(edge_index, 7, fan_out)
            drawn, own = (source[:-7], target[:-7]), (source[-7:], target[-7:])
            assert len({*zip(*(part.tolist() for part in drawn), strict=True)}) == len(drawn[0])
            assert near[drawn[1], drawn[0]].all()
            assert drawn[1].bincount(minlength=7).tolist() == near.sum(1).clamp(max=fan_out).tolist()
            assert own[0].equal(own[1])
            torch.testing.assert_close(torch.zeros(7).double().index_add(0, target, weight), torch.ones(7).double())

    def test_each_neighbour_as_often(self, edge_index):
        torch.manual_seed(0)
        drawn = torch.zeros(7)
        for _ in range(4000):
            source, target, _ = mean_of_drawn(edge_index, 7, 2)
            drawn[source[:-7][target[:-7] == 2]] += 1 / 4000
        torch.testing.assert_close(drawn[:4], torch.full((4,), 0.5), atol=0.03, rtol=0)  # 0, 1, 3 and itself: 2 of 4
        assert drawn[4:].sum() == 0

    def test_in_training_alone(self, edge_index):
        x = draw(7, 5, dtype=torch.float32)
        drawing, all_of_them = SAGE(inputs(), LOGITS, fan_out=1), SAGE(inputs(), LOGITS)
        drawing.load_state_dict(all_of_them.state_dict())
        said = [drawing(x, edge_index) for _ in range(8)]
        assert any(not one.equal(said[0]) for one in said)
        assert drawing.eval()(x, edge_index).equal(all_of_them.eval()(x, edge_index))
        torch.manual_seed(3)
        first = drawing.train()(x, edge_index)
        torch.manual_seed(3)
        assert drawing(x, edge_index).equal(first)
        with torch.autocast("cpu", torch.bfloat16):
            assert drawing(x, edge_index).dtype == all_of_them(x, edge_index).dtype


class TestModels:
    @pytest.mark.parametrize("model", [SAGE, GCN])
    @pytest.mark.parametrize("layers", [1, 2, 3])
    @pytest.mark.parametrize("hidden", [2, 8])
    def test_loop(self, model, layers, hidden, edge_index):
        """The whole network in loops, whichever side of the linear map the sum stands on."""
        network = model(inputs(), LOGITS, hidden=hidden, layers=layers).double().eval()
        x = draw(7, 5)
        expected = x
        for place, layer in enumerate(network.layers):
            torch.nn.init.normal_(layer.linear.bias)
            name = "mean_of_both" if model is SAGE else "symmetric"
            expected = by_hand(expected, edge_index, name) @ layer.linear.weight.t() + layer.linear.bias
            expected = expected.relu() if place < layers - 1 else expected
        torch.testing.assert_close(network(x, edge_index), expected)

    @pytest.mark.parametrize("directed_too", [False, True])
    def test_gcn_against_torch_geometric(self, edge_index, directed, directed_too):
        pyg = pytest.importorskip("torch_geometric.nn", reason="the independent reference, torch-geometric, is absent")
        edges = directed if directed_too else edge_index
        network = GCN(inputs(), LOGITS, hidden=4).double().eval()
        x, expected = draw(7, 5).requires_grad_(), draw(7, 5).requires_grad_()
        value = expected
        for layer in network.layers:
            torch.nn.init.normal_(layer.linear.bias)
            reference = pyg.GCNConv(layer.linear.in_features, layer.linear.out_features).double()
            reference.lin.weight.data, reference.bias.data = layer.linear.weight.data, layer.linear.bias.data
            value = reference(value, edges)
            value = value.relu() if layer is not network.layers[-1] else value
        result = network(x, edges)
        torch.testing.assert_close(result, value)
        result.square().sum().backward()
        value.square().sum().backward()
        torch.testing.assert_close(x.grad, expected.grad)

    def test_sage_against_torch_geometric(self, edge_index):
        """A mean over neighbours, self, and self again is PyG's mean over a graph with two loops per node."""
        pyg = pytest.importorskip("torch_geometric.nn", reason="the independent reference, torch-geometric, is absent")
        network = SAGE(inputs(), LOGITS, layers=1).double().eval()
        layer = network.layers[0].linear
        reference = pyg.SAGEConv(5, 3, aggr="mean", root_weight=False).double()
        reference.lin_l.weight.data, reference.lin_l.bias.data = layer.weight.data, layer.bias.data
        loops = torch.arange(7).expand(2, -1)
        x = draw(7, 5)
        expected = reference(x, torch.cat([edge_index, loops, loops], 1))
        torch.testing.assert_close(network(x, edge_index), expected)

    def test_initialisation(self):
        torch.manual_seed(0)
        for model, gain in ((SAGE, 2**0.5), (GCN, 1.0)):
            layer = model(inputs(200), LOGITS, hidden=300).layers[0].linear
            bound = gain * (6 / (200 + 300)) ** 0.5
            assert bound * 0.99 < layer.weight.abs().max().item() <= bound
            assert layer.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.01)
            assert not layer.bias.any()

    @pytest.mark.parametrize("model", [SAGE, GCN])
    def test_dropout(self, model, edge_index):
        """Of SAGE on hidden layers only, of GCN on the input too; none of either at evaluation."""
        network = model(inputs(), LOGITS, hidden=16, dropout=0.5)
        x = draw(7, 5, dtype=torch.float32)
        assert [part.p for part in network.dropouts] == [0.0 if model is SAGE else 0.5, 0.5]
        assert not torch.equal(network(x, edge_index), network(x, edge_index))
        network.eval()
        assert torch.equal(network(x, edge_index), network(x, edge_index))

    @pytest.mark.parametrize("name", ["graph/sage", "graph/gcn"])
    def test_configuration(self, name):
        factory = Factory("models", {"use": name, "hidden": 16, "layers": 3})
        assert factory.resolved() == {"use": name, "hidden": 16, "layers": 3, "dropout": 0.0}
        network = factory(inputs(), LOGITS)
        assert [layer.linear.out_features for layer in network.layers] == [16, 16, 3]
        for key, value in (
            ("hidden", 0),
            ("layers", 0),
            ("dropout", 1.0),
            ("dropout", -0.1),
            ("hidden", True),
            ("x", 2),
        ):
            with pytest.raises(ConfigError, match=key):
                Factory("models", {"use": name, key: value})

    @pytest.mark.parametrize(
        ("fields", "outputs", "complaint"),
        [
            ({**inputs(), "x": Field((3, 8, 8))}, LOGITS, "one vector per node"),
            ({**inputs(), "x": Field(())}, LOGITS, "one vector per node"),
            ({**inputs(), "x": Field((None,))}, LOGITS, "one vector per node"),
            (inputs(), {"mask": (2, 4, 4)}, "gives `logits`"),
            (inputs(), {"logits": (3, 4)}, "gives `logits`"),
            (inputs(), {"logits": (None,)}, "gives `logits`"),
            (inputs(), {"logits": (3,), "other": (1,)}, "gives `logits`"),
        ],
    )
    def test_wrong_forms(self, fields, outputs, complaint):
        for model, name in ((SAGE, "graph/sage"), (GCN, "graph/gcn")):
            with pytest.raises(ConfigError, match=f"{name}.*{complaint}"):
                model(fields, outputs)

    def test_export(self, edge_index):
        """A traced network computes the same for another graph, and the store is not asked."""
        network = SAGE(inputs(), LOGITS, hidden=4).eval()
        x, sizes = draw(7, 5, dtype=torch.float32), ({0: torch.export.Dim("nodes")}, {1: torch.export.Dim("edges")})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.export.export(network, (x, edge_index), dynamic_shapes=sizes)
        for count in (12, 6):
            some = edge_index[:, :count]
            torch.testing.assert_close(program.module()(x, some), network(x, some))
        more = draw(9, 5, dtype=torch.float32)
        torch.testing.assert_close(program.module()(more, edge_index), network(more, edge_index))


class TestBound:
    """The models as mmkd runs them: bound to fields, on views."""

    @pytest.fixture
    def data(self, edge_index):
        fields = {**inputs(), "label": Field((), "int64", target=True, classes=("a", "b", "c"))}
        samples = {"x": draw(7, 5, dtype=torch.float32), "label": torch.arange(7) % 3}
        return Dataset(fields, samples, relations={"edge_index": edge_index}, single_graph=True)

    @pytest.mark.parametrize("model", [SAGE, GCN])
    def test_signals(self, data, model):
        network = model(data.fields, LOGITS, hidden=4)
        bound = Bound(network, bind(model.forward, data.fields)).eval()
        view = View(data, torch.arange(7), torch.arange(3))
        batch = view.batch(torch.tensor([5, 2]))
        specs = bound.measure(batch)
        assert str(specs.features["penultimate"]) == "nodes [4]"
        signals = bound(batch)
        whole = network(data.samples["x"], data.relations["edge_index"])
        torch.testing.assert_close(signals.logits, whole[[5, 2]])
        hidden = network.layers[0](data.samples["x"], data.relations["edge_index"])
        torch.testing.assert_close(signals.features["penultimate"], hidden[[5, 2]])
        assert (hidden >= 0).all()

    def test_one_layer_has_no_penultimate(self, data):
        assert SAGE(data.fields, LOGITS, layers=1).taps == {}
        assert SAGE(data.fields, LOGITS, layers=3).taps == {"penultimate": "layers.1"}

    @pytest.mark.parametrize("model", [SAGE, GCN])
    def test_hidden_nodes_do_not_reach_anybody(self, data, model):
        """In a view that hides nodes, the others' outputs are those on the graph without them."""
        network = model(data.fields, LOGITS, hidden=4).eval()
        bound = Bound(network, bind(model.forward, data.fields))
        hidden, seen = torch.tensor([1, 4]), torch.tensor([0, 2, 3, 5, 6])
        view = View(data, seen, torch.tensor([0]), hidden)
        # left over: 0 - 2 and 2 - 3; renumbered 0 - 1, 1 - 2
        assert sorted(map(tuple, view.relations["edge_index"].t().tolist())) == [(0, 2), (2, 0), (2, 3), (3, 2)]
        induced = network(data.samples["x"][seen], torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]))
        torch.testing.assert_close(bound(view.batch(seen)).logits, induced)
        whole = network(data.samples["x"], data.relations["edge_index"])[seen]
        assert not torch.allclose(induced, whole)

    def test_copies_and_training(self, data):
        """A copied model learns, and the graph's matrix is shared with the original."""
        propagation._kept.clear()
        torch.manual_seed(0)
        network = SAGE(data.fields, LOGITS, hidden=8)
        other = copy.deepcopy(network)
        optimiser = torch.optim.Adam(other.parameters(), lr=0.05)
        x, edges, labels = data.samples["x"], data.relations["edge_index"], data.samples["label"]
        first = F.cross_entropy(other(x, edges), labels).item()
        for _ in range(100):
            optimiser.zero_grad()
            loss = F.cross_entropy(other(x, edges), labels)
            loss.backward()
            optimiser.step()
        assert loss.item() < 0.3 * first
        network(x, edges)
        assert len(propagation._kept) == 1
        assert all(parameter.grad is not None for parameter in other.parameters())
