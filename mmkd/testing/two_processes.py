"""Two processes must learn what one learns from both their batches: a step's gradient, in one process and in two.

A test file runs itself as each of the processes:

    CASES = ("affinity", "contrast")

    @pytest.fixture(scope="module")
    def shared(tmp_path_factory):
        return two_processes.gradients_of_two(__file__, tmp_path_factory.mktemp("two"))

    @pytest.mark.parametrize("case", CASES)
    def test_two_processes_learn_what_one_does(shared, case):
        two_processes.assert_alike(shared[case], two_processes.gradients(*step_of(case)))

    if __name__ == "__main__":
        two_processes.serve({case: lambda case=case: two_processes.gradients(*step_of(case)) for case in CASES})
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

from mmkd.data.views import View
from mmkd.distributed import rank, world_size
from mmkd.training.step import Step

SECONDS = 240
_FILE = "gradients.pt"

Gradients = dict[str, Tensor]


def gradients(step: Step, view: View, rows: Tensor | None = None) -> Gradients:
    """Gradients of one step by parameter, averaged over processes, each of which takes its share of the rows.

    Arguments:
        step: equal in every process.
        view: holds the rows.
        rows: ids, `[R]`, R a multiple of the number of processes; default: all of the view.
    """
    drawn = view.rows if rows is None else rows
    share = len(drawn) // world_size()
    step(view.batch(drawn[rank() * share :][:share]))["loss"].backward()
    found = {name: parameter.grad for name, parameter in step.named_parameters() if parameter.grad is not None}
    if world_size() > 1:
        for gradient in found.values():
            dist.all_reduce(gradient)
            gradient /= world_size()
    return found


def gradients_of_two(file: str, place: Path) -> dict[str, Gradients]:
    """Run a file that ends in `serve` as two processes; the gradients of each case."""
    command = [sys.executable, file, str(place)]
    processes = [subprocess.Popen([*command, str(number)]) for number in range(2)]
    try:
        codes = [process.wait(timeout=SECONDS) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert codes == [0, 0], f"the two processes ended with {codes}"
    loaded: dict[str, Gradients] = torch.load(place / _FILE, weights_only=True)
    return loaded


def serve(cases: Mapping[str, Callable[[], Gradients]]) -> None:
    """Be one of the two processes: compute each case, and let the first one write the gradients down."""
    place, number = Path(sys.argv[1]), int(sys.argv[2])
    store = dist.FileStore(str(place / "store"), 2)
    dist.init_process_group("gloo", store=store, rank=number, world_size=2, timeout=timedelta(seconds=SECONDS))
    found = {name: compute() for name, compute in cases.items()}
    if number == 0:
        torch.save(found, place / _FILE)
    dist.destroy_process_group()


def assert_alike(two: Gradients, one: Gradients, *, rtol: float = 1e-6, atol: float = 1e-9) -> None:
    """Both have a gradient for the same parameters, none is 0 throughout, and they are equal up to rounding."""
    assert one, "no parameter has a gradient"
    assert two.keys() == one.keys()
    for name, gradient in one.items():
        assert gradient.abs().max() > 0, f"the gradient of {name} is 0"
        torch.testing.assert_close(two[name], gradient, rtol=rtol, atol=atol)
