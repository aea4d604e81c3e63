"""The store gives back the rows that went in, under their ids, or says that it cannot."""

from __future__ import annotations

import errno
import json
import logging
import math
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import mmkd.sources.store as module
from mmkd.errors import StorageError
from mmkd.files import lock
from mmkd.sources.store import SignalStore

ROOT = Path(module.__file__).parents[2]
PARTS = {"weights": "abc", "taps": ["a", "b"], "batch_size": 512}
KEY = SignalStore.key(PARTS)
LAYOUT = {"logits": ((3,), torch.float32), "features/stage2": ((2, 2), torch.bfloat16)}


def signals(ids: Tensor) -> dict[str, Tensor]:
    """What the store is filled with: every value tells its row."""
    base = ids.float()
    return {
        "logits": base[:, None] + torch.tensor([0.0, 0.25, 0.5]),
        "features/stage2": (base[:, None, None] * torch.ones(2, 2)).bfloat16(),
    }


def filled(root: Path, ids: Tensor | None = None, rows: int = 10, batch: int = 4) -> SignalStore:
    ids = torch.arange(rows) if ids is None else ids
    with SignalStore.create(root, KEY, LAYOUT, len(ids), "a teacher", ids=ids, parts=PARTS) as writer:
        for start in range(0, len(ids), batch):
            writer.write(start, signals(ids[start : start + batch]))
        return writer.commit()


def assert_rows(found: dict[str, Tensor], ids: Tensor) -> None:
    expected = signals(ids)
    assert list(found) == list(LAYOUT)
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor), name


def opened(root: Path, **keywords: Any) -> SignalStore:
    store = SignalStore.open(root, KEY, PARTS, **keywords)
    assert store is not None
    return store


class TestKey:
    def test_is_the_content_not_the_order(self) -> None:
        assert SignalStore.key({"a": 1, "b": {"x": [1, 2], "y": None}}) == SignalStore.key(
            {"b": {"y": None, "x": (1, 2)}, "a": 1}
        )
        assert len(KEY) == 64

    @pytest.mark.parametrize(
        "other", [{**PARTS, "batch_size": 256}, {**PARTS, "taps": ["b", "a"]}, {**PARTS, "dtype": "bf16"}, {}]
    )
    def test_differs_with_any_part(self, other: dict[str, Any]) -> None:
        assert SignalStore.key(other) != KEY

    def test_refuses_what_is_not_json(self) -> None:
        with pytest.raises(ValueError, match="JSON"):
            SignalStore.key({"a": math.nan})
        with pytest.raises(TypeError):
            SignalStore.key({"a": torch.ones(1)})


