"""Tables and sentences: splits, wrong labels, coding of columns, and files that are damaged."""

import numpy as np
import pytest
import torch

from mmkd.data.cards import card_of
from mmkd.errors import ConfigError, DataError
from mmkd.evaluation.experiment import Experiment
from mmkd.recipes import check
from mmkd_symbolic.datasets.base import Table
from mmkd_symbolic.datasets.bundled import Bundled
from mmkd_symbolic.datasets.pmlb import PMLB, SHA256
from mmkd_symbolic.datasets.rule_world import RuleWorld
from mmkd_symbolic.datasets.sst2 import SST2
from mmkd_symbolic.expressions import Finite, Real, parse
from mmkd_symbolic.expressions.to_numpy import predicate
from mmkd_symbolic.files.pmlb import encode, read_pmlb
from mmkd_symbolic.files.sst import clause_after_but, read_sst
from mmkd_symbolic.readers.txt import read_txt
from mmkd_symbolic.text import numbers, words


def small(**config):
    x = np.repeat(np.arange(60, dtype=np.float32), 2)[:, None]
    return Table(x, ["v"], (x[:, 0] % 3 == 0).astype(np.int64), ["a", "b"], **config)


def test_equal_inputs_never_straddle_parts():
    table = small()
    for seed in range(3):
        split = table.split(seed)
        parts = [split.labelled, split.valid, split.test_rows]
        assert sum(map(len, parts)) == len(table)
        groups = [set(table.groups[part].tolist()) for part in parts]
        assert not groups[0] & groups[1]
        assert not (groups[0] | groups[1]) & groups[2]
        assert [len(part) for part in parts] == [72, 24, 24]
        assert table.samples["label"][split.test_rows].float().mean().item() == pytest.approx(1 / 3)
    assert not torch.equal(table.split(0).labelled, table.split(1).labelled)
    assert torch.equal(table.split(1).labelled, small().split(1).labelled)


def test_wrong_labels_are_seen_in_training_alone():
    recipe = {
        "seeds": 2,
        "dataset": {"use": "symbolic/bundled", "table": "iris", "label_noise": 0.2, "labels_per_class": 10},
        "task": {"use": "classification"},
        "student": {"use": "symbolic/cart"},
    }
    experiment = Experiment(check(recipe))
    true = experiment.dataset.samples["label"]
    view = experiment.training_view(0)
    batch = view.batch(view.labelled)
    assert (batch["label"] != true[view.labelled]).sum() == 6
    assert (view.batch(view.rows)["label"][~view.batch(view.rows).labelled] == -1).all()
    for part in ("valid", "test"):
        rows = experiment.view(0, part).rows
        assert torch.equal(experiment.view(0, part).batch(rows)["label"], true[rows])
    wrong = [experiment.split(seed).observed["label"] != true for seed in (0, 1)]
    assert not torch.equal(*wrong)
    assert set(wrong[0].nonzero().flatten().tolist()) <= set(view.labelled.tolist())


def test_too_few_rows_of_a_class():
    with pytest.raises(DataError, match="class 'b' has 24 training rows, fewer than labels_per_class = 30"):
        small(labels_per_class=30).split(0)
    with pytest.raises(ConfigError, match=r"label_noise = 1.0 is outside"):
        small(label_noise=1.0)


@pytest.mark.parametrize(("table", "shape"), [("breast-cancer", (569, 30)), ("wine", (178, 13)), ("iris", (150, 4))])
def test_bundled_tables(table, shape):
    data = Bundled(table=table)
    assert data.samples["x"].shape == shape
    assert len(data.fields["x"].channels) == shape[1]


def test_the_world_is_as_its_card_says():
    world = RuleWorld()
    assert len(world) == 1500
    assert torch.equal(world.samples["x"], RuleWorld(setting="harm").samples["x"])
    assert not torch.equal(world.samples["x"], RuleWorld(world=1).samples["x"])
    split = world.split(0)
    assert (len(split.labelled), len(split.unlabelled)) == (30, 570)


@pytest.mark.parametrize("name", ["symbolic/bundled", "symbolic/pmlb", "symbolic/sst2", "symbolic/rule-world"])
def test_cards(name):
    card = card_of(name)
    if name == "symbolic/pmlb":
        assert {file.path: file.sha256 for file in card.files} == {
            f"pmlb_rules/{table}.tsv.gz": sha256 for table, sha256 in SHA256.items()
        }
    if name == "symbolic/sst2":
        assert {file.path: file.sha256 for file in card.files} == {file.path: file.sha256 for file in SST2.files()}
        assert not card.commercial_use


# --- PMLB -------------------------------------------------------------------------------------------------------------

TABLE = "a\tcolour\tflag\ttarget\n" + "".join(f"{n}.5\t{n % 3}\t{n % 2}\t{n % 2}\n" for n in range(6))


