"""Typed graphs from recipe to prediction, and ACM as it is published."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from mmkd.cli.main import main
from mmkd.data.views import View
from mmkd.deployment.from_run import export_run
from mmkd.errors import BindingError
from mmkd.evaluation.explain import as_text, explain
from mmkd.evaluation.run import run
from mmkd_graph.datasets.hgb_acm import HGBACM
from mmkd_graph.datasets.typed_blocks import TypedBlocks

FEW = [
    "training.steps=3",
    "sources.teacher.training.steps=6",
    "sources.teacher.training.lr=0.02",
    "evaluation.latency=false",
    'evaluation.controls=["hard-teacher"]',
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    root = tmp_path_factory.mktemp("hire")
    before = os.environ.get("MMKD_STATE")
    os.environ["MMKD_STATE"] = str(root / "state")
    try:
        yield run("graph/hire", FEW, seeds=1, directory=root / "run")
    finally:
        os.environ.pop("MMKD_STATE") if before is None else os.environ.update(MMKD_STATE=before)


def test_every_arm_is_compared_with_its_baseline(finished):
    arms = finished.result["arms"]
    assert all(arm["status"] == "done" for arm in arms.values())
    against = {c["candidate"]: c["baseline"] for c in finished.result["comparisons"]}
    assert against["distilled"] == against["node-only"] == "alone"
    assert against["mlp-hire"] == against["mlp-node"] == "mlp-alone"
    assert arms["teacher"]["inputs"]["fields"] == ["x_dict", "edge_index_dict"]
    assert arms["mlp-hire"]["inputs"]["fields"] == ["x"]
    assert finished.result["metric"]["name"] == "macro_f1"
    assert "mlp-hire against mlp-alone" in finished.table()


def test_the_perceptron_reads_x_alone_and_predicts_a_table(finished, tmp_path, capsys):
    bundle = export_run(finished.directory, arm="mlp-hire", directory=tmp_path / "bundle")
    assert bundle.reads == ("x",)
    assert bundle.max_abs_difference <= 1e-5
    x = TypedBlocks().samples["x"].numpy()[:3]
    np.savez(tmp_path / "papers.npz", x=x)
    header = ",".join(f"x.{place}" for place in range(x.shape[1]))
    np.savetxt(tmp_path / "papers.csv", x, delimiter=",", header=header, comments="", fmt="%.9g")
    said = []
    for name in ("papers.npz", "papers.csv"):
        assert main(["predict", str(tmp_path / "bundle"), str(tmp_path / name), "--json"]) == 0
        said.append([row["class"] for row in json.loads(capsys.readouterr().out)["predictions"]])
    assert said[0] == said[1]
    assert set(said[0]) <= set("ABCD")


def test_a_student_that_reads_the_graph_says_why_it_cannot_be_exported(finished, tmp_path):
    with pytest.raises(BindingError, match="reads the relation 'x_dict', which is a dict of values"):
        export_run(finished.directory, directory=tmp_path / "bundle")


def test_each_recipe_can_be_explained():
    said = as_text(explain("graph/hire"))
    assert "    paper written_by author [2, None]" in said
    assert "tap types: by_type tokens [4, 32]" in said
    assert "reads student.types, teacher.types" in said


def test_data_sets_import_no_pyg():
    code = (
        "import sys, mmkd_graph.datasets.hgb_acm, mmkd_graph.datasets.typed_blocks, mmkd_graph.methods.hire, "
        "mmkd_graph.methods.hgkd; sys.exit('torch_geometric' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.fixture(scope="module")
def acm():
    place = HGBACM.files()[0].path
    if not os.path.isfile(os.path.join(os.environ.get("MMKD_DATA", ""), place)):
        pytest.skip(f"ACM is absent: MMKD_DATA has no {place}")
    return HGBACM()


class TestACM:
    def test_its_sizes_are_the_published_ones(self, acm):
        assert {name: tuple(x.shape) for name, x in acm.relations["x_dict"].items()} == {
            "paper": (3025, 1902),
            "author": (5959, 1902),
            "subject": (56, 1902),
        }
        sizes = {key: edges.shape[1] for key, edges in acm.relations["edge_index_dict"].items()}
        assert sizes["paper", "cite", "paper"] == sizes["paper", "ref", "paper"] == 5343
        assert sizes["paper", "to", "author"] == sizes["author", "to", "paper"] == 9949
        assert sizes["paper", "to", "subject"] == sizes["subject", "to", "paper"] == 3025

    def test_each_seed_selects_on_other_papers(self, acm):
        one, other = acm.split(0), acm.split(1)
        assert (len(one.labelled), len(one.valid), len(one.test["test"])) == (726, 181, 1059)
        assert torch.equal(one.test["test"], other.test["test"])
        assert set(one.valid.tolist()) != set(other.valid.tolist())
        known = torch.cat([one.labelled, one.valid, one.test["test"]])
        labels = acm.samples["label"]
        assert labels[known].min() == 0
        assert (labels == -1).sum() == 3025 - len(known)

    def test_authors_and_subjects_have_the_words_of_their_papers(self, acm):
        assert acm.derived == ("author", "subject")

    def test_a_held_out_paper_leaves_no_word_behind(self, acm):
        hidden = acm.split(0).test["test"][:200]
        before = View(acm, torch.arange(3025), torch.arange(1), hidden).relations
        kept = acm.relations["x_dict"]["paper"][hidden].clone()
        acm.relations["x_dict"]["paper"][hidden] = 1.0
        after = View(acm, torch.arange(3025), torch.arange(1), hidden).relations
        acm.relations["x_dict"]["paper"][hidden] = kept
        for name in ("paper", "author", "subject"):
            assert torch.equal(before["x_dict"][name], after["x_dict"][name])
        assert not torch.isin(before["edge_index_dict"]["paper", "to", "author"][0], hidden).any()
        assert not torch.isin(before["metapath_dict"]["paper", "psp", "paper"], hidden).any()
