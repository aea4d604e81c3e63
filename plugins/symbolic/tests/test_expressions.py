"""Expressions: text, sorts, proofs, and the same truth in NumPy, torch and ONNX."""

import itertools

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmkd.errors import ConfigError
from mmkd_symbolic.expressions import (
    Expression,
    Finite,
    Real,
    constant,
    equivalent,
    parse,
    prove,
    require_satisfiable,
    satisfiable,
    variable,
)
from mmkd_symbolic.expressions.simplify import simplify
from mmkd_symbolic.expressions.to_numpy import predicate
from mmkd_symbolic.expressions.to_onnx import to_onnx
from mmkd_symbolic.expressions.to_torch import fuzzy_loss, soft_truth

TRUTHS, NUMBERS = ("p", "q", "r"), ("x", "y z")

numbers = st.recursive(
    st.sampled_from(NUMBERS).map(variable) | st.sampled_from([-2.0, 0.5, 1.0, 3.0]).map(constant),
    lambda inner: (
        st.tuples(st.sampled_from("-/"), inner, inner).map(lambda t: Expression(t[0], t[1:]))
        | st.tuples(st.sampled_from("+*"), st.lists(inner, min_size=2, max_size=3)).map(
            lambda t: Expression(t[0], tuple(t[1]))
        )
        | inner.map(lambda a: Expression("neg", (a,)))
    ),
    max_leaves=4,
)
comparisons = st.tuples(st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), numbers, numbers).map(
    lambda t: Expression(t[0], t[1:])
)


def logic(atoms, leaves=6):
    return st.recursive(
        atoms,
        lambda inner: (
            inner.map(lambda a: ~a)
            | st.tuples(st.sampled_from(["implies", "iff", "xor"]), inner, inner).map(lambda t: Expression(t[0], t[1:]))
            | st.tuples(st.sampled_from(["and", "or"]), st.lists(inner, min_size=2, max_size=3)).map(
                lambda t: Expression(t[0], tuple(t[1]))
            )
        ),
        max_leaves=leaves,
    )


propositions = st.sampled_from(TRUTHS).map(variable)
formulas = logic(propositions | st.booleans().map(constant))
expressions = logic(propositions | comparisons)
thresholds = logic(
    st.tuples(
        st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), st.sampled_from("xy"), st.sampled_from([0.0, 1.0])
    ).map(lambda t: Expression(t[0], (variable(t[1]), constant(t[2]))))
)


def grid():
    """Every combination of truths, with numbers that meet and miss the constants."""
    rows = np.array(list(itertools.product((0, 1), (0, 1), (0, 1), (-2.0, 0.5, 1.0), (-1.0, 0.5, 3.0))))
    return dict(zip((*TRUTHS, *NUMBERS), rows.T, strict=True))


@settings(max_examples=150, deadline=None)
@given(expressions)
def test_what_is_printed_is_parsed_to_the_same(expression):
    assert parse(str(expression)) == expression


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("a or b and not c", "a or (b and (not c))"),
        ("a implies b implies c", "a implies (b implies c)"),
        ("a iff b or c xor d and e", "a iff (b or (c xor (d and e)))"),
        ("not x > 1 and y <= 2", "(not (x > 1)) and (y <= 2)"),
        ("x - 1 - 2 < -y * 3 / 2", "((x - 1) - 2) < (((-y) * 3) / 2)"),
    ],
)
def test_precedence(text, same):
    assert parse(text) == parse(same)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a and", "it ends where a name"),
        ("a b", "'b' stands at character 3 where it should end"),
        ("(a or b", r"it ends where '\)'"),
        ("a $ b", "character 3, '\\$', means nothing"),
        ("1 and a", "takes a truth, and '1' is a number"),
        ("x < 1 < 2", "two comparisons in a row"),
        ("a and a > 1", "uses 'a' both as a number and as a truth value"),
        ("", "it ends where"),
        ("(" * 5000 + "a", "nested too deeply"),
    ],
)
def test_a_rule_that_cannot_be_read_gives_one_line(text, message):
    with pytest.raises(ConfigError, match=message) as caught:
        parse(text)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("rule '")


