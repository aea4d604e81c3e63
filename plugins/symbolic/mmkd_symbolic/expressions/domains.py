"""Which values a variable may take: what an equivalence is proven over."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from mmkd.errors import ConfigError


@dataclass(frozen=True)
class Finite:
    """One of finitely many numbers."""

    values: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.values or len(set(self.values)) < len(self.values):
            raise ConfigError(f"a finite domain holds different values, not {list(self.values)}")


@dataclass(frozen=True)
class Real:
    """Any real number from `low` to `high`."""

    low: float = -math.inf
    high: float = math.inf

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ConfigError(f"a real domain from {self.low} to {self.high} is empty")


Domain = Finite | Real
Domains = Mapping[str, Domain]
TRUTH_VALUES = Finite((0.0, 1.0))


def domain_of(name: str, sort: str, domains: Domains) -> Domain:
    """The domain of a variable; truth values need no declaration.

    Raises `ConfigError` for a number without a domain.
    """
    if sort == "truth":
        return TRUTH_VALUES
    if name not in domains:
        known = ", ".join(domains) or "none"
        raise ConfigError(f"'{name}' has no declared domain, so nothing can be proven of it", f"declared: {known}")
    return domains[name]
