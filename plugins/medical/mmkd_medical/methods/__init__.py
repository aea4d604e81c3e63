"""Methods of mmkd-medical."""
