"""The runtime refuses what the student was not made for, and whatever was damaged on the way."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest

from mmkd.data import Field
from mmkd.deployment.bundle import write_bundle
from mmkd.deployment.runtime import Student, conform, open_session, seal
from mmkd.errors import BindingError, DataError, MmkdError, StorageError

from . import students

X = {"x": {"kind": "sample", "shape": [2], "dtype": "float32", "layout": "vector", "axes": "B C"}}
GRAPH = {**X, "edge_index": {"kind": "relation", "shape": [2, None], "dtype": "int64", "layout": "edges"}}


def field(**changes):
    return {"x": {**X["x"], **changes}}


class TestWithoutTorch:
    def test_runs_where_torch_cannot_be_imported(self, exported, tmp_path):
        made, bundle = exported("mlp")
        np.save(tmp_path / "x.npy", made.batch()["x"].numpy())
        code = (
            "import sys; sys.modules.update(dict.fromkeys(['torch', 'onnx', 'scipy', 'sklearn', 'pydantic']))\n"
            "import numpy as np\n"
            "from mmkd.deployment.runtime import Student\n"
            "student = Student.load(sys.argv[1], threads=1)\n"
            "print(student.classify(x=np.load(sys.argv[2]))['class'].tolist())\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, bundle.path, tmp_path / "x.npy"], check=True, capture_output=True, text=True
        )
        expected = bundle.load().classify(x=made.batch()["x"].numpy())["class"].tolist()
        assert done.stdout.strip() == str(expected)

    def test_imports_little(self):
        code = (
            "import sys; import mmkd.deployment.readers, mmkd.deployment.verify, mmkd.cli.predict\n"
            "loaded = {name.split('.')[0] for name in sys.modules}\n"
            "print(sorted(loaded & {'torch', 'sklearn', 'scipy', 'onnx', 'pydantic'}))"
        )
        assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout.strip() == b"[]"


class TestCalls:
    def test_mapping_or_keywords(self, exported):
        made, bundle = exported("mlp")
        student, x = bundle.load(), made.batch()["x"].numpy()
        np.testing.assert_array_equal(student(x=x)["logits"], student({"x": x})["logits"])

    def test_names_with_dashes(self, exported):
        made, bundle = exported("two_fields")
        assert bundle.load()(made.arrays(["linear", "t1-ce"]))["logits"].shape == (7, 3)

    def test_classify(self, exported):
        made, bundle = exported("mlp")
        found = bundle.load().classify(made.arrays(["x"]))
        logits = found["logits"].astype(np.float64)
        softmax = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        np.testing.assert_allclose(found["probability"], softmax.max(1), rtol=1e-6)
        assert found["class"].tolist() == [students.CLASSES[index] for index in softmax.argmax(1)]
        np.testing.assert_array_equal(found["class_index"], softmax.argmax(1))

    def test_classify_without_classes(self, exported):
        bundle = exported("tree")[1]
        manifest = {**bundle.manifest, "task": {"task": "Regression"}}
        with pytest.raises(MmkdError, match="Regression, which has no classes"):
            Student(manifest, (bundle.path / "model.onnx").read_bytes()).classify(x=np.zeros((1, 6)))

    @pytest.mark.parametrize("inputs", [{}, {"X": np.zeros((1, 4))}])
    def test_missing_field(self, exported, inputs):
        with pytest.raises(BindingError, match=r"'x' is missing|'X' is no input"):
            exported("mlp")[1].load()(inputs)

    def test_one_sensor_more_is_refused(self, exported):
        made, bundle = exported("mlp")
        with pytest.raises(BindingError, match="'other' is no input of this student; it reads x and nothing else"):
            bundle.load()(made.arrays(["x", "other"]))

    def test_a_graph_that_onnxruntime_refuses(self):
        with pytest.raises(MmkdError, match="onnxruntime cannot load the student"):
            open_session(b"not a model")

    def test_without_onnxruntime(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "onnxruntime", None)
        with pytest.raises(MmkdError, match="pip install onnxruntime"):
            open_session(b"")


class TestConform:
    @pytest.mark.parametrize(
        ("value", "words"),
        [
            (np.zeros(2), ["[2]", "[any, 2]", "a first axis of 1", "vector [B C]"]),
            (np.zeros((3, 1)), ["[3, 1]", "[any, 2]"]),
            (np.zeros((3, 2, 1)), ["[3, 2, 1]"]),
            (np.zeros((0, 2)), ["no rows"]),
            (np.array([[0.0, 1.0], [np.nan, 0.0]]), ["NaN", "row 1"]),
            (np.array([[0.0, 1.0], [np.inf, 0.0]]), ["infinite", "row 1"]),
            (np.array([[0.0, 1e39]]), ["1e+39", "float32 cannot hold"]),
            (np.array([["a", "b"]]), ["<U1", "float32"]),
            (np.array([[1j, 0]]), ["complex"]),
            ([[1.0, None]], ["object"]),
            ([[1.0, 2.0], [3.0]], ["rows differ in shape"]),
            (np.array([[2**24 + 1, 0]]), ["16777217", "float32 cannot hold"]),
        ],
    )
    def test_refuses(self, value, words):
        with pytest.raises(DataError) as caught:
            conform({"x": value}, X, "rows.csv")
        for word in ["rows.csv", "'x'", *words]:
            assert word in str(caught.value)

    @pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "int64", "uint8", "bool"])
    def test_casts_that_lose_nothing(self, dtype):
        given = np.array([[0, 1], [1, 1]], dtype)
        found = conform({"x": given}, X)["x"]
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, given)

    def test_rounds_doubles(self):
        assert conform({"x": [[0.1, 1e-300]]}, X)["x"].tolist() == [[np.float32(0.1), 0.0]]

    @pytest.mark.parametrize(
        ("dtype", "value"),
        [
            ("int64", 1.0),
            ("int64", 2**63),
            ("uint8", -1),
            ("uint8", 256),
            ("uint64", -1),
            ("bool", 2),
            ("bool", 1.0),
            ("int8", 200),
        ],
    )
    def test_casts_that_would_lose_something(self, dtype, value):
        given = np.array([[0, value]], np.uint64 if value == 2**63 else None)
        with pytest.raises(DataError, match=f"{dtype}"):
            conform({"x": given}, field(dtype=dtype))

    def test_integers(self):
        found = conform({"x": np.array([[1, -3]], np.int8)}, field(dtype="int64"))["x"]
        assert found.dtype == np.int64
        assert found.tolist() == [[1, -3]]

    def test_range(self):
        limits = field(range=[0.0, 0.1])
        conform({"x": [[0.0, 0.1]]}, limits)
        for wrong in (-0.01, 0.11):
            with pytest.raises(DataError, match=rf"{wrong}.*range 0 to 0.1 .*row 1"):
                conform({"x": [[0.0, 0.0], [0.0, wrong]]}, limits)

    def test_a_range_per_channel(self):
        """Channels of one field may differ in unit: g and deg/s."""
        limits = {"x": {**X["x"], "shape": [2, None], "unit": "g, deg/s", "range": [[-8, -1000], [8, 1000]]}}
        conform({"x": [[[1.0, -8.0], [9.8, 1000.0]]]}, limits)
        wrong = "field 'x', channel '0', holds 9.8, out of its range -8 to 8 .*row 1.*unit is g, deg/s"
        with pytest.raises(DataError, match=wrong):
            conform({"x": [[[1.0], [9.8]], [[9.8], [1.0]]]}, limits)
        named = {"x": {**limits["x"], "channels": ["ax", "gx"]}}
        with pytest.raises(DataError, match="channel 'gx', holds -1001"):
            conform({"x": [[[1.0], [-1001.0]]]}, named)
        uneven = {"x": {**limits["x"], "range": [-8, [8, 1000]]}}
        with pytest.raises(DataError, match="holds -9, out of its range -8 to 1000"):
            conform({"x": [[[1.0], [-9.0]]]}, uneven)

    def test_varying_axes(self):
        declared = {name: {**X["x"], "shape": [2, None]} for name in ("x", "y")}
        assert conform({"x": np.zeros((3, 2, 5)), "y": np.zeros((3, 2, 9))}, declared)["y"].shape == (3, 2, 9)
        with pytest.raises(DataError, match=r"\[any, 2, any\]"):
            conform({"x": np.zeros((3, 3, 5)), "y": np.zeros((3, 2, 9))}, declared)

    def test_unequal_rows(self):
        with pytest.raises(DataError, match="x has 3, y has 4"):
            conform({"x": np.zeros((3, 2)), "y": np.zeros((4, 2))}, {**X, "y": X["x"]})

    @pytest.mark.parametrize("row", [-1, 3])
    def test_edges_to_rows_that_are_not_there(self, row):
        conform({"x": np.zeros((3, 2)), "edge_index": np.array([[0, 2], [1, 0]])}, GRAPH)
        conform({"x": np.zeros((3, 2)), "edge_index": np.zeros((2, 0), np.int64)}, GRAPH)
        with pytest.raises(DataError, match=f"'edge_index' names row {row}, but the rows are 0 to 2"):
            conform({"x": np.zeros((3, 2)), "edge_index": np.array([[0, row], [1, 0]])}, GRAPH)

    def test_every_setting_of_a_field_reaches_the_bundle(self):
        """A key that `Field` gains must be carried by its manifest, or the runtime cannot check it."""
        assert {entry.name for entry in dataclasses.fields(Field)} >= {"shape", "dtype", "layout", "kind", "range"}


class TestDamage:
    @pytest.mark.parametrize("name", ["model.onnx", "manifest.json", "examples.npz"])
    def test_a_flipped_bit_anywhere_is_noticed(self, bundle, name):
        whole = (bundle / name).read_bytes()
        for place in np.linspace(0, len(whole) - 2, 40).astype(int):
            for bit in (0, 5):
                damaged = bytearray(whole)
                damaged[place] ^= 1 << bit
                (bundle / name).write_bytes(damaged)
                if name == "manifest.json" and _same_json(damaged, whole):
                    continue
                with pytest.raises(StorageError) as caught:
                    _read_all(bundle)
                assert name in str(caught.value)
        (bundle / name).write_bytes(whole)
        _read_all(bundle)

    @pytest.mark.parametrize("name", ["model.onnx", "manifest.json", "examples.npz"])
    @pytest.mark.parametrize("kept", [0.0, 0.5, 0.99])
    def test_truncation(self, bundle, name, kept):
        whole = (bundle / name).read_bytes()
        (bundle / name).write_bytes(whole[: int(len(whole) * kept)])
        with pytest.raises(StorageError, match=name.replace(".", r"\.")):
            _read_all(bundle)

    @pytest.mark.parametrize("name", ["model.onnx", "manifest.json", "examples.npz"])
    def test_absent_file(self, bundle, name):
        (bundle / name).unlink()
        with pytest.raises(StorageError, match=rf"{name} is absent"):
            _read_all(bundle)

    def test_no_bundle(self, tmp_path):
        with pytest.raises(StorageError, match="no bundle: there is no such directory"):
            Student.load(tmp_path / "nowhere")
        (tmp_path / "manifest.json").write_text('{"format": "cargo"}')
        with pytest.raises(StorageError, match="not the manifest of a bundle"):
            Student.load(tmp_path)

    def test_later_version(self, bundle):
        manifest = json.loads((bundle / "manifest.json").read_text())
        manifest["version"] = 2
        manifest["seal"] = seal(manifest)
        (bundle / "manifest.json").write_text(json.dumps(manifest))
        with pytest.raises(StorageError, match="version 2 of the bundle format"):
            Student.load(bundle)


class TestWriting:
    def test_replaces_a_bundle_and_leaves_nothing_behind(self, tmp_path):
        for note in ("first", "second"):
            write_bundle(tmp_path / "b", b"model", {"note": note})
        assert [entry.name for entry in tmp_path.iterdir()] == ["b"]
        assert json.loads((tmp_path / "b" / "manifest.json").read_text())["note"] == "second"

    def test_replaces_an_empty_directory(self, tmp_path):
        (tmp_path / "b").mkdir()
        write_bundle(tmp_path / "b", b"model", {})
        assert (tmp_path / "b" / "model.onnx").read_bytes() == b"model"

    @pytest.mark.parametrize("foreign", ["notes.txt", "manifest.json", "model.onnx"])
    def test_refuses_a_foreign_directory(self, tmp_path, foreign):
        (tmp_path / "b").mkdir()
        (tmp_path / "b" / foreign).write_text("{}")
        with pytest.raises(StorageError, match="choose another directory"):
            write_bundle(tmp_path / "b", b"model", {})
        assert [entry.name for entry in (tmp_path / "b").iterdir()] == [foreign]

    def test_refuses_a_file(self, tmp_path):
        (tmp_path / "b").write_text("mine")
        with pytest.raises(StorageError, match="is a file"):
            write_bundle(tmp_path / "b", b"model", {})

    def test_a_full_disk_leaves_the_old_bundle(self, tmp_path, monkeypatch):
        write_bundle(tmp_path / "b", b"model", {"note": "first"})

        def full(path, data):
            if path.name == "manifest.json":
                raise OSError(28, "No space left on device")
            path.write_bytes(data)

        monkeypatch.setattr("mmkd.deployment.bundle.write_synced", full)
        with pytest.raises(StorageError, match="disk is full"):
            write_bundle(tmp_path / "b", b"other", {"note": "second"})
        assert [entry.name for entry in tmp_path.iterdir()] == ["b"]
        assert (tmp_path / "b" / "model.onnx").read_bytes() == b"model"

    def test_a_rename_that_fails_puts_the_old_bundle_back(self, tmp_path, monkeypatch):
        import os

        write_bundle(tmp_path / "b", b"model", {"note": "first"})
        rename, calls = os.rename, []

        def failing(source, target):
            calls.append(source)
            if len(calls) == 2:
                raise OSError(5, "Input/output error")
            rename(source, target)

        monkeypatch.setattr("mmkd.deployment.bundle.os.rename", failing)
        with pytest.raises(StorageError):
            write_bundle(tmp_path / "b", b"other", {"note": "second"})
        assert [entry.name for entry in tmp_path.iterdir()] == ["b"]
        assert (tmp_path / "b" / "model.onnx").read_bytes() == b"model"


def _read_all(directory):
    from mmkd.deployment.verify import verify

    return verify(directory)


def _same_json(damaged, whole):
    """True where the flip changed no value: `1e-05` is `1E-05`."""
    try:
        return json.loads(damaged) == json.loads(whole)
    except ValueError:
        return False
