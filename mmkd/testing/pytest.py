"""Conformance checks as tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mmkd.testing.checks import Check, NotApplicable
from mmkd.testing.suite import checks_of


def parametrize_with_checks(*distributions: str, slow: bool | None = None) -> Callable[..., None]:
    """A test function with one case per check of the distributions.

    Arguments:
        distributions: e.g. `"mmkd-mine"`.
        slow: None for all checks, False for the quick ones (under a second or so each), True for the others.

    Checks that `checks.toml` expects to fail are strict xfails; checks that do not apply are skipped with their reason.
    """
    import pytest

    cases: list[Any] = []
    for distribution in distributions:
        for check in checks_of(distribution):
            if slow is None or check.slow == slow:
                marks = [pytest.mark.xfail(reason=check.expected, strict=True)] if check.expected else []
                cases.append(pytest.param(check, id=check.name, marks=marks))

    @pytest.mark.parametrize("check", cases)
    def test_conformance(check: Check) -> None:
        try:
            check()
        except NotApplicable as reason:
            pytest.skip(str(reason))

    return test_conformance
