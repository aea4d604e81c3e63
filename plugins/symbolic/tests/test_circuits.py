"""Semantic loss: the closed form, circuits against brute force, and the circuits that the authors published."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmkd.errors import ConfigError, DataError
from mmkd.layouts import Spec, Specs
from mmkd.signals import Signals
from mmkd_symbolic.circuits import compile_circuit, read_sdd
from mmkd_symbolic.expressions import parse, satisfiable
from mmkd_symbolic.expressions.to_numpy import predicate
from mmkd_symbolic.losses import exactly_one, rule_loss, semantic_loss
from mmkd_symbolic.methods.semantic_loss import SemanticLoss

NAMES = ["y0", "y1", "y2", "y3"]


def brute_force(text, logits):
    """Probability of the constraint, summed over all assignments, `[B]`."""
    truth = predicate(parse(text))
    total = torch.zeros(len(logits), dtype=logits.dtype)
    for case in itertools.product((0, 1), repeat=logits.shape[1]):
        if truth(dict(zip(NAMES, case, strict=False))):
            chosen = torch.tensor(case, dtype=logits.dtype)
            total += (chosen * logits.sigmoid() + (1 - chosen) * (-logits).sigmoid()).prod(1)
    return total


def one_of(names):
    return " or ".join(
        "(" + " and ".join(name if name == chosen else f"not {name}" for name in names) + ")" for chosen in names
    )


@settings(max_examples=40, deadline=None)
@given(
    st.recursive(
        st.sampled_from(NAMES),
        lambda inner: (
            inner.map(lambda a: f"not ({a})")
            | st.tuples(inner, st.sampled_from(["and", "or", "xor", "implies", "iff"]), inner).map(
                lambda t: f"({t[0]}) {t[1]} ({t[2]})"
            )
        ),
        max_leaves=8,
    )
)
def test_a_compiled_circuit_counts_as_brute_force_does(text):
    logits = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    if not satisfiable(parse(text)):
        with pytest.raises(ConfigError, match="contradicts itself"):
            compile_circuit(parse(text), NAMES)
        return
    count = compile_circuit(parse(text), NAMES).log_count(logits).exp()
    assert torch.allclose(count, brute_force(text, logits))


def test_the_closed_form_of_exactly_one_is_the_weighted_count():
    logits = torch.randn(5, 4, generator=torch.Generator().manual_seed(1))
    expected = -brute_force(one_of(NAMES), logits.double()).log().mean()
    assert exactly_one(logits).item() == pytest.approx(expected.item(), rel=1e-5)
    assert semantic_loss(logits, compile_circuit(parse(one_of(NAMES)), NAMES)).item() == pytest.approx(
        expected.item(), rel=1e-5
    )
    by_hand = torch.tensor([[0.0, 0.0]])  # p = 1/2 each: 1/4 + 1/4
    assert exactly_one(by_hand).item() == pytest.approx(0.6931472)


def test_it_is_finite_at_any_logits_and_pulls_towards_the_constraint():
    logits = torch.tensor([[200.0, 200.0, -200.0]], requires_grad=True)
    loss = exactly_one(logits)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()
    logits = torch.zeros(1, 4, dtype=torch.float64, requires_grad=True)
    circuit = compile_circuit(parse("y0 and (y1 or not y2)"), NAMES)
    assert torch.autograd.gradcheck(lambda x: circuit.log_count(x), logits)
    circuit.log_count(logits).sum().backward()
    assert logits.grad[0, 0] > 0
    assert logits.grad[0, 3] == 0


def test_rule_loss_by_hand():
    logits = torch.tensor([[0.2, 0.3, 0.5], [0.6, 0.3, 0.1]]).log()
    truth = torch.tensor([[1.0, 0.0, 1.0], [1.0, 1.0, 1.0]])
    logits.requires_grad_()
    loss = rule_loss(logits, truth)
    assert loss.item() == pytest.approx(-torch.log(torch.tensor(0.7)).item() / 2)
    loss.backward()
    assert torch.isfinite(logits.grad).all()
    assert logits.grad[0, 1] > 0
    assert torch.allclose(logits.grad[1], torch.zeros(3), atol=1e-7)  # a rule that forbids nothing teaches nothing


def test_the_method():
    student = Specs({"logits": Spec(None, (4,))}, {})
    said = Signals({"logits": torch.randn(6, 4, generator=torch.Generator().manual_seed(2))})
    default = SemanticLoss(student, {})(said, {}, None)
    spelled = SemanticLoss(student, {}, constraint=one_of(NAMES))(said, {}, None)
    assert default["wmc"].item() == pytest.approx(spelled["wmc"].item(), rel=1e-5)
    with pytest.raises(ConfigError, match="names 'y4', which is no output; outputs: y0"):
        SemanticLoss(student, {}, constraint="y4 or y0")
    with pytest.raises(ConfigError, match="no vector output 'scores'"):
        SemanticLoss(student, {}, output="scores")


def test_the_published_circuit_of_permutations(data):
    """16 variables, item i at place j: 24 permutations of 4 items, and the count is a permanent."""
    circuit = read_sdd(data("semantic_loss_constraints/permutation-4.sdd"))
    assert circuit.variables == 16
    logits = torch.randn(2, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    yes, no = logits.sigmoid().reshape(2, 4, 4), (-logits).sigmoid().reshape(2, 4, 4)
    expected = torch.zeros(2, dtype=torch.float64)
    for order in itertools.permutations(range(4)):
        chosen = torch.zeros(4, 4, dtype=torch.float64)
        chosen[torch.arange(4), list(order)] = 1
        expected += (chosen * yes + (1 - chosen) * no).flatten(1).prod(1)
    assert torch.allclose(circuit.log_count(logits).exp(), expected)


def test_the_published_circuit_of_paths_counts_its_models(data):
    """4x4 grid: 24 edges and, for 16 nodes each, whether it is an end; all simple paths between two ends."""
    circuit = read_sdd(data("semantic_loss_constraints/4-grid-all-pairs-sd.sdd"))
    assert circuit.variables == 40
    even = torch.zeros(1, 40, dtype=torch.float64)
    assert round((circuit.log_count(even).exp() * 2.0**40).item()) == simple_paths()


def simple_paths():
    """Simple paths of one edge or more between two different nodes of a 4x4 grid, by depth-first search."""
    near = {
        (r, c): [(r + a, c + b) for a, b in ((0, 1), (1, 0), (0, -1), (-1, 0)) if 0 <= r + a < 4 and 0 <= c + b < 4]
        for r in range(4)
        for c in range(4)
    }

    def longer(path):
        return sum(1 + longer([*path, node]) for node in near[path[-1]] if node not in path)

    return sum(longer([node]) for node in near) // 2  # each was walked from both ends


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no nodes"),
        ("sdd 1\nX 0 1", "the line 'X 0 1' is none of its kinds"),
        ("sdd 1\nD 0 1 2 1 1", "is none of its kinds"),
        ("sdd 2\nL 0 0 1\nD 1 1 1 0 7", "cannot be read as an SDD: 7"),
        ("L zero", "cannot be read as an SDD"),
    ],
)
def test_a_damaged_circuit(tmp_path, text, message):
    (tmp_path / "c.sdd").write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        read_sdd(tmp_path / "c.sdd")
    assert "c.sdd" in str(caught.value)
