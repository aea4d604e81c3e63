"""Methods of mmkd-graph, one file each."""
