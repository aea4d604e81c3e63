"""mmkd-graph: graphs as privileged knowledge. Data sets, models and recipes, found by mmkd through entry points."""
