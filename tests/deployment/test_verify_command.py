"""`mmkd verify`."""

import json

from mmkd.cli.main import main


def test_a_bundle_that_is_whole(exported, capsys):
    _, bundle = exported("mlp")
    assert main(["verify", str(bundle.path)]) == 0
    text = capsys.readouterr().out
    assert "reads    x, and nothing else" in text
    assert "8 stored rows predicted again; largest difference: logits" in text
    assert main(["verify", str(bundle.path), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["ok"], said["rows"], said["reads"]) == (True, 8, ["x"])


def test_a_damaged_one_and_none(bundle, tmp_path, capsys):
    (bundle / "model.onnx").write_bytes((bundle / "model.onnx").read_bytes()[:-1] + b"x")
    assert main(["verify", str(bundle)]) == 4
    assert "model.onnx" in capsys.readouterr().err
    assert main(["verify", str(tmp_path / "nothing")]) in (2, 4)
    assert capsys.readouterr().err.count("\n") == 1
