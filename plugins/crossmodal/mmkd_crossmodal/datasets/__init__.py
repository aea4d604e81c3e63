"""Datasets of mmkd-crossmodal."""
