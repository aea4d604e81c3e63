"""Rules as knowledge: checked, told as truth, projected onto."""

import numpy as np
import pytest
import torch

from mmkd.binding import Bound, bind
from mmkd.data import Dataset, Field, View
from mmkd.errors import ConfigError
from mmkd.layouts import Spec, Specs
from mmkd.signals import Signals
from mmkd.sources.base import Knowledge
from mmkd_symbolic.datasets.rule_world import TOLD, RuleWorld
from mmkd_symbolic.expressions import Finite, Real
from mmkd_symbolic.methods.rule_loss import RuleLoss
from mmkd_symbolic.projection import project
from mmkd_symbolic.rules import RuleSet
from mmkd_symbolic.sources.but_rule import ButRule
from mmkd_symbolic.sources.rule_projection import RuleProjection
from mmkd_symbolic.sources.rules import Rules
from mmkd_symbolic.tasks.but_classification import ButClassification

COLUMNS, CLASSES = ("u", "c=0", "c=1", "c=2"), ("low", "mid", "high")
DOMAINS = {"u": Real(0, 1), "c": Finite((0.0, 1.0, 2.0))}


def rule_set(*rules):
    return RuleSet(rules, COLUMNS, CLASSES, DOMAINS)


def test_truth_of_every_class():
    x = np.array([[0.9, 0, 0, 1], [0.9, 1, 0, 0], [0.1, 0, 0, 1]], np.float32)
    found = rule_set("u > 0.5 and c == 2 implies high", "c == 0 implies not low").truths(x)
    assert found.tolist() == [[[0, 0, 1], [1, 1, 1], [1, 1, 1]], [[1, 1, 1], [0, 1, 1], [1, 1, 1]]]


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ([], "there are no rules"),
        (["v > 1 implies high"], "names 'v', which is neither a column nor a class"),
        (["u > 0.5 implies hihg"], "names 'hihg', which is neither a column nor a class; did you mean 'high'"),
        (["u > 2 and high"], "rule 'u > 2 and high' contradicts itself: no input and no class makes it true"),
        (["high and low"], "contradicts itself"),
        (["u > 0.5 implies high and low"], "rule 'u > 0.5 implies high and low' leaves no class at u = "),
        (["u > 0.5 implies high", "c == 1 implies low"], "the rules contradict each other: they leave no class at"),
        (["high and u"], "takes the column 'u' for a truth value; compare it with a number"),
    ],
)
def test_rules_that_cannot_be_taught(rules, message):
    with pytest.raises(ConfigError, match=message) as caught:
        rule_set(*rules)
    assert "\n" not in str(caught.value)


def test_a_contradiction_names_a_place_where_it_happens():
    with pytest.raises(ConfigError, match=r"no class at .*c = 1"):
        rule_set("u > 0.5 implies high", "c == 1 implies low")


def test_projection_by_hand():
    p = torch.tensor([[0.7, 0.3], [0.5, 0.5]])
    truth = torch.tensor([[0.2, 0.8], [1.0, 1.0]])
    q = project(p.log(), [truth], strength=6.0).softmax(1)
    weight = p * torch.exp(-6 * (1 - truth))
    assert torch.allclose(q, weight / weight.sum(1, keepdim=True))
    assert torch.allclose(q[1], p[1])
    both = project(p.log(), [truth, truth], strength=3.0).softmax(1)
    assert torch.allclose(both, q)  # every rule counts once, whatever its place


def source_over(kind, world=None, **config):
    dataset = world or RuleWorld()
    return kind(Knowledge(dataset, [], {}, {"logits": (3,)}), **config), dataset


def test_the_rules_of_the_world_are_true_and_false_as_its_setting_says():
    shares = {}
    for setting in TOLD:
        rules, dataset = source_over(Rules, RuleWorld(setting=setting))
        batch = View(dataset, every := torch.arange(len(dataset)), every).batch(every)
        truth = rules.signals(batch, None, None).outputs["truth"]
        held = truth[every, batch["label"]]
        decided = truth.sum(1) < 3
        shares[setting] = (decided.float().mean().item(), held[decided].mean().item() if decided.any() else 1.0)
    assert 0.3 < shares["positive"][0] < 0.5
    assert shares["positive"][1] == pytest.approx(0.9, abs=0.03)  # one label in ten is wrong
    assert shares["null"] == (0.0, 1.0)
    assert shares["harm"][1] < 0.1


