"""The conformance kit: what every component of a plugin must hold, as checks that pytest or `mmkd plugin check` runs.

In the tests of a plugin, two lines:

    from mmkd.testing import parametrize_with_checks
    test_conformance = parametrize_with_checks("mmkd-mine")

A file `checks.toml` in the plugin's package makes checks quick and declares what cannot pass, with the reason:

    [changes]
    "datasets mine/scenes" = ["rooms=4"]                          # settings of a component, as --set takes them
    "recipes mine/main" = ["dataset.rooms=4", "student.hidden=8"]

    [stages]
    "models mine/wide" = ["mine/main", "student.use=mine/wide"]   # where to check what no recipe uses

    [expected-failures]
    "models mine/teacher: ONNX parity" = "it reads a nested dict of relations and never ships"
"""

from mmkd.testing.checks import Check, NotApplicable, Outcome, Report, run_checks
from mmkd.testing.pytest import parametrize_with_checks
from mmkd.testing.suite import checks_of

__all__ = ["Check", "NotApplicable", "Outcome", "Report", "checks_of", "parametrize_with_checks", "run_checks"]
