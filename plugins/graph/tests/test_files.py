"""Readers: good files, damaged files, and pickles that want more than to be read."""

import contextlib
import os
import pickle
import random
from collections import OrderedDict, defaultdict

import numpy as np
import pytest
from scipy import sparse

from mmkd.errors import DataError
from mmkd_graph.files.arrays import UnreadablePickleError, read_arrays
from mmkd_graph.files.npz import read_npz
from mmkd_graph.files.planetoid import PARTS, read_planetoid


def line(caught):
    assert "\n" not in str(caught.value)
    return str(caught.value)


class TestNpz:
    def test_good_file(self, npz):
        graph = read_npz(npz())
        assert graph.features.shape == (27, 6)
        assert graph.features.dtype == np.float32
        assert graph.features[0].tolist() == np.random.default_rng(0).integers(0, 3, (27, 6))[0].tolist()
        assert graph.adjacency.nnz == 51  # 0 -> 1 was given twice
        assert graph.adjacency[24, 25] == 2
        assert graph.labels[:5].tolist() == [0, 1, 2, 0, 1]
        assert graph.classes == ("a", "b", "c", "d")

    def test_class_names_are_optional(self, npz):
        assert read_npz(npz(class_names=None)).classes == ("0", "1", "2", "3")

    def test_pickled_class_names_are_left_alone(self, npz, tmp_path):
        names = np.array(["a", "b", "c", Bomb(tmp_path / "touched")], dtype=object)
        assert read_npz(npz(class_names=names)).classes == ("0", "1", "2", "3")
        assert not (tmp_path / "touched").exists()

    def test_pickled_arrays_are_refused(self, npz, tmp_path):
        path = npz(labels=np.array([Bomb(tmp_path / "touched")] * 27, dtype=object))
        with pytest.raises(DataError, match="pickle") as caught:
            read_npz(path)
        assert str(path) in line(caught)
        assert not (tmp_path / "touched").exists()

    def test_absent(self, tmp_path):
        with pytest.raises(DataError, match=r"no file .*absent.npz"):
            read_npz(tmp_path / "absent.npz")

    @pytest.mark.parametrize("keep", [0, 10, 0.3, 0.9, 0.999])
    def test_truncated(self, npz, keep):
        path = npz()
        content = path.read_bytes()
        path.write_bytes(content[: int(keep * len(content)) if keep < 1 else keep])
        with pytest.raises(DataError, match="cannot be read as npz") as caught:
            read_npz(path)
        assert str(path) in line(caught)

    @pytest.mark.parametrize("other", [b"text", b"\x93NUMPY", pickle.dumps([1, 2])], ids=["text", "npy", "pickle"])
    def test_other_files(self, tmp_path, other):
        (tmp_path / "graph.npz").write_bytes(other)
        with pytest.raises(DataError, match="cannot be read as npz") as caught:
            read_npz(tmp_path / "graph.npz")
        line(caught)

    def test_single_array(self, tmp_path):
        with (tmp_path / "graph.npz").open("wb") as file:
            np.save(file, np.arange(3))
        with pytest.raises(DataError, match="cannot be read as npz"):
            read_npz(tmp_path / "graph.npz")

    def test_flipped_bytes(self, npz):
        """Whatever byte is damaged: the graph as it was, where the byte does not matter, or one line."""
        path = npz()
        content, graph = path.read_bytes(), read_npz(path)
        draw, refused = random.Random(0), []
        for _ in range(150):
            place = draw.randrange(len(content))
            damaged = bytearray(content)
            damaged[place] ^= 1 << draw.randrange(8)
            path.write_bytes(damaged)
            try:
                read = read_npz(path)
            except DataError as error:
                refused.append(str(error))
            else:
                assert (read.features == graph.features).all()
                assert (read.adjacency != graph.adjacency).nnz == 0
                assert (read.labels == graph.labels).all()
        assert len(refused) > 75
        assert not [text for text in refused if "\n" in text]

    def test_dense_features(self, npz):
        """The layout has them too, under a name of their own."""
        sparse = read_npz(npz())
        absent = dict.fromkeys(["attr_data", "attr_indices", "attr_indptr", "attr_shape"])
        dense = read_npz(npz("dense.npz", attr_matrix=sparse.features.astype(np.float64), **absent))
        assert dense.features.dtype == np.float32
        assert (dense.features == sparse.features).all()

    @pytest.mark.parametrize("key", ["adj_data", "attr_indptr", "labels"])
    def test_missing_key(self, npz, key):
        with pytest.raises(DataError, match=rf"lacks the array {key}; a graph file has adj_data"):
            read_npz(npz(**{key: None}))

    @pytest.mark.parametrize(
        ("changed", "complaint"),
        [
            ({"labels": np.zeros(26, int)}, "contradicts itself.*labels"),
            ({"labels": np.zeros((27, 2), int)}, "contradicts itself.*labels"),
            ({"labels": np.zeros(27)}, "must be integers.*float64"),
            ({"labels": np.full(27, -1)}, "from -1"),
            ({"labels": np.full(27, 4)}, "names 4 classes.*up to 4"),
            ({"adj_shape": np.array([27, 28])}, "contradicts itself"),
            ({"adj_shape": np.array([3, 3])}, "adj_.*CSR"),
            ({"adj_shape": np.array([27])}, "adj_.*CSR"),
            ({"adj_shape": np.array([-1, 27])}, "adj_.*CSR"),
            ({"adj_indices": np.full(51, 27)}, "adj_.*CSR"),
            ({"adj_indices": np.full(51, -1)}, "adj_.*CSR"),
            ({"adj_indices": np.full(51, 0.5)}, "adj_.*CSR"),
            ({"adj_indptr": np.arange(28)[::-1]}, "adj_.*CSR"),
            ({"adj_indptr": np.append(np.zeros(27, int), 1000)}, "adj_.*CSR"),
            ({"adj_data": np.ones((51, 2))}, "adj_.*CSR"),
            ({"attr_data": np.array(["x"] * 3)}, "attr_.*CSR"),
            ({"attr_shape": np.array([26, 6])}, "attr_.*CSR"),
            ({"attr_matrix": np.ones((26, 6))}, "contradicts itself.*features"),
            ({"attr_matrix": np.ones(27)}, "no matrix of numbers.*float64"),
            ({"attr_matrix": np.full((27, 6), "x")}, "no matrix of numbers"),
        ],
    )
    def test_contradictions(self, npz, changed, complaint):
        path = npz(**changed)
        with pytest.raises(DataError, match=complaint) as caught:
            read_npz(path)
        assert str(path) in line(caught)


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


