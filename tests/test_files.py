"""Files are whole or absent, disks speak in one line, and a directory has one owner."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import mmkd.files as files
from mmkd.errors import StorageError

ROOT = Path(files.__file__).parents[1]


def python(code: str, *arguments: str, wrapper: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    command = [*wrapper, sys.executable, "-c", code, *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    )


def own_mounts() -> tuple[str, ...]:
    """A command prefix under which a process may mount a tmpfs that nobody else sees, or a skip."""
    prefix = ("unshare", "--user", "--map-root-user", "--mount")
    if not shutil.which("unshare") or subprocess.run([*prefix, "true"], capture_output=True).returncode:
        pytest.skip("this machine lets no process have mounts of its own")
    return prefix


@contextmanager
def file_size_limit(count: int) -> Iterator[None]:
    """Writes beyond `count` bytes are cut short and then refused: a real disk error without a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (count, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def refuse(monkeypatch: pytest.MonkeyPatch, function: str, code: int) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, function, fail)


class TestWriteAtomic:
    @pytest.mark.parametrize("data", [b"\x00\xff raw", "text, also ü", b""])
    def test_writes_and_replaces(self, tmp_path: Path, data: bytes | str) -> None:
        path = tmp_path / "made" / "too" / "file"
        files.write_atomic(path, "before")
        files.write_atomic(path, data)
        assert path.read_bytes() == (data if isinstance(data, bytes) else data.encode())
        assert os.listdir(path.parent) == ["file"]

    @pytest.mark.parametrize("function", ["fsync", "replace"])
    @pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
    def test_a_failure_keeps_the_old_file_and_leaves_no_litter(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str, code: int
    ) -> None:
        path = tmp_path / "file"
        files.write_atomic(path, "before")
        with monkeypatch.context() as patch:
            refuse(patch, function, code)
            with pytest.raises(StorageError, match="file"):
                files.write_atomic(path, "after")
        assert path.read_text() == "before"
        assert os.listdir(tmp_path) == ["file"]

    def test_a_write_cut_short_by_the_system(self, tmp_path: Path) -> None:
        path = tmp_path / "file"
        files.write_atomic(path, "before")
        with file_size_limit(1000), pytest.raises(StorageError, match="size limit"):
            files.write_atomic(path, b"x" * 100_000)
        assert path.read_text() == "before"
        assert os.listdir(tmp_path) == ["file"]

    @pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="tells files by /proc")
    def test_content_is_durable_before_the_name_and_the_name_before_the_return(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        events: list[tuple[str, str]] = []
        fsync, replace = os.fsync, os.replace

        def traced_fsync(handle: int) -> None:
            events.append(("fsync", os.readlink(f"/proc/self/fd/{handle}")))
            fsync(handle)

        def traced_replace(source: Path, target: Path) -> None:
            assert Path(source).read_text() == "content"
            events.append(("replace", str(source)))
            replace(source, target)

        monkeypatch.setattr(os, "fsync", traced_fsync)
        monkeypatch.setattr(os, "replace", traced_replace)
        files.write_atomic(tmp_path / "file", "content")
        temporary = events[1][1]
        assert Path(temporary).parent == tmp_path
        assert events == [("fsync", temporary), ("replace", temporary), ("fsync", str(tmp_path))]

    def test_an_interrupt_leaves_no_litter(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def interrupt(*_: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", interrupt)
            with pytest.raises(KeyboardInterrupt):
                files.write_atomic(tmp_path / "file", "content")
        assert os.listdir(tmp_path) == []


class TestJson:
    def test_round_trip_keeps_order_and_ends_in_a_line_break(self, tmp_path: Path) -> None:
        value = {"z": 1, "a": [1.5, None, True, "ü"], "m": {"y": 0.1, "b": -0.0}}
        files.write_json(tmp_path / "file.json", value)
        found = files.read_json(tmp_path / "file.json")
        assert found == value
        assert list(found) == ["z", "a", "m"]
        assert (tmp_path / "file.json").read_text().endswith("}\n")

    def test_non_finite_floats_are_null(self, tmp_path: Path) -> None:
        value = {"nan": math.nan, "deep": [(math.inf, 1.0), {"x": -math.inf}]}
        files.write_json(tmp_path / "file.json", value)
        assert files.read_json(tmp_path / "file.json") == {"nan": None, "deep": [[None, 1.0], {"x": None}]}
        assert math.isnan(value["nan"])  # type: ignore[arg-type]

    def test_what_json_cannot_hold_leaves_the_old_file(self, tmp_path: Path) -> None:
        files.write_json(tmp_path / "file.json", [1])
        with pytest.raises(TypeError):
            files.write_json(tmp_path / "file.json", {"set": {1}})
        assert files.read_json(tmp_path / "file.json") == [1]

    @pytest.mark.parametrize("content", [b"", b'{"a": 1', b'{"a": 1}x', b'{"a": "\xff"}', b"[" * 100_000])
    def test_a_corrupt_file_is_named(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "file.json").write_bytes(content)
        with pytest.raises(StorageError, match=r"file\.json is corrupt") as caught:
            files.read_json(tmp_path / "file.json")
        assert caught.value.way_out
        assert "\n" not in str(caught.value)

    def test_absent_and_directory(self, tmp_path: Path) -> None:
        with pytest.raises(StorageError, match=r"none\.json is absent"):
            files.read_json(tmp_path / "none.json")
        with pytest.raises(StorageError, match="is a directory"):
            files.read_json(tmp_path)


def test_sha256(tmp_path: Path) -> None:
    data = os.urandom(300_000)
    (tmp_path / "file").write_bytes(data)
    assert files.sha256_of(tmp_path / "file") == hashlib.sha256(data).hexdigest() == files.sha256_of_bytes(data)
    assert files.sha256_of_bytes(b"") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


class TestStorageErrors:
    @pytest.mark.parametrize(
        ("code", "words"),
        [
            (errno.ENOSPC, "full"),
            (errno.EDQUOT, "quota"),
            (errno.EROFS, "read-only"),
            (errno.EACCES, "permission"),
            (errno.EIO, "input/output"),
        ],
    )
    def test_names_path_cause_and_way_out(self, code: int, words: str) -> None:
        with pytest.raises(StorageError, match=words) as caught, files.storage_errors("some/where"):
            raise OSError(code, "refused")
        assert "some/where" in caught.value.cause
        assert caught.value.way_out
        assert "\n" not in str(caught.value)

    def test_other_errors_pass(self) -> None:
        with pytest.raises(FileNotFoundError), files.storage_errors("x"):
            os.stat("/nowhere/at/all")
        with pytest.raises(KeyError), files.storage_errors("x"):
            raise KeyError("a")
        with pytest.raises(StorageError, match=r"^inner$"), files.storage_errors("x"):
            raise StorageError("inner")


class TestLog:
    def test_lengths_lead_back(self, tmp_path: Path) -> None:
        path = tmp_path / "metrics.jsonl"
        files.truncate_to(path, 0)
        lengths = [files.append_line(path, text) for text in ("one", "zwei ü", "")]
        assert lengths == [4, 12, 13]
        assert path.read_bytes() == "one\nzwei ü\n\n".encode()
        files.sync_file(path)
        files.truncate_to(path, 13)
        files.truncate_to(path, 4)
        assert path.read_text() == "one\n"
        assert files.append_line(path, "two") == 8
        assert path.read_text() == "one\ntwo\n"

    def test_one_line_only(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="one line"):
            files.append_line(tmp_path / "log", "a\nb")
        assert not (tmp_path / "log").exists()

    @pytest.mark.parametrize("present", [None, "abc\n"])
    def test_lost_lines_are_told(self, tmp_path: Path, present: str | None) -> None:
        path = tmp_path / "metrics.jsonl"
        if present is not None:
            path.write_text(present)
        with pytest.raises(StorageError, match="lines are lost"):
            files.truncate_to(path, 5)
        assert (path.read_text() if path.exists() else None) == present

    def test_a_line_cut_short_is_taken_back(self, tmp_path: Path) -> None:
        path = tmp_path / "metrics.jsonl"
        files.append_line(path, "whole")
        with file_size_limit(50), pytest.raises(StorageError, match="size limit"):
            files.append_line(path, "x" * 100)
        assert path.read_text() == "whole\n"


HOLD = """
import sys, time, os
from mmkd.files import lock
with lock(sys.argv[1]):
    if len(sys.argv) == 2 or os.fork():
        os.write(1, b"held\\n")
        sys.stdin.read()
    else:  # such as a data loader's worker, which outlives its killed parent
        os.write(1, b"forked\\n")
        time.sleep(20)
        os._exit(0)
"""


class TestLock:
    def test_a_second_process_is_told_who_holds_the_directory(self, tmp_path: Path) -> None:
        run = tmp_path / "new" / "run"
        with python(HOLD, str(run)) as holder:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            with pytest.raises(StorageError) as caught, files.lock(run):
                pass
            holder.communicate()
        for word in (str(run), str(holder.pid), socket.gethostname()):
            assert word in caught.value.cause
        assert caught.value.way_out
        assert holder.returncode == 0
        with files.lock(run):
            pass
        assert not (run / ".lock.holder").exists()

    @pytest.mark.parametrize("worker", [(), ("fork",)])
    def test_a_killed_holder_blocks_nobody(self, tmp_path: Path, worker: tuple[str, ...]) -> None:
        with python(HOLD, str(tmp_path), *worker) as holder:
            assert holder.stdout is not None
            lines = ["held\n", *("forked\n" for _ in worker)]
            assert sorted(holder.stdout.readline() for _ in lines) == sorted(lines)
            os.kill(holder.pid, signal.SIGKILL)
            holder.wait()
            with files.lock(tmp_path):
                assert json.loads((tmp_path / ".lock.holder").read_text())["pid"] == os.getpid()

    def test_twice_in_one_process(self, tmp_path: Path) -> None:
        with files.lock(tmp_path):
            with pytest.raises(StorageError, match=f"process {os.getpid()} on"), files.lock(tmp_path):
                pass
            with pytest.raises(StorageError, match="in use"), files.lock(str(tmp_path)):  # it is held still
                pass

    def test_an_error_in_the_block_passes_and_releases(self, tmp_path: Path) -> None:
        with pytest.raises(OSError, match="mine"), files.lock(tmp_path):
            raise OSError(errno.ENOSPC, "mine")
        with files.lock(tmp_path):
            pass

    def test_a_holder_without_a_readable_note(self, tmp_path: Path) -> None:
        with files.lock(tmp_path):
            (tmp_path / ".lock.holder").write_text("{")
            with pytest.raises(StorageError, match="another process"), files.lock(tmp_path):
                pass

    def test_a_file_in_the_way(self, tmp_path: Path) -> None:
        (tmp_path / "run").write_text("")
        with pytest.raises(StorageError, match="in the way"), files.lock(tmp_path / "run"):
            pass


DISKS = """
import subprocess, sys, os
from mmkd import files
from mmkd.errors import StorageError

def refused(word, call, *arguments):
    try:
        call(*arguments)
    except StorageError as error:
        assert word in error.cause and sys.argv[1] in error.cause and error.way_out, error
    else:
        raise AssertionError(f"{call.__name__} was not refused")

def hold(path):
    with files.lock(path):
        pass

disk = sys.argv[1]
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], check=True)
path, log = os.path.join(disk, "file"), os.path.join(disk, "log")
files.write_atomic(path, "before")
files.append_line(log, "one")
refused("full", files.write_atomic, path, "x" * 100_000)
refused("full", files.append_line, log, "x" * 100_000)
assert open(path).read() == "before" and open(log).read() == "one\\n" and sorted(os.listdir(disk)) == ["file", "log"]
subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
refused("read-only", files.write_json, path, {})
refused("read-only", files.append_line, log, "two")
refused("read-only", files.truncate_to, log, 0)
refused("read-only", hold, disk)
refused("read-only", hold, os.path.join(disk, "new"))
assert open(path).read() == "before" and open(log).read() == "one\\n"
print("passed")
"""


def test_a_disk_that_is_really_full_and_really_read_only(tmp_path: Path) -> None:
    output, errors = python(DISKS, str(tmp_path), wrapper=own_mounts()).communicate()
    assert output == "passed\n", errors


def test_importing_this_module_loads_neither_torch_nor_numpy() -> None:
    output, errors = python("import sys, mmkd.files; print({'torch', 'numpy'} & set(sys.modules))").communicate()
    assert output == "set()\n", errors