def test_rules_as_a_teacher():
    rules, dataset = source_over(Rules, rules=["u0 > 0.5 implies high", "b0 == 1 implies not low"])
    batch = View(dataset, every := torch.arange(20), every).batch(every)
    said = rules.signals(batch, None, None)
    sure = batch["x"][:, 0] > 0.5
    assert (said.logits.argmax(1)[sure] == 2).all()
    assert torch.allclose(said.logits.logsumexp(1), torch.zeros(20), atol=1e-6)
    free = ~sure & (batch["x"][:, 6] == 0)
    assert torch.allclose(said.logits[free], said.logits[free][:, :1].expand(-1, 3))
    with pytest.raises(ConfigError, match="field 'label' names no columns"):
        source_over(Rules, field="label")
    with pytest.raises(ConfigError, match="reads field 'z', which the data lacks"):
        source_over(Rules, field="z")
    plain = Dataset(
        {"x": Field((1,)), "label": Field((), "int64", target=True, classes=("a",))},
        {"x": torch.zeros(2, 1), "label": torch.zeros(2).long()},
    )
    with pytest.raises(ConfigError, match="names no columns"):
        source_over(Rules, plain)


def test_the_student_projected_onto_expressions():
    source, dataset = source_over(RuleProjection, rules=["u0 > 0.5 implies high"], strength=6.0)
    batch = View(dataset, every := torch.arange(50), every).batch(every)
    logits = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    q = source.signals(batch, Signals({"logits": logits}), None).logits.softmax(1)
    fires = batch["x"][:, 0] > 0.5
    p = logits.softmax(1)
    assert torch.allclose(q[~fires], p[~fires], atol=1e-6)
    weight = p[fires] * torch.exp(torch.tensor([-6.0, -6.0, 0.0]))
    assert torch.allclose(q[fires], weight / weight.sum(1, keepdim=True), atol=1e-6)
    with pytest.raises(ConfigError, match="made from the student"):
        source.signals(batch, None, None)


def test_rule_loss_wants_truth():
    student, rules = Specs({"logits": Spec(None, (3,))}), Specs({"logits": Spec(None, (3,)), "truth": Spec(None, (3,))})
    RuleLoss(student, {"rules": rules})
    with pytest.raises(ConfigError, match="gives no truth of rules"):
        RuleLoss(student, {"rules": student})
    with pytest.raises(ConfigError, match="has not one logit for each class"):
        RuleLoss(Specs({"logits": Spec(None, (2,))}), {"rules": rules})


class Words(Dataset):
    def __init__(self):
        text = torch.tensor([[1, 2, 3], [4, 5, 0], [2, 1, 0]])
        clause = torch.tensor([[3, 0, 0], [0, 0, 0], [1, 0, 0]])
        fields = {
            "tokens": Field((3,), "int64"),
            "clause": Field((3,), "int64"),
            "but": Field((), "bool"),
            "label": Field((), "int64", target=True, classes=("negative", "positive")),
        }
        but = torch.tensor([True, False, True])
        super().__init__(fields, {"tokens": text, "clause": clause, "but": but, "label": torch.tensor([0, 1, 1])})


class Bag(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.words = torch.nn.Embedding(6, 2)
        self.dropout = torch.nn.Dropout(0.5)

    def forward(self, tokens):
        return self.dropout(self.words(tokens).sum(1))


def test_but_means_what_stands_after_it():
    dataset, bag = Words(), Bag()
    student = Bound(bag, bind(Bag.forward, dataset.fields))
    source = ButRule(Knowledge(dataset, [], {"student": student}, {"logits": (2,)}))
    batch = View(dataset, every := torch.arange(3), every).batch(every)
    student.train()
    logits = torch.randn(3, 2, generator=torch.Generator().manual_seed(1))
    q = source.signals(batch, Signals({"logits": logits}), None).logits.softmax(1)
    assert all(part.training for part in student.modules())
    p, clause = logits.softmax(1), bag.words(batch["clause"]).sum(1).softmax(1)  # without dropout
    weight = p * torch.exp(-6 * (1 - (1 + clause) / 2))
    expected = torch.where(batch["but"][:, None], weight / weight.sum(1, keepdim=True), p)
    assert torch.allclose(q, expected, atol=1e-6)
    assert not q.requires_grad

    student.eval()
    task = ButClassification(dataset.fields)
    with torch.no_grad():
        said = task.predict(student, batch)
        again = source.signals(batch, student(batch), None).logits.softmax(1)
    assert torch.allclose(said["projected"].softmax(1), again, atol=1e-6)
    records = {name: value.numpy() for name, value in task.record(said, batch).items()}
    right = (again.argmax(1) == batch["label"]).float().mean().item()
    assert task.metrics(records)["accuracy_q"] == pytest.approx(right)
    with pytest.raises(ConfigError, match="reads field 'aside', which the data lacks"):
        ButRule(Knowledge(dataset, [], {"student": student}, {}), clause="aside")
