"""Sources of mmkd-symbolic."""
