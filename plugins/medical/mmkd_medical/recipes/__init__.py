"""Recipes of mmkd-medical, one TOML file each."""
