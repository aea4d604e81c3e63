"""Data sets of mmkd-graph."""
