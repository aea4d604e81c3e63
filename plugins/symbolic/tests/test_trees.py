"""Tree students: against scikit-learn, their rules, their queries, JSON and ONNX."""

import json

import numpy as np
import onnxruntime
import pytest
from sklearn.tree import DecisionTreeClassifier

from mmkd.data import Field
from mmkd.errors import ConfigError
from mmkd_symbolic.expressions import Finite, Real, equivalent, parse
from mmkd_symbolic.expressions.to_numpy import predicate
from mmkd_symbolic.models.cart import CART
from mmkd_symbolic.models.marginals import Bounds, Marginals
from mmkd_symbolic.models.tree import rounded_down
from mmkd_symbolic.models.trepan import Trepan

COLUMNS = ("a", "b", "colour=0", "colour=1", "colour=2")
CLASSES = ("no", "yes")


def make(kind, columns=COLUMNS, classes=2, **config):
    return kind({"x": Field((len(columns),), layout="vector", channels=columns)}, {"logits": (classes,)}, **config)


def rows(count=300, seed=0):
    random = np.random.default_rng(seed)
    coded = np.eye(3)[random.integers(0, 3, count)]
    return np.concatenate([random.random((count, 2)), coded], 1).astype(np.float32)


def truth(x):
    return ((x[:, 0] > 0.5) & (x[:, 3] == 1)) | (x[:, 1] <= 0.25)


def never(inputs):
    raise AssertionError("nobody may be asked")


def fit(student, x, labels, labelled=None, signals=None, query=never, seed=0):
    labelled = np.ones(len(x), bool) if labelled is None else labelled
    y = np.where(labelled, labels, -1)
    student.fit({"x": x}, {"label": y, "labelled": labelled}, signals or {}, ({}, {}), query, seed=seed)
    return student


def logits_of(x):
    """A teacher that knows the truth."""
    return {"logits": np.stack([np.where(truth(x), -4.0, 4.0), np.zeros(len(x))], 1)}


def test_alone_it_is_cart():
    x = rows()
    noisy = truth(x) ^ (np.random.default_rng(1).random(len(x)) < 0.2)
    student = fit(make(CART, leaves=9), x, noisy.astype(int))
    known = DecisionTreeClassifier(criterion="gini", max_leaf_nodes=9, random_state=0).fit(x, noisy.astype(int))
    other = rows(seed=2)
    assert student.tree.leaves == 9
    probability = np.exp(student.predict({"x": other})["logits"])
    assert np.allclose(probability, known.predict_proba(other), atol=2e-6)


def test_unlabelled_rows_count_only_with_a_teacher():
    x = rows()
    labelled = np.arange(len(x)) < 20
    alone = fit(make(CART), x, truth(x).astype(int), labelled)
    few = fit(make(CART), x[:20], truth(x[:20]).astype(int))
    assert alone.state() == few.state()
    taught = fit(make(CART), x, np.zeros(len(x), int), labelled, {"teacher": logits_of(x)})
    assert (taught.predict({"x": x})["logits"].argmax(1) == truth(x)).all()  # the labels given here are all "no"


def test_trepan_asks_within_the_bounds_of_its_nodes_and_finds_the_rule():
    x = rows(60)
    asked = []

    def query(inputs):
        asked.append(inputs["x"])
        return logits_of(inputs["x"])

    student = fit(make(Trepan, leaves=8, samples=400), x, np.zeros(60, int), None, {"t": logits_of(x)}, query)
    assert all((part[:, 2:].sum(1) == 1).all() for part in asked)  # one colour each
    assert {part.shape[1] for part in asked} == {5}
    first, second = student.tree, asked[1]  # the root's left child is asked about next
    goes_left = second[:, first.column[0]] <= first.threshold[0]
    assert goes_left.all() or not goes_left.any()
    other = rows(2000, seed=3)
    assert (student.predict({"x": other})["logits"].argmax(1) == truth(other)).mean() > 0.97
    again = fit(make(Trepan, leaves=8, samples=400), x, np.zeros(60, int), None, {"t": logits_of(x)}, query)
    assert again.state() == student.state()


def test_trepan_recovers_a_rule_of_few_variables_exactly():
    columns = ("p", "q", "r")
    x = np.random.default_rng(0).integers(0, 2, (40, 3)).astype(np.float32)

    def said(x):
        return {"logits": np.stack([np.zeros(len(x)), 8 * (((x[:, 0] == 1) & (x[:, 1] == 1)) | (x[:, 2] == 1)) - 4], 1)}

    student = fit(make(Trepan, columns, leaves=4), x, np.zeros(40, int), None, {"t": said(x)}, lambda i: said(i["x"]))
    found = student.rules(CLASSES)["yes"]
    domains = dict.fromkeys(columns, Finite((0.0, 1.0)))
    assert equivalent(found, parse("p == 1 and q == 1 or r == 1"), domains)
    assert student.tree.leaves == 4


