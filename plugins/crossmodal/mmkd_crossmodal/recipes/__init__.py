"""Recipes of mmkd-crossmodal, one TOML file each."""
