"""Pictures of a task in the run directory and the report; the control that permutes what is decided alike."""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np
import pytest

from mmkd.evaluation.run import run
from mmkd.files import read_json
from mmkd.pictures import Picture, address_of, png_of
from mmkd.reporting.html import write_report
from mmkd.tasks.classification import Classification
from tests.moons import moons, recipe

__all__ = ["moons"]
seen = {}


class Drawing(Classification):
    """Draws what it is asked about; decisions that are alike are those of the first logit's sign."""

    def pictures(self, records, read):
        rows = next(iter(records.values()))["index"][:2]
        seen.update(arms=list(records), batch=read(rows), rows=rows, records=records)
        assert all(np.array_equal(kept["index"][:2], rows) for kept in records.values())
        lines = "<svg xmlns='http://www.w3.org/2000/svg'><text>" + ", ".join(records) + "</text></svg>"
        return [
            Picture("first", "A `drawing` <of> two", "two <rows>", b"\x89PNG"),
            Picture("lines", "SVG", "text", lines),
        ]

    def alike(self, outputs):
        return (outputs["logits"][:, 0] > 0).long()


class Clumsy(Classification):
    def pictures(self, records, read):
        raise ZeroDivisionError("no paper")


def drawn(plugin_root: Path, monkeypatch, name: str, **changes):
    monkeypatch.setattr(Classification, "pictures", globals()[name].pictures)
    monkeypatch.setattr(Classification, "alike", globals()[name].alike)
    return run(recipe(**changes), directory="run")


def test_a_tasks_pictures_are_kept_and_embedded(moons, monkeypatch):
    controls = {"controls": ["permuted-teacher"], "latency": False}
    done = drawn(moons, monkeypatch, "Drawing", evaluation=controls)
    assert seen["arms"] == ["teacher", "alone", "distilled"]  # no controls
    batch = seen["batch"]
    assert batch["far"].shape == (2, 2)
    assert (batch["label"] >= 0).all()  # targets of test rows are shown
    assert batch["label"].tolist() == seen["records"]["alone"]["label"][:2].tolist()
    entries = read_json(Path("run/result.json"))["pictures"]
    assert [entry["file"] for entry in entries] == ["pictures/first.png", "pictures/lines.svg"]
    assert Path("run/pictures/first.png").read_bytes() == b"\x89PNG"
    page = Path("run/report.html").read_text()
    assert f'src="data:image/png;base64,{base64.b64encode(bytes([0x89]) + b"PNG").decode()}"' in page
    assert "A <code>drawing</code> &lt;of&gt; two" in page
    assert 'alt="two &lt;rows&gt;"' in page
    assert "data:image/svg+xml;base64," in page
    assert "<text>teacher" not in page
    Path("run/pictures/first.png").unlink()
    write_report(done.result, "run/report.html")
    page = Path("run/report.html").read_text()
    assert "A <code>drawing</code>" in page
    assert "data:image/png;base64" not in page


def test_a_run_is_not_lost_over_its_pictures(moons, monkeypatch):
    done = drawn(moons, monkeypatch, "Clumsy")
    (said,) = done.result["pictures"]
    assert said["caption"] == "No pictures: ZeroDivisionError: no paper"
    assert said["file"] == ""
    assert "no paper" in Path("run/report.html").read_text()


def test_no_pictures_by_default(moons):
    done = run(recipe(), directory="run")
    assert done.result["pictures"] == []
    assert not Path("run/pictures").exists()
    assert 'id="pictures"' not in Path("run/report.html").read_text()


def test_shuffling_stays_among_what_the_task_calls_alike(moons, monkeypatch):
    from mmkd.evaluation import controls

    groups = []
    partners = controls.partners

    def noted(rows, generator, size, given=None):
        groups.append((rows, given))
        return partners(rows, generator, size, given)

    monkeypatch.setattr(controls, "partners", noted)
    drawn(moons, monkeypatch, "Drawing", seeds=1, evaluation={"controls": ["shuffled-teacher"], "latency": False})
    ((rows, given),) = groups
    assert len(given) == len(rows)
    assert set(given.unique().tolist()) <= {0, 1}


def test_names_addresses_and_figures():
    from matplotlib.figure import Figure

    with pytest.raises(ValueError, match="small letters"):
        Picture("../first", "", "", b"")
    assert Picture("a-1", "", "", "<svg/>").file == "a-1.svg"
    assert address_of("a.png", b"abc") == "data:image/png;base64,YWJj"
    figure = Figure(figsize=(1, 1))
    figure.add_subplot().plot([0, 1])
    assert png_of(figure).startswith(b"\x89PNG")
    assert png_of(figure) == png_of(figure)
