"""Checkpoints give back the bits that went in or say that they cannot; no kill, full disk or flipped bit loses any."""

from __future__ import annotations

import errno
import json
import math
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import mmkd.training.checkpoints as module
from mmkd.errors import StorageError
from mmkd.training.checkpoints import Checkpoint, Checkpoints, flatten_optimiser, restore_optimiser

ROOT = Path(module.__file__).parents[2]


def run_python(code: str, *arguments: object, wrapper: tuple[str, ...] = ()) -> str:
    command = [*wrapper, sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def content(step: int, size: int = 20) -> tuple[dict[str, Tensor], dict[str, Any]]:
    generator = torch.Generator().manual_seed(step)
    return {"w": torch.randn(size, generator=generator), "n": torch.tensor(step)}, {"step": step}


def assert_holds(checkpoint: Checkpoint | None, step: int) -> None:
    assert checkpoint is not None
    assert checkpoint.step == step
    tensors, state = content(step)
    assert_bit_equal(checkpoint.tensors(), tensors)
    assert checkpoint.state() == state


def assert_bit_equal(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype, name
        assert found[name].shape == tensor.shape, name
        assert bits(found[name]) == bits(tensor), name


def bits(tensor: Tensor) -> bytes:
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


@pytest.fixture
def three(tmp_path: Path) -> Checkpoints:
    """Checkpoints of the steps 1 to 3."""
    checkpoints = Checkpoints(tmp_path / "checkpoints", keep=3)
    for step in (1, 2, 3):
        checkpoints.save(step, *content(step))
    return checkpoints


class TestRoundTrip:
    def test_tensors_of_every_kind(self, tmp_path: Path) -> None:
        base = torch.randn(6, 5)
        tensors = {
            "float32": torch.tensor([1.0, -0.0, math.nan, math.inf, 1e-42]),
            "float64": torch.randn(3, dtype=torch.float64),
            "bfloat16": torch.randn(4, 3).bfloat16(),
            "float16": torch.randn(4).half(),
            "int64": torch.tensor([2**63 - 1, -(2**63)]),
            "bool": torch.tensor([True, False, True]),
            "uint8": torch.arange(7, dtype=torch.uint8),
            "0-dim": torch.tensor(3.5),
            "0-dim int": torch.tensor(7),
            "0-dim bf16": torch.tensor(1.5, dtype=torch.bfloat16),
            "empty": torch.empty(0),
            "empty too": torch.empty(3, 0, 2, dtype=torch.int64),
            "whole": base,
            "same": base,
            "part": base[2:4],
            "transposed": base.T,
            "column": base[:, 1],
            "expanded": torch.ones(1).expand(4, 2),
            "channels last": torch.randn(2, 3, 4, 4).contiguous(memory_format=torch.channels_last),
            "a/name.with odd ü characters": torch.ones(1),
            "parameter": nn.Parameter(torch.randn(3)),
            "conjugate": torch.randn(2, dtype=torch.complex64).conj(),
        }
        saved = Checkpoints(tmp_path).save(7, tensors, {})
        loaded = Checkpoints(tmp_path).latest()
        assert loaded == saved
        found = saved.tensors()
        expected = {name: tensor.resolve_conj() for name, tensor in tensors.items()}
        shutil.rmtree(saved.path)  # what was loaded does not hang on the disk
        assert_bit_equal(found, expected)
        found["whole"].add_(1)
        assert_bit_equal({"same": found["same"]}, {"same": base})

    def test_state_of_every_kind(self, tmp_path: Path) -> None:
        state = {
            "tuple": (1, (2.5, None), [(), []]),
            "floats": [0.1, 1e-300, -0.0, math.inf, -math.inf],
            "int": 2**80,
            "flags": {"on": True, "off": False, "none": None},
            "text": "ü\n\u2028",
            "nested": {"a": [{"b": {"c": [1]}}]},
            "empty": {},
        }
        found = Checkpoints(tmp_path).save(0, {}, state).state()
        assert found == state
        assert isinstance(found["tuple"], tuple)
        assert math.copysign(1, found["floats"][2]) == -1
        assert found["flags"]["on"] is True
        assert math.isnan(Checkpoints(tmp_path).save(1, {}, {"x": math.nan}).state()["x"])

    def test_files_are_strict_json_and_safetensors(self, tmp_path: Path) -> None:
        def no_constant(name: str) -> None:
            raise AssertionError(name)

        saved = Checkpoints(tmp_path).save(1, content(1)[0], {"best": -math.inf})
        assert sorted(os.listdir(saved.path)) == ["manifest.json", "state.json", "tensors.safetensors"]
        for name in ("state.json", "manifest.json"):
            json.loads((saved.path / name).read_text(), parse_constant=no_constant)

    @pytest.mark.parametrize(
        ("tensors", "state", "word"),
        [
            ({}, {"x": {"deep": [torch.ones(1)]}}, r"state\.x\.deep\.0 is a Tensor"),
            ({}, {"x": {1: 2}}, r"state\.x has the key 1"),
            ({}, {"x": {1, 2}}, "is a set"),
            ({"t": [1.0]}, {}, "'t' is no dense tensor"),
            ({"t": torch.eye(2).to_sparse()}, {}, "'t' is no dense tensor"),
            ({"t": torch.ones(1, dtype=torch.complex128)}, {}, "complex128"),
        ],
    )
    def test_what_cannot_be_held_is_named_and_nothing_is_written(
        self, tmp_path: Path, tensors: Any, state: Any, word: str
    ) -> None:
        with pytest.raises(TypeError, match=word):
            Checkpoints(tmp_path / "new").save(1, tensors, state)
        assert not (tmp_path / "new").exists()

    def test_bad_arguments(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="keep is 0"):
            Checkpoints(tmp_path, keep=0)
        with pytest.raises(ValueError, match="step is -1"):
            Checkpoints(tmp_path).save(-1, {}, {})


class TestKeeping:
    def test_none_yet(self, tmp_path: Path) -> None:
        assert Checkpoints(tmp_path / "absent").latest() is None
        (tmp_path / "step_5.tmp").mkdir()
        (tmp_path / "step_x").mkdir()
        assert Checkpoints(tmp_path).latest() is None

    @pytest.mark.parametrize("keep", [1, 2, 3])
    def test_the_newest_stay_by_number_not_by_name(self, tmp_path: Path, keep: int) -> None:
        checkpoints = Checkpoints(tmp_path, keep=keep)
        for step in (8, 9, 10, 11):
            checkpoints.save(step, *content(step))
        assert sorted(os.listdir(tmp_path)) == sorted(f"step_{step}" for step in (9, 10, 11)[-keep:])
        assert_holds(checkpoints.latest(), 11)

    def test_leftovers_go_and_other_files_stay(self, three: Checkpoints) -> None:
        leftover = three.directory / "step_9.tmp"
        leftover.mkdir()
        (leftover / "state.json").write_text("{")
        (three.directory / "notes.txt").write_text("mine")
        three.save(4, *content(4))
        assert sorted(os.listdir(three.directory)) == ["notes.txt", "step_2", "step_3", "step_4"]

    def test_pruning_counts_only_those_that_verify(self, three: Checkpoints) -> None:
        (three.directory / "step_3" / "state.json").write_text("{}")
        two = Checkpoints(three.directory, keep=2)
        two.save(4, *content(4))
        assert sorted(os.listdir(three.directory)) == ["step_2", "step_4"]

    def test_what_was_saved_last_stays_even_with_a_smaller_step(self, three: Checkpoints) -> None:
        Checkpoints(three.directory, keep=1).save(2, *content(2))
        assert os.listdir(three.directory) == ["step_2"]

    @pytest.mark.parametrize("corrupt", [False, True])
    def test_the_same_step_again_replaces(self, three: Checkpoints, corrupt: bool) -> None:
        if corrupt:
            (three.directory / "step_3" / "manifest.json").unlink()
        saved = three.save(3, *content(30))
        assert saved.state() == {"step": 30}
        assert sorted(os.listdir(three.directory)) == ["step_1", "step_2", "step_3"]

    def test_a_replaced_one_is_used_until_its_successor_is_there(self, three: Checkpoints) -> None:
        os.rename(three.directory / "step_3", three.directory / "step_3.old0")  # killed between the two renames
        assert_holds(three.latest(), 3)
        three.save(3, *content(3))
        assert sorted(os.listdir(three.directory)) == ["step_1", "step_2", "step_3"]

    @pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="tells files by /proc")
    def test_everything_is_durable_before_it_gets_its_name(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        events: list[str] = []
        fsync, rename = os.fsync, os.rename

        def traced_fsync(handle: int) -> None:
            events.append(os.path.relpath(os.readlink(f"/proc/self/fd/{handle}"), tmp_path))
            fsync(handle)

        def traced_rename(source: Path, target: Path) -> None:
            events.append(f"{source.name} -> {target.name}")
            rename(source, target)

        monkeypatch.setattr(os, "fsync", traced_fsync)
        monkeypatch.setattr(os, "rename", traced_rename)
        Checkpoints(tmp_path).save(1, *content(1))
        assert sorted(events[:2]) == ["step_1.tmp/state.json", "step_1.tmp/tensors.safetensors"]
        assert events[2:] == ["step_1.tmp/manifest.json", "step_1.tmp", "step_1.tmp -> step_1", "."]


def flip(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "bit in tensors": (lambda d: flip(d / "tensors.safetensors", -3), r"tensors\.safetensors has another sha256"),
    "bit in header": (lambda d: flip(d / "tensors.safetensors", 12), r"tensors\.safetensors has another sha256"),
    "bit in state": (lambda d: flip(d / "state.json", 3), r"state\.json has another sha256"),
    "bit in manifest": (lambda d: flip(d / "manifest.json", 0), r"manifest\.json is not JSON"),
    "truncated tensors": (lambda d: os.truncate(d / "tensors.safetensors", 100), r"tensors\.safetensors has 100 bytes"),
    "truncated state": (lambda d: os.truncate(d / "state.json", 0), r"state\.json has 0 bytes"),
    "truncated manifest": (lambda d: os.truncate(d / "manifest.json", 50), r"manifest\.json is not JSON"),
    "no tensors": (lambda d: (d / "tensors.safetensors").unlink(), r"tensors\.safetensors is missing"),
    "no state": (lambda d: (d / "state.json").unlink(), r"state\.json is missing"),
    "no manifest": (lambda d: (d / "manifest.json").unlink(), r"manifest\.json is missing"),
    "empty manifest": (lambda d: (d / "manifest.json").write_text("{}"), r"manifest\.json lists no files"),
    "manifest of another step": (
        lambda d: shutil.copy(d.parent / "step_2" / "manifest.json", d / "manifest.json"),
        r"manifest\.json belongs to step 2",
    ),
    "manifest of another format": (
        lambda d: (d / "manifest.json").write_text('{"format": 9, "step": 3, "files": {}}'),
        r"manifest\.json has format 9",
    ),
    "manifest without entries": (
        lambda d: (d / "manifest.json").write_text('{"format": 1, "step": 3, "files": {}}'),
        r"manifest\.json does not list state\.json",
    ),
    "state is a directory": (
        lambda d: ((d / "state.json").unlink(), (d / "state.json").mkdir()),
        r"state\.json cannot be read",
    ),
}


class TestCorruption:
    @pytest.mark.parametrize("damage", DAMAGES)
    def test_the_next_older_is_used_with_one_warning(self, three: Checkpoints, damage: str) -> None:
        act, words = DAMAGES[damage]
        act(three.directory / "step_3")
        with pytest.warns(UserWarning, match=f"{words}.*going on from step 2 instead$") as caught:
            found = three.latest()
        assert len(caught) == 1
        assert str(three.directory / "step_3") in str(caught[0].message)
        assert_holds(found, 2)

    def test_two_corrupt_ones_give_two_warnings(self, three: Checkpoints) -> None:
        for step in (2, 3):
            flip(three.directory / f"step_{step}" / "state.json", 0)
        with pytest.warns(UserWarning, match="going on from step 1 instead") as caught:
            assert_holds(three.latest(), 1)
        for step, warning in zip((3, 2), caught, strict=True):
            assert f"step_{step}" in str(warning.message)

    def test_none_that_verifies_is_an_error_and_nothing_is_deleted(self, three: Checkpoints) -> None:
        for step in (1, 2, 3):
            flip(three.directory / f"step_{step}" / "tensors.safetensors", 80)
        with pytest.raises(StorageError, match="none of the 3 checkpoints") as caught:
            three.latest()
        assert str(three.directory) in caught.value.cause
        assert str(three.directory) in caught.value.way_out
        assert len(os.listdir(three.directory)) == 3

    @pytest.mark.parametrize("name", ["tensors.safetensors", "state.json", "manifest.json"])
    def test_no_flipped_bit_goes_unnoticed_and_changes_what_is_read(self, tmp_path: Path, name: str) -> None:
        saved = Checkpoints(tmp_path).save(3, *content(3))
        original = (saved.path / name).read_bytes()
        noticed = 0
        for position in range(len(original)):
            data = bytearray(original)
            data[position] ^= 1 << position % 8
            (saved.path / name).write_bytes(data)
            try:
                saved.verify()
                assert_holds(saved, 3)
            except StorageError:
                noticed += 1
        assert noticed == len(original) or name == "manifest.json"

    def test_reading_verifies_too(self, three: Checkpoints) -> None:
        flip(three.directory / "step_3" / "state.json", 2)
        broken = Checkpoint(3, three.directory / "step_3")
        broken.tensors()
        with pytest.raises(StorageError, match=r"state\.json has another sha256.*delete"):
            broken.state()

    def test_a_pickle_is_not_read(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        torch.save({"w": torch.ones(2)}, tmp_path / "pickle")
        monkeypatch.setattr(module, "_tensor_bytes", lambda _: (tmp_path / "pickle").read_bytes())
        saved = Checkpoints(tmp_path / "c").save(1, {}, {})
        with pytest.raises(StorageError, match="is not safetensors"):
            saved.tensors()


class TestDisk:
    @pytest.mark.parametrize("function", ["mkdir", "fsync", "rename"])
    @pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EDQUOT])
    def test_a_refusal_at_any_point_leaves_the_earlier_ones_and_no_half_one(
        self, three: Checkpoints, monkeypatch: pytest.MonkeyPatch, function: str, code: int
    ) -> None:
        real = getattr(os, function)
        for allowed in range(10):
            calls = 0

            def counted(*arguments: Any, allowed: int = allowed, **keywords: Any) -> Any:
                nonlocal calls
                calls += 1
                if calls > allowed:
                    raise OSError(code, os.strerror(code))
                return real(*arguments, **keywords)

            with monkeypatch.context() as patch:
                patch.setattr(os, function, counted)
                refusal = None
                try:
                    three.save(4, *content(4))
                except StorageError as error:
                    refusal = error
            if refusal is None:
                break
            assert str(three.directory) in refusal.cause
            assert refusal.way_out
            names = os.listdir(three.directory)
            assert not [name for name in names if name.endswith(".tmp")]
            assert {"step_2", "step_3"} <= set(names)
            found = three.latest()
            assert_holds(found, 4 if "step_4" in names else 3)
            shutil.rmtree(three.directory / "step_4", ignore_errors=True)
        else:
            raise AssertionError("save never succeeded")
        assert allowed >= {"mkdir": 2, "fsync": 5, "rename": 2}[function]
        assert_holds(three.latest(), 4)

    def test_a_write_cut_short_by_the_system(self, three: Checkpoints) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
        try:
            with pytest.raises(StorageError, match="size limit"):
                three.save(4, *content(4, size=100_000))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert sorted(os.listdir(three.directory)) == ["step_1", "step_2", "step_3"]
        assert_holds(three.latest(), 3)

    def test_a_disk_that_is_really_full_and_really_read_only(self, tmp_path: Path) -> None:
        prefix = ("unshare", "--user", "--map-root-user", "--mount")
        if not shutil.which("unshare") or subprocess.run([*prefix, "true"], capture_output=True).returncode:
            pytest.skip("this machine lets no process have mounts of its own")
        assert run_python(DISKS, tmp_path, wrapper=prefix) == "passed\n"


DISKS = """
import os, subprocess, sys, torch, warnings
from mmkd.errors import StorageError
from mmkd.training.checkpoints import Checkpoints
warnings.simplefilter("error")
disk = sys.argv[1]
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], check=True)
checkpoints = Checkpoints(disk)

def save(step, size):
    checkpoints.save(step, {"w": torch.full((size,), float(step))}, {"step": step})

def refused(word, size):
    try:
        save(9, size)
    except StorageError as error:
        assert word in error.cause and disk in error.cause and error.way_out, error
    else:
        raise AssertionError("not refused")
    assert sorted(os.listdir(disk)) == ["step_1", "step_2"], os.listdir(disk)
    assert checkpoints.latest().state() == {"step": 2}
    assert checkpoints.latest().tensors()["w"].eq(2).all()

save(1, 50_000)
save(2, 50_000)
for size in (170_000, 500_000):
    refused("full", size)
subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
refused("read-only", 10)
subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
save(3, 50_000)
assert sorted(os.listdir(disk)) == ["step_2", "step_3"]
print("passed")
"""


# One process imports torch; its children are killed and it looks at what they leave.
KILLS = """
import os, random, shutil, signal, sys, time, torch, warnings
from mmkd.training.checkpoints import Checkpoints
warnings.simplefilter("error")  # a kill must not leave anything that looks corrupt
torch.set_num_threads(1)
directory = sys.argv[1]
os.mkdir(directory)

def content(step, seed=0):
    return {f"w{i}": torch.full((2000,), float(step + i + seed)) for i in range(3)}, {"step": step, "seed": seed}

def check(at_least):
    found = Checkpoints(directory).latest()
    if found is None:
        assert at_least == 0, at_least
        return 0
    state, tensors = found.state(), found.tensors()
    assert state["step"] == found.step >= at_least, (state, at_least)
    for i in range(3):
        assert tensors[f"w{i}"].eq(float(found.step + i + state["seed"])).all()
    return found.step

def child(work):
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os._exit(0)
        except BaseException as error:
            print(repr(error), file=sys.stderr)
            os._exit(1)
    return pid

def random_moments():
    rng, step, landed = random.Random(7), 0, []
    for _ in range(12):
        read, write = os.pipe()
        def work(step=step):
            while True:
                step += 1
                Checkpoints(directory).save(step, *content(step))
                os.write(write, b"%d\\n" % step)
        pid = child(work)
        os.close(write)
        first = os.read(read, 100) if len(landed) % 3 else b""  # some are killed before they could save anything
        time.sleep(rng.uniform(0.0, 0.03))
        os.kill(pid, signal.SIGKILL)
        assert os.waitpid(pid, 0)[1] == signal.SIGKILL
        reported = [int(line) for line in (first + os.read(read, 10**6)).split()]
        os.close(read)
        landed.append(len([name for name in os.listdir(directory) if name.endswith(".tmp")]))
        step = check(reported[-1] if reported else step)
    Checkpoints(directory).save(step + 1, *content(step + 1))
    assert len(os.listdir(directory)) == 2, os.listdir(directory)
    print(f"{step} steps, {sum(landed)} of 12 kills amid a save")

def every_call(step):
    # The save of `step` after 1 and 2, killed before its 1st, 2nd, 3rd ... call that changes the disk.
    names, number = ("fsync", "mkdir", "rename", "unlink", "rmdir", "open"), 0
    while True:
        shutil.rmtree(directory, ignore_errors=True)
        for earlier in (1, 2):
            Checkpoints(directory).save(earlier, *content(earlier))
        def work():
            calls = 0
            def counted(real):
                def call(*arguments, **keywords):
                    nonlocal calls
                    calls += 1
                    if calls > number:
                        os.kill(os.getpid(), signal.SIGKILL)
                    return real(*arguments, **keywords)
                return call
            for name in names:
                setattr(os, name, counted(getattr(os, name)))
            Checkpoints(directory).save(step, *content(step, seed=5))
        status = os.waitpid(child(work), 0)[1]
        assert status in (0, signal.SIGKILL), status
        check(2)
        Checkpoints(directory).save(4, *content(4))
        left = sorted(os.listdir(directory))
        assert len(left) == 2 and left[-1] == "step_4", left
        if status == 0:
            break
        number += 1
    assert number >= 12, number
    print(f"killed before each of {number} calls")

random_moments()
os.fsync = lambda handle: None  # slow, and a kill loses nothing by it
every_call(3)
every_call(2)
"""


def test_kills(tmp_path: Path) -> None:
    assert run_python(KILLS, tmp_path / "checkpoints").count("kill") == 3


class Net(nn.Module):
    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
        self.head = nn.Linear(4, 2)
        self.unused = nn.Parameter(torch.zeros(3))
        self.to(dtype)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.conv(images).mean((2, 3)))


