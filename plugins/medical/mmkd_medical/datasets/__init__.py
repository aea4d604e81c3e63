"""Datasets of mmkd-medical."""
