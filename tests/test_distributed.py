"""Two processes must learn what one learns from both their batches: each method's gradient, and `gather_rows` itself.

Run as a script this file is one of the processes; pytest starts two, once for all quick tests. These average the
gradients themselves, since DistributedDataParallel alone takes seconds to import; a slow test wraps the step in it.
"""

import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn

from mmkd.binding import Bound, bind
from mmkd.data import Dataset, Field, View
from mmkd.distributed import gather_rows, rank, world_size, wrap
from mmkd.methods.attention_transfer import AttentionTransfer
from mmkd.methods.fitnets import FitNets
from mmkd.methods.rkd import RKD
from mmkd.methods.similarity_preserving import SimilarityPreserving
from mmkd.methods.soft_targets import SoftTargets
from mmkd.schemes.base import Update
from mmkd.sources.base import Knowledge
from mmkd.sources.live import Live
from mmkd.training.step import Step

ROWS = 8
METHODS = {
    "soft-targets": (SoftTargets, {}),
    "fitnets": (FitNets, {"student_role": "hint"}),
    "attention-transfer": (AttentionTransfer, {"roles": ("map",)}),
    "rkd": (RKD, {"role": "hint"}),
    "similarity-preserving": (SimilarityPreserving, {"role": "hint"}),
}


class Linear(nn.Module):
    """A linear model with a vector, a map and logits."""

    taps = {"hint": "hint", "map": "map"}  # noqa: RUF012
    layouts = {"map": "map"}  # noqa: RUF012

    def __init__(self, width):
        super().__init__()
        self.hint = nn.Linear(5, width)
        self.map = nn.Sequential(nn.Linear(5, width * 6), nn.Unflatten(1, (width, 2, 3)))
        self.head = nn.Linear(width, 4)

    def forward(self, x):
        self.map(x)
        return self.head(self.hint(x))


def step_of(name):
    """A step of one method on `ROWS` rows, the same in every process, and the view of the rows."""
    torch.manual_seed(0)
    x = torch.randn(ROWS, 5, dtype=torch.float64)
    rows = torch.arange(ROWS)
    view = View(Dataset({"x": Field((5,), "float64")}, {"x": x}), rows, rows)
    student, teacher = (Bound(Linear(width).double(), bind(Linear.forward, view.fields)) for width in (3, 6))
    source = Live(Knowledge(view.dataset, [teacher]))
    batch = view.batch(rows)
    method, config = METHODS[name]
    made = method(student.measure(batch), {"teacher": source.measure(batch)}, **config).double()
    update = Update(methods={name: made}, sources={"teacher": source})
    return Step({"student": student}, {"main": update}), view


def gradients(step, batch, wrapper=None):
    """Gradients of one step, averaged over processes: by what `wrapper` makes of it, else here."""
    wrapped = wrapper(step) if wrapper else step
    wrapped(batch)["loss"].backward()
    found = {name: parameter.grad for name, parameter in step.named_parameters() if parameter.grad is not None}
    if world_size() > 1 and wrapped is step:
        for gradient in found.values():
            dist.all_reduce(gradient)
            gradient /= world_size()
    return found


def process(number, folder, wrapped):
    """What each process computes and writes down."""
    store = dist.FileStore(str(Path(folder) / "store"), 2)
    dist.init_process_group("gloo", store=store, rank=number, world_size=2, timeout=timedelta(seconds=60))
    mine = torch.arange(ROWS)[number * ROWS // 2 :][: ROWS // 2]
    results = {"world": (world_size(), rank())}
    for name in METHODS:
        step, view = step_of(name)
        results[name] = gradients(step, view.batch(mine), wrap if wrapped else None)
    results["contrastive"] = contrastive(mine)
    results["gathered"] = gather_rows(torch.full((2, 3, 1), float(number)).transpose(0, 1))
    results["integers"] = gather_rows(torch.tensor([number]))
    results["none"] = gather_rows(torch.zeros(0, 3))
    errors = []
    for unequal in (torch.zeros(3 + number, 2), torch.zeros(3, 2 + number), torch.zeros((3, 2)[: 2 - number])):
        try:
            gather_rows(unequal)
        except ValueError as error:
            errors.append(str(error))
    results["errors"] = errors
    torch.save(results, Path(folder) / f"{number}.pt")
    dist.barrier()
    dist.destroy_process_group()


def contrastive(mine):
    """Gradient of a loss that compares a process's own rows with all: every process has another loss."""
    torch.manual_seed(0)
    x = torch.randn(ROWS, 5, dtype=torch.float64)
    model = nn.Linear(5, 3).double()
    said = model(x[mine])
    nn.functional.cross_entropy(said @ gather_rows(said).mT, mine).backward()
    if world_size() > 1:
        dist.all_reduce(model.weight.grad)
    return model.weight.grad / world_size()


def two_processes(folder, *options):
    """What two processes wrote down."""
    command = [sys.executable, "-W", "error", __file__]
    running = [subprocess.Popen([*command, str(number), str(folder), *options]) for number in (0, 1)]
    try:
        assert [one.wait(timeout=120) for one in running] == [0, 0]
    finally:
        for one in running:
            one.kill()
    return [torch.load(folder / f"{number}.pt", weights_only=True) for number in (0, 1)]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return two_processes(tmp_path_factory.mktemp("processes"))


@pytest.mark.slow
def test_the_wrapped_step_has_the_gradient_of_one_process(tmp_path):
    results = two_processes(tmp_path, "wrapped")
    for name in METHODS:
        test_two_processes_have_the_gradient_of_one(results, name)


@pytest.mark.parametrize("name", METHODS)
def test_two_processes_have_the_gradient_of_one(results, name):
    step, view = step_of(name)
    alone = gradients(step, view.batch(torch.arange(ROWS)))
    assert alone
    assert any(gradient.abs().max() > 1e-4 for gradient in alone.values())
    for two in results:
        for parameter, gradient in alone.items():
            assert torch.allclose(two[name][parameter], gradient, rtol=1e-6, atol=1e-9), parameter


def test_a_loss_of_own_rows_against_all_has_the_gradient_of_one_process(results):
    for two in results:
        assert torch.allclose(two["contrastive"], contrastive(torch.arange(ROWS)))


def test_processes_know_their_number(results):
    assert [two["world"] for two in results] == [(2, 0), (2, 1)]


def test_rows_are_gathered_in_the_order_of_ranks(results):
    for two in results:
        assert two["gathered"].shape == (6, 2, 1)
        assert two["gathered"][:, 0, 0].tolist() == [0, 0, 0, 1, 1, 1]
        assert two["integers"].tolist() == [0, 1]
        assert two["none"].shape == (0, 3)


def test_unequal_rows_are_an_error_in_every_process(results):
    for two in results:
        assert two["errors"] == [
            f"processes must gather equally many rows of one shape: {shapes}"
            for shapes in (
                "(3, 2) in process 0, (4, 2) in process 1",
                "(3, 2) in process 0, (3, 3) in process 1",
                "(3, 2) in process 0, (3,) in process 1",
            )
        ]


def test_one_process_gathers_its_own_rows():
    rows = torch.randn(3, 2)
    assert gather_rows(rows) is rows
    assert (world_size(), rank()) == (1, 0)


if __name__ == "__main__":
    process(int(sys.argv[1]), sys.argv[2], wrapped="wrapped" in sys.argv)
