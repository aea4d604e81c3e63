"""The conformance kit finds what is broken, counts, and takes declared failures for what they are."""

from __future__ import annotations

import pytest

from mmkd.errors import ConfigError
from mmkd.testing import Check, NotApplicable, Report, checks_of, parametrize_with_checks, run_checks
from tests.registry.fakes import install

METHODS = ("Sound", "Uncited", "Undocumented", "NotScalar", "Random", "Keeps", "Detached", "Grabs")


@pytest.fixture
def faulty(tmp_path, monkeypatch):
    """A distribution of faulty components; writes `checks.toml` where it is given one."""
    module = "tests.testing.faulty:"
    declared = {
        "methods": {f"faulty/{name.lower()}": module + name for name in METHODS},
        "adapters": {"faulty/lies": module + "Lies"},
        "datasets": {"faulty/straddles": module + "Straddles"},
        "models": {"faulty/wrong": module + "Wrong"},
    }
    install(tmp_path, "mmkd-faulty", declared)
    monkeypatch.syspath_prepend(tmp_path)
    from mmkd import registry
    from mmkd.testing import suite

    registry.refresh()
    monkeypatch.setattr(suite, "files", lambda package: tmp_path)
    yield tmp_path / "checks.toml"
    monkeypatch.undo()
    registry.refresh()


def test_each_fault_is_found_by_its_check_and_by_no_other(faulty):
    report = run_checks(check for check in checks_of("mmkd_faulty") if not check.slow)
    failed = {outcome.name for outcome in report.outcomes if outcome.status == "failed"}
    teaching = (
        "losses are finite scalars",
        "gradients reach student and adapters alone",
        "the teacher stays as it is",
        "no teacher in the state dict",
        "deterministic by seed",
    )
    assert failed == {
        "distribution mmkd-faulty: recipes and cards are in the package",
        "methods faulty/uncited: source cited",
        "methods faulty/undocumented: it is documented",
        *(f"methods faulty/notscalar: {what}" for what in teaching),
        "methods faulty/random: deterministic by seed",
        "methods faulty/keeps: gradients reach student and adapters alone",
        "methods faulty/detached: gradients reach student and adapters alone",
        "methods faulty/grabs: the teacher stays as it is",
        "methods faulty/grabs: no teacher in the state dict",
        "adapters faulty/lies: form and gradient",
        "datasets faulty/straddles: card present",
        "datasets faulty/straddles: deterministic",
        "datasets faulty/straddles: splits are sound",
        "models faulty/wrong: outputs that the task wants",
        "models faulty/wrong: deterministic by seed",
    }
    reasons = {outcome.name: outcome.reason for outcome in report.outcomes}
    assert (
        "sample 3 is in the training and in the validation part"
        in reasons["datasets faulty/straddles: splits are sound"]
    )
    assert "has the shape [4], and the task wants [3]" in reasons["models faulty/wrong: outputs that the task wants"]
    assert (
        "'student.methods.detached"
        not in reasons["methods faulty/detached: gradients reach student and adapters alone"]
    )
    assert not report.ok


def test_declared_failures_need_a_reason_and_a_check(faulty):
    faulty.write_text('[expected-failures]\n"methods faulty/uncited: source cited" = "it is our own and unpublished"\n')
    (check,) = (check for check in checks_of("mmkd-faulty") if check.name == "methods faulty/uncited: source cited")
    assert run_checks([check]).summary() == "1 check: 1 expected failure"
    for text, message in (
        ('[expected-failures]\n"methods faulty/uncited: source cited" = "no"', "without a reason"),
        ('[expected-failures]\n"methods faulty/uncited: nothing" = "as it is so"', "no such check"),
        ('[changes]\n"methods faulty/absent" = ["a=1"]', "no component of the distribution"),
        ("[change]\na = 1", "unknown key 'checks.toml.change'"),
    ):
        faulty.write_text(text)
        with pytest.raises(ConfigError, match=message):
            checks_of("mmkd-faulty")
    with pytest.raises(ConfigError, match="no installed distribution 'mmkd-nothing'"):
        checks_of("mmkd-nothing")


def _raises(error):
    def run():
        raise error

    return run


def test_counts_and_reasons():
    checks = [
        Check("a b", "holds", lambda: None),
        Check("a b", "holds too", lambda: None),
        Check("a b", "fails", _raises(AssertionError("it is\nso"))),
        Check("a b", "breaks", _raises(ValueError("bad"))),
        Check("a b", "may", _raises(AssertionError), expected="known since long"),
        Check("a b", "was mended", lambda: None, expected="known since long"),
        Check("a b", "has no data", _raises(NotApplicable("no data"))),
    ]
    seen = []
    report = run_checks(checks, seen.append)
    assert report.outcomes == seen
    assert report.summary() == ("7 checks: 2 passed, 2 failed, 1 expected failure, 1 unexpected pass, 1 not applicable")
    assert [outcome.reason for outcome in report.outcomes] == [
        "",
        "",
        "it is so",
        "ValueError: bad",
        "known since long",
        "declared to fail: known since long",
        "no data",
    ]
    assert Report().ok
    assert run_checks(checks[:2]).ok
    assert run_checks(checks[:2]).to_json()["summary"] == "2 checks: 2 passed"


def test_as_tests_declared_failures_are_strict_xfails(faulty):
    faulty.write_text('[expected-failures]\n"methods faulty/uncited: source cited" = "it is our own and unpublished"\n')
    made = parametrize_with_checks("mmkd-faulty", slow=False)
    (mark,) = made.pytestmark
    cases = {case.id: case for case in mark.args[1]}
    assert len(cases) == len([check for check in checks_of("mmkd-faulty") if not check.slow])
    (xfail,) = cases["methods faulty/uncited: source cited"].marks
    assert xfail.kwargs == {"reason": "it is our own and unpublished", "strict": True}
    made(Check("a b", "holds", lambda: None))
    with pytest.raises(pytest.skip.Exception, match="no data"):
        made(Check("a b", "has no data", _raises(NotApplicable("no data"))))
