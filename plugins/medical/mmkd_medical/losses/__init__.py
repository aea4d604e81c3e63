"""Losses of mmkd-medical, as pure functions."""
