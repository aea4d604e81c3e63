"""Models of mmkd-graph."""
