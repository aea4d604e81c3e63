"""Downloads come from a server on this machine: no test reaches beyond it."""

import gc
import hashlib
import logging
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from mmkd.data import download
from mmkd.data.download import RemoteFile, fetch
from mmkd.errors import DataError, StorageError

CONTENT = {"a.bin": b"first file" * 100, "b.bin": b"second file"}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        content = CONTENT.get(self.path.lstrip("/"))
        self.server.asked.append(self.path)
        self.send_response(404 if content is None else 200)
        self.send_header("Content-Length", str(len(content or b"")))
        self.end_headers()
        self.wfile.write(content or b"")

    def log_message(self, *args):
        pass


@pytest.fixture
def root(monkeypatch, tmp_path):
    monkeypatch.setenv("MMKD_DATA", str(tmp_path / "root"))
    monkeypatch.setenv("NO_PROXY", "*")
    return tmp_path / "root"


@pytest.fixture
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.asked = []
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def remote(server, name, content=None, folder="set"):
    digest = hashlib.sha256(CONTENT.get(name, b"") if content is None else content).hexdigest()
    return RemoteFile(f"http://127.0.0.1:{server.server_port}/{name}", digest, f"{folder}/{name}")


def place(root, file, content):
    target = root / file.path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
    return target


def line(caught):
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_download_then_offline(root, server, caplog, capfd):
    files = [remote(server, "a.bin"), remote(server, "b.bin", folder="set/deep")]
    places = fetch(files, "graph/cora", download=True)
    assert places == [root / "set/a.bin", root / "set/deep/b.bin"]
    assert [found.read_bytes() for found in places] == list(CONTENT.values())
    assert server.asked == ["/a.bin", "/b.bin"]
    assert fetch(files, "graph/cora") == fetch(files, "graph/cora", download=True) == places
    assert server.asked == ["/a.bin", "/b.bin"]
    assert sorted(path.name for path in root.rglob("*") if path.is_file()) == ["a.bin", "b.bin"]
    assert not caplog.records
    assert capfd.readouterr() == ("", "")


def test_absent(root, server):
    place(root, remote(server, "a.bin"), CONTENT["a.bin"])
    with pytest.raises(DataError) as caught:
        fetch([remote(server, "a.bin"), remote(server, "b.bin")], "graph/cora")
    assert line(caught) == (
        "data set graph/cora is not on this machine; run `mmkd data get graph/cora`,"
        " or point MMKD_DATA at a folder that holds set/b.bin"
    )
    assert server.asked == []
    assert not (root / "set/b.bin").exists()


def test_many_absent(root):
    files = [RemoteFile("http://127.0.0.1/", "0" * 64, f"set/{number}.bin") for number in range(5)]
    with pytest.raises(DataError, match=r"holds set/0.bin, set/1.bin, set/2.bin and 2 more$"):
        fetch(files, "graph/cora")


def test_corrupt(root, server):
    file = remote(server, "a.bin")
    target = place(root, file, CONTENT["a.bin"][:-1])
    with pytest.raises(DataError) as caught:
        fetch([file], "graph/cora")
    text = line(caught)
    found = hashlib.sha256(CONTENT["a.bin"][:-1]).hexdigest()
    for part in (str(target), file.sha256, found, "mmkd data get graph/cora"):
        assert part in text
    assert target.read_bytes() == CONTENT["a.bin"][:-1]
    assert server.asked == []


def test_corrupt_is_replaced_by_a_download(root, server):
    file = remote(server, "a.bin")
    target = place(root, file, b"x" * len(CONTENT["a.bin"]))
    fetch([file], "graph/cora", download=True)
    assert target.read_bytes() == CONTENT["a.bin"]


def test_damage_after_a_check_is_seen(root, server):
    file = remote(server, "b.bin")
    target = place(root, file, CONTENT["b.bin"])
    fetch([file], "graph/cora")
    target.write_bytes(CONTENT["b.bin"] + b"!")
    with pytest.raises(DataError, match="corrupt"):
        fetch([file], "graph/cora")


def test_a_file_is_hashed_once(root, server, monkeypatch):
    file = remote(server, "b.bin")
    place(root, file, CONTENT["b.bin"])
    fetch([file], "graph/cora")
    monkeypatch.setattr(download.hashlib, "file_digest", lambda *_: pytest.fail("hashed again"))
    fetch([file], "graph/cora")


def test_other_content_upstream(root, server):
    file = remote(server, "a.bin", content=b"what was published")
    with pytest.raises(DataError, match="not the file that was published") as caught:
        fetch([file], "graph/cora", download=True)
    assert file.url in line(caught)
    assert not list(root.rglob("*.bin"))


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # pooch leaves the connection of a 404 to the garbage collector
@pytest.mark.parametrize("reason", ["404", "no server"])
def test_no_network(root, server, reason):
    file = remote(server, "c.bin")
    if reason == "no server":
        file = RemoteFile("http://127.0.0.1:9/c.bin", file.sha256, file.path)  # the discard port: nobody listens
    with pytest.raises(DataError, match="cannot be downloaded") as caught:
        fetch([file], "graph/cora", download=True)
    assert file.url in line(caught)
    assert str(root / file.path) in line(caught)
    assert len(line(caught)) < 700
    assert not (root / file.path).exists()
    del caught
    gc.collect()


def test_root_that_cannot_be_written(root, server):
    root.write_text("a file in the way")
    with pytest.raises(StorageError) as caught:
        fetch([remote(server, "a.bin")], "graph/cora", download=True)
    assert str(root) in line(caught)


def test_log_level_comes_back(root, server):
    import pooch

    level = pooch.get_logger().level
    fetch([remote(server, "a.bin")], "graph/cora", download=True)
    assert pooch.get_logger().level == level
    assert level <= logging.INFO


def test_nothing_to_fetch(root):
    assert fetch([], "graph/digits-knn", download=True) == []
    assert not root.exists()
