"""The data sets: counts, splits, and what comes of absent or damaged files."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import sklearn
import torch

from mmkd.components import Factory
from mmkd.data import View
from mmkd.data.cards import card_of
from mmkd.data.download import RemoteFile
from mmkd.data.root import find
from mmkd.errors import ConfigError, DataError
from mmkd_graph.datasets.amazon import Computer, Photo
from mmkd_graph.datasets.citations import CiteSeer, Cora
from mmkd_graph.datasets.digits_knn import DigitsKNN
from mmkd_graph.datasets.npz import Npz
from mmkd_graph.files.npz import read_npz

CORA = "gnn_benchmark_npz/cora.npz"
PLANETOID = "planetoid/cora/raw"


@pytest.fixture(scope="module")
def digits():
    return DigitsKNN()


@pytest.fixture(scope="module")
def cpf():
    require(CORA)
    return Cora()


@pytest.fixture(scope="module")
def public():
    require(PLANETOID)
    return Cora(split="planetoid")


def require(path):
    """The real file, or a skipped test."""
    if (found := find(path)) is None:
        pytest.skip(f"needs the real {path}: point MMKD_DATA at a folder that holds it")
    return found


def make(use, **config):
    return Factory("datasets", {"use": use, **config})()


def check_graph(data, nodes, edges):
    """What every data set of this plugin promises of its graph."""
    edge_index = data.relations["edge_index"]
    source, target = edge_index
    pairs = set(zip(source.tolist(), target.tolist(), strict=True))
    assert len(data) == nodes
    assert edge_index.shape == (2, 2 * edges)
    assert len(pairs) == 2 * edges
    assert pairs == {(j, i) for i, j in pairs}
    assert not (source == target).any()
    assert edge_index.dtype == torch.int64
    assert data.fields["edge_index"].kind == "relation"
    assert data.fields["edge_index"].layout == "edges"
    assert data.single_graph
    assert data.unit == "node"
    x, label = data.samples["x"], data.samples["label"]
    assert x.shape == (nodes, *data.fields["x"].shape)
    assert x.dtype == torch.float32
    assert data.fields["x"].layout == "vector"
    assert data.fields["label"].target
    assert sorted(label[label >= 0].unique().tolist()) == list(range(len(data.fields["label"].classes)))


def check_production(data, seed):
    """The held-out fifth is in no edge of its view and in no part of the training rows."""
    split = data.split(seed)
    tested = len(split.test_rows)
    assert len(split.hidden) == len(split.test["ind"]) == tested // 5
    assert len(split.test["tran"]) == tested - tested // 5
    hidden = set(split.hidden.tolist())
    assert not hidden & set(split.train.tolist())
    assert set(split.train.tolist()) == set(range(len(data))) - hidden
    view = View(data, split.train, split.labelled, split.hidden)
    kept = view.relations["edge_index"].t().tolist()
    assert all(i not in hidden and j not in hidden for i, j in kept)
    assert kept == [[i, j] for i, j in data.relations["edge_index"].t().tolist() if not hidden & {i, j}]
    assert not view.whole["x"][split.hidden].any()
    return split


class TestDigits:
    def test_graph(self, digits):
        check_graph(digits, 1797, 6309)
        assert digits.fields["label"].classes == tuple("0123456789")
        assert digits.samples["x"].shape[1] == 64
        assert (digits.samples["x"].min(), digits.samples["x"].max()) == (0, 1)
        assert digits.fields["x"].range == (0, 1)

    def test_graph_is_the_same_everywhere(self, digits):
        edges = digits.relations["edge_index"].numpy().astype("<i4")
        digest = hashlib.sha256(edges.tobytes()).hexdigest()
        assert digest == "19a716727878b2ca89592b898a5d350888e453dd67bedf624ad8b3d27ad34a3a"

    def test_neighbours(self, digits):
        """Each node has as many neighbours as were asked for, at least; of each edge one end chose the other."""
        x, (source, target) = digits.samples["x"].double(), digits.relations["edge_index"]
        assert source.bincount(minlength=1797).min() >= 5
        distance = torch.cdist(x, x).fill_diagonal_(torch.inf)
        fifth = distance.kthvalue(5).values + 1e-9
        length = distance[source, target]
        assert ((length <= fifth[source]) | (length <= fifth[target])).all()
        same = digits.samples["label"][source] == digits.samples["label"][target]
        assert same.float().mean().item() == pytest.approx(0.9726, abs=1e-3)

    def test_split(self, digits):
        split = digits.split(3)
        assert [len(part) for part in (split.labelled, split.valid, split.test["test"])] == [50, 100, 1647]
        assert len(split.unlabelled) == 1747
        assert split.setting == "transductive"
        assert digits.samples["label"][split.labelled].bincount().tolist() == [5] * 10
        assert digits.samples["label"][split.valid].bincount().tolist() == [10] * 10
        assert torch.equal(digits.split(3).labelled, split.labelled)
        assert torch.equal(DigitsKNN().split(3).valid, split.valid)
        assert not torch.equal(digits.split(4).labelled, split.labelled)

    def test_configuration(self):
        data = make("graph/digits-knn", neighbours=3, labels_per_class=2, valid_per_class=0, setting="production")
        assert data.relations["edge_index"].shape[1] < 2 * 6309
        split = check_production(data, 0)
        assert (len(split.labelled), len(split.valid), len(split.hidden)) == (20, 0, 355)
        assert Factory("datasets", {"use": "graph/digits-knn"}).resolved() == {
            "use": "graph/digits-knn",
            "setting": "transductive",
            "neighbours": 5,
            "labels_per_class": 5,
            "valid_per_class": 10,
            "positions": 0,
            "smoothing": 0,
        }

    @pytest.mark.parametrize(
        "wrong",
        [{"neighbours": 0}, {"neighbours": 1797}, {"labels_per_class": 0}, {"valid_per_class": -1}, {"setting": "x"}],
    )
    def test_wrong_configuration(self, wrong):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            make("graph/digits-knn", **wrong)

    def test_too_many_labels(self):
        with pytest.raises(DataError, match="class 8 has 174 nodes, too few for 170 labelled and 10 validation ones"):
            make("graph/digits-knn", labels_per_class=170).split(0)

    def test_nothing_to_download(self, monkeypatch, tmp_path):
        monkeypatch.setenv("MMKD_DATA", str(tmp_path / "absent"))
        assert DigitsKNN.files() == ()
        assert DigitsKNN.get() == []
        assert not (tmp_path / "absent").exists()


class TestCora:
    def test_cpf_graph(self, cpf):
        check_graph(cpf, 2485, 5069)
        assert cpf.fields["x"].shape == (1433,)
        assert cpf.samples["x"].unique().tolist() == [0, 1]
        assert len(cpf.fields["label"].classes) == 7
        assert cpf.samples["label"].bincount().tolist() == [285, 406, 726, 379, 214, 131, 344]
        assert check_one_component(cpf)

    @pytest.mark.parametrize("seed", range(3))
    def test_cpf_split(self, cpf, seed):
        split = cpf.split(seed)
        label = cpf.samples["label"]
        assert [len(part) for part in (split.labelled, split.valid, split.test["test"])] == [140, 210, 2135]
        assert label[split.labelled].tolist() == np.repeat(range(7), 20).tolist()
        assert label[split.valid].tolist() == np.repeat(range(7), 30).tolist()
        assert len(split.unlabelled) == 2345
        assert torch.equal(Cora().split(seed).labelled, split.labelled)

    def test_cpf_split_is_the_published_one(self, cpf):
        """First draws of RandomState(0) and (1), made with lists of ids, as the published procedure has them."""
        ids = [[i for i, label in enumerate(cpf.samples["label"].tolist()) if label == c] for c in range(7)]
        for seed in (0, 1):
            random = np.random.RandomState(seed)
            train = np.concatenate([random.choice(some, 20, replace=False) for some in ids])
            rest = [[i for i in some if i not in set(train.tolist())] for some in ids]
            valid = np.concatenate([random.choice(some, 30, replace=False) for some in rest])
            split = cpf.split(seed)
            assert split.labelled.tolist() == train.tolist()
            assert split.valid.tolist() == valid.tolist()

    def test_public_graph(self, public):
        check_graph(public, 2708, 5278)
        assert public.fields["x"].shape == (1433,)
        assert public.samples["label"].bincount().tolist() == [351, 217, 418, 818, 426, 298, 180]

    def test_public_split(self, public):
        split, other = public.split(0), public.split(1)
        assert [len(part) for part in (split.labelled, split.valid, split.test["test"])] == [140, 500, 1000]
        assert split.labelled.tolist() == list(range(140))
        assert split.valid.tolist() == list(range(140, 640))
        assert split.test["test"].tolist() == list(range(1708, 2708))
        assert len(split.unlabelled) == 2568
        assert public.samples["label"][split.labelled].bincount().tolist() == [20] * 7
        assert torch.equal(split.test_rows, other.test_rows)

    def test_one_data_set_on_two_files(self, cpf, public):
        """The two forms hold the same papers: classes of the same names and sizes, and the same bags of words."""
        raw = read_npz(find(CORA))
        counts = dict(zip(raw.classes, np.bincount(raw.labels).tolist(), strict=True))
        assert counts == dict(
            zip(public.fields["label"].classes, public.samples["label"].bincount().tolist(), strict=True)
        )
        # Planetoid's features are the words in another order of columns
        assert sorted(raw.features.sum(0)) == sorted(public.samples["x"].sum(0).tolist())
        assert len(cpf) < len(raw.labels) == len(public)

    def test_against_torch_geometric(self, public):
        """Edges, words, topics and split as an independent reader of the same files sees them."""
        pyg = pytest.importorskip("torch_geometric.io.planetoid", reason="the independent reference is absent")
        data = pyg.read_planetoid_data(str(find(PLANETOID)), "cora")  # it loads the pickles, whose hashes are verified
        assert torch.equal(data.x, public.samples["x"])
        assert torch.equal(data.y, public.samples["label"])
        assert torch.equal(data.edge_index.flip(0), public.relations["edge_index"])
        split = public.split(0)
        masks = (data.train_mask, data.val_mask, data.test_mask)
        for mask, rows in zip(masks, (split.labelled, split.valid, split.test_rows), strict=True):
            assert torch.equal(mask.nonzero().flatten(), rows)

    @pytest.mark.parametrize(("procedure", "hidden"), [("cpf", 427), ("planetoid", 200)])
    def test_production(self, cpf, public, procedure, hidden):
        data = Cora(split=procedure, setting="production")
        split = check_production(data, 2)
        assert len(split.hidden) == hidden
        assert torch.equal(split.labelled, (cpf if procedure == "cpf" else public).split(2).labelled)
        test = (cpf if procedure == "cpf" else public).split(2).test["test"]
        torch.manual_seed(2)
        first = test[torch.randperm(len(test))][:hidden]
        assert split.hidden.tolist() == sorted(first.tolist())
        assert not torch.equal(split.hidden, data.split(3).hidden)

    @pytest.mark.parametrize("procedure", ["cpf", "planetoid"])
    def test_absent(self, monkeypatch, tmp_path, procedure):
        monkeypatch.setenv("MMKD_DATA", str(tmp_path))
        with pytest.raises(DataError) as caught:
            make("graph/cora", split=procedure)
        first = {"cpf": CORA, "planetoid": "planetoid/cora/raw/ind.cora.x,"}[procedure]
        start = "data set graph/cora is not on this machine; run `mmkd data get graph/cora`, or point MMKD_DATA at"
        assert str(caught.value).startswith(start)
        assert first in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_corrupt(self, monkeypatch, tmp_path):
        """Also a file that reads well: what counts is the hash."""
        monkeypatch.setenv("MMKD_DATA", str(tmp_path))
        (tmp_path / CORA).parent.mkdir()
        (tmp_path / CORA).write_bytes(b"another file")
        with pytest.raises(DataError, match="068e22d90c3849b4057dfb05851741428992af058e") as caught:
            make("graph/cora")
        assert str(tmp_path / CORA) in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_get(self, monkeypatch):
        """`get` downloads what `files` names, with the configuration that it is given."""
        asked = []
        monkeypatch.setattr("mmkd.data.datasets.fetch", lambda *given, **more: asked.append((given, more)))
        Cora.get(split="planetoid", setting="production")
        assert asked == [((Cora.files(split="planetoid"), "graph/cora"), {"download": True})]
        assert len(Cora.files(split="planetoid")) == 8
        assert len(Cora.files(split="cpf")) == 1
        assert Cora.files() == (*Cora.files(split="cpf"), *Cora.files(split="planetoid"))
        for file in Cora.files():
            assert isinstance(file, RemoteFile)
            assert file.url.startswith("https://")

    def test_wrong_configuration(self):
        with pytest.raises(ConfigError, match="split"):
            make("graph/cora", split="random")


class TestCiteSeer:
    def test_graphs(self):
        require("gnn_benchmark_npz/citeseer.npz")
        check_graph(CiteSeer(), 2110, 3668)
        public = CiteSeer(split="planetoid")
        check_graph(public, 3327, 4552)
        assert public.samples["label"][public.samples["label"] >= 0].bincount().tolist() == [
            249,
            590,
            668,
            701,
            596,
            508,
        ]

    def test_nodes_without_class_are_in_no_part(self):
        require("planetoid/citeseer/raw/ind.citeseer.graph")
        data = CiteSeer(split="planetoid")
        unknown = (data.samples["label"] < 0).nonzero().flatten()
        split = data.split(0)
        assert len(unknown) == 15
        assert not torch.isin(unknown, torch.cat([split.train, split.valid, split.test_rows, split.hidden])).any()
        assert len(split.train) == 3312
        assert torch.isin(unknown, data.relations["edge_index"]).all()  # they are seen through their edges

    def test_against_torch_geometric(self):
        require("planetoid/citeseer/raw/ind.citeseer.graph")
        pyg = pytest.importorskip("torch_geometric.io.planetoid", reason="the independent reference is absent")
        expected = pyg.read_planetoid_data(str(find("planetoid/citeseer/raw")), "citeseer")
        data = CiteSeer(split="planetoid")
        assert torch.equal(expected.x, data.samples["x"])
        assert torch.equal(expected.edge_index.flip(0), data.relations["edge_index"])
        known = data.samples["label"] >= 0
        assert torch.equal(expected.y[known], data.samples["label"][known])


class TestAmazon:
    @pytest.mark.parametrize(
        ("kind", "sizes"), [(Photo, (7487, 119043, 745, 8, 7087)), (Computer, (13381, 245778, 767, 10, 12881))]
    )
    def test_graph(self, kind, sizes):
        nodes, edges, words, classes, test = sizes
        require(kind.files()[0].path)
        data = kind()
        check_graph(data, nodes, edges)
        split = data.split(0)
        assert (data.fields["x"].shape, len(data.fields["label"].classes)) == ((words,), classes)
        assert [len(part) for part in (split.labelled, split.valid, split.test_rows)] == [
            20 * classes,
            30 * classes,
            test,
        ]


class TestNpz:
    def test_by_path(self, npz):
        data = make("graph/npz", path=str(npz()), labels_per_class=2, valid_per_class=3)
        check_graph(data, 24, 48)
        assert data.fields["label"].classes == ("a", "b", "c")
        split = data.split(0)
        assert [len(part) for part in (split.labelled, split.valid, split.test_rows)] == [6, 9, 9]

    def test_production(self, npz):
        data = Npz(path=str(npz()), labels_per_class=2, valid_per_class=3, setting="production")
        assert len(check_production(data, 0).hidden) == 1

    def test_in_the_data_root(self, npz, monkeypatch):
        path = npz()
        monkeypatch.setenv("MMKD_DATA", str(path.parent))
        assert len(make("graph/npz", path=path.name)) == 24

    def test_absent(self, tmp_path, monkeypatch):
        monkeypatch.setenv("MMKD_DATA", str(tmp_path))
        with pytest.raises(DataError, match=r"there is no file absent.npz"):
            make("graph/npz", path="absent.npz")
        with pytest.raises(ConfigError, match="path"):
            make("graph/npz")

    def test_damaged(self, npz):
        path = npz()
        path.write_bytes(path.read_bytes()[:-200])
        with pytest.raises(DataError, match="cannot be read as npz"):
            make("graph/npz", path=str(path))

    def test_not_a_number(self, npz):
        path = npz(attr_data=np.full(len(np.load(npz())["attr_data"]), np.nan, np.float32))
        with pytest.raises(DataError, match="NaN"):
            make("graph/npz", path=str(path))

    @pytest.mark.parametrize(
        ("name", "counts"),
        [("citeseer", (2110, 3668, 3703, 6, 120, 180, 1810)), ("cora", (2485, 5069, 1433, 7, 140, 210, 2135))],
    )
    def test_real_files(self, name, counts):
        data = Npz(path=str(require(f"gnn_benchmark_npz/{name}.npz")))
        check_graph(data, *counts[:2])
        split = data.split(0)
        parts = (split.labelled, split.valid, split.test_rows)
        assert (data.fields["x"].shape[0], len(data.fields["label"].classes), *map(len, parts)) == counts[2:]

    def test_the_same_as_cora(self):
        require(CORA)
        assert Npz(path=CORA).content_hash() == Cora().content_hash()


class TestCards:
    @pytest.mark.parametrize("kind", [DigitsKNN, Cora, CiteSeer, Photo, Computer])
    def test_valid(self, kind):
        card = card_of(kind.name)
        assert card.name == kind.name
        declared = {"x", "edge_index", "label"}
        assert {field.name for field in card.fields} == declared

    @pytest.mark.parametrize("kind", [Cora, CiteSeer, Photo, Computer])
    def test_files(self, kind):
        """The card and the code name the same files, addresses and hashes."""
        named = {RemoteFile(file.url, file.sha256, file.path) for file in card_of(kind.name).files}
        assert named == set(kind.files())

    @pytest.mark.parametrize("kind", [Cora, CiteSeer, Photo, Computer])
    def test_sizes(self, kind):
        for file in card_of(kind.name).files:
            assert require(file.path).stat().st_size == file.bytes

    def test_file_of_digits(self):
        (file,) = card_of("graph/digits-knn").files
        content = (Path(sklearn.__file__).parent.parent / file.path).read_bytes()
        assert len(content) == file.bytes
        assert hashlib.sha256(content).hexdigest() == file.sha256


def check_one_component(data):
    """Whether node 0 reaches every node."""
    reached = torch.zeros(len(data), dtype=torch.bool)
    reached[0] = True
    source, target = data.relations["edge_index"]
    while True:
        before = int(reached.sum())
        reached[target[reached[source]]] = True
        if int(reached.sum()) == before:
            return before == len(data)