class TestRoundTrip:
    @pytest.mark.parametrize("batch", [1, 4, 10, 100])
    def test_rows_in_order(self, tmp_path: Path, batch: int) -> None:
        written = filled(tmp_path, batch=batch)
        for store in (written, opened(tmp_path), opened(tmp_path, verify=True)):
            assert len(store) == store.rows == 10
            assert_rows(store.read_all(), torch.arange(10))
            assert_rows(store.read(torch.tensor([7, 0, 9, 7])), torch.tensor([7, 0, 9, 7]))
            assert_rows(store.read(torch.tensor([], dtype=torch.int64)), torch.tensor([], dtype=torch.int64))
        assert written.description == "a teacher"
        assert torch.equal(written.ids, torch.arange(10))
        assert os.listdir(tmp_path) == [KEY]
        assert sorted(os.listdir(tmp_path / KEY)) == ["0.bin", "1.bin", "ids.bin", "manifest.json"]

    def test_a_subset_of_rows_in_any_order_by_global_id(self, tmp_path: Path) -> None:
        ids = torch.tensor([40, 2, 1000, 7, 3, -5])
        store = filled(tmp_path, ids)
        assert torch.equal(store.ids, ids)
        assert_rows(store.read_all(), ids)
        wanted = torch.tensor([3, 1000, 3, -5, 40])
        assert_rows(store.read(wanted), wanted)

    def test_many_rows_against_a_plain_dictionary(self, tmp_path: Path) -> None:
        generator = torch.Generator().manual_seed(0)
        ids = torch.randperm(5000, generator=generator)[:3000]
        values = torch.randn(3000, 2, generator=generator)
        with SignalStore.create(tmp_path, KEY, {"v": ((2,), torch.float32)}, 3000, "", ids=ids) as writer:
            order = torch.randperm(3000, generator=generator)
            for chosen in order.split(256):
                writer.write(ids[chosen], {"v": values[chosen]})
            store = writer.commit()
        table = dict(zip(ids.tolist(), values.tolist(), strict=True))
        wanted = ids[torch.randint(3000, (777,), generator=generator)]
        assert store.read(wanted)["v"].tolist() == [table[row] for row in wanted.tolist()]

    @pytest.mark.parametrize(
        "index", [[3, 4, 5], [5, 4, 3], [0, 2, 4, 6], [8, 9, 0, 1, 5], [7], [], list(range(10)), [1, 2, 4, 5, 3]]
    )
    def test_writing_by_id_touches_those_rows_only(self, tmp_path: Path, index: list[int]) -> None:
        ids = torch.tensor([10, 11, 12, 13, 14, 15, 16, 17, 18, 19])
        with SignalStore.create(tmp_path, KEY, LAYOUT, 10, "", ids=ids) as writer:
            writer.write(0, signals(ids))
            chosen = ids[torch.tensor(index, dtype=torch.int64)]
            writer.write(chosen, signals(chosen + 100))
            store = writer.commit()
        expected = torch.tensor([row + 100 if row in chosen else row for row in ids.tolist()])
        assert_rows(store.read_all(), expected)

    @pytest.mark.parametrize(
        "dtype",
        [torch.bfloat16, torch.float16, torch.float32, torch.float64, torch.int64, torch.uint8, torch.bool],
    )
    @pytest.mark.parametrize("shape", [(), (5,), (2, 1, 3), (0,)])
    def test_bits_of_every_dtype_and_shape(self, tmp_path: Path, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
        size = (6, *shape)
        value = (torch.randn(size) > 0) if dtype == torch.bool else torch.randn(size).mul(100).to(dtype)
        if dtype.is_floating_point and value.numel():
            value.view(-1)[0], value.view(-1)[-1] = math.nan, -0.0
        with SignalStore.create(tmp_path, KEY, {"v": (shape, dtype)}, 6, "") as writer:
            writer.write(0, {"v": value})
            store = writer.commit()
        for found in (store.read(torch.arange(6))["v"], store.read_all()["v"]):
            assert found.dtype == dtype
            assert found.shape == size
            assert bytes(raw(found)) == bytes(raw(value))

    def test_strided_and_gradient_carrying_signals(self, tmp_path: Path) -> None:
        value = torch.randn(3, 4, requires_grad=True)
        with SignalStore.create(tmp_path, KEY, {"v": ((3,), torch.float32)}, 4, "") as writer:
            writer.write(0, {"v": value.T})
            assert torch.equal(writer.commit().read_all()["v"], value.detach().T)

    def test_no_rows(self, tmp_path: Path) -> None:
        with SignalStore.create(tmp_path, KEY, LAYOUT, 0, "") as writer:
            store = writer.commit()
        assert store.read_all()["logits"].shape == (0, 3)
        with pytest.raises(StorageError, match="no signals"):
            store.read(torch.tensor([0]))

    def test_files_are_plain_rows(self, tmp_path: Path) -> None:
        filled(tmp_path)
        logits = np.fromfile(tmp_path / KEY / "0.bin", dtype="<f4").reshape(10, 3)
        assert np.array_equal(logits, signals(torch.arange(10))["logits"].numpy())
        features = np.fromfile(tmp_path / KEY / "1.bin", dtype="<u2").reshape(10, 2, 2)
        assert np.array_equal(features, signals(torch.arange(10))["features/stage2"].view(torch.uint16).numpy())

    def test_what_is_read_is_the_readers_own(self, tmp_path: Path) -> None:
        store = filled(tmp_path)
        store.read(torch.arange(10))["logits"].zero_()
        store.read_all()["logits"].zero_()
        assert_rows(store.read_all(), torch.arange(10))
        assert_rows(opened(tmp_path).read_all(), torch.arange(10))

    @pytest.mark.parametrize("ids", [None, [4, 9, 2]])
    def test_unknown_ids_are_named(self, tmp_path: Path, ids: list[int] | None) -> None:
        store = filled(tmp_path, None if ids is None else torch.tensor(ids))
        with pytest.raises(StorageError, match=r"for 2 of the 3 rows asked for \(ids -1, 10\)") as caught:
            store.read(torch.tensor([-1, 4, 10]))
        assert str(tmp_path) in caught.value.cause
        assert caught.value.way_out
        with pytest.raises(StorageError, match=r"\(ids 100, 101, 102, 103, 104, \.\.\.\)"):
            store.read(torch.arange(100, 110))

    @pytest.mark.parametrize("index", [torch.tensor([1.0]), torch.tensor(1), torch.tensor([True]), torch.ones(1).int()])
    def test_an_index_of_another_kind(self, tmp_path: Path, index: Tensor) -> None:
        with pytest.raises(ValueError, match=r"must be \[B\] torch.int64"):
            filled(tmp_path).read(index)


def raw(tensor: Tensor) -> np.ndarray[Any, Any]:
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy()


class TestCreating:
    def test_the_size_is_announced_first(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        with (
            caplog.at_level(logging.INFO),
            SignalStore.create(tmp_path, KEY, LAYOUT, 1000, "teacher sage") as writer,
        ):
            assert writer.bytes == 1000 * (3 * 4 + 4 * 2 + 8)
            written = [file for file in writer.path.iterdir() if file.suffix == ".bin"]
            assert sum(file.stat().st_size for file in written) == writer.bytes
            assert sum(file.stat().st_blocks * 512 for file in written) >= writer.bytes  # reserved, not sparse
        (record,) = caplog.messages
        for word in ("teacher sage", "27.3 KiB", "1000 rows", "logits [3] float32", "[2, 2] bfloat16", str(tmp_path)):
            assert word in record

    def test_a_disk_without_the_space_refuses_before_anything_is_written(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 27_999))
        with pytest.raises(StorageError, match=r"needs 27\.3 KiB, but .* has 27\.3 KiB free") as caught:
            SignalStore.create(tmp_path, KEY, LAYOUT, 1000, "x")
        assert caught.value.way_out
        assert os.listdir(tmp_path) == []
        monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 28_000))
        SignalStore.create(tmp_path, KEY, LAYOUT, 1000, "x").discard()

    def test_an_error_or_no_commit_leaves_nothing(self, tmp_path: Path) -> None:
        def fail() -> None:
            with SignalStore.create(tmp_path, KEY, LAYOUT, 10, "") as writer:
                writer.write(0, signals(torch.arange(4)))
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            fail()
        with SignalStore.create(tmp_path, KEY, LAYOUT, 10, ""):
            pass
        assert os.listdir(tmp_path) == []
        assert SignalStore.open(tmp_path, KEY) is None

    def test_rows_never_written_are_told(self, tmp_path: Path) -> None:
        ids = torch.arange(20, 30)
        with SignalStore.create(tmp_path, KEY, LAYOUT, 10, "", ids=ids) as writer:
            writer.write(0, signals(ids[:4]))
            writer.write(6, signals(ids[6:]))
            with pytest.raises(StorageError, match=r"2 of 10 rows .* the first with id 24"):
                writer.commit()
        assert os.listdir(tmp_path) == []

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            (lambda s: s.pop("logits"), r"laid out for \['features/stage2', 'logits'\], but .* \['features/stage2'\]"),
            (lambda s: s.update(more=s["logits"]), "'more'"),
            (
                lambda s: s.update(logits=s["logits"].double()),
                r"logits is \[3\] float64 for 4 rows, but .* \[3\] float32",
            ),
            (lambda s: s.update(logits=s["logits"][:, :2]), r"logits is \[2\] float32 for 4 rows"),
            (lambda s: s.update(logits=s["logits"][:3]), r"logits is \[3\] float32 for 3 rows, .* 4 rows are being"),
            (lambda s: s.update(logits=torch.tensor(1.0)), r"logits is \[\] float32 for 0 rows"),
        ],
    )
    def test_signals_of_another_form_are_named(
        self, tmp_path: Path, change: Callable[[dict[str, Tensor]], object], words: str
    ) -> None:
        batch = signals(torch.arange(4))
        change(batch)
        with SignalStore.create(tmp_path, KEY, LAYOUT, 10, "") as writer, pytest.raises(StorageError, match=words):
            writer.write(0, batch)

    @pytest.mark.parametrize("start", [-1, 7, 10])
    def test_rows_outside_are_refused(self, tmp_path: Path, start: int) -> None:
        with (
            SignalStore.create(tmp_path, KEY, LAYOUT, 10, "") as writer,
            pytest.raises(StorageError, match="outside the 10 of the cache"),
        ):
            writer.write(start, signals(torch.arange(4)))

    def test_ids_outside_are_refused(self, tmp_path: Path) -> None:
        with (
            SignalStore.create(tmp_path, KEY, LAYOUT, 10, "") as writer,
            pytest.raises(StorageError, match=r"\(ids 10\)"),
        ):
            writer.write(torch.tensor([9, 10]), signals(torch.arange(2)))

    @pytest.mark.parametrize("ids", [torch.arange(9), torch.arange(10.0), torch.zeros(10, dtype=torch.int64)])
    def test_bad_ids(self, tmp_path: Path, ids: Tensor) -> None:
        with pytest.raises(ValueError, match="ids"):
            SignalStore.create(tmp_path, KEY, LAYOUT, 10, "", ids=ids)

    def test_parts_of_another_key(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="do not make the key"):
            SignalStore.create(tmp_path, KEY, LAYOUT, 10, "", parts={"other": 1})

    def test_the_first_of_two_writers_wins_and_both_get_the_store(self, tmp_path: Path) -> None:
        layout = {"v": ((), torch.int64)}
        one = SignalStore.create(tmp_path, KEY, layout, 3, "one")
        two = SignalStore.create(tmp_path, KEY, layout, 3, "two")
        one.write(0, {"v": torch.tensor([1, 1, 1])})
        two.write(0, {"v": torch.tensor([2, 2, 2])})
        first, second = two.commit(), one.commit()
        assert first.read_all()["v"].tolist() == second.read_all()["v"].tolist() == [2, 2, 2]
        assert second.description == "two"
        assert os.listdir(tmp_path) == [KEY]

    def test_leftovers_of_dead_writers_go_and_those_of_living_ones_stay(self, tmp_path: Path) -> None:
        dead, living = tmp_path / f"{KEY}.tmp-1-dead", tmp_path / f"{KEY}.tmp-1-living"
        foreign = tmp_path / f"{'0' * 64}.tmp-1-x"
        for path in (dead, living, foreign):
            path.mkdir()
            (path / "0.bin").write_bytes(b"x")
        with lock(living):
            filled(tmp_path)
            assert sorted(os.listdir(tmp_path)) == sorted([KEY, living.name, foreign.name])

    @pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="tells files by /proc")
    def test_everything_is_durable_before_it_gets_its_name(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        events: list[str] = []
        fsync, rename = os.fsync, os.rename

        def traced_fsync(handle: int) -> None:
            events.append(Path(os.readlink(f"/proc/self/fd/{handle}")).name.replace(writer.path.name, "temporary"))
            fsync(handle)

        def traced_rename(source: Path, target: Path) -> None:
            events.append("rename")
            rename(source, target)

        with SignalStore.create(tmp_path, KEY, LAYOUT, 2, "") as writer:
            writer.write(0, signals(torch.arange(2)))
            monkeypatch.setattr(os, "fsync", traced_fsync)
            monkeypatch.setattr(os, "rename", traced_rename)
            writer.commit()
        assert events == ["0.bin", "1.bin", "manifest.json", "temporary", "rename", tmp_path.name]


def flip(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


def edit(path: Path, **entries: Any) -> None:
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps(manifest | entries))


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "short": (lambda d: os.truncate(d / "0.bin", 119), r"0\.bin has 119 bytes where 120 were written"),
    "long": (lambda d: os.truncate(d / "1.bin", 200), r"1\.bin has 200 bytes"),
    "bit": (lambda d: flip(d / "1.bin", 17), r"1\.bin has another sha256"),
    "ids": (lambda d: flip(d / "ids.bin", 8), r"ids\.bin has another sha256"),
    "no file": (lambda d: (d / "0.bin").unlink(), r"0\.bin is missing"),
    "no ids": (lambda d: (d / "ids.bin").unlink(), r"ids\.bin is missing"),
    "no manifest": (lambda d: (d / "manifest.json").unlink(), r"manifest\.json is absent"),
    "cut manifest": (lambda d: os.truncate(d / "manifest.json", 40), r"manifest\.json is corrupt"),
    "list": (lambda d: (d / "manifest.json").write_text("[]"), r"manifest\.json is no manifest"),
    "format": (lambda d: edit(d, format=2), r"manifest\.json has format 2"),
    "key": (lambda d: edit(d, key="other"), r"manifest\.json is for the key other"),
    "parts": (lambda d: edit(d, parts={**PARTS, "weights": "def"}), r"was made for other parts: weights"),
    "rows": (lambda d: edit(d, rows=9), r"bin has \d+ bytes"),
    "rows of text": (lambda d: edit(d, rows="10"), r"manifest\.json"),
    "arrays": (lambda d: edit(d, arrays=None), r"manifest\.json lacks an entry"),
    "dtype": (
        lambda d: edit(d, arrays={"v": {"shape": [3], "dtype": "load", "file": "0.bin", "sha256": ""}}),
        r"manifest\.json lacks an entry or has a wrong one",
    ),
}