def test_columns_are_coded_by_how_they_are_written(tsv):
    table = read_pmlb(tsv(TABLE))
    assert table.columns == ("a", "colour", "flag")
    assert table.categorical == (False, True, False)
    x, names, domains = encode(table)
    assert names == ["a", "colour=0", "colour=1", "colour=2", "flag"]
    assert x[4].tolist() == [4.5, 0, 1, 0, 0]
    assert domains == {"a": Real(), "colour": Finite((0.0, 1.0, 2.0)), "flag": Finite((0.0, 1.0))}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (TABLE.replace("3.5", "nan"), "line 5, column 'a': 'nan' is no finite number"),
        (TABLE.replace("3.5", "many"), "line 5, column 'a': 'many' is no finite number"),
        (TABLE.replace("3.5\t", ""), "line 5 has 3 cells where 4 are expected"),
        (TABLE.replace("target", "class"), "has no column 'target'; columns: a, colour, flag, class"),
        (TABLE.replace("colour", "a"), "has two columns 'a'"),
        ("a\ttarget\n", "holds no rows"),
        ("", "holds no rows"),
    ],
)
def test_a_damaged_table_gives_one_line(tsv, text, message):
    path = tsv(text)
    with pytest.raises(DataError, match=message) as caught:
        read_pmlb(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_truncated_table(tsv, tmp_path):
    path = tsv(TABLE * 50)
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(DataError, match=r"table.tsv.gz cannot be read: Compressed file ended"):
        read_pmlb(path)
    path.write_text(TABLE)
    with pytest.raises(DataError, match="cannot be read: Not a gzipped file"):
        read_pmlb(path)
    with pytest.raises(DataError, match="cannot be read"):
        read_pmlb(tmp_path / "absent.tsv.gz")


def test_an_unknown_table_and_an_absent_one(tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="no table 'monk4'; did you mean 'monk"):
        PMLB(table="monk4")
    monkeypatch.setenv("MMKD_DATA", str(tmp_path))
    with pytest.raises(DataError, match=r"symbolic/pmlb is not on this machine.*pmlb_rules/monk1.tsv.gz"):
        PMLB(table="monk1")


@pytest.mark.parametrize(
    ("table", "agree"),
    [
        ("monk1", 1),
        ("monk2", 1),
        ("monk3", 548 / 554),
        ("corral", 1),
        ("mux6", 1),
        ("xd6", 1),
        ("threeOf9", 1),
        ("parity5+5", 1),
    ],
)
def test_the_known_rules_are_those_of_the_files(data, table, agree):
    read = read_pmlb(data(f"pmlb_rules/{table}.tsv.gz"))
    (text,) = PMLB(table=table).rules
    values = dict(zip(read.columns, read.values.T, strict=True))
    said = predicate(parse(text))(values)
    assert (said == (read.target == read.target.max())).mean() == pytest.approx(agree)


# --- SST-2 ------------------------------------------------------------------------------------------------------------


def test_clauses():
    assert clause_after_but(["long", "but", "good"]) == ["good"]
    assert clause_after_but(["not", "bad", "but", "slow", "but", "fun"]) == ["fun"]
    for none in ("but good", "good but", "rebut this", ""):
        assert clause_after_but(none.split()) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"1 good\n2 odd\n", "line 2 begins with '2' where the label 0 or 1 is expected"),
        (b"1 good\n\n0 bad\n", "line 2 is empty"),
        (b"1 good\n0\n", "line 2 has a label and no words"),
        (b"good film\n", "line 1 begins with 'good'"),
        (b"", "holds no sentences"),
        (b"1 caf\xe9\n", "cannot be read"),
    ],
)
def test_a_malformed_line(tmp_path, content, message):
    path = tmp_path / "stsa.binary.train"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_sst(path)
    assert str(path) in str(caught.value)


def test_sst2(data):
    data("sst2_logicnn/stsa.binary.train")
    sst = SST2()
    split = sst.split(0)
    assert [len(split.labelled), len(split.valid), len(split.test["but"]), len(split.test["other"])] == [
        6920, 872, int(sst.samples["but"][-1821:].sum()), 1821 - int(sst.samples["but"][-1821:].sum())
    ]  # fmt: skip
    assert bool((sst.samples["clause"][~sst.samples["but"]] == 0).all())
    assert len(SST2(labelled=100).split(1).unlabelled) == 6820


def test_words_and_their_numbers():
    assert words("It's long, but I don't mind (really)...") == (
        ["it", "'s", "long", ",", "but", "i", "do", "n't", "mind", "-lrb-", "really", "-rrb-", "..."]
    )
    tokenised = "it 's a k-19 film , -lrb- ca n't be 1.5 -rrb- -- no !"
    assert words(tokenised) == tokenised.split()
    row = numbers(["good", "film", "good"], buckets=50, length=5)
    assert row.tolist() == [row[0], row[1], row[0], 0, 0]
    assert 0 < row[:3].min() <= row.max() < 50
    assert len(numbers(["w"] * 9, buckets=50, length=5)) == 5


FIELDS = {
    "tokens": {
        "kind": "sample",
        "dtype": "int64",
        "shape": [5],
        "range": [0, 49],
        "preparation": {"words": "crc32", "buckets": 50},
    }
}


def test_sentences_of_a_text_file(tmp_path):
    path = tmp_path / "s.txt"
    path.write_text("Good film!\n\nBad one.\n")
    assert read_txt(path, FIELDS)["tokens"].tolist() == [
        numbers(line, buckets=50, length=5).tolist() for line in (["good", "film", "!"], ["bad", "one", "."])
    ]
    with pytest.raises(DataError, match="the student reads x"):
        read_txt(path, {"x": {"kind": "sample", "dtype": "float32", "shape": [5]}})
    path.write_text("\n  \n")
    with pytest.raises(DataError, match="holds no sentence"):
        read_txt(path, FIELDS)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match="no UTF-8 text"):
        read_txt(path, FIELDS)
