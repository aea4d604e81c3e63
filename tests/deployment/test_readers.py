"""Files become the fields that a student reads, or one line that says what is wrong with them."""

import json

import numpy as np
import pytest

from mmkd import registry
from mmkd.deployment.readers import read, writer
from mmkd.errors import BindingError, ConfigError, DataError, RegistryError
from tests.registry.fakes import install

X = {"kind": "sample", "shape": [2], "dtype": "float32"}
ONE = {"x": X}
TWO = {"x": X, "age": {"kind": "sample", "shape": [], "dtype": "int64"}}
SERIES = {"imu": {"kind": "sample", "shape": [2, None], "dtype": "float32"}}
ROWS = [[1.0, 2.5], [-3.0, 4e-2], [0.0, 7.0]]


@pytest.fixture
def file(tmp_path):
    """`file("rows.csv", "text")` writes a file."""

    def write(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


class TestCSV:
    @pytest.mark.parametrize(
        "text",
        [
            "x.0,x.1\n1,2.5\n-3,4e-2\n0,7\n",
            "\ufeffx.1, x.0\r\n2.5,1\r\n0.04,-3\r\n\r\n7,0\r\n",
            "1,2.5\n-3,4e-2\n0,7",
        ],
    )
    def test_one_field(self, file, text):
        found = read(file("rows.csv", text), ONE)
        np.testing.assert_array_equal(found["x"], np.array(ROWS, np.float32))

    def test_two_fields(self, file):
        found = read(file("ROWS.CSV", "age,x.0,x.1\n30,1,2\n41,3,4\n"), TWO)
        assert found["age"].tolist() == [30, 41]
        assert found["age"].dtype == np.int64
        assert found["x"].tolist() == [[1, 2], [3, 4]]

    @pytest.mark.parametrize("text", ["width,height\n1,2\n", "height,width\n2,1\n", "x.1,x.0\n2,1\n", "1,2\n"])
    def test_channels_that_have_names(self, file, text):
        fields = {"x": {**X, "channels": ["width", "height"]}}
        assert read(file("rows.csv", text), fields)["x"].tolist() == [[1, 2]]

    def test_names_that_two_fields_share_tell_nothing(self, file):
        fields = {name: {**X, "channels": ["a", "b"]} for name in ("x", "y")}
        found = read(file("rows.csv", "x.0,x.1,y.0,y.1\n1,2,3,4\n"), fields)
        assert found["y"].tolist() == [[3, 4]]
        with pytest.raises(DataError, match=r"has no column 'x\.0'"):
            read(file("rows.csv", "a,b,c,d\n1,2,3,4\n"), fields)

    def test_a_channel_that_is_missing(self, file):
        with pytest.raises(DataError, match="has no column 'height'"):
            read(file("rows.csv", "width,hight\n1,2\n"), {"x": {**X, "channels": ["width", "height"]}})

    def test_maps_are_flattened_row_by_row(self, file):
        fields = {"m": {"kind": "sample", "shape": [2, 2], "dtype": "float32"}}
        found = read(file("rows.csv", "m.0.0,m.0.1,m.1.0,m.1.1\n1,2,3,4\n"), fields)
        assert found["m"].tolist() == [[[1, 2], [3, 4]]]

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("", ["is empty"]),
            ("x.0,x.1\n", ["no rows"]),
            ("x.0,x.1,y\n1,2,3\n", ["unexpected column 'y'", "x.0, x.1"]),
            ("x.0\n1\n", ["no column 'x.1'"]),
            ("x.0,x.1,x.0\n1,2,3\n", ["twice column 'x.0'"]),
            ("label,pixel\n1,2\n", ["no column 'x.0'"]),
            ("1,2,3\n", ["3 columns where 2"]),
            ("x.0,x.1\n1,2\n3\n", ["line 3", "1 cells where 2"]),
            ("x.0,x.1\n1,2\n3,\n", ["line 3", "'x.1'", "'' is no number"]),
            ("x.0,x.1\n1,two\n", ["line 2", "'x.1'", "'two' is no number"]),
            ("1,2\n3,x\n", ["line 2", "'x.1'"]),
            ("x.0,x.1\n1,2\n3,nan\n", ["NaN", "row 1"]),
            ("x.0,x.1\n1,1e60\n", ["float32 cannot hold"]),
            (b"\xff\xfe\x00\x01", ["cannot be read"]),
        ],
    )
    def test_wrong(self, file, text, words):
        path = file("rows.csv", text)
        with pytest.raises(DataError) as caught:
            read(path, ONE)
        for word in [str(path), *words]:
            assert word in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_whole_numbers(self, file):
        with pytest.raises(DataError, match=r"column 'age': '3\.5' is no whole number"):
            read(file("rows.csv", "age,x.0,x.1\n3.5,1,2\n"), TWO)
        with pytest.raises(DataError, match="'9999999999999999999999' is no whole number"):
            read(file("rows.csv", "age,x.0,x.1\n9999999999999999999999,1,2\n"), TWO)

    def test_several_fields_need_a_header(self, file):
        with pytest.raises(DataError, match=r"no header.*x\.0, x\.1, age"):
            read(file("rows.csv", "1,2,3\n"), TWO)

    def test_fields_that_csv_cannot_hold(self, file):
        with pytest.raises(DataError, match="'imu' varies in size, which CSV cannot hold"):
            read(file("rows.csv", "1,2\n"), SERIES)


