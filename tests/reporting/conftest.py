from typing import Any

import pytest

from mmkd.reporting.drawing import Plot
from mmkd.reporting.plots import all_plots

from .fakes import ODD_CASES, make


@pytest.fixture(scope="session")
def whole() -> dict[str, Any]:
    """A run of the kind that `graph/glnn` gives. Read only."""
    return make()


@pytest.fixture(scope="session")
def drawn(whole: dict[str, Any]) -> dict[str, Plot]:
    """Its plots, by name."""
    return {plot.name: plot for plot in all_plots(whole)}


@pytest.fixture(params=ODD_CASES)
def odd(request: pytest.FixtureRequest) -> dict[str, Any]:
    """One odd result after the other."""
    result: dict[str, Any] = ODD_CASES[request.param]()
    return result
