"""Every component of the core and of our own plugins conforms, or says why it cannot."""

from pathlib import Path

import pytest

from mmkd.testing import parametrize_with_checks

PLUGINS = sorted(f"mmkd-{path.parent.name}" for path in Path(__file__).parents[2].glob("plugins/*/pyproject.toml"))
pytestmark = pytest.mark.xdist_group("conformance")  # in one process: stages are shared


@pytest.fixture(autouse=True)
def _no_data(tmp_path, monkeypatch):
    """On embedded and generated data alone, so that the outcome does not depend on what a machine has."""
    monkeypatch.setenv("MMKD_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


test_quick = parametrize_with_checks("mmkd", *PLUGINS, slow=False)
test_slow = pytest.mark.slow(parametrize_with_checks("mmkd", *PLUGINS, slow=True))