class TestOpening:
    def test_none_there(self, tmp_path: Path) -> None:
        assert SignalStore.open(tmp_path, KEY) is None
        assert SignalStore.open(tmp_path / "absent", KEY, PARTS) is None

    @pytest.mark.parametrize("damage", DAMAGES)
    def test_a_damaged_store_is_refused_with_a_way_out(self, tmp_path: Path, damage: str) -> None:
        act, words = DAMAGES[damage]
        filled(tmp_path)
        act(tmp_path / KEY)
        with pytest.raises(StorageError, match=words) as caught:
            SignalStore.open(tmp_path, KEY, PARTS)
        assert str(tmp_path / KEY) in caught.value.cause
        assert f"delete the directory {tmp_path / KEY} " in caught.value.way_out
        assert "\n" not in str(caught.value)

    def test_a_damaged_store_is_not_overwritten(self, tmp_path: Path) -> None:
        filled(tmp_path)
        flip(tmp_path / KEY / "0.bin", 0)
        with pytest.raises(StorageError, match="another sha256"):
            filled(tmp_path)
        assert os.listdir(tmp_path) == [KEY]

    def test_a_large_one_is_hashed_on_demand_and_its_size_always_compared(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store = filled(tmp_path)
        flip(tmp_path / KEY / "0.bin", 0)
        monkeypatch.setattr(module, "CHECKED_ON_OPEN", store.bytes)
        opened(tmp_path)
        with pytest.raises(StorageError, match="another sha256"):
            opened(tmp_path, verify=True)
        os.truncate(tmp_path / KEY / "0.bin", 10)
        with pytest.raises(StorageError, match="10 bytes"):
            opened(tmp_path)

    def test_parts_are_optional(self, tmp_path: Path) -> None:
        with SignalStore.create(tmp_path, KEY, LAYOUT, 2, "") as writer:
            writer.write(0, signals(torch.arange(2)))
            writer.commit()
        assert SignalStore.open(tmp_path, KEY) is not None
        assert SignalStore.open(tmp_path, KEY, PARTS) is not None


class TestDisk:
    @pytest.mark.parametrize("function", ["posix_fallocate", "pwrite", "fsync", "rename"])
    def test_a_refusal_at_any_point_leaves_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str
    ) -> None:
        def fail(*_: object, **__: object) -> None:
            raise OSError(errno.ENOSPC, "no space")

        with monkeypatch.context() as patch:
            patch.setattr(os, function, fail)
            with pytest.raises(StorageError, match="the disk is full") as caught:
                filled(tmp_path)
        assert str(tmp_path) in caught.value.cause
        assert os.listdir(tmp_path) == []
        filled(tmp_path)

    def test_a_file_system_that_cannot_reserve(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_: object) -> None:
            raise OSError(errno.EOPNOTSUPP, "not supported")

        monkeypatch.setattr(os, "posix_fallocate", fail)
        assert_rows(filled(tmp_path).read_all(), torch.arange(10))

    def test_writes_done_in_pieces(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        pwrite = os.pwrite
        monkeypatch.setattr(os, "pwrite", lambda handle, data, offset: pwrite(handle, data[:7], offset))
        assert_rows(filled(tmp_path).read_all(), torch.arange(10))

    def test_a_size_limit(self, tmp_path: Path) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
        try:
            with pytest.raises(StorageError, match="size limit"):
                SignalStore.create(tmp_path, KEY, LAYOUT, 2000, "")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert os.listdir(tmp_path) == []

    def test_a_disk_that_is_really_full_and_really_read_only(self, tmp_path: Path) -> None:
        prefix = ("unshare", "--user", "--map-root-user", "--mount")
        if not shutil.which("unshare") or subprocess.run([*prefix, "true"], capture_output=True).returncode:
            pytest.skip("this machine lets no process have mounts of its own")
        assert run_python(DISKS, tmp_path, wrapper=prefix) == "passed\n"


def run_python(code: str, *arguments: object, wrapper: tuple[str, ...] = ()) -> str:
    command = [*wrapper, sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


DISKS = """
import os, shutil, subprocess, sys, torch
from mmkd.errors import StorageError
from mmkd.sources.store import SignalStore
disk = sys.argv[1]
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], check=True)

def fill(key, rows):
    with SignalStore.create(disk, key, {"v": ((100,), torch.float32)}, rows, "x") as writer:
        writer.write(0, {"v": torch.ones(rows, 100)})
        writer.commit()

def refused(words, key, rows):
    try:
        fill(key, rows)
    except StorageError as error:
        assert words in error.cause and disk in error.cause and error.way_out, error
    else:
        raise AssertionError("not refused")
    assert os.listdir(disk) == ["a" * 64], os.listdir(disk)
    assert len(SignalStore.open(disk, "a" * 64).read_all()["v"]) == 1000

fill("a" * 64, 1000)
refused("free", "b" * 64, 4000)
shutil.disk_usage = lambda path: shutil._ntuple_diskusage(10**9, 0, 10**9)  # another process took the space meanwhile
refused("disk is full", "b" * 64, 4000)
subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
refused("read-only", "b" * 64, 10)
print("passed")
"""


# One process imports torch; its children race for a key, or are killed before their 1st, 2nd, 3rd ... call to the disk.
PROCESSES = """
import os, signal, sys, time, torch
from mmkd.sources.store import SignalStore
torch.set_num_threads(1)
root = sys.argv[1]

def fill(key, value):
    with SignalStore.create(root, key, {"v": ((50,), torch.int64)}, 40, "x") as writer:
        for start in range(0, 40, 8):
            writer.write(start, {"v": torch.full((8, 50), value)})
        store = writer.commit()
    assert len(store.read_all()["v"].unique()) == 1

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

for race in range(8):
    key, start = f"{race:064d}", time.time() + 0.02
    def work(number):
        time.sleep(max(0.0, start - time.time()))
        fill(key, number)
    children = [child(lambda number=number: work(number)) for number in range(4)]
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 4
    assert sorted(os.listdir(root)) == [f"{number:064d}" for number in range(race + 1)], os.listdir(root)

number, status = 0, None
while status != 0:
    key = f"a{number:063d}"
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
        for name in ("fsync", "mkdir", "rename", "unlink", "rmdir", "open", "pwrite", "posix_fallocate"):
            setattr(os, name, counted(getattr(os, name)))
        fill(key, 7)
    status = os.waitpid(child(work), 0)[1]
    assert status in (0, signal.SIGKILL), status
    found = SignalStore.open(root, key)
    assert found is not None or status != 0
    if found is None:
        fill(key, 7)  # and takes away what the killed one left
        found = SignalStore.open(root, key)
    assert found.read_all()["v"].eq(7).all()
    assert not [name for name in os.listdir(root) if "tmp" in name], os.listdir(root)
    number += 1
assert number >= 15, number
print(f"killed before each of {number} calls")
"""


def test_races_and_kills(tmp_path: Path) -> None:
    assert "killed" in run_python(PROCESSES, tmp_path)
