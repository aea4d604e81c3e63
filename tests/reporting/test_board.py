"""The page over all runs."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

from mmkd.cli.main import main
from mmkd.reporting import board

from .fakes import make


def write(folder, result, report=True):
    folder.mkdir(parents=True)
    (folder / "result.json").write_text(json.dumps(result))
    if report:
        (folder / "report.html").write_text("<p>")


def page_of(tmp_path):
    assert main(["board", str(tmp_path / "runs")]) == 0
    return (tmp_path / "runs" / "board.html").read_text()


def test_each_run_has_a_row_with_link_bars_and_verdict(tmp_path, capsys):
    write(tmp_path / "runs" / "a run", make())
    write(tmp_path / "runs" / "deep" / "b", make(("teacher", "alone", "distilled"), seeds=3), report=False)
    write(tmp_path / "runs" / "a run" / "curves" / "x" / "1", make())  # belongs to its run
    (tmp_path / "runs" / "c").mkdir()
    (tmp_path / "runs" / "c" / "result.json").write_text('{"arms": 3}')
    page = page_of(tmp_path)
    told = capsys.readouterr()
    assert told.out == f"2 runs on {tmp_path / 'runs' / 'board.html'}\n"
    assert "its result.json is none of a run" in told.err
    assert 'href="a%20run/report.html"' in page
    assert page.count('<th scope="row">') == 2
    assert '<span class="tag good">better</span>' in page
    assert '<span class="tag open">no verdict</span>' in page
    assert "none of a run" in page.split("Not shown")[1]
    widths = [float(width) for width in re.findall(r"width: ([\d.]+)%", page)]
    assert max(widths) == 100
    assert min(widths) > 50
    HTMLParser().feed(page)
    assert not re.search(r'(src|href)="(https?:)?//', page), "nothing is fetched"
    assert "prefers-color-scheme: dark" in page


def test_names_are_escaped_and_json_has_the_figures(tmp_path, capsys):
    result = make()
    result["recipe"] = "<b>bold</b>"
    write(tmp_path / "runs" / "one", result)
    assert "<b>bold" not in page_of(tmp_path)
    capsys.readouterr()
    assert main(["board", str(tmp_path / "runs"), "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["runs"]
    assert row["gain"] == result["comparisons"][0]["difference"]
    assert row["verdict"] == "better"
    assert set(row["arms"]) == {"teacher", "alone", "distilled"}


def test_a_page_without_runs_and_a_folder_that_is_not_there(tmp_path, monkeypatch, capsys):
    (tmp_path / "runs").mkdir()
    assert "No finished run was found" in page_of(tmp_path)
    monkeypatch.chdir(tmp_path / "runs")
    assert main(["board"]) == 2
    assert "there is no folder runs" in capsys.readouterr().err
    assert board.find([Path("nowhere")]) == ([], {})


def test_odd_results_make_a_row_each(odd, tmp_path):
    write(tmp_path / "runs" / "odd", odd)
    rows, unread = board.find([tmp_path])
    assert not unread
    assert len(rows) == 1
    assert "</html>" in board.render(rows, unread, tmp_path)
