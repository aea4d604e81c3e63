"""Tasks of mmkd-medical."""
