import pytest
import torch

from mmkd import registry


@pytest.fixture(autouse=True)
def _quiet(monkeypatch, tmp_path):
    """The ledger of unsealings is the test's own, and one thread is enough."""
    torch.set_num_threads(1)
    monkeypatch.setenv("MMKD_STATE", str(tmp_path / "state"))
    registry.refresh()
