"""Soft targets that are averaged over neighbours."""

import pytest
import torch
from torch.nn import functional as F

from mmkd.data import Dataset, Field
from mmkd.data.views import View
from mmkd.errors import ConfigError
from mmkd.layouts import Spec, Specs
from mmkd.signals import Signals
from mmkd_graph.methods.smoothed_targets import SmoothedTargets

LOGITS = Specs({"logits": Spec(None, (3,))})


class Says:
    """A source that knows one answer per row."""

    def __init__(self, logits):
        self.logits = logits

    def signals(self, batch, student, call):
        return Signals({"logits": self.logits[batch.index]})


@pytest.fixture
def view(edge_index):
    fields = {"x": Field((2,)), "edge_index": Field((2, None), "int64", "edges", kind="relation")}
    data = Dataset(fields, {"x": torch.zeros(7, 2)}, relations={"edge_index": edge_index})
    return View(data, torch.arange(7), torch.arange(7))


def target(view, taught, share):
    method = SmoothedTargets(LOGITS, {"teacher": LOGITS}, share=share)
    view.extra |= method.prepare(view, {"teacher": Says(taught)})
    return method, view.batch(view.rows)["smoothed-targets/log"].exp()


def test_targets_are_means_over_a_node_and_its_neighbours(view, edge_index):
    taught = torch.randn(7, 3)
    p = taught.softmax(1)
    wanted = []
    for node in range(7):
        around = [node, *edge_index[0, edge_index[1] == node].tolist()]
        wanted.append(0.7 * p[node] + 0.3 * p[around].mean(0))
    torch.testing.assert_close(target(view, taught, 0.3)[1], torch.stack(wanted))
    torch.testing.assert_close(target(view, taught, 0.0)[1], p)


def test_the_loss_of_a_part_of_the_rows_reads_their_targets(view):
    method, targets = target(view, torch.randn(7, 3), 1.0)
    said, batch = torch.randn(2, 3, requires_grad=True), view.batch(torch.tensor([4, 1]))
    loss = method(Signals({"logits": said}), {}, batch)["kl"]
    wanted = F.kl_div(said.log_softmax(1), targets[[4, 1]], reduction="batchmean")
    torch.testing.assert_close(loss, wanted)
    loss.backward()
    torch.testing.assert_close(said.grad, (said.softmax(1) - targets[[4, 1]]).detach() / 2)


def test_every_member_learns_for_itself(view):
    student = Specs(LOGITS.outputs, {"member0": Spec(None, (3,)), "member1": Spec(None, (3,))})
    method = SmoothedTargets(student, {"teacher": LOGITS})
    view.extra |= method.prepare(view, {"teacher": Says(torch.randn(7, 3))})
    batch, members = view.batch(view.rows), [torch.randn(7, 3) for _ in range(2)]
    both = Signals({"logits": torch.zeros(7, 3)}, {f"member{k}": said for k, said in enumerate(members)})
    alone = SmoothedTargets(LOGITS, {"teacher": LOGITS})
    wanted = [alone(Signals({"logits": said}), {}, batch)["kl"] for said in members]
    torch.testing.assert_close(method(both, {}, batch)["kl"], torch.stack(wanted).mean())


def test_other_classes_are_refused():
    with pytest.raises(ConfigError, match="same classes"):
        SmoothedTargets(LOGITS, {"teacher": Specs({"logits": Spec(None, (4,))})})