def test_nodes_that_make_no_sense():
    with pytest.raises(ConfigError, match="no operator 'nand'"):
        Expression("nand", (variable("a"), variable("b")))
    with pytest.raises(ConfigError, match="'not' takes 1 arguments, not 2"):
        Expression("not", (variable("a"), variable("b")))
    with pytest.raises(ConfigError, match="neither a finite number"):
        constant(float("nan"))
    with pytest.raises(ConfigError, match="no name of a variable"):
        variable("a`b")


@settings(max_examples=60, deadline=None)
@given(formulas, formulas)
def test_equivalence_is_that_of_the_truth_tables(one, other):
    rows = [dict(zip(TRUTHS, case, strict=True)) for case in itertools.product((False, True), repeat=3)]
    same = all(by_hand(one, row) == by_hand(other, row) for row in rows)
    proof = equivalent(one, other)
    assert proof.holds == same
    if not same:
        row = {name: bool(proof.witness.get(name, 0)) for name in TRUTHS}
        assert by_hand(one, row) != by_hand(other, row)


def by_hand(node, row):
    """Truth of a formula, written independently of the package."""
    if node.op == "variable":
        return row[node.value]
    if node.op == "constant":
        return node.value
    parts = [by_hand(part, row) for part in node.args]
    return {
        "not": lambda: not parts[0],
        "and": lambda: all(parts),
        "or": lambda: any(parts),
        "xor": lambda: parts[0] is not parts[1],
        "iff": lambda: parts[0] is parts[1],
        "implies": lambda: parts[1] if parts[0] else True,
    }[node.op]()


@settings(max_examples=40, deadline=None)
@given(thresholds, thresholds)
def test_cells_of_thresholds_decide_real_variables(one, other):
    places = np.array(list(itertools.product((-1.0, -0.01, 0.0, 0.3, 1.0, 1.01, 5.0), repeat=2)))
    values = {"x": places[:, 0], "y": places[:, 1]}
    same = bool((predicate(one)(values) == predicate(other)(values)).all())
    assert equivalent(one, other, {"x": Real(), "y": Real()}).holds == same


@settings(max_examples=15, deadline=None)
@given(logic(propositions | st.sampled_from(["x < 1", "x == 2", "x + 1 >= w"]).map(parse)))
def test_the_other_ways_agree_with_enumeration(formula):
    points = {"x": (0.0, 1.0, 2.0), "w": (1.0, 3.0)}
    expected = satisfiable(formula, {name: Finite(values) for name, values in points.items()}).holds
    points |= dict.fromkeys(TRUTHS, (0.0, 1.0))
    sorts = formula.variables()
    for way in (prove._by_cases, prove._by_sat):
        proof = way(formula, sorts, {name: points[name] for name in sorts})
        assert proof.holds == expected
        assert not expected or predicate(formula)(proof.witness)


def test_how_a_proof_was_found():
    domains = {"x": Finite((1.0, 2.0, 3.0)), "y": Real(0, 1), "z": Real()}
    assert equivalent(parse("x == 1 or x == 2"), parse("x < 3"), domains).how == "all 3 combinations of values"
    assert not equivalent(parse("x == 1 or x == 2"), parse("x < 3"), {"x": Real()})
    assert equivalent(parse("y <= 0.5"), parse("not y > 0.5"), domains).how == "all 5 cells"
    assert equivalent(parse("y > -1"), parse("true"), domains)  # by its bounds
    assert "linear" in equivalent(parse("y + z < 3"), parse("not (3 <= z + y)"), domains).how
    assert not equivalent(parse("y + z < 3"), parse("z < 3"), domains)
    big = " and ".join(f"(a{n} or not a{n})" for n in range(25))
    assert equivalent(parse(big), parse("true")).how.startswith("deciding variable after variable")
    with pytest.raises(ConfigError, match="'w' has no declared domain"):
        equivalent(parse("w > 1"), parse("w >= 1"), domains)
    with pytest.raises(ConfigError, match="more than linear arithmetic"):
        equivalent(parse("z * z * z * y > 1"), parse("z > 1"), domains)


