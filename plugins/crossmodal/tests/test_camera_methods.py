"""MonoDistill and UniDistill by hand, by their properties, and by their gradients; the network that they train."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from mmkd.binding import Bound, bind
from mmkd.data import Field, View
from mmkd.data.datasets import Dataset
from mmkd.errors import ConfigError
from mmkd_crossmodal.boxes.coding import BINS, CHANNELS
from mmkd_crossmodal.datasets.frames import CAMERA
from mmkd_crossmodal.methods.monodistill import (
    MonoDistill,
    foreground,
    inside_objects,
    masked_response,
    quality_focal,
    scene_affinity,
)
from mmkd_crossmodal.methods.unidistill import UniDistill, crucial_points, sampled
from mmkd_crossmodal.models.centre_net import CentreNet
from mmkd_crossmodal.tasks.boxes import Boxes, focal_loss

GRID = (12, 48)
FIELDS = {
    "image": Field((3, 48, 192), "uint8", layout="map"),
    "depth": Field((1, 48, 192), layout="map", unit="m"),
    "boxes": Field((4, 7), target=True),
    "present": Field((4,), "bool", target=True),
    "details": Field((4, 3), target=True),
    "camera": Field((3, 4), layout="projection [H W]", kind="constant"),
}
OUTPUTS = {"boxes": (6, 8)}


@pytest.fixture(scope="module")
def data():
    draws = torch.Generator().manual_seed(0)
    boxes = torch.zeros(4, 4, 7)
    boxes[:, 0] = torch.tensor([-3.0, 1.7, 14, 1.5, 1.6, 3.9, 0.4])
    boxes[:, 1] = torch.tensor([4.0, 1.6, 25, 1.5, 1.6, 3.9, -1.5])
    samples = {
        "image": torch.randint(0, 256, (4, 3, 48, 192), generator=draws, dtype=torch.uint8),
        "depth": torch.rand(4, 1, 48, 192, generator=draws) * 60,
        "boxes": boxes,
        "present": torch.arange(4).expand(4, 4) < 2,
        "details": torch.tensor([0.0, 0.0, 60.0]).expand(4, 4, 3).clone(),
    }
    return Dataset(FIELDS, samples, constants={"camera": torch.from_numpy(CAMERA)})


def bound(inputs, width=4, seed=0):
    torch.manual_seed(seed)
    fields = {name: FIELDS[field] for name, field in inputs.items()}
    model = CentreNet(fields, OUTPUTS, width=width)
    return Bound(model, bind(CentreNet.forward, FIELDS, inputs))


@pytest.fixture(scope="module")
def pair(data):
    view = View(data, torch.arange(4), torch.arange(2))  # two rows have labels
    student, teacher = bound({"x": "image"}), bound({"x": "depth"}, seed=1)
    batch = view.batch(torch.arange(4))
    return batch, student, teacher.eval()


def test_one_class_serves_every_sensor(data):
    view = View(data, torch.arange(4), torch.arange(4))
    batch = view.batch(torch.arange(3))
    for inputs in ({"x": "image"}, {"x": "depth"}, {"x": "image", "beside": "depth"}):
        outputs = bound(inputs)(batch).outputs
        assert outputs["boxes"].shape == (3, 6, 8)
        assert {name: outputs[name].shape[1:] for name in CHANNELS} == {
            name: (size, *GRID) for name, size in CHANNELS.items()
        }
        score = outputs["boxes"][..., 7]
        assert (score[:, :-1] >= score[:, 1:]).all()
        assert (score >= 0).all()
        assert (score <= 1).all()


def test_task_loss_reads_labelled_rows_alone(pair, data):
    batch, student, _ = pair
    task = Boxes(FIELDS, count=6)
    both = task.loss(student(batch), batch)
    both.backward()
    assert all(parameter.grad is not None for parameter in student.parameters())
    student.zero_grad()
    student.eval()
    whole, part = (View(data, torch.arange(4), torch.arange(n)).batch(torch.arange(n)) for n in (4, 2))
    mixed = View(data, torch.arange(4), torch.arange(2)).batch(torch.arange(4))
    assert mixed["boxes"][2:].isnan().all()
    assert not mixed["present"][2:].any()
    assert torch.allclose(task.loss(student(mixed), mixed), task.loss(student(part), part), rtol=1e-5)
    assert not torch.allclose(task.loss(student(whole), whole), task.loss(student(part), part), rtol=1e-3)
    student.train()


def test_focal_loss_by_hand():
    """Probability 1/2 everywhere: a centre costs (1/2)^2 log 2, elsewhere (1 - y)^4 of it."""
    heat = torch.tensor([[[[1.0, 0.5, 0.0]]]])
    wanted = 0.25 * torch.log(torch.tensor(2.0)) * torch.tensor([1, 0.5**4, 1])
    torch.testing.assert_close(focal_loss(torch.zeros(1, 1, 1, 3), heat)[0, 0, 0], wanted)


def test_perfect_boxes_score_full_marks(data):
    view = View(data, torch.arange(4), torch.arange(4))
    batch = view.batch(torch.arange(4))
    task = Boxes(FIELDS, count=6)
    said = torch.cat([batch["boxes"], torch.full((4, 4, 1), 0.9)], 2)
    said[:, 2:, 2], said[:, 2:, 3:6], said[:, 2:, 7] = 50, 1, 0.1  # two that are not there
    records = {name: value.numpy() for name, value in task.record({"boxes": said}, batch).items()}
    found = task.metrics(records)
    assert found["ap_bev_50"] == found["ap_3d_70"] == found["ap_bev_50, visible"] == 1
    assert found["depth error, m"] == 0
    assert found["pointed at, %"] == 100
    assert task.score(records) == 1
    assert task.constant(records, records) == 0
    said[:, :2, 2] *= 1.1
    records = {name: value.numpy() for name, value in task.record({"boxes": said}, batch).items()}
    assert task.metrics(records)["depth error, %"] == pytest.approx(10, rel=1e-3)
    assert task.metrics(records)["ap_bev_70"] < 1
    said[..., 7] = 0
    records = {name: value.numpy() for name, value in task.record({"boxes": said}, batch).items()}
    found = task.metrics(records)
    assert (found["depth error, %"], found["pointed at, %"], found["ap_bev_50"]) == (100, 0, 0)


def test_boxes_from_above_and_volumes_are_chosen(data):
    with pytest.raises(ConfigError, match=r"overlap = 0.6"):
        Boxes(FIELDS, overlap=0.6)
    assert Boxes(FIELDS, view="3d", overlap=0.7).primary == "ap_3d_70"
    with pytest.raises(ConfigError, match="no field 'camera'"):
        Boxes({name: field for name, field in FIELDS.items() if name != "camera"})


def test_scene_affinity():
    draws = torch.Generator().manual_seed(0)
    one, two = (torch.randn(2, 3, 4, 6, generator=draws) for _ in range(2))
    assert float(scene_affinity([one], [one])) == pytest.approx(0, abs=1e-6)
    assert float(scene_affinity([one], [3 * one])) == pytest.approx(0, abs=1e-6)  # cosines know no size
    rows = [F.normalize(map_.flatten(2), dim=1) for map_ in (one, two)]
    cosines = [torch.einsum("bci,bcj->bij", row, row) for row in rows]
    assert float(scene_affinity([one], [two])) == pytest.approx(float((cosines[0] - cosines[1]).abs().mean()), rel=1e-5)
    turned = torch.linalg.qr(torch.randn(3, 3, generator=draws))[0]
    assert float(scene_affinity([torch.einsum("dc,bchw->bdhw", turned, one)], [one])) == pytest.approx(0, abs=1e-6)
    finer = F.interpolate(two, scale_factor=2)
    assert float(scene_affinity([finer, one], [finer, one])) == pytest.approx(0, abs=1e-6)


def test_foreground_and_features_inside_it():
    boxes = torch.tensor([[[-3.0, 1.7, 14, 1.5, 1.6, 3.9, 0.4], [float("nan")] * 7]])
    inside = foreground(boxes, torch.tensor([[True, False]]), torch.from_numpy(CAMERA), GRID)
    _, column = torch.nonzero(inside[0, 0]).float().mean(0) + 0.5
    u = (111.5 * -3 + 6.69) / 14 + 94.2
    assert abs(4 * float(column) - u) < 4
    assert 4 < int(inside.sum()) < 60
    student, teacher = torch.ones(1, 2, *GRID, requires_grad=True), torch.full((1, 2, *GRID), 3.0)
    assert float(inside_objects(student, teacher, inside).detach()) == 2  # half of 2 squared
    teacher[:, :, :, int(column) :] = 0  # cells in which the teacher says nothing
    assert float(inside_objects(student, teacher, inside).detach()) == 2
    inside_objects(student, teacher, inside).backward()
    assert not student.grad[:, :, ~inside[0, 0]].any()
    assert float(inside_objects(student, teacher, torch.zeros_like(inside)).detach()) == 0


def test_masked_response_by_hand():
    zeros = {name: torch.zeros(1, size, 1, 2) for name, size in CHANNELS.items()}
    teacher = {name: value.clone() for name, value in zeros.items()}
    teacher["offset"] += 0.5
    teacher["depth"] += torch.tensor([0.25, 9.0]).reshape(1, 2, 1, 1)
    teacher["heading"][:, 3] = 100
    teacher["heading"][:, BINS + 3] = 0.125
    inside = torch.tensor([[[[True, False]]]])
    divergence = torch.log(torch.tensor(float(BINS)))
    wanted = 2 * 0.5 + 0.25 + divergence + 0.125
    torch.testing.assert_close(masked_response(zeros, teacher, inside), wanted)
    assert float(masked_response(zeros, teacher, torch.zeros_like(inside))) == 0


def test_quality_focal_is_least_where_both_agree():
    logits = torch.linspace(-4, 4, 9).reshape(1, 1, 1, 9)
    teacher = torch.full_like(logits, 1.0)
    values = quality_focal(logits, teacher)[0, 0, 0]
    assert int(values.argmin()) == 5
    assert float(values[5]) == 0


def test_nine_points():
    boxes = torch.tensor([[[0.0, 2.0, 20.0, 1.0, 2.0, 4.0, 0.0], [0.0, 2.0, -20.0, 1.0, 2.0, 4.0, 0.0]]])
    camera = torch.tensor([[100.0, 0, 96, 0], [0, 100, 24, 0], [0, 0, 1, 0]])
    places, seen = crucial_points(boxes, camera, GRID)
    assert seen[0].tolist() == [[True] * 9, [False] * 9]
    pixels = (places[0, 0] + 1) / 2 * torch.tensor([192.0, 48.0])
    torch.testing.assert_close(pixels[8], torch.tensor([96.0, 24 + 100 * 1.5 / 20]))
    torch.testing.assert_close(pixels[0], torch.tensor([96 + 100 * 2 / 21, 24 + 100 * 1.5 / 21]))
    torch.testing.assert_close(pixels[5], torch.tensor([96.0, 24 + 100 * 1.5 / 19]))
    across = (torch.arange(48) + 0.5).expand(1, 1, *GRID)
    torch.testing.assert_close(sampled(across, places)[0, 0, :, 0], pixels[:, 0] / 4)


@pytest.mark.parametrize("method", [MonoDistill, UniDistill])
def test_methods_teach_the_student_alone(method, pair):
    batch, student, teacher = pair
    specs = student.measure(batch), {"teacher": teacher.measure(batch)}
    built = method(*specs)
    with torch.no_grad():
        said = teacher(batch)
    said.outputs["boxes"][2:, 0] = torch.tensor([-3.0, 1.7, 14, 1.5, 1.6, 3.9, 0.4, 0.9])  # it finds one in each
    losses = built(student(batch), {"teacher": said}, batch)
    assert all(torch.isfinite(value) and value > 0 for value in losses.values())
    sum(losses.values()).backward()
    assert student.module.stem[0].weight.grad.abs().sum() > 0
    student.zero_grad()
    itself = method(specs[0], {"teacher": specs[0]})
    student.eval()
    same = student(batch)
    for name, value in itself(same, {"teacher": same}, batch).items():
        assert float(value.detach()) == pytest.approx(0, abs=1e-5), name
    student.train()


@pytest.mark.parametrize("method", [MonoDistill, UniDistill])
def test_unlabelled_rows_look_at_the_teachers_boxes(method, pair, data):
    """Labels that are hidden have no influence, and a teacher that finds nothing there teaches its objects nothing."""
    batch, student, teacher = pair
    built = method(student.measure(batch), {"teacher": teacher.measure(batch)})
    student.eval()
    with torch.no_grad():
        mine, said = student(batch), teacher(batch)
        said.outputs["boxes"][..., 7] = 0.05
        few = built(mine, {"teacher": said}, batch)
        said.outputs["boxes"][3, 0] = torch.tensor([5.0, 1.7, 18, 1.5, 1.6, 3.9, 0.4, 0.9])
        more = built(mine, {"teacher": said}, batch)
    name = "objects" if method is MonoDistill else "features"
    assert float(few[name]) != float(more[name])
    student.train()


@pytest.mark.parametrize("method", [MonoDistill, UniDistill])
def test_wrong_settings_are_refused(method, pair):
    batch, student, teacher = pair
    specs = student.measure(batch), {"teacher": teacher.measure(batch)}
    with pytest.raises(ConfigError, match="0 or more"):
        method(*specs, response=-1.0)
    with pytest.raises(ConfigError, match="does not define"):
        method(*specs, source="nobody")
    with pytest.raises(ConfigError, match="gives boxes"):
        CentreNet({"x": FIELDS["image"]}, {"logits": (3,)})
