"""The recipes, shrunk, from `mmkd run` to `mmkd predict` on a file."""

import csv
import json

import numpy as np
import pytest
from click.testing import CliRunner

from mmkd.cli.predict import command as predict
from mmkd.deployment.from_run import export_run
from mmkd.evaluation.explain import explain
from mmkd.evaluation.run import run
from mmkd.files import read_json
from mmkd_symbolic.datasets.bundled import Bundled
from mmkd_symbolic.expressions import equivalent, parse

FAST = ["evaluation.latency=false"]


def predicted(bundle, file):
    said = CliRunner().invoke(predict, [str(bundle.path), str(file), "--json"], catch_exceptions=False)
    assert said.exit_code == 0, said.output
    return json.loads(said.output)["predictions"]


def write_csv(path, header, rows):
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
    return path


@pytest.mark.parametrize("arm", ["distilled", "trepan"])
def test_network_to_tree(own_state, arm):
    changes = [
        *FAST,
        "dataset.table=iris",
        "dataset.labels_per_class=5",
        "sources.teacher.training.steps=40",
        "arms.trepan.student.samples=100",
        'evaluation.controls=["permuted-teacher"]',
    ]
    done = run("symbolic/network-to-tree", changes, seeds=1, directory=own_state / "run")
    arms = done.result["arms"]
    assert set(arms) == {"teacher", "alone", "distilled", "permuted-teacher", "trepan"}
    assert arms[arm]["fidelity"]["agreement"] > 0.5
    drawn = {picture["file"] for picture in done.result["pictures"]}
    trees = {f"pictures/tree-{name}.png" for name in ("alone", "distilled", "trepan")}
    assert drawn == {"pictures/samples.png", *trees}
    bundle = export_run(done.directory, arm=arm, seed=0)
    assert bundle.reads == ("x",)
    assert bundle.max_abs_difference <= 1e-6

    iris = Bundled(table="iris")
    rules = bundle.manifest["student"]["rules"]
    assert read_json(done.directory / "seeds/0" / arm / "job.json")["learnt"]["rules"] == rules
    assert set(rules) == {"setosa", "versicolor", "virginica"}
    either = " or ".join(f"({rule})" for rule in rules.values())
    assert equivalent(parse(either), parse("true"), iris.domains)
    columns = iris.fields["x"].channels
    order = np.random.default_rng(0).permutation(4)
    file = write_csv(
        own_state / "rows.csv", [columns[n] for n in order], iris.samples["x"][::30].numpy()[:, order].tolist()
    )
    said = predicted(bundle, file)
    assert [row["class"] for row in said] == [
        iris.fields["label"].classes[k] for k in bundle.load()(x=iris.samples["x"][::30].numpy())["logits"].argmax(1)
    ]


@pytest.mark.parametrize(
    "changes",
    [
        [],
        [
            "sources.rules.use=symbolic/rule-projection",
            'methods=[{use="soft-targets",source="rules",temperature=1.0}]',
            "evaluation.controls=[]",
        ],
        ['methods=[{use="symbolic/semantic-loss"}]', "evaluation.controls=[]"],
    ],
)
def test_rules_to_network(own_state, changes):
    small = [*FAST, "training.steps=6", "training.evaluate_every=3", "student.hidden=8", *changes]
    done = run("symbolic/rules-to-network", small, seeds=1, directory=own_state / "run")
    assert done.result["arms"]["distilled"]["status"] == "done"
    assert explain("symbolic/rules-to-network", changes)["methods"]
    if changes:
        return
    bundle = export_run(done.directory, seed=0)
    assert bundle.reads == ("x",)
    names = [f"u{n}" for n in range(6)] + [f"b{n}" for n in range(4)]
    file = write_csv(own_state / "rows.csv", names, np.full((3, 10), 0.5).tolist())
    assert {row["class"] for row in predicted(bundle, file)} <= {"low", "middle", "high"}


def test_but_rule(own_state, data):
    data("sst2_logicnn/stsa.binary.train")
    changes = [
        *FAST,
        "dataset.buckets=64",
        "dataset.labelled=100",
        "student.embedding=4",
        "student.channels=2",
        "training.steps=3",
    ]
    done = run("symbolic/but-rule", changes, seeds=1, directory=own_state / "run")
    assert done.result["arms"]["rule"]["status"] == "not applicable"
    job = read_json(done.directory / "seeds/0/distilled/job.json")
    assert set(job["parts"]) == {"but", "other"}
    assert job["parts"]["other"]["accuracy"] == job["parts"]["other"]["accuracy_q"]  # the rule says nothing there
    bundle = export_run(done.directory, seed=0)
    assert bundle.reads == ("tokens",)
    assert not (bundle.path / "examples.npz").exists()  # no licence allows to pass sentences on
    (own_state / "reviews.txt").write_text("Dull but touching.\nA mess.\n")
    assert len(predicted(bundle, own_state / "reviews.txt")) == 2
