"""A check, and what comes of running some."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from mmkd.errors import DataError, MmkdError

Status = Literal["passed", "failed", "expected failure", "unexpected pass", "not applicable"]
_WORDS = {
    "passed": ("passed", "passed"),
    "failed": ("failed", "failed"),
    "expected failure": ("expected failure", "expected failures"),
    "unexpected pass": ("unexpected pass", "unexpected passes"),
    "not applicable": ("not applicable", "not applicable"),
}


class NotApplicable(Exception):  # noqa: N818  (it is no error)
    """Raised inside a check that says nothing here: the data is absent, the student has no steps. The text is why."""


@dataclass(frozen=True)
class Check:
    """Something that one component must hold.

    Arguments:
        subject: `"<kind> <name>"`, or `"distribution <name>"`.
        what: the rule, in a few words.
        run: raises where the rule is broken: an AssertionError whose text says how, or any other exception.
        slow: seconds and more: exports, processes.
        expected: why it cannot pass; empty where it must.
    """

    subject: str
    what: str
    run: Callable[[], None]
    slow: bool = False
    expected: str = ""

    @property
    def name(self) -> str:
        return f"{self.subject}: {self.what}"

    def __call__(self) -> None:
        """Run it. Data that is absent makes a check `NotApplicable`, as a test would be skipped."""
        try:
            self.run()
        except DataError as error:
            if "not on this machine" in error.cause:
                raise NotApplicable(error.cause) from error
            raise


@dataclass(frozen=True)
class Outcome:
    """What came of one check; `reason` is how it failed, why it was expected to, or why it does not apply."""

    name: str
    status: Status
    reason: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class Report:
    """What came of all."""

    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not any(outcome.status in ("failed", "unexpected pass") for outcome in self.outcomes)

    def summary(self) -> str:
        """`24 checks: 23 passed, 1 expected failure`."""
        counts: Counter[str] = Counter(outcome.status for outcome in self.outcomes)
        parts = [f"{counts[status]} {words[counts[status] != 1]}" for status, words in _WORDS.items() if counts[status]]
        number = len(self.outcomes)
        return f"{number} check{'s' * (number != 1)}: {', '.join(parts) or 'nothing to check'}"

    def to_json(self) -> dict[str, Any]:
        outcomes = [vars(outcome) for outcome in self.outcomes]
        return {"ok": self.ok, "summary": self.summary(), "checks": outcomes}


def run_checks(checks: Iterable[Check], told: Callable[[Outcome], None] = lambda outcome: None) -> Report:
    """Run checks one after the other; whatever one raises, the others go on.

    Arguments:
        checks: in order.
        told: called with each outcome as it is there.
    """
    report = Report()
    for check in checks:
        clock = time.monotonic()
        status, reason = _outcome(check)
        report.outcomes.append(Outcome(check.name, status, reason, round(time.monotonic() - clock, 3)))
        told(report.outcomes[-1])
    return report


def _outcome(check: Check) -> tuple[Status, str]:
    try:
        check()
    except NotApplicable as reason:
        return "not applicable", str(reason)
    except Exception as error:
        how = " ".join(f"{type(error).__name__}: {error}".split())
        how = str(error) if isinstance(error, AssertionError | MmkdError) and str(error) else how
        return ("expected failure", check.expected) if check.expected else ("failed", " ".join(how.split()))
    return ("unexpected pass", f"declared to fail: {check.expected}") if check.expected else ("passed", "")
