"""Models of mmkd-medical."""