class Custom:
    pass


class Matrix(sparse.csr_matrix):
    pass


class MyArray(np.ndarray):
    pass


def old(value):
    """A pickle as NumPy 1 and SciPy of the 2010s wrote it."""
    return (
        pickle.dumps(value, 2)
        .replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")
        .replace(b"cscipy.sparse._csr\n", b"cscipy.sparse.csr\n")
    )


class TestArrays:
    @pytest.mark.parametrize(
        "value",
        [
            [1, -2, 70000, 2**40, True, None, 0.5, "text", (), (1,), (1, 2, 3, 4), {"a": [1, {}]}],
            {0: [1, 2], 1: []},
            [],
        ],
    )
    def test_plain_values(self, value):
        assert read_arrays(pickle.dumps(value, 2)) == value

    def test_shared_values(self):
        inner = [1]
        assert read_arrays(pickle.dumps([inner, inner, (inner,)], 2)) == [[1], [1], ([1],)]

    def test_defaultdict(self):
        """As Python 2 wrote it: the factory is `__builtin__ list`."""
        value = defaultdict(list, {0: [1, 2], 1: [0]})
        read = read_arrays(pickle.dumps(value, 2))
        assert type(read) is dict
        assert read == value

    @pytest.mark.parametrize("dtype", ["i4", "<f8", ">f4", "u1", "?", "i8"])
    @pytest.mark.parametrize("shape", [(3,), (2, 3), (0, 4), ()])
    def test_arrays(self, dtype, shape):
        value = (np.arange(np.prod(shape, dtype=int)).reshape(shape) % 2).astype(dtype)
        # protocol 2 of Python 3 writes bytes as text to be encoded; the stored form of Python 2 is made by hand
        read = read_arrays(python2_array(value))
        assert read.dtype == value.dtype
        assert read.shape == shape
        assert (read == value).all()
        assert read.flags.writeable

    def test_order_of_columns(self):
        value = np.asfortranarray(np.arange(6, dtype="<i4").reshape(2, 3))
        assert read_arrays(python2_array(value)).tolist() == [[0, 1, 2], [3, 4, 5]]

    def test_matrix(self):
        value = sparse.csr_matrix(np.diag([1.0, 2.0, 3.0]))
        read = read_arrays(python2_matrix(value))
        assert isinstance(read, sparse.csr_array)
        assert (read.toarray() == value.toarray()).all()

    @pytest.mark.parametrize("protocol", range(6))
    @pytest.mark.parametrize("depth", ["alone", "in a list", "in a dict"])
    def test_malicious(self, protocol, depth, tmp_path):
        bomb = Bomb(tmp_path / "touched")
        content = pickle.dumps({"alone": bomb, "in a list": [1, [bomb]], "in a dict": {1: bomb}}[depth], protocol)
        with pytest.raises(UnreadablePickleError):
            read_arrays(content)
        assert not (tmp_path / "touched").exists()
        pickle.loads(content)
        assert (tmp_path / "touched").exists()  # loading it would have done it

    @pytest.mark.parametrize(
        "content",
        [
            b"cos\nsystem\n(S'true'\ntR.",
            b"cos\nsystem\n.",
            b"(lp0\ncos\nsystem\na.",
            b"(S'true'\nios\nsystem\n.",
            b"(cos\nsystem\nS'true'\no.",
            b"c__builtin__\neval\n(S'1'\ntR.",
            b"cnumpy\nndarray\n(I8\ntR.",
            b"ccollections\ndefaultdict\n(cos\nsystem\ntR.",
            b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncos\nsystem\n\x85R.",
            b"\x80\x02}cos\nsystem\nb.",
            b"\x80\x02cnumpy\nndarray\n}(U\x08__dict__K\x01ub.",
            b"Pid\n.",
            b"\x82\x01.",
        ],
    )
    def test_malicious_by_hand(self, content):
        with pytest.raises(UnreadablePickleError):
            read_arrays(content)

    @pytest.mark.parametrize(
        "value", [Custom(), OrderedDict(), {1, 2}, Custom, len, np.float64(1), defaultdict(dict), 1j, bytearray(b"x")]
    )
    def test_other_values(self, value):
        with pytest.raises(UnreadablePickleError):
            read_arrays(old(value))

    @pytest.mark.parametrize("value", [np.array([Custom()], object), np.array(["a"]), np.zeros(2, [("a", "i4")])])
    def test_other_arrays(self, value):
        with pytest.raises(UnreadablePickleError):
            read_arrays(old(value))

    @pytest.mark.parametrize("code", [b"O8", b"S4", b"V4", b"M8", b"U1", b"i", b"4", b"i4,i4", b""])
    def test_other_dtypes(self, code):
        """In the form that is read, so that nothing but the dtype is amiss."""
        good = python2_array(np.zeros(2, "<i4"))
        assert read_arrays(good).tolist() == [0, 0]
        with pytest.raises(UnreadablePickleError, match="not of numbers"):
            read_arrays(good.replace(text(b"i4"), text(code)))

    def test_subclasses(self):
        array, matrix = python2_array(np.zeros(2)), python2_matrix(sparse.csr_matrix(np.eye(2)))
        with pytest.raises(UnreadablePickleError, match="a class of its own"):
            read_arrays(array.replace(b"cnumpy\nndarray\n", b"cnumpy\nmatrix\n"))
        with pytest.raises(UnreadablePickleError, match=r"names `scipy\.sparse\.csr my_matrix`"):
            read_arrays(matrix.replace(b"csr_matrix", b"my_matrix"))
        for value in (np.zeros(2).view(MyArray), Matrix(np.eye(2)), np.ma.zeros(2)):
            with pytest.raises(UnreadablePickleError):
                read_arrays(old(value))

    def test_bare_dtype(self):
        with pytest.raises(UnreadablePickleError, match="bare `numpy dtype`"):
            read_arrays(b"\x80\x02cnumpy\ndtype\n" + text(b"i4") + b"\x85R.")

    @pytest.mark.parametrize(
        "changed", [{"indices": np.array([0, 9])}, {"indptr": np.array([0, 5, 9])}, {"_shape": (1, 1)}, {"data": 3}]
    )
    def test_matrix_that_would_read_past_its_memory(self, changed):
        with pytest.raises(UnreadablePickleError):
            read_arrays(python2_matrix(sparse.csr_matrix(np.eye(2)), **changed))

    def test_damage(self):
        """No damaged byte leads to another exception, nor past the end of an array."""
        content = python2_matrix(sparse.csr_matrix(np.eye(3)))
        draw = random.Random(0)
        for cut in range(len(content)):
            with pytest.raises(UnreadablePickleError):
                read_arrays(content[:cut])
        for _ in range(800):
            damaged = bytearray(content)
            damaged[draw.randrange(len(content))] = draw.randrange(256)
            with contextlib.suppress(UnreadablePickleError):
                read_arrays(bytes(damaged))

    def test_recursion(self):
        value = []
        value.append(value)
        with pytest.raises(UnreadablePickleError):
            read_arrays(pickle.dumps(value, 2))


