import jaxtyping
import pytest


@pytest.fixture
def annotations_off():
    """The loss's own message is the subject, also where a run checks every annotation."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
