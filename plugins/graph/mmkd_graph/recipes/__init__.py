"""Recipes of mmkd-graph, one TOML file each."""