def text(value):
    """Opcode of a Python 2 string."""
    return b"T" + len(value).to_bytes(4, "little") + value


def number(value):
    return b"J" + int(value).to_bytes(4, "little", signed=True)


def python2_array(value):
    order, code = value.dtype.newbyteorder("<").str[0], value.dtype.str[1:]
    order = value.dtype.str[0].replace("=", "<")
    dtype = (
        b"cnumpy\ndtype\n("
        + text(code.encode())
        + number(0)
        + number(1)
        + b"tR("
        + number(3)
        + text(order.encode())
        + b"NNN"
        + number(-1)
        + number(-1)
        + number(0)
        + b"tb"
    )
    by_column = value.ndim > 1 and not value.flags.c_contiguous
    shape = b"(" + b"".join(map(number, value.shape)) + b"t"
    head = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(" + number(0) + b"t" + text(b"b") + b"tR("
    raw = value.tobytes("F" if by_column else "C")
    return b"\x80\x02" + head + number(1) + shape + dtype + (b"\x88" if by_column else b"\x89") + text(raw) + b"tb."


def python2_matrix(value, **changed):
    parts = {"_shape": value.shape, "data": value.data, "indices": value.indices, "indptr": value.indptr} | changed
    state = b"}("
    for key, part in parts.items():
        if isinstance(part, tuple):
            written = b"(" + b"".join(map(number, part)) + b"t"
        else:
            written = python2_array(part)[2:-1] if isinstance(part, np.ndarray) else number(part)
        state += text(key.encode()) + written
    return b"\x80\x02cscipy.sparse.csr\ncsr_matrix\n)\x81" + state + b"ub."


class TestPlanetoid:
    @pytest.fixture
    def files(self, tmp_path):
        """A function that writes ten nodes, of which 8, 9 and 7 are for testing."""
        features = np.eye(10, 4, dtype="<f4")
        labels = np.eye(2, dtype="<i4")[np.arange(10) % 2]
        order = [8, 9, 7]
        content = {
            "x": python2_matrix(sparse.csr_matrix(features[:2])),
            "allx": python2_matrix(sparse.csr_matrix(features[:7])),
            "tx": python2_matrix(sparse.csr_matrix(features[order])),
            "y": python2_array(labels[:2]),
            "ally": python2_array(labels[:7]),
            "ty": python2_array(labels[order]),
            "graph": pickle.dumps(defaultdict(list, {i: [(i + 1) % 10, 0] for i in range(10)}), 2),
            "test.index": b"8\n9\n7\n",
        }

        def write(**changed):
            for part, value in (content | changed).items():
                (tmp_path / f"ind.tiny.{part}").write_bytes(value)
            return {part: tmp_path / f"ind.tiny.{part}" for part in PARTS}

        return write

    def test_order_of_the_test_nodes(self, files):
        graph, (train, valid, test) = read_planetoid(files())
        assert (graph.features == np.eye(10, 4)).all()
        assert graph.labels.tolist() == [i % 2 for i in range(10)]
        assert train.tolist() == [0, 1]
        assert valid[:3].tolist() == [2, 3, 4]
        assert len(valid) == 500
        assert test.tolist() == [7, 8, 9]
        assert graph.adjacency[3, 4] == graph.adjacency[9, 0] / 2 == 1

    def test_a_node_without_words_and_class(self, files):
        """As CiteSeer has them: node 8 stands in `graph` alone."""
        features, labels = np.eye(10, 4, dtype="<f4"), np.eye(2, dtype="<i4")[np.arange(10) % 2]
        graph, (_, _, test) = read_planetoid(
            files(
                **{"test.index": b"9\n7\n"},
                tx=python2_matrix(sparse.csr_matrix(features[[9, 7]])),
                ty=python2_array(labels[[9, 7]]),
            )
        )
        assert test.tolist() == [7, 9]
        assert graph.labels.tolist() == [0, 1, 0, 1, 0, 1, 0, 1, -1, 1]
        assert not graph.features[8].any()
        assert graph.adjacency[8, 9] == graph.adjacency[7, 8] == 1

    @pytest.mark.parametrize("part", [part for part in PARTS if part != "test.index"])
    def test_malicious(self, files, part, tmp_path):
        places = files(**{part: pickle.dumps(Bomb(tmp_path / "touched"), 2)})
        with pytest.raises(DataError) as caught:
            read_planetoid(places)
        assert str(places[part]) in line(caught)
        assert not (tmp_path / "touched").exists()

    @pytest.mark.parametrize(
        ("changed", "complaint"),
        [
            ({"test.index": b"8\n9\n6\n"}, "test.index does not continue allx"),
            ({"test.index": b"8\n9\nx\n"}, "list of node ids"),
            ({"test.index": b"8\n9\n"}, "contradict|continue"),
            ({"graph": pickle.dumps({0: [1], 10: [0]}, 2)}, "contradict"),
            ({"graph": pickle.dumps([1], 2)}, "contradict"),
            ({"ally": pickle.dumps([1], 2)}, "contradict"),
            ({"ty": python2_array(np.zeros((3, 2), "<i4"))}, "exactly one class"),
            ({"tx": python2_matrix(sparse.csr_matrix(np.eye(3)))}, "contradict"),
            ({"allx": b""}, "allx cannot be read"),
        ],
    )
    def test_contradictions(self, files, changed, complaint):
        with pytest.raises(DataError, match=complaint) as caught:
            read_planetoid(files(**changed))
        line(caught)