class TestJSON:
    @pytest.mark.parametrize("content", [ROWS, {"x": ROWS}, [{"x": row} for row in ROWS]])
    def test_forms(self, file, content):
        found = read(file("rows.json", json.dumps(content)), ONE)
        np.testing.assert_array_equal(found["x"], np.array(ROWS, np.float32))

    def test_series(self, file):
        assert read(file("s.json", json.dumps([[[1, 2, 3], [4, 5, 6]]])), SERIES)["imu"].shape == (1, 2, 3)

    @pytest.mark.parametrize(
        ("text", "error", "words"),
        [
            ("", DataError, "cannot be read"),
            ('{"x": [[1, 2]', DataError, "cannot be read"),
            ("3", DataError, "neither fields nor rows"),
            ('{"y": [[1, 2]]}', BindingError, "'y' is no input"),
            ('{"x": [[1, 2]], "lidar": [[1]]}', BindingError, "'lidar' is no input"),
            ('[{"x": [1, 2]}, {"x": [1, 2], "y": 1}]', DataError, "row 1 .* unexpected key 'y'"),
            ('[{"x": [1, 2]}, {}]', DataError, "row 1 .* lacks the key 'x'"),
            ("[[1, 2], [3]]", DataError, "rows differ in shape"),
            ("[[1, NaN]]", DataError, "NaN"),
            ("[[1, null]]", DataError, "object"),
            ('[["1", "2"]]', DataError, "expected"),
            ("[]", DataError, "shape"),
            ("[" * 100_000, DataError, "cannot be read"),
        ],
    )
    def test_wrong(self, file, text, error, words):
        with pytest.raises(error, match=words) as caught:
            read(file("rows.json", text), ONE)
        assert "rows.json" in str(caught.value)

    def test_bare_rows_of_several_fields(self, file):
        with pytest.raises(DataError, match="bare rows"):
            read(file("rows.json", "[[1, 2]]"), TWO)


