"""`mmkd predict`."""

import csv
import json
import subprocess
import sys

import numpy as np
import pytest

from mmkd.cli import predict
from mmkd.cli.main import main
from mmkd.deployment.bundle import write_bundle
from mmkd.errors import ConfigError

from . import students


@pytest.fixture
def rows(exported, tmp_path):
    """The MLP's bundle, its input as a file, and what it says of it."""
    made, bundle = exported("mlp")
    x = np.tile(made.batch()["x"].numpy(), (2, 1))
    np.save(tmp_path / "rows.npy", x)
    return str(bundle.path), tmp_path / "rows.npy", bundle.load().classify(x=x)


class TestPredict:
    def test_table(self, rows, capsys):
        bundle, file, expected = rows
        assert main(["predict", bundle, str(file)]) == 0
        out = capsys.readouterr().out
        shown = [line.split("│")[1:-1] for line in out.splitlines() if line.startswith("│")]
        assert [cells[1].strip() for cells in shown] == expected["class"][:20].tolist()
        assert [float(cells[2]) for cells in shown] == pytest.approx(expected["probability"][:20], abs=1e-3)
        assert "40 predictions, of which the first 20 are shown" in out

    def test_json(self, rows, capsys):
        bundle, file, expected = rows
        assert main(["predict", bundle, str(file), "--json"]) == 0
        said = json.loads(capsys.readouterr().out)["predictions"]
        assert [row["class"] for row in said] == expected["class"].tolist()
        np.testing.assert_allclose([row["logits"] for row in said], expected["logits"])

    @pytest.mark.parametrize("kind", ["csv", "json", "npz"])
    def test_files(self, rows, tmp_path, capsys, kind):
        bundle, file, expected = rows
        out = tmp_path / f"out.{kind}"
        assert main(["predict", bundle, str(file), "--out", str(out)]) == 0
        assert f"all written to {out}" in capsys.readouterr().out
        if kind == "csv":
            table = list(csv.DictReader(out.read_text().splitlines()))
            assert list(table[0]) == ["row", "class", "class_index", "probability", "logits.0", "logits.1", "logits.2"]
            classes, logits = [row["class"] for row in table], [float(row["logits.1"]) for row in table]
            assert [int(row["row"]) for row in table] == list(range(40))
        elif kind == "json":
            table = json.loads(out.read_text())
            classes, logits = [row["class"] for row in table], [row["logits"][1] for row in table]
        else:
            with np.load(out) as stored:
                classes, logits = stored["class"].tolist(), stored["logits"][:, 1]
        assert classes == expected["class"].tolist()
        np.testing.assert_array_equal(np.float32(logits), expected["logits"][:, 1])

    def test_regression(self, exported, tmp_path, capsys):
        bundle = exported("tree")[1]
        manifest = {key: value for key, value in bundle.manifest.items() if key not in ("files", "seal")}
        manifest["task"] = {"task": "Regression"}
        other = write_bundle(tmp_path / "bundle", (bundle.path / "model.onnx").read_bytes(), manifest)
        (tmp_path / "rows.csv").write_text("1,2,3,4,5,6\n" * 3)
        assert main(["predict", str(other.path), str(tmp_path / "rows.csv")]) == 0
        out = capsys.readouterr().out
        assert "logits.2" in out
        assert "3 predictions\n" in out

    def test_maps_are_summed_up(self, tmp_path, capsys):
        maps = {"logits": np.zeros((2, 3, 80, 80), np.float32), "class": np.full((2, 80, 80), "cat")}
        predict._print(maps, tmp_path / "out.npz")
        assert "logits: [3, 80, 80] numbers per row; write them with --out FILE.npz" in capsys.readouterr().out
        with pytest.raises(ConfigError, match=r"'logits' is too large for columns; write it as \.npz"):
            predict._to_csv(maps, tmp_path / "out.csv")

    def test_relations_are_warned_of(self, exported, tmp_path, capsys):
        made, bundle = exported("graph")
        np.savez(tmp_path / "graph.npz", **made.arrays(["x", "edge_index"]))
        assert main(["predict", str(bundle.path), str(tmp_path / "graph.npz")]) == 0
        captured = capsys.readouterr()
        assert captured.err.startswith("warning: the student reads the relation 'edge_index'")
        assert "30 predictions" in captured.out

    def test_class_names_are_printed_as_they_are(self, exported, tmp_path, capsys):
        bundle = exported("tree")[1]
        manifest = {key: value for key, value in bundle.manifest.items() if key not in ("files", "seal")}
        manifest["task"] = {**manifest["task"], "classes": ["[red]a[/red]", "b\x1b[31m\nc", "[/]"]}
        other = write_bundle(tmp_path / "bundle", (bundle.path / "model.onnx").read_bytes(), manifest)
        (tmp_path / "rows.json").write_text(json.dumps({"x": students.draw(30, 6).tolist()}))
        assert main(["predict", str(other.path), str(tmp_path / "rows.json")]) == 0
        out = capsys.readouterr().out
        assert "[/]" in out
        assert "\x1b" not in out

    @pytest.mark.parametrize(
        ("arguments", "code", "words"),
        [
            (["nowhere", "{file}"], 4, "nowhere is no bundle"),
            (["{bundle}", "nothing.csv"], 3, "nothing.csv is absent"),
            (["{bundle}", "{file}", "--out", "x.xlsx"], 2, "--out x.xlsx: predictions can be written as .csv"),
            (["{bundle}", "{file}", "--reader", "xml"], 2, "no reader `xml`"),
        ],
    )
    def test_bad_input(self, rows, capsys, arguments, code, words):
        bundle, file, _ = rows
        given = [argument.format(bundle=bundle, file=file) for argument in arguments]
        assert main(["predict", *given]) == code
        captured = capsys.readouterr()
        assert words in captured.err
        assert len(captured.err.splitlines()) == 1
        assert captured.out == ""

    def test_more_sensors_than_the_student_has(self, exported, tmp_path, capsys):
        made, bundle = exported("mlp")
        np.savez(tmp_path / "both.npz", **made.arrays(["x", "other"]))
        assert main(["predict", str(bundle.path), str(tmp_path / "both.npz")]) == 2
        assert "'other' is no input of this student; it reads x and nothing else" in capsys.readouterr().err

    def test_damaged_bundle(self, bundle, rows, capsys):
        data = bytearray((bundle / "model.onnx").read_bytes())
        data[99] ^= 1
        (bundle / "model.onnx").write_bytes(data)
        assert main(["predict", str(bundle), str(rows[1])]) == 4
        assert "model.onnx is damaged: its sha256 is not the manifest's" in capsys.readouterr().err

    def test_a_process_of_its_own_loads_no_torch(self, rows):
        code = "import sys; from mmkd.cli.main import main; sys.exit(main(sys.argv[1:]) or 'torch' in sys.modules)"
        subprocess.run([sys.executable, "-c", code, "predict", rows[0], str(rows[1])], check=True, capture_output=True)
