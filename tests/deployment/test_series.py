"""A CSV file as one series: what it gives, and one line for whatever is wrong with it."""

from pathlib import Path

import numpy as np
import pytest

from mmkd.deployment.readers import read
from mmkd.errors import DataError

FIELD = {"shape": [2, None], "dtype": "float32", "kind": "sample", "layout": "series", "rate": 50.0, "axes": "B C T"}
NAMED = {"force": {**FIELD, "channels": ["ax", "ay"]}}


def written(folder: Path, text: str) -> Path:
    path = folder / "clip.csv"
    path.write_text(text)
    return path


def test_columns_by_channel_in_any_order(tmp_path):
    path = written(tmp_path, "time,ay,ax\n0,2,1\n0.02,4,3\n0.04,6,5\n")
    values = read(path, NAMED)["force"]
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values, [[[1, 3, 5], [2, 4, 6]]])


def test_no_header_and_no_channel_names(tmp_path):
    bare = read(written(tmp_path, "1,2\n3,4\n"), NAMED)["force"]
    np.testing.assert_array_equal(bare, [[[1, 3], [2, 4]]])
    numbered = read(written(tmp_path, "force.1,force.0\n1,2\n3,4\n"), {"force": FIELD})["force"]
    np.testing.assert_array_equal(numbered, [[[2, 4], [1, 3]]])


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "is empty"),
        ("ax,ay\n", "no lines"),
        ("ax,az\n1,2\n", "has no column 'ay'"),
        ("ax,ay,az\n1,2,3\n", "the unexpected column 'az'"),
        ("ax,ay,ax\n1,2,3\n", "has twice column 'ax'"),
        ("1,2,3\n", "3 columns where 2"),
        ("ax,ay\n1,2\n1\n", "line 3 has 1 cells"),
        ("ax,ay\n1,two\n", "line 2, column 'ay': 'two' is no number"),
        ("ax,ay\n1,2\n3,nan\n", "line 3, column 'ay' holds nan"),
        ("time,ax,ay\n0,1,2\n0.01,1,2\n0.02,1,2\n", "100 samples per second where 50"),
        ("time,ax,ay\n0,1,2\n0.02,1,2\n0.02,1,2\n", "line 4: the time does not rise"),
        ("time,ax,ay\n0,1,2\n.02,1,2\n.04,1,2\n.1,1,2\n.12,1,2\n", "0.06 s pass between lines 4 and 5"),
    ],
)
def test_one_line_for_what_is_wrong(tmp_path, text, complaint):
    with pytest.raises(DataError, match=complaint) as caught:
        read(written(tmp_path, text), NAMED)
    assert "clip.csv" in str(caught.value)
    assert "\n" not in str(caught.value)