def groups(net: Net) -> list[dict[str, Any]]:
    return [{"params": net.conv.parameters()}, {"params": [*net.head.parameters(), net.unused], "lr": 0.003}]


OPTIMISERS: dict[str, Callable[[Net], torch.optim.Optimizer]] = {
    "sgd": lambda net: torch.optim.SGD(net.parameters(), lr=0.1),
    "sgd momentum": lambda net: torch.optim.SGD(groups(net), lr=0.1, momentum=0.9, weight_decay=1e-4),
    "sgd nesterov": lambda net: torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, nesterov=True),
    "adam": lambda net: torch.optim.Adam(groups(net), lr=0.01, betas=(0.8, 0.99)),
    "adam amsgrad": lambda net: torch.optim.Adam(net.parameters(), lr=0.01, amsgrad=True),
    "adamw": lambda net: torch.optim.AdamW(groups(net), lr=0.01),
    "adamw fused": lambda net: torch.optim.AdamW(groups(net), lr=0.01, fused=True),
    "adamw foreach": lambda net: torch.optim.AdamW(groups(net), lr=0.01, foreach=True),
    "adamw tensor rate": lambda net: torch.optim.AdamW(net.parameters(), lr=torch.tensor(0.01), foreach=False),
    "adamw named": lambda net: torch.optim.AdamW(net.named_parameters(), lr=0.01),
    "rmsprop": lambda net: torch.optim.RMSprop(net.parameters(), lr=0.01, momentum=0.5, centered=True),
    "adafactor": lambda net: torch.optim.Adafactor(net.parameters(), lr=0.01),
    "lbfgs": lambda net: torch.optim.LBFGS(net.head.parameters(), lr=0.1, max_iter=3),
}


