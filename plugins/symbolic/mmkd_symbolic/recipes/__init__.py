"""Recipes of mmkd-symbolic, one TOML file each."""
