"""What every component of an mmkd plugin must hold. The slow checks (exports, processes): `mmkd plugin check`."""

from mmkd.testing import parametrize_with_checks

test_conformance = parametrize_with_checks("mmkd-example", slow=False)
