"""Contrastive and affinity losses against open_clip's, and by hand; the methods and the task that use them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from open_clip.loss import ClipLoss, DistillClipLoss
from torch.nn import functional as F

from mmkd.data import Dataset, Field, View
from mmkd.errors import ConfigError, LayoutError
from mmkd.layouts import VECTOR, Spec, Specs
from mmkd.signals import Signals
from mmkd_crossmodal.contrastive import affinity, info_nce, repeated
from mmkd_crossmodal.methods.clip_kd import ClipKD
from mmkd_crossmodal.methods.contrastive_mapping import ContrastiveMapping
from mmkd_crossmodal.methods.stored_outputs import StoredOutputs
from mmkd_crossmodal.tasks.captioned_clips import CaptionedClips

IDS = torch.arange(6)
CLIPS = Specs({"logits": Spec(None, (3,))}, {"embedding": Spec(VECTOR, (5,)), "caption": Spec(VECTOR, (5,))})


def units(seed: int, rows: int = 6) -> torch.Tensor:
    return F.normalize(torch.randn(rows, 5, generator=torch.Generator().manual_seed(seed)), dim=1)


def test_info_nce_is_that_of_open_clip():
    heard, read, scale = units(0), units(1), torch.tensor(7.0)
    torch.testing.assert_close(info_nce(heard, read * scale, IDS), ClipLoss()(heard, read, scale))


def test_affinity_is_that_of_open_clip_less_the_entropy_of_the_teacher():
    mine, theirs, captions = units(0).requires_grad_(), units(1).requires_grad_(), 7 * units(2)
    loss = affinity(mine, captions, theirs, captions, IDS)
    said, taught = mine @ captions.T, theirs @ captions.T
    published, entropy = 0.0, 0.0
    for one, other in ((said, taught), (said.T, taught.T)):
        published += DistillClipLoss().dist_loss(other, one) / 2
        entropy -= (other.softmax(1) * other.log_softmax(1)).sum(1).mean() / 2
    torch.testing.assert_close(loss, published - entropy)
    loss.backward()
    assert mine.grad.abs().sum() > 0
    assert theirs.grad is None
    assert affinity(mine, captions, mine, captions, IDS).abs() < 1e-6


def test_a_sample_that_is_there_twice_is_not_its_own_negative():
    ids = torch.tensor([3, 4, 3, 5])
    heard, read = units(0, 4), 5 * units(1, 4)
    assert repeated(ids).nonzero().tolist() == [[0, 2], [2, 0]]
    logits = heard @ read.T
    expected = []
    for table in (logits, logits.T):
        for i in range(4):
            kept = [j for j in range(4) if j == i or ids[j] != ids[i]]
            expected.append(table[i, kept].logsumexp(0) - table[i, i])
    torch.testing.assert_close(info_nce(heard, read, ids), torch.stack(expected).mean())
    theirs = units(2, 4)
    said, taught = (F.softmax(x @ read.T, 1) for x in (heard, theirs))
    first = [j for j in range(4) if j != 2]  # of row 0
    one, other = (x[0, first] / x[0, first].sum() for x in (said, taught))
    whole = affinity(heard, read, theirs, read, ids)
    changed = read.clone()
    changed[2] += 1.0  # row 2 stands in no distribution of row 0, nor row 0 in one of row 2
    assert torch.isfinite(whole)
    assert (other * (other / one).log()).sum() > 0
    assert not torch.equal(whole, affinity(heard, changed, theirs, changed, ids))


def batch_of(ids=IDS):
    return SimpleNamespace(index=ids)


def test_clip_kd_adds_up_what_has_weight():
    mine, theirs, captions = units(0), units(1), 7 * units(2)
    student = Signals({}, {"embedding": mine})
    sources = {"teacher": Signals({}, {"embedding": theirs, "caption": captions})}
    said = ClipKD(CLIPS, {"teacher": CLIPS}, matching=2.0, affinity=0.0, interactive=0.5)(student, sources, batch_of())
    assert set(said) == {"matching", "interactive"}
    torch.testing.assert_close(
        said["matching"], 2 * (2 - 2 * (mine * theirs).sum(1)).mean()
    )  # |a - b|^2 of unit vectors
    torch.testing.assert_close(said["interactive"], 0.5 * info_nce(mine, captions, IDS))
    only = ClipKD(CLIPS, {"teacher": CLIPS}, matching=0.0, affinity=1.0)(student, sources, batch_of())
    torch.testing.assert_close(only["affinity"], affinity(mine, captions, theirs, captions, IDS))


def test_clip_kd_refuses():
    other = Specs({}, {"embedding": Spec(VECTOR, (4,)), "caption": Spec(VECTOR, (4,))})
    with pytest.raises(ConfigError, match="different sizes"):
        ClipKD(CLIPS, {"teacher": other})
    with pytest.raises(ConfigError, match="not all 0"):
        ClipKD(CLIPS, {"teacher": CLIPS}, matching=0.0, affinity=0.0)
    with pytest.raises(LayoutError, match="nowhere"):
        ClipKD(CLIPS, {"teacher": CLIPS}, role="nowhere")


def test_contrastive_mapping():
    other = Specs({}, {"embedding": Spec(VECTOR, (4,))})
    method = ContrastiveMapping(CLIPS, {"teacher": other}, temperature=0.2)
    mine, theirs = units(0), torch.randn(6, 4, generator=torch.Generator().manual_seed(1))
    mapped = F.normalize(method.adapter(mine), dim=1)
    said = method(Signals({}, {"embedding": mine}), {"teacher": Signals({}, {"embedding": theirs})}, batch_of())
    torch.testing.assert_close(said["nce"], ClipLoss()(mapped, F.normalize(theirs, dim=1), torch.tensor(5.0)))
    with pytest.raises(ConfigError, match="temperature"):
        ContrastiveMapping(CLIPS, {"teacher": other}, temperature=0.0)


@pytest.mark.parametrize("form", ["softmax", "sigmoid"])
def test_stored_outputs(form):
    mine, theirs = (torch.randn(4, 3, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    known = torch.tensor([1.0, 0.0, 1.0, 1.0])
    method = StoredOutputs(CLIPS, {"teacher": CLIPS}, form=form)
    (value,) = method(
        Signals({"logits": mine}), {"teacher": Signals({"logits": theirs, "known": known})}, None
    ).values()
    if form == "softmax":
        each = (theirs.softmax(1) * (theirs.log_softmax(1) - mine.log_softmax(1))).sum(1)
    else:
        target = theirs.sigmoid()
        each = -(target * F.logsigmoid(mine) + (1 - target) * F.logsigmoid(-mine)).mean(1)
    torch.testing.assert_close(value, each[[0, 2, 3]].sum() / 4)
    (whole,) = method(Signals({"logits": mine}), {"teacher": Signals({"logits": theirs})}, None).values()
    torch.testing.assert_close(whole, each.mean())


def test_stored_outputs_refuses():
    other = Specs({"logits": Spec(None, (4,))})
    with pytest.raises(ConfigError, match=r"\[3\] in the student, \[4\]"):
        StoredOutputs(CLIPS, {"teacher": other})
    with pytest.raises(ConfigError, match="no output 'scores'"):
        StoredOutputs(CLIPS, {"teacher": CLIPS}, output="scores")
    with pytest.raises(ConfigError, match="temperature"):
        StoredOutputs(CLIPS, {"teacher": CLIPS}, temperature=0.0)


@pytest.fixture
def view():
    fields = {
        "x": Field((1,)),
        "label": Field((), "int64", target=True, classes=("ab", "ba", "cd")),
        "swapped": Field((3,), "int64", kind="constant"),
    }
    samples = {"x": torch.zeros(6, 1), "label": torch.arange(6) % 3}
    dataset = Dataset(fields, samples, constants={"swapped": torch.tensor([1, 0, 2])})
    return View(dataset, torch.arange(6), torch.arange(4))


def test_task_learns_from_captions_and_labels(view):
    batch = view.batch(view.rows)
    heard, read = units(0), 4 * units(1)
    logits = torch.randn(6, 3, generator=torch.Generator().manual_seed(2))
    labels = F.cross_entropy(logits[:4], torch.arange(4) % 3)
    pairs = info_nce(heard, read, IDS)
    both = Signals({"logits": logits, "audio": heard, "caption": read})
    task = CaptionedClips(view.fields, contrastive=0.5, supervised=2.0)
    torch.testing.assert_close(task.loss(both, batch), 0.5 * pairs + 2 * labels)
    torch.testing.assert_close(task.loss(Signals({"logits": logits, "audio": heard}), batch), labels)
    torch.testing.assert_close(CaptionedClips(view.fields, supervised=0.0).loss(both, batch), pairs)
    with pytest.raises(ConfigError, match="not both 0"):
        CaptionedClips(view.fields, contrastive=0.0, supervised=0.0)


def test_order_accuracy(view):
    task = CaptionedClips(view.fields, opposite="swapped")
    batch = View(view.dataset, view.rows, view.rows).batch(view.rows)
    logits = torch.tensor([[2.0, 1, 9], [1, 2, 9], [0, 0, 1], [1, 2, 0], [1, 1, 0], [0, 0, 1]])
    records = {name: value.numpy() for name, value in task.record({"logits": logits}, batch).items()}
    assert records["in_order"].tolist() == [1, 1, 0.5, 0, 0.5, 0.5]
    assert task.metrics(records)["order_accuracy"] == pytest.approx(3.5 / 6)
    with pytest.raises(ConfigError, match="no field 'reversed'"):
        CaptionedClips(view.fields, opposite="reversed")