class TestNumpy:
    def test_matrix(self, tmp_path):
        np.save(tmp_path / "rows.npy", np.array(ROWS))
        np.testing.assert_array_equal(read(tmp_path / "rows.npy", ONE)["x"], np.array(ROWS, np.float32))
        with pytest.raises(DataError, match="bare rows"):
            read(tmp_path / "rows.npy", TWO)

    def test_archive(self, tmp_path):
        np.savez(tmp_path / "rows.npz", x=ROWS, age=[1, 2, 3])
        assert read(tmp_path / "rows.npz", TWO)["age"].tolist() == [1, 2, 3]
        with pytest.raises(BindingError, match="'age' is no input"):
            read(tmp_path / "rows.npz", ONE)

    def test_one_kind_under_the_name_of_the_other(self, tmp_path):
        np.savez(tmp_path / "archive.npz", x=ROWS)
        np.save(tmp_path / "matrix.npy", ROWS)
        (tmp_path / "archive.npz").rename(tmp_path / "a.npy")
        (tmp_path / "matrix.npy").rename(tmp_path / "b.npz")
        for name, words in (("a.npy", "is an .npz archive"), ("b.npz", "is an .npy file")):
            with pytest.raises(DataError, match=words):
                read(tmp_path / name, ONE)

    def test_pickles_are_not_loaded(self, tmp_path):
        np.save(tmp_path / "rows.npy", np.array([{"a": 1}], object), allow_pickle=True)
        with pytest.raises(DataError, match="pickle, which is never loaded"):
            read(tmp_path / "rows.npy", ONE)

    @pytest.mark.parametrize("name", ["rows.npy", "rows.npz"])
    def test_damaged(self, tmp_path, name):
        path = tmp_path / name
        np.save(path, np.ones((50, 2))) if name.endswith("npy") else np.savez_compressed(path, x=np.ones((50, 2)))
        whole = path.read_bytes()
        for kept in (0, 3, 20, len(whole) // 2, len(whole) - 1):
            path.write_bytes(whole[:kept])
            with pytest.raises(DataError, match=name.replace(".", r"\.")):
                read(path, ONE)
        flipped = bytearray(whole)
        flipped[len(whole) // 3] ^= 4
        path.write_bytes(flipped)
        if name.endswith("npz"):  # .npy has no checksum
            with pytest.raises(DataError, match="cannot be read"):
                read(path, ONE)


class TestChoice:
    def test_absent_file(self, tmp_path):
        with pytest.raises(DataError, match=r"nothing\.csv is absent"):
            read(tmp_path / "nothing.csv", ONE)
        with pytest.raises(DataError, match="is no file"):
            read(tmp_path, ONE)

    @pytest.mark.parametrize("name", ["rows.xyz", "rows"])
    def test_unknown_extension(self, file, name):
        with pytest.raises(ConfigError, match=r"no reader.*\.csv, .*\.json"):
            read(file(name, "1,2"), ONE)

    def test_named_reader(self, file):
        assert read(file("rows.txt", "1,2"), ONE, "csv")["x"].tolist() == [[1, 2]]
        with pytest.raises(RegistryError, match="no reader `tsv`"):
            read(file("rows.txt", "1,2"), ONE, "tsv")

    def test_plugin_with_a_long_extension(self, file, tmp_path, monkeypatch):
        root = tmp_path / "site"
        root.mkdir()
        monkeypatch.syspath_prepend(root)
        (root / "acme_readers.py").write_text("def nii(path, fields):\n    return {'x': [[4, 2]]}\n")
        install(root, "acme-medical", {"readers": {"acme/nii.csv": "acme_readers:nii"}})
        assert read(file("scan.0.nii.csv", "whatever"), ONE)["x"].tolist() == [[4, 2]]
        assert read(file("scan.csv", "1,2"), ONE)["x"].tolist() == [[1, 2]]
        install(root, "other-medical", {"readers": {"other/nii.csv": "acme_readers:nii"}})
        with pytest.raises(ConfigError, match=r"acme-medical:acme/nii\.csv and other-medical:other/nii\.csv.*--reader"):
            read(file("scan.nii.csv", "whatever"), ONE)
        assert read(file("scan.nii.csv", ""), ONE, "acme/nii.csv")["x"].tolist() == [[4, 2]]


class Rows:
    """A reader that also writes: rows of bytes."""

    @staticmethod
    def read(path, fields):
        return {name: np.frombuffer(path.read_bytes(), np.uint8)[:, None] for name in fields}

    @staticmethod
    def write(path, predictions, source, manifest):
        return bytes(predictions["class_index"].tolist()) + source.name.encode()


class TestClasses:
    @pytest.fixture
    def rows(self, tmp_path, monkeypatch):
        install(tmp_path, "mmkd-rows", {"readers": {"rows/a.bin": f"{__name__}:Rows"}})
        monkeypatch.syspath_prepend(tmp_path)
        registry.refresh()
        yield tmp_path
        monkeypatch.undo()
        registry.refresh()

    def test_read(self, rows):
        (rows / "x.a.bin").write_bytes(b"\1\2")
        fields = {"x": {"kind": "sample", "shape": [1], "dtype": "float32"}}
        assert read(rows / "x.a.bin", fields)["x"].tolist() == [[1], [2]]

    def test_write(self, rows):
        write = writer(rows / "out.A.bin")
        assert write(rows / "out.a.bin", {"class_index": np.array([3, 4])}, rows / "in.a.bin", {}) == b"\3\4in.a.bin"

    @pytest.mark.parametrize("name", ["out.csv", "out.bin", "out"])
    def test_who_does_not_write(self, rows, name):
        assert writer(rows / name) is None
