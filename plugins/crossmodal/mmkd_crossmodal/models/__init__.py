"""Models of mmkd-crossmodal."""
