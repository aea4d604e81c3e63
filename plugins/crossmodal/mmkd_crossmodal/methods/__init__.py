"""Methods of mmkd-crossmodal."""