def test_trepan_joins_siblings_of_one_class():
    x = rows(50)
    even = {"logits": np.tile([0.0, 1.0], (50, 1))}
    student = fit(
        make(Trepan),
        x,
        np.zeros(50, int),
        None,
        {"t": even},
        lambda i: {"logits": np.tile([0.0, 1.0], (len(i["x"]), 1))},
    )
    assert student.tree.leaves == 1
    assert str(student.rules(CLASSES)["yes"]) == "true"
    assert str(student.rules(CLASSES)["no"]) == "false"


@pytest.mark.parametrize("kind", [CART, Trepan])
def test_rules_json_and_onnx_say_what_the_tree_says(kind):
    x = rows()
    config = {"samples": 0} if kind is Trepan else {}
    student = fit(make(kind, **config), x, truth(x).astype(int))
    other = rows(500, seed=5)
    said = student.predict({"x": other})["logits"]
    values = {"a": other[:, 0], "b": other[:, 1], "colour": other[:, 2:].argmax(1)}
    rules = student.rules(CLASSES)
    for number, name in enumerate(CLASSES):
        assert (predicate(rules[name])(values) == (said.argmax(1) == number)).all()
        assert parse(str(rules[name])) == rules[name]
    domains = {"a": Real(), "b": Real(), "colour": Finite((0.0, 1.0, 2.0))}
    assert equivalent(rules["no"], ~rules["yes"], domains)
    assert student.describe(CLASSES) == {"leaves": student.tree.leaves, "rules": {n: str(r) for n, r in rules.items()}}

    copy = make(kind)
    copy.load_state(json.loads(json.dumps(student.state())))
    assert np.array_equal(copy.predict({"x": other})["logits"], said)

    session = onnxruntime.InferenceSession(student.to_onnx().SerializeToString(), providers=["CPUExecutionProvider"])
    edges = np.tile(np.median(other, 0), (len(student.tree.column), 1)).astype(np.float32)
    for node, column in enumerate(student.tree.column):  # rows that lie on the thresholds themselves
        if column >= 0:
            edges[node, column] = student.tree.threshold[node]
    for part in (other, edges, other[:1]):
        assert np.array_equal(session.run(None, {"x": part})[0], student.predict({"x": part})["logits"])


def test_thresholds_are_rounded_down():
    between = np.array([0.1, 1 / 3, 1e-8, -0.1])
    found = rounded_down(between)
    assert (found <= between).all()
    assert (np.nextafter(found, np.float32(np.inf)) > between).all()


def test_marginals_hold_bounds_and_frequencies():
    x = rows(400)
    x[:, 2:] = np.eye(3)[np.repeat([0, 1, 2], [100, 200, 100])]
    marginals, random = Marginals(x, COLUMNS), np.random.default_rng(0)
    free = marginals.draw(4000, Bounds(), random)
    assert np.allclose(free[:, 2:].mean(0), [0.25, 0.5, 0.25], atol=0.03)
    assert abs(np.corrcoef(free[:, 0], free[:, 1])[0, 1]) < 0.05
    held = marginals.draw(500, Bounds().above(0, 0.7).below(3, 0.5), random)
    assert held[:, 0].min() > 0.7
    assert not held[:, 3].any()
    assert (held[:, 2:].sum(1) == 1).all()
    only = marginals.draw(50, Bounds().above(4, 0.5), random)
    assert only[:, 4].all()
    outside = marginals.draw(50, Bounds().above(0, float(x[:, 0].max())), random)
    assert np.isfinite(outside).all()


@pytest.mark.parametrize(
    ("field", "outputs", "config", "message"),
    [
        (Field((2, 3)), {"logits": (2,)}, {}, "reads a vector of numbers"),
        (Field((2,), "int64"), {"logits": (2,)}, {}, "not int64"),
        (Field((2,)), {"boxes": (4,)}, {}, "class logits alone"),
        (Field((2,)), {"logits": (2,)}, {"leaves": 1}, "has at least 2"),
    ],
)
def test_what_a_tree_cannot_be(field, outputs, config, message):
    with pytest.raises(ConfigError, match=message):
        CART({"x": field}, outputs, **config)
    with pytest.raises(ConfigError, match="samples = -1 is negative"):
        Trepan({"x": Field((2,))}, {"logits": (2,)}, samples=-1)


def test_a_source_without_logits():
    with pytest.raises(ConfigError, match="learns from logits, and the source gives masks"):
        fit(make(CART), rows(10), np.zeros(10, int), None, {"t": {"masks": np.zeros((10, 2))}})