def train(net: Net, optimiser: torch.optim.Optimizer, steps: range) -> None:
    for step in steps:
        generator = torch.Generator().manual_seed(step)
        images = torch.randn(4, 3, 6, 6, generator=generator).to(net.head.weight.dtype)

        def closure(images: Tensor = images) -> Tensor:
            optimiser.zero_grad()
            loss = net(images).square().sum()
            loss.backward()
            return loss

        if isinstance(optimiser, torch.optim.LBFGS):
            optimiser.step(closure)  # type: ignore[arg-type]
        else:
            closure()
            optimiser.step()


class TestOptimiser:
    @pytest.mark.parametrize(
        ("name", "dtype"),
        [(name, torch.float32) for name in OPTIMISERS]
        + [(name, torch.bfloat16) for name in ("sgd momentum", "adamw", "adamw fused")],
    )
    def test_further_steps_are_bit_equal(self, tmp_path: Path, name: str, dtype: torch.dtype) -> None:
        torch.manual_seed(0)
        net = Net(dtype)
        optimiser = OPTIMISERS[name](net)
        train(net, optimiser, range(3))
        for group in optimiser.param_groups:
            group["lr"] = group["lr"] * 0.7  # a schedule's doing, saved with the rest
        tensors, state = flatten_optimiser(optimiser, prefix="optimiser.")
        assert json.loads(json.dumps(state, allow_nan=False)) == state
        assert all(key.startswith("optimiser.") for key in tensors)
        weights = {f"net.{key}": value for key, value in net.state_dict().items()}
        saved = Checkpoints(tmp_path).save(3, weights | tensors, {"optimiser": state})

        torch.manual_seed(1)
        other = Net(dtype)
        resumed = OPTIMISERS[name](other)
        loaded = saved.tensors()
        other.load_state_dict({key: loaded[f"net.{key}"] for key in net.state_dict()})
        restore_optimiser(resumed, loaded, saved.state()["optimiser"])
        before = {key: tensor.clone() for key, tensor in loaded.items()}
        train(net, optimiser, range(3, 7))
        train(other, resumed, range(3, 7))
        assert_bit_equal(other.state_dict(), net.state_dict())
        assert_bit_equal(flatten_optimiser(resumed)[0], flatten_optimiser(optimiser)[0])
        assert str(resumed.state_dict()["param_groups"]) == str(optimiser.state_dict()["param_groups"])
        assert_bit_equal(loaded, before)  # the optimiser took copies

    def test_without_the_disk_between(self) -> None:
        net, other = Net(), Net()
        optimiser, resumed = OPTIMISERS["adamw"](net), OPTIMISERS["adamw"](other)
        train(net, optimiser, range(2))
        other.load_state_dict(net.state_dict())
        restore_optimiser(resumed, *flatten_optimiser(optimiser))
        train(other, resumed, range(2, 4))
        train(net, optimiser, range(2, 4))
        assert_bit_equal(other.state_dict(), net.state_dict())

    def test_states_keep_the_memory_layout_of_their_parameters(self, tmp_path: Path) -> None:
        net = Net()
        optimiser = OPTIMISERS["adamw"](net)
        train(net, optimiser, range(1))
        tensors, state = flatten_optimiser(optimiser)
        saved = Checkpoints(tmp_path).save(1, tensors, state)
        restored = OPTIMISERS["adamw"](net)
        restore_optimiser(restored, saved.tensors(), saved.state())
        weight = net.conv.weight
        assert not weight.is_contiguous()
        assert restored.state[weight]["exp_avg"].stride() == weight.stride()

    def test_states_wider_than_their_parameters_keep_their_bits(self) -> None:
        parameter = nn.Parameter(torch.ones(3, dtype=torch.bfloat16))
        optimiser, restored = torch.optim.SGD([parameter], momentum=0.9), torch.optim.SGD([parameter], momentum=0.9)
        optimiser.state[parameter]["momentum_buffer"] = torch.tensor([1.0000001, 2.0, 3.0])
        restore_optimiser(restored, *flatten_optimiser(optimiser))
        found = restored.state[parameter]["momentum_buffer"]
        assert found.dtype == torch.float32
        assert bits(found) == bits(torch.tensor([1.0000001, 2.0, 3.0]))

    def test_another_model_is_refused(self) -> None:
        saved = flatten_optimiser(torch.optim.SGD(nn.Linear(3, 2).parameters()))
        with pytest.raises(StorageError, match=r"number 0 was saved as \[2, 3\] and is \[2, 4\]") as caught:
            restore_optimiser(torch.optim.SGD(nn.Linear(4, 2).parameters()), *saved)
        assert "recipe" in caught.value.way_out
        with pytest.raises(StorageError, match="2 were saved and 1 are there"):
            restore_optimiser(torch.optim.SGD(nn.Linear(3, 2, bias=False).parameters()), *saved)

    def test_other_groups_are_refused(self) -> None:
        net = Net()
        saved = flatten_optimiser(OPTIMISERS["adamw"](net))
        one_group = torch.optim.AdamW([*net.conv.parameters(), *net.head.parameters(), net.unused])
        with pytest.raises(StorageError, match="does not fit"):
            restore_optimiser(one_group, *saved)

    def test_a_missing_tensor_is_named(self) -> None:
        net = Net()
        optimiser = OPTIMISERS["adam"](net)
        train(net, optimiser, range(1))
        tensors, state = flatten_optimiser(optimiser)
        del tensors["state.0.exp_avg"]
        with pytest.raises(StorageError, match=r"no tensor 'state\.0\.exp_avg'"):
            restore_optimiser(optimiser, tensors, state)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Threads cost more than they gain on tensors this small."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
