"""Models of mmkd-symbolic."""
