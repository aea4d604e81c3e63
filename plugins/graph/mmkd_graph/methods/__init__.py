"""Methods of mmkd-graph."""