def test_a_rule_that_contradicts_itself():
    require_satisfiable(parse("x > 1 and x < 2"), {"x": Real()})
    for domain in (Finite((1.0, 2.0)), Real(0.0, 1.0)):
        with pytest.raises(
            ConfigError, match=r"rule 'x > 1 and x < 2' contradicts itself: no value of x makes it true"
        ):
            require_satisfiable(parse("x > 1 and x < 2"), {"x": domain})


@settings(max_examples=40, deadline=None)
@given(logic(propositions | st.sampled_from(["x < 1", "x >= 1", "x + x < 3", "2 * x - 1 > 0"]).map(parse), leaves=4))
def test_simplifying_keeps_the_truth(expression):
    short, values = simplify(expression), grid()
    assert (predicate(short)(values) == predicate(expression)(values)).all()


def test_simplifying_shortens():
    assert str(simplify(parse("a and (b or not b) or a and c"))) == "a"
    assert str(simplify(parse("x <= 3 and x <= 5"))) == "x <= 3"


@settings(max_examples=40, deadline=None)
@given(formulas, st.sampled_from(["product", "lukasiewicz", "goedel"]))
def test_soft_truth_is_crisp_at_crisp_values(formula, kind):
    rows = np.array(list(itertools.product((0, 1), repeat=3)))
    values = dict(zip(TRUTHS, rows.T, strict=True))
    soft = soft_truth(formula, {name: torch.tensor(value).double() for name, value in values.items()}, logic=kind)
    assert np.allclose(soft.numpy(), predicate(formula)(values))


def test_soft_truth_by_hand():
    a, b = torch.tensor([0.3], dtype=torch.float64), torch.tensor([0.8], dtype=torch.float64)

    def soft(text, kind="product"):
        return soft_truth(parse(text), {"a": a, "b": b}, logic=kind).item()

    assert soft("a and b") == pytest.approx(0.24)
    assert soft("a or b") == pytest.approx(1 - 0.7 * 0.2)
    assert soft("a implies b") == pytest.approx(1 - 0.3 * 0.2)
    assert soft("a and b", "lukasiewicz") == pytest.approx(0.1)
    assert soft("a or b", "lukasiewicz") == pytest.approx(1.0)
    assert soft("a and not b", "goedel") == pytest.approx(0.2)
    near = soft_truth(parse("x < 2"), {"x": torch.tensor([1.0])}, width=0.5)
    assert near.item() == pytest.approx(1 / (1 + np.exp(-2)))
    assert fuzzy_loss(parse("a and b"), {"a": a, "b": b}).item() == pytest.approx(-np.log(0.24))


def test_the_loss_has_a_gradient_towards_the_rule():
    a = torch.tensor([0.2, 0.9], dtype=torch.float64, requires_grad=True)
    b = torch.tensor([0.6, 0.4], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a, b: fuzzy_loss(parse("a implies b"), {"a": a, "b": b}), (a, b))
    fuzzy_loss(parse("a"), {"a": a}).backward()
    assert (a.grad < 0).all()


def test_a_variable_without_a_value():
    with pytest.raises(ConfigError, match="names 'b', which has no value"):
        predicate(parse("a and b"))({"a": np.ones(2)})
    with pytest.raises(ConfigError, match="names 'b', which has no value"):
        soft_truth(parse("a and b"), {"a": torch.ones(2)})
    with pytest.raises(ConfigError, match="names 'b', which is no column; columns: a, c"):
        to_onnx(parse("a and b"), ["a", "c"])


@settings(max_examples=25, deadline=None)
@given(expressions)
def test_onnx_says_what_numpy_says(expression):
    values = grid()
    columns = list(values)
    session = onnxruntime.InferenceSession(
        to_onnx(expression, columns).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (said,) = session.run(None, {"x": np.stack([values[name] for name in columns], 1).astype(np.float32)})
    in_float32 = {name: value.astype(np.float32) for name, value in values.items()}
    assert np.array_equal(said, np.broadcast_to(predicate(expression)(in_float32), said.shape))
