"""Components for mmkd, found by the entry points in pyproject.toml. Keep this file light: listing imports nothing."""
