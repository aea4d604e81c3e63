"""Datasets of mmkd-symbolic."""
