"""Data cards as Croissant, judged by MLCommons' own validator. Nothing is looked up in a network."""

import json
import re
from pathlib import Path

import mlcroissant
import pytest

from mmkd import registry
from mmkd.cli.main import main
from mmkd.data.cards import card_of, parse
from mmkd.data.croissant import croissant
from mmkd.files import sha256_of

CARDS = sorted((Path(__file__).parents[2] / "data_cards").glob("*.md"))
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # rdflib's, below mlcroissant


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    def refuse(*_args, **_kwargs):
        raise AssertionError("validation went to the network")

    monkeypatch.setattr("socket.socket.connect", refuse)


NOT_STATED = re.compile(r'(/datePublished|/url|/citeAs)" is recommended, but does not exist')


def validated(document):
    """The document as mlcroissant reads it, from text: no errors, and no warning but of what a card does not state."""
    dataset = mlcroissant.Dataset(jsonld=json.loads(json.dumps(document)))
    issues = dataset.metadata.ctx.issues
    assert not issues.errors
    assert not [warning for warning in issues.warnings if not NOT_STATED.search(warning)]
    return dataset


def records(dataset, name):
    """The records that a record set holds; mlcroissant gives texts as bytes and, through pandas, nothing as NaN."""

    def plain(value):
        if isinstance(value, bytes):
            return value.decode()
        return None if value != value else value

    return [
        {key.removeprefix(f"{name}/"): plain(value) for key, value in record.items()}
        for record in dataset.records(name)
    ]


@pytest.mark.parametrize("path", CARDS, ids=lambda path: path.stem)
def test_every_card(path):
    card = parse(path.read_text(encoding="utf-8"), path.name)
    assert card.name.endswith(f"/{path.stem}")
    dataset = validated(croissant(card))
    assert {file.sha256 for file in dataset.metadata.distribution} == {file.sha256 for file in card.files}
    fields = records(dataset, "fields")
    assert [field["name"] for field in fields] == [field.name for field in card.fields]
    assert [field["unit"] for field in fields] == [field.unit for field in card.fields]
    assert [split["rule"] for split in records(dataset, "splits")] == [split.rule for split in card.splits]


def test_every_data_set_of_ours_has_a_card():
    ours = {entry.name for entry in registry.entries("datasets") if entry.distribution.startswith("mmkd-")}
    assert {path.stem for path in CARDS} == {name.rpartition("/")[2] for name in ours}
    assert {card_of(name).name for name in ours} == ours


def test_what_a_rate_and_a_varying_size_become():
    fields = {row["name"]: row for row in records(validated(croissant(card_of("crossmodal/motion"))), "fields")}
    assert (fields["imu"]["rate"], fields["imu"]["unit"], fields["imu"]["shape"]) == (50.0, "g, deg/s", "6,-1")
    assert fields["label"]["shape"] == ""
    assert "inertial unit" in fields["imu"]["sensor"]


def test_the_command_prints_it(capsys):
    assert main(["data", "card", "graph/cora", "--croissant"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["license"] == "https://spdx.org/licenses/MIT.html"
    assert validated(document).metadata.name == "graph/cora"


def test_made_data_is_described_beside_it(tmp_path, capsys):
    assert main(["data", "make", "symbolic/rule-world", str(tmp_path / "made")]) == 0
    assert str(tmp_path / "made" / "croissant.json") in capsys.readouterr().out.split()
    dataset = validated(json.loads((tmp_path / "made" / "croissant.json").read_text()))
    described = {file.content_url: file.sha256 for file in dataset.metadata.distribution}
    written = {path.name: sha256_of(path) for path in (tmp_path / "made").iterdir() if path.name != "croissant.json"}
    assert described == written
