"""HGB's files: what is read, and one clear line for each kind of damage."""

import json
import zipfile

import numpy as np
import pytest

from mmkd.errors import DataError
from mmkd_graph.files.hgb import read_hgb

INFO = {
    "node.dat": {"node type": {"0": "paper", "1": "author", "2": "term"}},
    "link.dat": {
        "link type": {
            "0": {"start": 0, "end": 0, "meaning": "paper-cite-paper"},
            "1": {"start": 0, "end": 1, "meaning": "paper-author"},
            "2": {"start": "1", "end": "0", "meaning": "author-paper"},
        }
    },
    "label.dat": {"node type": {"0": {"0": "db", "1": "ai"}}},
}
NODES = ["0\tA\t0\t1,0,1", "1\t'B, C'\t0\t0,0,1", "2\tD\t0\t0.5,1e-1,-2", "3\tE\t1\t1,1", "4\tF\t1\t0,1", "5\tw\t2"]
LINKS = ["0\t1\t0\t1.0", "2\t1\t0\t1.0", "0\t3\t1\t1.0", "1\t4\t1\t1.0", "4\t1\t2\t1.0"]


@pytest.fixture
def write(tmp_path):
    """A function that writes the archive, with some parts changed (None: left out)."""

    def make(changed=None, compression=zipfile.ZIP_STORED):
        parts = {
            "info.dat": json.dumps(INFO),
            "node.dat": "\n".join(NODES) + "\n",
            "link.dat": "\n".join(LINKS) + "\n",
            "label.dat": "0\t\t0\t1\n",
            "label.dat.test": "2\t\t0\t0\n",
            "label.dat.test_full": "1\t\t0\t0\n2\t\t0\t1\n",
        }
        parts |= changed or {}
        place = tmp_path / "set.zip"
        with zipfile.ZipFile(place, "w", compression) as archive:
            for name, text in parts.items():
                if text is not None:
                    archive.writestr(f"ACM/{name}", text)
        return place

    return make


def test_reads_what_the_files_say(write):
    read = read_hgb(write())
    assert read.target == "paper"
    assert read.classes == ("db", "ai")
    assert read.counts == {"paper": 3, "author": 2, "term": 1}
    np.testing.assert_array_equal(read.features["paper"], np.float32([[1, 0, 1], [0, 0, 1], [0.5, 0.1, -2]]))
    np.testing.assert_array_equal(read.features["author"], [[1, 1], [0, 1]])
    assert read.features["term"] is None
    assert {key: value.tolist() for key, value in read.edges.items()} == {
        ("paper", "cite", "paper"): [[0, 2], [1, 1]],
        ("paper", "to", "author"): [[0, 1], [0, 1]],
        ("author", "to", "paper"): [[1], [1]],
    }
    assert read.labelled.tolist() == [[0], [1]]
    assert read.tested.tolist() == [[2], [0]]


def test_a_folder_reads_as_its_archive_does(write, tmp_path):
    with zipfile.ZipFile(write()) as archive:
        archive.extractall(tmp_path)
    packed, unpacked = read_hgb(write()), read_hgb(tmp_path / "ACM")
    assert packed.edges.keys() == unpacked.edges.keys()
    np.testing.assert_array_equal(packed.features["paper"], unpacked.features["paper"])


def test_the_scrambled_labels_are_not_read(write):
    assert read_hgb(write({"label.dat.test_full": "rubbish"})).tested.tolist() == [[2], [0]]


def changed_line(lines, place, new):
    return "\n".join([*lines[:place], new, *lines[place + 1 :]])


@pytest.mark.parametrize(
    ("part", "text", "says"),
    [
        ("node.dat", None, "lacks node.dat"),
        ("info.dat", "{", "info.dat is not the JSON"),
        ("info.dat", json.dumps({**INFO, "label.dat": {"node type": {}}}), "labels of 0 types"),
        ("node.dat", changed_line(NODES, 1, "1\tB\t0\t0,nan,1"), "node.dat, line 2 holds a feature that is not finite"),
        ("node.dat", changed_line(NODES, 1, "1\tB\t0\t0,x,1"), "node.dat, line 2 holds a feature that is no number"),
        ("node.dat", changed_line(NODES, 1, "1\tB\t0\t0,1"), "node.dat, line 2 has 2 features"),
        ("node.dat", changed_line(NODES, 1, "0\tB\t0\t0,1,1"), "ids of type paper are no unbroken row"),
        ("node.dat", changed_line(NODES, 1, "9\tB\t0\t0,1,1"), "ids of type paper are no unbroken row"),
        ("node.dat", changed_line(NODES, 1, "B\tB\t0\t0,1,1"), "line 2: 'B' is no whole number"),
        ("node.dat", changed_line(NODES, 1, "1\tB\t7\t0,1,1"), "line 2 is of type 7"),
        ("node.dat", changed_line(NODES, 1, "1\tB"), "line 2 has 2 columns"),
        ("node.dat", "\n".join(NODES[:5]), "no node of type term"),
        ("link.dat", changed_line(LINKS, 2, "0\t9\t1\t1.0"), "line 3 ties node 9, which is no author"),
        ("link.dat", changed_line(LINKS, 2, "0\t1\t1\t1.0"), "line 3 ties node 1, which is no author"),
        ("link.dat", changed_line(LINKS, 2, "0\t3\t8\t1.0"), "links of type 8"),
        ("link.dat", changed_line(LINKS, 2, "0\t3"), "link.dat cannot be read"),
        ("link.dat", "0\t3\t1", "link.dat has 3 columns"),
        ("label.dat", "0\t\t0\t2", "label.dat, line 1 has class 2, and info.dat names 0 to 1"),
        ("label.dat", "4\t\t0\t1", "labels node 4, which is no paper"),
        ("label.dat", "0\t\t0\t0,1", "several classes"),
        ("label.dat", "0\t\t0\t1\n0\t\t0\t1", "labels a node twice"),
        ("label.dat.test", "0\t\t0\t1", "names node 0, which label.dat names too"),
        ("label.dat.test", None, "lacks label.dat.test"),
    ],
)
def test_damage_is_named_in_one_line(write, part, text, says):
    place = write({part: text})
    with pytest.raises(DataError, match=says) as error:
        read_hgb(place)
    assert str(place) in error.value.cause
    assert "\n" not in error.value.cause


@pytest.mark.parametrize("share", [0.2, 0.6, 0.95])
def test_a_truncated_archive_is_named(write, share):
    place = write()
    place.write_bytes(place.read_bytes()[: int(place.stat().st_size * share)])
    with pytest.raises(DataError, match=r"set\.zip is no whole zip archive"):
        read_hgb(place)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_an_archive_with_a_damaged_part_is_named(write, compression):
    place = write(compression=compression)
    data = bytearray(place.read_bytes())
    inside = data.index(b"node.dat") + 12
    data[inside : inside + 8] = b"\xff" * 8
    place.write_bytes(data)
    with pytest.raises(DataError, match="no whole zip archive"):
        read_hgb(place)


def test_an_absent_place_is_named(tmp_path):
    with pytest.raises(DataError, match=r"absent\.zip"):
        read_hgb(tmp_path / "absent.zip")
